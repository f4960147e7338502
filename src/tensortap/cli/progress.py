"""How far a run is: a bar on a terminal, a plain line every few seconds otherwise."""

from __future__ import annotations

import logging
import threading
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from tensortap.cli.console import is_structured
from tensortap.metrics import Numbers, StreamNumbers
from tensortap.pipeline import Pipeline
from tensortap.types import Result, StreamState

_log = logging.getLogger("tensortap.cli")
_BAR_SECONDS = 0.2
_LINE_SECONDS = 5.0


class Progress:
    """Shows frames, frame rate, people and, where the inputs say how long they are, what is left.

    Costs a comparison a frame; drawing happens five times a second, in the caller's thread.
    """

    def __init__(self, console: Console, pipeline: Pipeline, quiet: bool) -> None:
        self._pipeline = pipeline
        self._quiet = quiet
        self._console = console
        self._total = _total_frames(pipeline)
        self._every_seconds = _BAR_SECONDS if console.is_terminal else _LINE_SECONDS
        self._started = self._last = time.perf_counter()
        self._bar: RichProgress | None = None
        if console.is_terminal and not quiet:
            self._bar = RichProgress(
                TextColumn("{task.completed} frames"),
                BarColumn(),
                TextColumn("{task.fields[rate]:.1f} frames/s"),
                TextColumn("{task.fields[people]} people"),
                TimeRemainingColumn(),
                console=console,
                auto_refresh=False,
                transient=True,
            )
            self._task = self._bar.add_task("run", total=self._total, rate=0.0, people=0)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, result: Result) -> None:
        """Called with every result."""
        now = time.perf_counter()
        if self._quiet or now - self._last < self._every_seconds:
            return
        self._last = now
        frames = self._pipeline.summary.frames
        rate = frames / (now - self._started)
        if self._bar:
            self._bar.update(self._task, completed=frames, rate=rate, people=len(result.poses))
            self._bar.refresh()
        else:
            of = f" of {self._total}" if self._total else ""
            left = f", {(self._total - frames) / rate:.0f} s left" if self._total and self._total > frames else ""
            self._console.print(f"{frames}{of} frames, {rate:.1f} frames/s{left}", soft_wrap=True)


class StatsLines:
    """A line every so many seconds with the frame rate of every stream, from a thread of its own: also when no frame comes."""

    def __init__(self, console: Console, pipeline: Pipeline, seconds: float) -> None:
        self._console = console
        self._pipeline = pipeline
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._print, name="tensortap-stats", daemon=True)

    def __enter__(self) -> StatsLines:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _print(self) -> None:
        while not self._over.wait(self._seconds):
            numbers = self._pipeline.numbers()
            if is_structured():
                _log.info("%s", stats_line(numbers), extra=stats_record(numbers))
            else:
                self._console.print(escape(stats_line(numbers)), soft_wrap=True)


def stats_line(numbers: Numbers) -> str:
    """`12 s: 30.0 frames/s; door 15.0 (p95 48 ms), yard 15.0 (p95 52 ms, 12 dropped), gate offline 35 s: refused`."""
    streams = ", ".join(map(_of_stream, numbers.streams)) or "no streams"
    lost = sum(output.dropped for output in numbers.outputs)
    outputs = f"; {lost} results lost by slow outputs" if lost else ""
    return f"{numbers.seconds:.0f} s: {numbers.frame_rate:.1f} frames/s; {streams}{outputs}"


def stats_record(numbers: Numbers) -> dict[str, object]:
    """The same for machines."""
    return {
        "frame_rate": round(numbers.frame_rate, 2),
        "streams": [
            {
                "stream": stream.status.name,
                "state": stream.status.state.value,
                "frame_rate": round(stream.frame_rate, 2),
                "frames": stream.frames,
                "dropped": stream.status.dropped_behind + stream.status.dropped_late,
                "reconnects": stream.status.reconnects,
                "latency_p95_ms": None if stream.latency.p95 is None else round(stream.latency.p95 * 1e3, 1),
            }
            for stream in numbers.streams
        ],
        "outputs": [{"output": output.name, "dropped": output.dropped, "error": output.error} for output in numbers.outputs],
    }


def _of_stream(stream: StreamNumbers) -> str:
    status = stream.status
    if status.state is not StreamState.ONLINE:
        seconds = f" {time.time() - status.since_ns / 1e9:.0f} s" if status.since_ns and status.is_live else ""
        return f"{status.name} {status.state.value}{seconds}{f': {status.reason}' if status.reason else ''}"
    latency = f"p95 {stream.latency.p95 * 1e3:.0f} ms" if stream.latency.p95 is not None else ""
    dropped = status.dropped_behind + status.dropped_late
    notes = ", ".join(note for note in (latency, f"{dropped} dropped" if dropped else "") if note)
    return f"{status.name} {stream.frame_rate:.1f}{f' ({notes})' if notes else ''}"


def _total_frames(pipeline: Pipeline) -> int | None:
    """Frames to come, where every stream announces them."""
    limit = pipeline.settings.max_frames
    total = 0
    for stream in pipeline.streams:
        if stream.is_live and limit is None:
            return None
        if stream.num_frames is None and limit is None:
            return None
        total += min(count for count in (stream.num_frames, limit) if count is not None)
    return total
