"""Slow sinks work on a thread of their own, behind a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

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
        when_full: `wait` makes the caller wait (files), `drop` loses the oldest item and counts it (live).
    """

    def __init__(
        self,
        name: str,
        consume: Callable[[Item], None],
        finish: Callable[[], None],
        *,
        queue_size: int = 8,
        when_full: Literal["wait", "drop"] = "wait",
    ) -> None:
        self.dropped = 0
        """Items lost because the queue was full."""
        self._consume = consume
        self._finish = finish
        self._when_full = when_full
        self._queue: queue.Queue[object] = queue.Queue(queue_size)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._closed = False
        self._thread.start()

    def put(self, item: Item) -> None:
        """Queue one item. Raises what the thread raised."""
        while True:
            self._raise_error()
            try:
                self._queue.put(item, timeout=None if self._when_full == "wait" else 0)
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                    self.dropped += 1
                except queue.Empty:
                    continue  # the thread was faster

    def close(self) -> None:
        """Consume what is queued, finish, and join the thread. Raises what the thread raised. Closing twice is fine."""
        interrupt: KeyboardInterrupt | None = None
        while self._thread.is_alive():
            try:
                if not self._closed:
                    self._queue.put(_END)
                    self._closed = True
                self._thread.join()
            except KeyboardInterrupt as exc:  # what is queued is finished first: an output must not be left half done
                interrupt = exc
        if interrupt is not None:
            raise interrupt
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        failed = False
        while (item := self._queue.get()) is not _END:
            if failed:
                continue  # keeps the queue empty, so that the caller never waits for a thread that has given up
            try:
                self._consume(item)  # type: ignore[arg-type]
            except BaseException as exc:  # the caller raises it
                self._error, failed = exc, True
        try:
            self._finish()
        except BaseException as exc:
            self._error = self._error or exc
