"""A pipeline of cameras that runs on a thread, and what has come out of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from rtsp.clips import number_of
from tensortap import Pipeline, Result
from tensortap.types import StreamEvent, StreamState

PATIENCE = 30.0
QUICK = {"open_timeout": 1.5, "stall_timeout": 1.0, "retry_max": 0.3}
LOOP = 600
"""Pictures in a clip, which is played over and over."""


@contextmanager
def no_thread_is_left() -> Iterator[None]:
    """What was given up may take its time-out to go, but it goes."""
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before, threading.enumerate()


class LiveRun:
    """A pipeline that runs on a thread, and what has come out of it so far."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.events: list[StreamEvent] = []
        self.numbers: dict[str, list[int]] = {}
        """Source -> the numbers that its pictures show."""
        self.sizes: dict[str, list[tuple[int, int]]] = {}
        self.error: BaseException | None = None
        pipeline.on_event(self.events.append)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.pipeline.run(on_result=self._look)
        except BaseException as exc:
            self.error = exc

    def _look(self, result: Result) -> None:
        assert result.image is not None
        self.numbers.setdefault(result.info.source, []).append(number_of(result.image))
        self.sizes.setdefault(result.info.source, []).append(result.info.size_wh)

    def count(self, source: str) -> int:
        return len(self.numbers.get(source, ()))

    def states(self, source: str) -> list[StreamState]:
        return [event.state for event in self.events if event.source == source]

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something to become true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s; {self.events}, {self.pipeline.numbers()}"
            time.sleep(0.02)

    def until_frames(self, source: str, more: int) -> None:
        """Wait for so many more frames of a stream."""
        wanted = self.count(source) + more
        self.until(f"{more} frames of {source}", lambda: self.count(source) >= wanted)

    def close(self) -> None:
        self.pipeline.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def running(inputs: Sequence[str], model: Path, **settings: Any) -> Iterator[LiveRun]:
    """A run of cameras that is closed in the end."""
    run = LiveRun(Pipeline(inputs, model, **{**QUICK, **settings}))
    try:
        yield run
    finally:
        run.close()
    assert run.error is None


def lost(run: LiveRun, source: str) -> int:
    """Pictures between the first and the last that did not come out, less those that are accounted for as dropped."""
    numbers = run.numbers[source]
    missing = sum((after - before) % LOOP - 1 for before, after in pairwise(numbers))
    [stream] = [stream for stream in run.pipeline.numbers().streams if stream.status.name == source]
    return missing - stream.status.dropped_behind


def never_twice(numbers: Sequence[int]) -> bool:
    """Whether every picture is a newer one than that before it."""
    return all(0 < (after - before) % LOOP < LOOP // 2 for before, after in pairwise(numbers))
