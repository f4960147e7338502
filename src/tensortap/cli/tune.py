"""`tensortap tune`: the fastest way to run a model on this machine, found by trying, and remembered."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import DebugOption, JsonOption, console, print_json, print_table
from tensortap.cli.fetch import fetch_model
from tensortap.cli.numbers import numbers
from tensortap.cli.running import stop_on_signals
from tensortap.config import Settings
from tensortap.errors import UsageError
from tensortap.portable.engines.gpu import nvidia_gpu_here
from tensortap.portable.model import image_input, read_model
from tensortap.portable.sources.inputs import find_inputs
from tensortap.portable.threads import Mode, usable_cores
from tensortap.quantize.agreement import AGREEMENT_TOLERANCE
from tensortap.registry import AUTO_ENGINES, ENGINES, GPU_ENGINES, missing_modules
from tensortap.tune.search import Search, Trial
from tensortap.tune.trial import Outcome, Question, try_apart
from tensortap.tuned import Choice, Tuned, now, recall, remember

_PRECISIONS = ("auto", "f32", "bf16", "f16")
_BATCHES = "1,4,12"


def tune(
    model: Annotated[str, typer.Option("--model", "-m", help="ONNX file, OpenVINO .xml or its folder, or a name.")],
    inputs: Annotated[list[str], typer.Option("--input", "-i", help="Videos or images with people, of what it is to see.")],
    engine: Annotated[str, typer.Option(help="auto for all that are installed, or some: openvino,onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto for all, or some: f32,bf16.")] = "auto",
    batch: Annotated[str, typer.Option("--batch", "--batch-size", help="Batch sizes of dynamic models.")] = _BATCHES,
    streams: Annotated[
        str | None,
        typer.Option("--engine-streams", help="Batches at once, beside each engine's own choice; by default 1 and the cores."),
    ] = None,
    mode: Annotated[str, typer.Option(help="throughput (files, many cameras) or latency (one camera).")] = "throughput",
    imgsz: Annotated[str | None, typer.Option(help="Network input of a dynamic model: 640 or HEIGHTxWIDTH.")] = None,
    threads: Annotated[int | None, typer.Option(help="Cores that the engine may use.")] = None,
    decoder: Annotated[str, typer.Option(help="auto, or a decoder's name.")] = "auto",
    seconds: Annotated[float, typer.Option(min=0.05, help="How long each is measured.")] = 2.0,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Most that may be lost of the agreement with f32, in OKS.")
    ] = AGREEMENT_TOLERANCE,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    debug: DebugOption = False,
) -> None:
    """Try engines, precisions, streams and batch sizes for a few seconds each, and remember the fastest that finds the same
    people as f32 does. Later runs with --engine auto use it."""
    if mode not in ("latency", "throughput"):
        raise UsageError(f"--mode {mode}: choose latency or throughput; each is tuned on its own.")
    path = fetch_model(model, quiet=quiet)
    with stop_on_signals():
        best, search, kept = tune_model(
            path,
            inputs,
            cast(Mode, mode),
            settings={"imgsz": imgsz, "threads": threads, "decoder": decoder},
            engines=None if engine == "auto" else engine.split(","),
            precisions=_PRECISIONS if precision == "auto" else precision.split(","),
            batches=numbers("--batch", batch),
            streams=None if streams is None else numbers("--engine-streams", streams),
            seconds=seconds,
            tolerance=tolerance,
            quiet=quiet,
        )
    if as_json:
        print_json(
            {
                "mode": mode,
                "choice": asdict(best.choice),
                "can_judge": search.can_judge,
                "kept": str(kept) if kept else None,
                "trials": [_as_dict(trial) for trial in search.trials],
            }
        )


def tune_unless_tuned(model: Path, inputs: Sequence[str], mode: str, settings: dict[str, Any], quiet: bool) -> None:
    """For `tensortap run --tune`: find out what is best, unless that is known."""
    if mode == "auto":
        found = find_inputs(list(inputs))
        mode = "latency" if len(found) == 1 and found[0].kind == "live" else "throughput"
    checked = cast(Mode, mode)
    if _recalled(model, checked, settings) is None:
        tune_model(model, inputs, checked, settings=settings, quiet=quiet)


def tune_model(
    model: Path,
    inputs: Sequence[str],
    mode: Mode,
    *,
    settings: dict[str, Any],
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] = _PRECISIONS,
    batches: Sequence[int] = (1, 4, 12),
    streams: Sequence[int] | None = None,
    seconds: float = 2.0,
    tolerance: float = AGREEMENT_TOLERANCE,
    quiet: bool = False,
) -> tuple[Trial, Search, Path | None]:
    """Search, tell, and remember.

    Returns:
        The fastest, everything that was tried, and where it is remembered, if the cache can be written.

    Raises:
        EngineError: no engine takes the model.
        UsageError, SourceError, ModelError: something cannot be meant, opened or read.
    """
    for each in engines or []:
        for wanted in precisions:
            Settings.checked(inputs="video", model=model, engine=each, precision=wanted)
    fixed = image_input(read_model(model)).batch
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures.npz"

        def measure(choice: Choice) -> Outcome:
            question = Question(choice, mode, str(model), tuple(map(str, inputs)), str(pictures), settings, seconds)
            return try_apart(question)

        search = Search(measure, mode=mode, tolerance=tolerance, on_trial=lambda trial: None if quiet else _tell(trial))
        best = search.run(
            engines or _installed(),
            precisions,
            first_batch=fixed or batches[0] if mode == "throughput" else fixed or 1,
            batches=[] if fixed else batches,
            streams=sorted({1, usable_cores()}) if streams is None else streams,
        )
    assert best.outcome is not None
    tuned = Tuned(best.choice, best.outcome.images_per_second, best.lost, now())
    kept: Path | None = None
    try:
        kept = remember(model, mode, best.outcome.imgsz, tuned, [_as_dict(trial) for trial in search.trials])
    except OSError as exc:
        console.print(f"[yellow]it cannot be remembered: {escape(str(exc))}[/]", soft_wrap=True)
    if not quiet:
        _print(search, best, kept)
    return best, search, kept


def _installed() -> list[str]:
    """The likely ones first."""
    names = (*GPU_ENGINES, *AUTO_ENGINES) if nvidia_gpu_here() else AUTO_ENGINES
    return [name for name in names if not missing_modules(ENGINES[name])]


def _recalled(model: Path, mode: Mode, settings: dict[str, Any]) -> Tuned | None:
    info = read_model(model)
    wanted = image_input(info)
    asked = Settings.checked(inputs="video", model=model, imgsz=settings.get("imgsz")).imgsz or info.imgsz or (640, 640)
    return recall(info.path, mode, (wanted.height or asked[0], wanted.width or asked[1]))


def _tell(trial: Trial) -> None:
    if trial.outcome is None:
        console.print(f"[dim]{escape(str(trial.choice))}: {escape(trial.problem)}[/]", soft_wrap=True)
        return
    told = f"{trial.outcome.images_per_second:.1f} images/s, {trial.outcome.latency_ms:.1f} ms"
    problem = f" [yellow]{escape(trial.problem)}[/]" if trial.problem else ""
    console.print(f"[dim]{escape(str(trial.choice))}: {told}[/]{problem}", soft_wrap=True)


def _print(search: Search, best: Trial, kept: Path | None) -> None:
    table = Table(
        "engine", "precision", "batch", "at once", "images/s", "ms for one", "lost", "", box=None, padding=(0, 2, 0, 0)
    )
    for trial in search.trials:
        found = trial.outcome
        if found is None:
            continue
        name = "reference" if search.reference is not None and trial.choice == search.reference.choice else f"{trial.lost:.3f}"
        table.add_row(
            trial.choice.engine,
            found.precision,
            str(found.batch_size),
            str(found.streams),
            f"{found.images_per_second:.1f}",
            f"{found.latency_ms:.1f}",
            name if search.can_judge else "?",
            "[green]fastest[/]" if trial is best else "[yellow]too much[/]" if trial.problem else "",
        )
    print_table(table)
    if not search.can_judge:
        console.print(
            "[yellow]nobody is in these pictures: only f32 and what engines choose by themselves were compared. "
            "Tune with people to have all.[/]",
            soft_wrap=True,
        )
    if kept is not None:
        console.print(f"[green]kept:[/] {escape(str(best.choice))}; --engine auto uses it here from now on", soft_wrap=True)


def _as_dict(trial: Trial) -> dict[str, Any]:
    found = trial.outcome
    measured = (
        {}
        if found is None
        else {
            "precision": found.precision,
            "streams": found.streams,
            "images_per_second": round(found.images_per_second, 2),
            "latency_ms": round(found.latency_ms, 3),
        }
    )
    return {**asdict(trial.choice), "lost": round(trial.lost, 4), "problem": trial.problem, "measured": measured}
