"""Slow sinks work on a thread of their own, behind a bounded queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from tensortap import tracing
from tensortap.errors import SinkError
from tensortap.types import Frame, Result, StreamEvent

Item = TypeVar("Item")
_END = object()


class BackgroundWorker(Generic[Item]):
    """Hands items to `consume` on one thread, in order.

    An exception in the thread surfaces, with its traceback, in the caller's next `put()` or `close()`; from then on nothing
    is consumed, and `finish` still runs.

    Args:
        name: name of the thread.
        consume: takes one item.
        finish: called in the thread after the last item, also after a failure; releases what `consume` used.
        queue_size: items that wait at most.
    """

    def __init__(self, name: str, consume: Callable[[Item], None], finish: Callable[[], None], *, queue_size: int = 8) -> None:
        self.dropped = 0
        """Items lost because the queue was full."""
        self._consume = consume
        self._finish = finish
        self._queue: queue.Queue[object] = queue.Queue(queue_size)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._closed = self._given_up = False
        self._thread.start()

    def put(self, item: Item, *, drop: bool = False) -> None:
        """Queue one item. Raises what the thread raised.

        Args:
            item: what `consume` gets.
            drop: where the queue is full, lose its oldest item (live) rather than wait (files).
        """
        self._raise_error()
        if drop:
            self._put_instead(item)
        else:
            self._queue.put(item)

    def close(self, timeout_seconds: float | None = None) -> bool:
        """Consume what is queued, finish, and join the thread. Raises what the thread raised. Closing twice is fine.

        Returns:
            Whether it is done; False after the time-out, when the thread is left alone with what it hangs in.
        """
        interrupt: KeyboardInterrupt | None = None
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self._thread.is_alive() and not self._given_up:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not self._closed:
                    self._queue.put(_END, timeout=left)
                    self._closed = True
                self._thread.join(left)
            except queue.Full:
                pass
            except KeyboardInterrupt as exc:  # what is queued is finished first: an output must not be left half done
                interrupt = exc
            if deadline is not None and time.monotonic() >= deadline and self._thread.is_alive():
                self._given_up = self._closed = True
                self._put_instead(_END)  # should it ever come back
        if interrupt is not None:
            raise interrupt
        self._raise_error()
        return not self._thread.is_alive()

    def _put_instead(self, item: object) -> None:
        """Queue an item without waiting, in place of the oldest ones where the queue is full."""
        while True:
            try:
                self._queue.put_nowait(item)
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                    self.dropped += 1
                except queue.Empty:
                    continue  # the thread was faster

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        failed = False
        while (item := self._queue.get()) is not _END:
            if failed:
                continue  # keeps the queue empty, so that the caller never waits for a thread that has given up
            started = time.perf_counter()
            try:
                self._consume(item)  # type: ignore[arg-type]
                if (trace := tracing.active()) is not None:
                    trace.span("write", started, time.perf_counter(), getattr(item, "info", None))
            except BaseException as exc:  # the caller raises it
                self._error, failed = exc, True
        try:
            self._finish()
        except BaseException as exc:
            self._error = self._error or exc


class ResultSink(Protocol):
    """What can be put in the background: a sink that looks at results only, not at pictures."""

    def write(self, result: Result) -> None:
        """Take one result."""
        ...

    def close(self) -> None:
        """Complete the output."""
        ...


class BackgroundSink:
    """A sink of results behind a queue, so that a full disk or a reader that sleeps never delays inference.

    Results of live streams push out the oldest ones while the queue is full, and those are counted; files wait. Results are
    queued without their pictures.

    Args:
        name: of the output, for messages.
        sink: used and closed in the background.
        queue_size: results that wait at most: some seconds of many cameras.
        close_seconds: how long closing may take.
    """

    handles_live = True

    def __init__(self, name: str, sink: ResultSink, *, queue_size: int = 4096, close_seconds: float = 1.0) -> None:
        self._name = name
        self._sink = sink
        self._close_seconds = close_seconds
        self._worker: BackgroundWorker[Result | StreamEvent] = BackgroundWorker(
            f"tensortap-sink-{name}", self._consume, sink.close, queue_size=queue_size
        )

    @property
    def dropped(self) -> int:
        """Results that were lost because the output was too slow."""
        return self._worker.dropped

    def write(self, result: Result) -> None:
        """Queue one result. Raises SinkError for results before."""
        self._worker.put(replace(result, frame=Frame(result.info, None)), drop=result.info.is_live)

    def write_event(self, event: StreamEvent) -> None:
        """Queue an event, for sinks that take them."""
        if hasattr(self._sink, "write_event"):
            self._worker.put(event, drop=True)

    def close(self) -> None:
        """Write what is queued. Raises SinkError, also if that takes too long."""
        if not self._worker.close(self._close_seconds):
            raise SinkError(f"{self._name} does not take what is left for it within {self._close_seconds:g} s; it is given up.")

    def _consume(self, item: Result | StreamEvent) -> None:
        if isinstance(item, StreamEvent):
            self._sink.write_event(item)  # type: ignore[attr-defined]
        else:
            self._sink.write(item)
