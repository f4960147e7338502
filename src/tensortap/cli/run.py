"""`tensortap run`: videos and images in, poses out."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperCommand

from tensortap.cli.console import (
    EXIT_BROKEN_PIPE,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    DebugOption,
    JsonOption,
    console,
    print_error,
    print_json,
)
from tensortap.cli.fetch import fetch_model
from tensortap.cli.progress import Progress
from tensortap.errors import SinkError, SourceError, TensortapError, UsageError
from tensortap.geometry import LETTERBOX_POLICIES
from tensortap.pipeline import Pipeline
from tensortap.sinks.names import parse_output
from tensortap.text import printable

_INPUT_FLAGS = {"-i", "--input"}
_TAKES_SEVERAL = _INPUT_FLAGS | {"-o", "--output"}


class RunCommand(TyperCommand):
    """Lets `-i` and `-o` take several values: `-i a.mp4 b.mp4 photos/`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the flag before every further value, as Typer wants it."""
        expanded: list[str] = []
        flag, num_values = "", 0
        for arg in [*args, "--"]:
            name, equals, value = arg.partition("=")
            if arg.startswith("-") and arg != "-":
                if flag and not num_values:
                    raise UsageError(f"{flag} needs a value, e.g. {'-i street.mp4' if flag in _INPUT_FLAGS else '-o out.mp4'}.")
                flag, num_values = (name, int(bool(equals))) if name in _TAKES_SEVERAL else ("", 0)
                expanded += [name, value] if flag and equals else [] if flag else [arg]
            else:
                expanded += [flag, arg] if flag else [arg]
                num_values += 1
        return super().parse_args(ctx, expanded[:-1])


def run(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="ONNX file, OpenVINO .xml or its folder, or a name: see tensortap models."),
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="Videos, URLs, images, folders, globs; several at once.")
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help="out.mp4, out.jsonl, results.coco.json, null, - (JSONL); several at once."),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, f32, bf16 or f16, where the engine offers it.")] = "auto",
    batch_size: Annotated[int | None, typer.Option("--batch-size", "--batch", help="Frames a batch.")] = None,
    imgsz: Annotated[str | None, typer.Option(help="Network input of a dynamic model: 640 or HEIGHTxWIDTH.")] = None,
    letterbox: Annotated[str, typer.Option(help=", ".join(sorted(LETTERBOX_POLICIES)) + ".")] = "ultralytics",
    threads: Annotated[int | None, typer.Option(help="Cores that the engine may use.")] = None,
    conf_thres: Annotated[float, typer.Option(help="Keep people with a score above it.")] = 0.25,
    iou_thres: Annotated[float, typer.Option(help="Of boxes that overlap by more, keep the best.")] = 0.45,
    max_det: Annotated[int, typer.Option(help="At most so many people a frame.")] = 300,
    tracker: Annotated[str, typer.Option(help="auto, none or the name of a tracker; auto tracks videos.")] = "auto",
    no_track: Annotated[bool, typer.Option("--no-track", help="Do not track.")] = False,
    interval: Annotated[int, typer.Option(help="Let so many frames pass after each inferred one.")] = 0,
    max_frames: Annotated[int | None, typer.Option(help="Stop each input after so many frames.")] = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    debug: DebugOption = False,
) -> None:
    """Find people in videos and images, and write them as data and as video."""
    if not inputs:
        raise UsageError(
            "Say what to look at: -i VIDEO, URL, image, folder or glob. Example: tensortap run -i a.mp4 -m yolov8n-pose.onnx"
        )
    if not model:
        raise UsageError(
            "Say which model: --model FILE.onnx, or a name such as --model yolov8n-pose; tensortap models lists the names."
        )
    if no_track and tracker not in ("auto", "none"):
        raise UsageError(f"--no-track and --tracker {tracker} contradict each other.")
    if as_json and any(parse_output(output).path == Path("-") for output in outputs or []):
        raise UsageError("--json and -o - would both write to the standard output. Give the JSONL a file.")
    started = time.perf_counter()
    with _stop_on_signals():
        pipeline = Pipeline(
            inputs,
            model,
            outputs=outputs or [],
            find_model=partial(fetch_model, quiet=quiet),
            engine=engine,
            precision=precision,
            batch_size=batch_size,
            imgsz=imgsz,
            letterbox=letterbox,
            threads=threads,
            conf_thres=conf_thres,
            iou_thres=iou_thres,
            max_det=max_det,
            tracker=None if no_track else tracker,
            interval=interval,
            max_frames=max_frames,
        )
        with pipeline:
            error = _run(pipeline, quiet)
        outcome = _outcome(pipeline, started, error)
    if error is not None and isinstance(error.__cause__, BrokenPipeError):
        raise typer.Exit(EXIT_BROKEN_PIPE)  # as in `| head`: who read it has enough
    if not quiet:
        _print_summary(outcome)
    if error is not None and not _was_told(error, pipeline):
        print_error(error)
    if as_json:
        print_json(outcome)
    if pipeline.summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome["errors"]:
        raise typer.Exit(EXIT_FAILURE)


def _run(pipeline: Pipeline, quiet: bool) -> TensortapError | None:
    """Run to the end, to Ctrl-C, or to the error that is given back; the outputs are complete then."""
    parts = pipeline.parts
    if not quiet:
        engine = f"{parts.engine.name} ({parts.engine.precision}): {parts.engine_reason}"
        console.print(f"[bold]{escape(printable(parts.model.path.name))}[/] on {escape(engine)}", soft_wrap=True)
        if parts.head:
            console.print(f"[dim]{parts.head.decoder}: {escape(parts.head.reason)}[/]", soft_wrap=True)
        if not parts.outputs:
            console.print("[yellow]no output: what is found is only counted. Name some with -o, e.g. -o out.mp4 out.jsonl[/]")
    with Progress(console, pipeline, quiet) as progress:
        try:
            pipeline.run(on_result=progress.update)
        except TensortapError as exc:
            return exc
        except KeyboardInterrupt:
            pipeline.summary.interrupted = True
    return None


def _was_told(error: TensortapError, pipeline: Pipeline) -> bool:
    """Whether the pipeline has said so when it happened, because other streams or outputs went on."""
    several = {SinkError: len(pipeline.parts.outputs) > 1, SourceError: len(pipeline.streams) > 1}
    return several.get(type(error), False)


def _outcome(pipeline: Pipeline, started: float, error: TensortapError | None) -> dict[str, Any]:
    """Everything that there is to say about a run, for people and for machines."""
    parts, summary = pipeline.parts, pipeline.summary
    errors = [*pipeline.errors]
    if error is not None and error not in errors:
        errors.append(error)
    seconds = summary.seconds
    start_up_seconds = max(0.0, time.perf_counter() - started - seconds)
    return {
        "model": str(parts.model.path),
        "engine": parts.engine.name,
        "precision": parts.engine.precision,
        "device": parts.engine.device,
        "batch_size": parts.engine.batch_size,
        "frames": summary.frames,
        "inferred": summary.inferred,
        "people": summary.people,
        "start_up_seconds": round(start_up_seconds, 3),
        "seconds": round(seconds, 3),
        "frames_per_second": round(summary.frames / seconds, 2) if seconds > 0 else 0.0,
        "milliseconds_per_frame": {
            stage: round(total / max(summary.frames, 1) * 1e3, 4) for stage, total in pipeline.clock.seconds.items()
        },
        "streams": [
            {
                "source_id": stream.source_id,
                "name": stream.name,
                "frames": summary.streams.get(stream.source_id, 0),
                "damaged": parts.runtime.damaged.get(stream.source_id, 0),
            }
            for stream in parts.streams
        ],
        "outputs": [
            {"path": output.name, "frames": output.num_frames, "error": str(output.error) if output.error else None}
            for output in parts.outputs
        ],
        "interrupted": summary.interrupted,
        "errors": [str(exc) for exc in errors],
    }


def _print_summary(outcome: dict[str, Any]) -> None:
    how = "stopped" if outcome["interrupted"] else "failed" if outcome["errors"] else "done"
    people = outcome["people"] / max(outcome["frames"], 1)
    console.print(
        f"[bold]{how}:[/] {outcome['frames']} frames, {people:.1f} people a frame, in {outcome['seconds']:.1f} s "
        f"([bold]{outcome['frames_per_second']:.1f} frames/s[/]), start-up {outcome['start_up_seconds']:.1f} s"
    )
    for stream in outcome["streams"]:
        if stream["damaged"]:
            console.print(f"[yellow]{escape(stream['name'])}: {stream['damaged']} damaged packets or files left out[/]")
    table = Table("stage", "ms a frame", box=None, padding=(0, 2), header_style="dim")
    table.columns[1].justify = "right"
    for stage, milliseconds in outcome["milliseconds_per_frame"].items():
        table.add_row(stage, f"{milliseconds:.3f}")
    console.print(table)
    for output in outcome["outputs"]:
        if output["path"] in ("null", "-"):
            continue
        path = escape(printable(output["path"]))
        if output["error"]:
            console.print(f"[red]failed[/] {path} after {output['frames']} frames")
        elif output["frames"]:
            console.print(f"[green]wrote[/] {path}")
        else:
            console.print(f"[yellow]nothing written:[/] {path}")


class _stop_on_signals:  # noqa: N801  # reads as a function
    """SIGINT and SIGTERM stop the run, and its outputs are completed. Again, they say so; a third time, the process ends."""

    def __init__(self) -> None:
        self._count = 0

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            signal.signal(number, self._stop)

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            raise KeyboardInterrupt
        if self._count == 2:
            os.write(2, b"finishing the outputs; once more to give up\n")
            return
        os._exit(EXIT_INTERRUPTED)
