"""`tensortap bench`: how fast models run here, and how much of the engine's speed arrives."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tensortap.bench.case import Case, Failure, Report, Row
from tensortap.bench.child import measure_apart
from tensortap.bench.machine import in_a_line, machine
from tensortap.bench.report import COLUMNS, LEVEL_NAMES, NUM_NAMES, cells, changes, check_suffix, read, write
from tensortap.cli.console import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    DebugOption,
    JsonOption,
    console,
    print_error,
    print_json,
    print_table,
)
from tensortap.cli.fetch import fetch_model
from tensortap.cli.numbers import numbers
from tensortap.cli.running import stop_on_signals
from tensortap.cli.scene import write_video
from tensortap.config import Settings

_SCENE = "scene://street?people=6&seed=3&size=1280x720&fps=30&seconds=10"


def bench(
    model: Annotated[list[str], typer.Option("--model", "-m", help="A model; may be given several times.")],
    input_: Annotated[
        str | None, typer.Option("--input", "-i", help="Video to measure with. Without one: ten drawn seconds of 1280x720.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Engines, e.g. openvino,onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="Precisions, e.g. f32,bf16.")] = "auto",
    batch: Annotated[str | None, typer.Option("--batch", "--batch-size", help="Batch sizes, e.g. 1,4,12.")] = None,
    imgsz: Annotated[str | None, typer.Option(help="Network inputs of dynamic models, e.g. 640,384x640.")] = None,
    streams: Annotated[str, typer.Option(help="Copies of the video read at once, e.g. 1,4,16.")] = "1",
    letterbox: Annotated[
        str, typer.Option(help="How frames are placed in the network input; auto as the head wants.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="Cores that the engine may use.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each level is measured in each round.")] = 3.0,
    output: Annotated[list[Path] | None, typer.Option("--output", "-o", help="Report as .json, .md, .png or .svg.")] = None,
    compare: Annotated[Path | None, typer.Option(help="An earlier .json report: show what changed beyond the noise.")] = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    debug: DebugOption = False,
) -> None:
    """Measure models on this machine: the engine alone, from a frame to its poses, and end to end from a file to JSONL."""
    for path in output or []:
        check_suffix(path)
    before = read(compare) if compare else []
    cases = [
        _case(path, name, wanted, size, shape, letterbox, threads, numbers("--streams", streams), rounds, seconds)
        for path, name, wanted, size, shape in itertools.product(
            [fetch_model(name, quiet=quiet) for name in model],
            engine.split(","),
            precision.split(","),
            numbers("--batch", batch) if batch else [None],
            imgsz.split(",") if imgsz else [None],
        )
    ]
    report = Report(machine(), input_ or _SCENE, rounds, seconds)
    interrupted = False
    with stop_on_signals(), tempfile.TemporaryDirectory() as folder:
        try:
            _measure(report, cases, input_ or _drawn(Path(folder), quiet), quiet)
        except KeyboardInterrupt:
            interrupted = True  # what was measured is reported
    for path in (output or []) if report.rows else []:
        write(report, path)
    if as_json:
        print_json(report.as_dict())
    elif report.rows:
        _print(report)
    if compare:
        _print_changes(compare, changes(before, report.rows))
    if interrupted or report.failures:
        raise typer.Exit(EXIT_INTERRUPTED if interrupted else EXIT_FAILURE)


def _case(
    model: Path,
    engine: str,
    precision: str,
    batch_size: int | None,
    imgsz: str | None,
    letterbox: str,
    threads: int | None,
    streams: list[int],
    rounds: int,
    seconds: float,
) -> Case:
    """One combination; whether its values can be meant is known before anything is measured."""
    settings = Settings.checked(
        inputs="video",
        model=model,
        engine=engine.strip(),
        precision=precision.strip(),
        batch_size=batch_size,
        imgsz=imgsz.strip() if imgsz else None,
        letterbox=letterbox,
        threads=threads,
    )
    return Case(
        model=str(model),
        engine=settings.engine,
        precision=settings.precision,
        batch_size=settings.batch_size,
        imgsz=settings.imgsz,
        letterbox=settings.letterbox,
        threads=settings.threads,
        streams=tuple(sorted(set(streams))),
        rounds=rounds,
        seconds=seconds,
    )


def _drawn(folder: Path, quiet: bool) -> str:
    """A video for those who bring none."""
    if not quiet:
        console.print(f"[dim]no -i: measured on {_SCENE}; a video of yours says more[/]", soft_wrap=True)
    video = folder / "scene.mp4"
    write_video(_SCENE, video)
    return str(video)


def _measure(report: Report, cases: list[Case], video: str, quiet: bool) -> None:
    for number, case in enumerate(cases, start=1):
        name = _name(case)
        if not quiet:
            console.print(f"[dim]{number} of {len(cases)}: {escape(name)}[/]", soft_wrap=True)
        found = measure_apart(replace(case, video=video))
        if isinstance(found, Failure):
            report.failures.append(found)
            print_error(f"{name}: {found.message}")
        else:
            report.rows += found


def _name(case: Case) -> str:
    size = "" if case.imgsz is None else f", {case.imgsz[0]}x{case.imgsz[1]}"
    batch = "" if case.batch_size is None else f", batch {case.batch_size}"
    return f"{Path(case.model).name} on {case.engine} ({case.precision}){size}{batch}"


def _print(report: Report) -> None:
    console.print(f"[dim]{escape(in_a_line(report.machine))}[/]", soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    devices = {row.device for row in report.rows}
    shown = [column for column in COLUMNS if column != "device" or len(devices) > 1]
    for column in shown:
        table.add_column(column, no_wrap=True, justify="left" if COLUMNS.index(column) < NUM_NAMES else "right")
    for row in report.rows:
        named = dict(zip(COLUMNS, cells(row), strict=True))
        table.add_row(*(escape(named[column]) for column in shown))
    print_table(table, min_width=180)


def _print_changes(before: Path, found: list[tuple[Row, float, bool]]) -> None:
    console.print(f"against {escape(str(before))}, images/s:")
    if not found:
        console.print("  [yellow]nothing in common: other models, engines, sizes or batches[/]")
    for row, ratio, is_real in found:
        colour = ("green" if ratio > 1 else "red") if is_real else "dim"
        told = "" if is_real else ", within the noise"
        size = f"{row.imgsz[0]}x{row.imgsz[1]}, batch {row.batch_size}"
        name = f"{row.model}, {row.engine} ({row.precision}), {size}, {LEVEL_NAMES[row.level]}, streams {row.streams}"
        console.print(f"  [{colour}]{ratio - 1:+.1%}[/]{told}  {escape(name)}", soft_wrap=True)
