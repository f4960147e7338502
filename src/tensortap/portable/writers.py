"""Threads that fill network inputs while the caller goes on with the results of earlier batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2

from tensortap import tracing
from tensortap.errors import SourceError
from tensortap.portable.engines.base import Request
from tensortap.portable.preprocess import Preprocessor
from tensortap.types import Frame

UNFIT = (SourceError, cv2.error, ValueError)
"""What writing a frame raises whose shape nobody would think of."""


@dataclass(frozen=True)
class Started:
    """A batch that is in the engine."""

    unfit: Mapping[int, Exception] = field(default_factory=dict)
    """Slot -> why its frame could not be written."""
    at: float = field(default_factory=time.monotonic)
    """When, by `time.monotonic()`."""


class PictureWriters:
    """Fill the slots of batches, and start each batch when its last picture is there.

    A slot is written by the same thread always, for its preprocessor knows what the slot's padding looks like.

    Args:
        preprocessor: what each thread works like.
        requests: those whose slots are written.
        num_threads: how many write.
    """

    def __init__(self, preprocessor: Preprocessor, requests: Sequence[Request], num_threads: int) -> None:
        self._numbers = {id(request): number for number, request in enumerate(requests)}
        self._preprocessors = [preprocessor.another() for _ in range(num_threads)]
        # A pool of one each, because a pool of many gives a slot to any of its threads.
        self._threads = [ThreadPoolExecutor(1, f"tensortap-writer-{number}") for number in range(num_threads)]

    def write(self, request: Request, frames: Sequence[Frame]) -> Future[Started]:
        """Write one frame after the other into the first slots, then start the request. Returns at once.

        The result comes when the request has been started; it raises what `start` or a bug raised.
        """
        work = _Work(request, frames)
        lanes: dict[int, list[int]] = {}
        for slot in range(len(frames)):
            # The requests begin with another thread each: batches of one are written side by side, too.
            lanes.setdefault((self._numbers[id(request)] + slot) % len(self._threads), []).append(slot)
        work.left = len(lanes)
        for lane, slots in lanes.items():
            self._threads[lane].submit(work.write, self._preprocessors[lane], slots)
        return work.done

    def close(self) -> None:
        """Finish what was begun, and end the threads. Closing twice is fine."""
        for thread in self._threads:
            thread.shutdown(wait=True)


class _Work:
    """One batch."""

    def __init__(self, request: Request, frames: Sequence[Frame]) -> None:
        self.done: Future[Started] = Future()
        self.left = 0
        """Threads that have not written their slots yet."""
        self._request = request
        self._frames = frames
        self._unfit: dict[int, Exception] = {}
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def write(self, preprocessor: Preprocessor, slots: Sequence[int]) -> None:
        """In one of the threads."""
        try:
            for slot in slots:
                self._write(preprocessor, slot)
        except BaseException as exc:  # a bug of ours: whoever waits for the batch raises it
            self._error = exc
        with self._lock:
            self.left -= 1
            is_last = not self.left
        if is_last:
            self._start()

    def _write(self, preprocessor: Preprocessor, slot: int) -> None:
        frame, trace, started = self._frames[slot], tracing.active(), time.perf_counter()
        try:
            preprocessor.write(frame, self._request.images[slot])
        except UNFIT as exc:
            self._unfit[slot] = exc
        if trace is not None:
            trace.span("preprocess", started, time.perf_counter(), frame.info)

    def _start(self) -> None:
        try:
            if self._error is not None:
                raise self._error
            started = Started(self._unfit)
            self._request.start(len(self._frames))
        except BaseException as exc:
            self.done.set_exception(exc)
        else:
            self.done.set_result(started)
