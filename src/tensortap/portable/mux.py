"""The mux: a bounded queue for each stream, and batches that take from all streams fairly. No I/O."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from tensortap.types import Frame


class Mux:
    """Brings the frames of many streams together.

    Readers `put()` from their own threads and wait while their stream's queue is full: files wait. One consumer
    `collect()`s, round robin, so that a fast stream cannot crowd out a slow one.

    Args:
        num_streams: how many streams take part.
        queue_size: frames that wait in each stream's queue at most.
    """

    def __init__(self, num_streams: int, queue_size: int = 4) -> None:
        self.queue_size = queue_size
        self._queues: list[deque[Frame]] = [deque() for _ in range(num_streams)]
        self._running = [True] * num_streams
        self._next_stream = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, stream: int, frame: Frame) -> bool:
        """Append a frame to its stream's queue, waiting for room. False: the mux is closed, stop reading."""
        with self._changed:
            queue = self._queues[stream]
            while len(queue) >= self.queue_size and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            queue.append(frame)
            self._changed.notify_all()
            return True

    def finish(self, stream: int) -> None:
        """Say that no more frames of this stream will come."""
        with self._changed:
            self._running[stream] = False
            self._changed.notify_all()

    def collect(self, max_frames: int, *, timeout_seconds: float | None = None, only_full: bool = False) -> list[Frame]:
        """Up to `max_frames` frames, one from each stream in turn, in order within a stream.

        Waits until there are that many, every stream has ended, or the time is over; then gives what there is, which may be
        nothing. `timeout_seconds=None` waits for ever, 0 does not wait. With `only_full` it is all or nothing, unless
        waiting longer could not bring more.
        """
        with self._changed:
            self._wait_for(lambda: self._enough(max_frames), timeout_seconds)
            if only_full and not self._enough(max_frames):
                return []
            frames = self._take(max_frames)
            if frames:
                self._changed.notify_all()
            return frames

    def wait_for_any(self) -> bool:
        """Wait until at least one frame is there. False: there will be none any more."""
        with self._changed:
            self._wait_for(lambda: self._enough(1), None)
            return any(self._queues)

    @property
    def finished(self) -> bool:
        """Whether every stream has ended and every frame has been collected."""
        with self._changed:
            return self._closed or not (any(self._running) or any(self._queues))

    def close(self) -> None:
        """Drop what is queued and let all readers go."""
        with self._changed:
            self._closed = True
            for queue in self._queues:
                queue.clear()
            self._changed.notify_all()

    def _enough(self, num_frames: int) -> bool:
        # A stream can never hold more than its queue: when all running ones are full, waiting brings nothing.
        waiting = sum(map(len, self._queues))
        full = all(len(queue) >= self.queue_size for queue, runs in zip(self._queues, self._running, strict=True) if runs)
        return self._closed or waiting >= num_frames or full

    def _wait_for(self, predicate: Callable[[], bool], timeout_seconds: float | None) -> None:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not predicate():
            # Short waits, because a wait without end would not let Ctrl-C through on Windows.
            wait = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if wait <= 0:
                return
            self._changed.wait(wait)

    def _take(self, max_frames: int) -> list[Frame]:
        frames: list[Frame] = []
        empty_in_a_row = 0
        while len(frames) < max_frames and empty_in_a_row < len(self._queues):
            queue = self._queues[self._next_stream]
            self._next_stream = (self._next_stream + 1) % len(self._queues)
            if queue:
                frames.append(queue.popleft())
                empty_in_a_row = 0
            else:
                empty_in_a_row += 1
        return frames
