"""The mux: a bounded queue for each stream, and batches that take from all streams fairly. No I/O."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tensortap.types import Frame

_FRESH_SECONDS = 0.2
"""A live frame that has waited for longer goes as soon as a newer one waits behind it."""


@dataclass(eq=False)
class _Waiting:
    """A frame in its queue."""

    frame: Frame
    since: float
    captured: float
    """When it was taken, on the mux's clock; the same as `since` where nobody knows."""


@dataclass(eq=False)
class _Queue:
    """One stream."""

    live: bool
    room: threading.Condition
    """Its reader waits here while it is full."""
    frames: deque[_Waiting] = field(default_factory=deque)
    running: bool = True
    """More may come."""
    awaited: bool = True
    """Worth waiting for: a live stream is once it shows something, and until it is said to be down."""
    removed: bool = False
    dropped_behind: int = 0
    dropped_late: int = 0


class Mux:
    """Brings the frames of many streams together.

    Readers `put()` from their own threads. One consumer `collect()`s, round robin, so that a fast stream cannot crowd out a
    slow one. When a stream's queue is full, files wait. Live streams never do: their oldest frame goes, and is counted. Streams
    come and go while it runs.

    Args:
        queue_size: frames that wait in each stream's queue at most.
        live_queue_size: the same for live streams; by default no fewer. With 1, only the newest frame waits.
        max_latency_seconds: live frames that are older are dropped rather than collected.
        hold_open: do not end with the last stream; another one may be added.
        now: a clock in seconds.
        wall_ns: the wall clock, for the frames' time of capture.
    """

    def __init__(
        self,
        queue_size: int = 4,
        *,
        live_queue_size: int | None = None,
        max_latency_seconds: float | None = None,
        hold_open: bool = False,
        now: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.queue_size = queue_size
        self._live_queue_size = live_queue_size or queue_size
        self._max_latency_seconds = max_latency_seconds
        self._hold_open = hold_open
        self._now = now
        self._wall_ns = wall_ns
        self._queues: dict[int, _Queue] = {}
        self._turns: deque[int] = deque()
        """Streams in the order in which they are served."""
        self._closed = False
        self._woken = False
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        """The consumer waits here; each reader has a place of its own, or one frame taken would wake all of them."""

    def add(self, stream: int, *, live: bool = False) -> None:
        """Take part from now on, under a number that no stream has had before."""
        with self._lock:
            self._queues[stream] = _Queue(live, threading.Condition(self._lock), awaited=not live)
            self._turns.append(stream)

    def remove(self, stream: int) -> None:
        """Drop what is queued; its reader is told to stop."""
        with self._lock:
            queue = self._queues.pop(stream, None)
            if queue is not None:
                queue.removed = True  # for a reader that waits for room in it
                self._turns.remove(stream)
                queue.room.notify_all()
                self._changed.notify_all()

    def put(self, stream: int, frame: Frame) -> bool:
        """Append a frame to its stream's queue. False: stop reading."""
        with self._lock:
            queue = self._queues.get(stream)
            if queue is None:
                return False
            while not queue.live and len(queue.frames) >= self.queue_size and not (self._closed or queue.removed):
                queue.room.wait()
            if self._closed or queue.removed:
                return False
            now = self._now()
            if queue.live:
                queue.awaited = True
                while queue.frames and (
                    len(queue.frames) >= self._live_queue_size or now - queue.frames[0].since > _FRESH_SECONDS
                ):
                    queue.frames.popleft()
                    queue.dropped_behind += 1
            captured = frame.info.capture_ns
            queue.frames.append(_Waiting(frame, now, now - (self._wall_ns() - captured) / 1e9 if captured else now))
            self._changed.notify_all()
            return True

    def pause(self, stream: int) -> None:
        """A live stream is down: batches do not wait for it until it shows something."""
        with self._lock:
            if stream in self._queues:
                self._queues[stream].awaited = False
                self._changed.notify_all()

    def finish(self, stream: int) -> None:
        """Say that no more frames of this stream will come."""
        with self._lock:
            if stream in self._queues:
                self._queues[stream].running = False
                self._changed.notify_all()

    def wake(self) -> None:
        """Let a consumer that waits look around."""
        with self._lock:
            self._woken = True
            self._changed.notify_all()

    def collect(self, max_frames: int, *, timeout_seconds: float | None = None, only_full: bool = False) -> list[Frame]:
        """Up to `max_frames` frames, one from each stream in turn, in order within a stream.

        Waits until there are that many, every stream has ended, or the time is over; then gives what there is, which may be
        nothing. Of live streams, one frame of each that is up is enough: more would only make them older.
        `timeout_seconds=None` waits for ever, 0 does not wait. With `only_full` it is all or nothing, unless waiting longer
        could not bring more.
        """
        with self._lock:
            if not self._wait_for(lambda: self._enough(max_frames, only_full), timeout_seconds) and only_full:
                return []
            return self._take(max_frames)

    def wait_for_any(self, timeout_seconds: float | None = None) -> bool:
        """Wait until a frame is there, all streams have ended, somebody calls `wake()`, or the time is over.

        Returns:
            Whether a frame is there.
        """
        with self._lock:
            self._wait_for(lambda: self._woken or self._any() or self._over(), timeout_seconds)
            self._woken = False
            return self._any()

    @property
    def finished(self) -> bool:
        """Whether every stream has ended and every frame has been collected."""
        with self._lock:
            return self._over()

    @property
    def has_live(self) -> bool:
        """Whether a live stream takes part."""
        with self._lock:
            return any(queue.live and queue.running for queue in self._queues.values())

    def queued(self, stream: int) -> int:
        """Frames that wait."""
        queue = self._queues.get(stream)
        return len(queue.frames) if queue else 0

    def dropped(self, stream: int) -> tuple[int, int]:
        """Live frames lost so far: because the engine was behind, and because they were too old."""
        queue = self._queues.get(stream)
        return (queue.dropped_behind, queue.dropped_late) if queue else (0, 0)

    def close(self) -> None:
        """Drop what is queued and let all readers go."""
        with self._lock:
            self._closed = True
            for queue in self._queues.values():
                queue.frames.clear()
                queue.room.notify_all()
            self._changed.notify_all()

    def _over(self) -> bool:
        going_on = any(queue.running or queue.frames for queue in self._queues.values())
        return self._closed or not (going_on or self._hold_open)

    def _any(self) -> bool:
        return any(queue.frames for queue in self._queues.values())

    def _enough(self, num_frames: int, only_full: bool) -> bool:
        queues = self._queues.values()
        if self._closed or sum(len(queue.frames) for queue in queues) >= num_frames:
            return True
        # A stream can never hold more than its queue: when all are full, waiting brings nothing.
        return all(
            len(queue.frames) >= ((self._live_queue_size if only_full else 1) if queue.live else self.queue_size)
            for queue in queues
            if queue.running and queue.awaited
        ) and (self._any() or not any(queue.running for queue in queues))

    def _wait_for(self, predicate: Callable[[], bool], timeout_seconds: float | None) -> bool:
        """Whether it came true in this time."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not predicate():
            for queue in self._queues.values():
                if len(queue.frames) < self.queue_size:  # its reader may still sleep, see `_take`
                    queue.room.notify_all()
            # Short waits, because a wait without end would not let Ctrl-C through on Windows.
            wait = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if wait <= 0:
                return False
            self._changed.wait(wait)
        return True

    def _take(self, max_frames: int) -> list[Frame]:
        frames: list[Frame] = []
        empty_in_a_row = 0
        while len(frames) < max_frames and empty_in_a_row < len(self._turns):
            stream = self._turns[0]
            self._turns.rotate(-1)
            queue = self._queues[stream]
            frame = self._next_of(queue)
            if frame is not None:
                frames.append(frame)
                empty_in_a_row = 0
                # Not for every frame: a reader that fills half of its queue at a time changes threads half as often.
                if len(queue.frames) <= self.queue_size // 2:
                    queue.room.notify_all()
            else:
                empty_in_a_row += 1
        return frames

    def _next_of(self, queue: _Queue) -> Frame | None:
        """The oldest frame of a stream that is still worth looking at."""
        now = self._now()
        while queue.frames:
            first = queue.frames.popleft()
            if not queue.live:
                return first.frame
            if self._max_latency_seconds is not None and now - first.captured > self._max_latency_seconds:
                queue.dropped_late += 1
            elif queue.frames and now - first.since > _FRESH_SECONDS:
                queue.dropped_behind += 1
            else:
                return first.frame
        return None
