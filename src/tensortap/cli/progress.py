"""How far a run is: a bar on a terminal, a plain line every few seconds otherwise."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from tensortap.pipeline import Pipeline
from tensortap.types import Result

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


def _total_frames(pipeline: Pipeline) -> int | None:
    """Frames to come, where every stream announces them."""
    limit = pipeline.settings.max_frames
    total = 0
    for stream in pipeline.streams:
        if stream.num_frames is None and limit is None:
            return None
        total += min(count for count in (stream.num_frames, limit) if count is not None)
    return total
