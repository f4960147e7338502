"""What `run` and `demo` share: a pipeline with progress, signals, summary and exit code."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import (
    EXIT_BROKEN_PIPE,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    console,
    is_structured,
    print_at_once,
    print_error,
    print_json,
)
from tensortap.cli.progress import Progress, StatsLines
from tensortap.cli.service import ServiceManager
from tensortap.control import Control
from tensortap.errors import SinkError, SourceError, TensortapError
from tensortap.metrics import StreamNumbers
from tensortap.pipeline import Pipeline
from tensortap.registry import WEB, load_entry
from tensortap.taps import name_of
from tensortap.text import printable
from tensortap.tracing import traced
from tensortap.types import Result

OnResult = Callable[[Result], object]
_log = logging.getLogger("tensortap.cli")


def run_pipeline(
    make: Callable[[], Pipeline],
    *,
    quiet: bool = False,
    as_json: bool = False,
    on_result: OnResult | None = None,
    stats: float | None = None,
    web: str | None = None,
    web_token: str | None = None,
    profile: Path | None = None,
) -> dict[str, Any]:
    """Make a pipeline, run it to its end, and say how it went.

    Args:
        make: opens and loads everything; stopped by signals too.
        quiet: no progress, no summary.
        as_json: print the outcome on the standard output.
        on_result: shows what is found instead of the progress bar.
        stats: seconds between lines with the frame rate of every stream, instead of the progress bar.
        web: address to serve the browser page, metrics and health at.
        web_token: what those who ask there must know; `None` makes one up where others can reach it.
        profile: file for a trace of every frame.

    Returns:
        What `--json` prints, of a run that went well.

    Raises:
        typer.Exit: it was stopped or something failed, with the exit code; what there is to say has been said.
    """
    started = time.perf_counter()
    with stop_on_signals():
        pipeline = make()
        with traced(profile, pipeline.clock), pipeline, _beside(pipeline, stats, web, web_token, quiet):
            error = _run(pipeline, quiet, on_result or (_nothing if stats else None))
        outcome = _outcome(pipeline, started, error)
    if error is not None and isinstance(error.__cause__, BrokenPipeError):
        raise typer.Exit(EXIT_BROKEN_PIPE)  # as in `| head`: who read it has enough
    if not quiet:
        if is_structured():
            _log.info("%s", _in_a_line(outcome), extra={"outcome": outcome})
        else:
            _print_summary(outcome)
    if error is not None and not _was_told(error, pipeline):
        print_error(error)
    if as_json:
        print_json(outcome)
    if pipeline.summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome["errors"]:
        raise typer.Exit(EXIT_FAILURE)
    return outcome


@contextmanager
def _beside(pipeline: Pipeline, stats: float | None, web: str | None, web_token: str | None, quiet: bool) -> Iterator[None]:
    """What goes on beside the run."""
    with ExitStack() as beside:
        if web is not None:
            server = load_entry(WEB, "--web")(web, Control(pipeline), web_token)
            beside.callback(server.close)
            # A token that was made up here is known by this line only.
            if not quiet or (server.needs_token and not web_token):
                hint = " with the token that was set" if web_token else ""
                console.print(f"page at {server.page_url}{hint}", soft_wrap=True)
            if not quiet:
                console.print(f"metrics at {server.url}/metrics", soft_wrap=True)
        if stats is not None:
            beside.enter_context(StatsLines(console, pipeline, stats))
        beside.enter_context(ServiceManager(pipeline.numbers))
        yield


def _nothing(result: Result) -> None:
    """The lines of `--stats` say what there is to say."""


def _run(pipeline: Pipeline, quiet: bool, on_result: OnResult | None) -> TensortapError | None:
    """Run to the end, to Ctrl-C, or to the error that is given back; the outputs are complete then."""
    parts = pipeline.parts
    if not quiet:
        mode = getattr(parts.runtime, "mode", "throughput")
        told = "" if mode == "throughput" else f", set up for {mode}"
        engine = f"{parts.engine.name} ({parts.engine.precision}){told}: {parts.engine_reason}"
        console.print(f"[bold]{escape(printable(parts.model.path.name))}[/] on {escape(engine)}", soft_wrap=True)
        if parts.head:
            console.print(f"[dim]{parts.head.decoder}: {escape(parts.head.reason)}[/]", soft_wrap=True)
        if not parts.outputs and on_result in (None, _nothing) and not parts.taps:
            console.print("[yellow]no output: what is found is only counted. Name some with -o, e.g. -o out.mp4 out.jsonl[/]")
        for output in parts.outputs:
            for url in getattr(output.sink, "urls", ()):
                console.print(f"serving {escape(printable(url))}", soft_wrap=True)
    with Progress(console, pipeline, quiet or on_result is not None) as progress:
        try:
            pipeline.run(on_result=on_result or progress.update)
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
    numbers = {stream.status.source_id: stream for stream in pipeline.numbers().streams}
    seconds = summary.seconds
    rejected: Mapping[int, Mapping[str, int]] = getattr(parts.decoder, "rejected", {})
    start_up_seconds = max(0.0, time.perf_counter() - started - seconds)
    return {
        "model": str(parts.model.path),
        "decoder": _decoder_name(pipeline),
        "engine": parts.engine.name,
        "precision": parts.engine.precision,
        "device": parts.engine.device,
        "batch_size": parts.engine.batch_size,
        "mode": getattr(parts.runtime, "mode", None),
        "engine_streams": getattr(parts.engine, "streams", None),
        "engine_threads": getattr(parts.engine, "threads", None),
        "frames": summary.frames,
        "inferred": summary.inferred,
        "people": summary.people,
        "tap_errors": summary.tap_errors,
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
                "damaged": numbers[stream.source_id].status.damaged,
                "rejected": dict(rejected.get(stream.source_id, {})),
                **(_live_outcome(numbers[stream.source_id]) if stream.is_live else {}),
            }
            for stream in pipeline.streams
        ],
        "outputs": [
            {
                "path": output.name,
                "frames": output.num_frames,
                "dropped": output.dropped,
                "error": str(output.error) if output.error else None,
            }
            for output in parts.outputs
        ],
        "interrupted": summary.interrupted,
        "errors": [str(exc) for exc in errors],
    }


def _decoder_name(pipeline: Pipeline) -> str:
    """Name in the registry, `none`, or what one's own is called."""
    if pipeline.parts.head:
        return pipeline.parts.head.decoder
    asked = pipeline.settings.decoder
    return asked if asked != "auto" else name_of(pipeline.parts.decoder)


def _live_outcome(stream: StreamNumbers) -> dict[str, Any]:
    """What there is to say of a camera besides."""
    status, latency = stream.status, stream.latency
    return {
        "dropped_behind": status.dropped_behind,
        "dropped_late": status.dropped_late,
        "reconnects": status.reconnects,
        "latency_ms": {
            name: None if seconds is None else round(seconds * 1e3, 1)
            for name, seconds in (("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99))
        },
    }


def _how_it_ended(outcome: dict[str, Any]) -> str:
    return "stopped" if outcome["interrupted"] else "failed" if outcome["errors"] else "done"


def _in_a_line(outcome: dict[str, Any]) -> str:
    rate = f"{outcome['frames_per_second']:.1f} frames/s"
    return f"{_how_it_ended(outcome)}: {outcome['frames']} frames in {outcome['seconds']:.1f} s ({rate})"


def _print_summary(outcome: dict[str, Any]) -> None:
    how = _how_it_ended(outcome)
    found = "" if outcome["decoder"] == "none" else f", {outcome['people'] / max(outcome['frames'], 1):.1f} people a frame,"
    console.print(
        f"[bold]{how}:[/] {outcome['frames']} frames{found} in {outcome['seconds']:.1f} s "
        f"([bold]{outcome['frames_per_second']:.1f} frames/s[/]), start-up {outcome['start_up_seconds']:.1f} s"
    )
    if outcome["tap_errors"]:
        console.print(f"[yellow]taps failed {outcome['tap_errors']} times[/]")
    for stream in outcome["streams"]:
        if stream["damaged"]:
            console.print(f"[yellow]{escape(stream['name'])}: {stream['damaged']} damaged packets or files left out[/]")
        if dropped := stream.get("dropped_behind", 0) + stream.get("dropped_late", 0):
            console.print(f"[yellow]{escape(stream['name'])}: {dropped} frames dropped, the engine was behind[/]")
        if stream["rejected"]:
            counts = ", ".join(f"{number} {reason}" for reason, number in stream["rejected"].items())
            console.print(f"[yellow]{escape(stream['name'])}: left out what cannot be people: {escape(counts)}[/]")
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
            console.print(f"[green]{'showed' if '://' in path else 'wrote'}[/] {path}")
            if output["dropped"]:
                console.print(f"[yellow]{path}: {output['dropped']} results lost, it was too slow[/]")
        else:
            console.print(f"[yellow]nothing written:[/] {path}")


class stop_on_signals:  # noqa: N801  # reads as a function
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
            print_at_once("finishing the outputs; once more to give up")
            return
        os._exit(EXIT_INTERRUPTED)
