"""One picture that is drawn and encoded on a thread of its own, while somebody watches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from tensortap.sinks.stream.views import View
from tensortap.sinks.stream.wall import Slot, Wall

_IDLE_SECONDS = 1 / 15
"""A picture that does not change is sent again so often: players take silence for a fault, and want many to begin."""

Send = Callable[[np.ndarray, float, bool], None]
"""Takes a picture, uint8 (H, W, 3) BGR, seconds since the channel was begun, and whether it must be a keyframe."""


class Channel:
    """Draws a view whenever something changed, at most so often, and gives it to `send`; only while it is watched.

    Args:
        name: of its thread.
        wall: what there is to show.
        make_view: makes the view, anew whenever watching begins.
        make_send: gives what takes the pictures, in the channel's thread, whenever watching begins, and releases it when it
            ends; it may raise and so may `send`, and both may take their time.
        frame_rate: pictures a second at most.
    """

    def __init__(
        self,
        name: str,
        wall: Wall,
        make_view: Callable[[], View],
        make_send: Callable[[], AbstractContextManager[Send]],
        *,
        frame_rate: float,
    ) -> None:
        self.dropped = 0
        """Results that could not be shown because drawing and encoding took too long."""
        self.error: BaseException | None = None
        """What ended it."""
        self._name = name
        self._wall = wall
        self._make_view = make_view
        self._make_send = make_send
        self._interval = 1 / frame_rate
        self._lock = threading.Lock()
        self._watched = self._keyframe = self._closed = False
        self._thread: threading.Thread | None = None

    def watch(self, watched: bool) -> None:
        """Somebody watches from now on, or nobody does. A new viewer gets a keyframe at once."""
        with self._lock:
            self._watched = watched and not self._closed
            if not self._watched:
                return
            self._keyframe = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._wall.wake()

    def close(self, timeout_seconds: float = 1.0) -> bool:
        """End it. Closing twice is fine.

        Returns:
            Whether its thread is over; it is left alone with what it hangs in otherwise.
        """
        with self._lock:
            self._closed, self._watched = True, False
            thread = self._thread
        self._wall.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)
            return not thread.is_alive()
        return True

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._watched:
                self._thread = None
            return self._watched

    def _run(self) -> None:
        try:
            with self._make_send() as send:
                self._show(send)
        except BaseException as exc:  # the sink says so with the next result
            with self._lock:
                self.error, self._watched, self._thread = exc, False, None

    def _show(self, send: Send) -> None:
        view = self._make_view()
        began = time.monotonic()
        due, version, late = began, -1, False
        shown: dict[int, int] = {}
        while self._goes_on():
            version = self._wall.wait(version, _IDLE_SECONDS, view.source_id)
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
            slots = self._wall.slots()
            self._count(slots, view, shown, late)
            picture = view.draw(slots)
            with self._lock:
                keyframe, self._keyframe = self._keyframe, False
            start = time.monotonic()
            send(picture, start - began, keyframe)
            late = time.monotonic() > max(due, now) + self._interval
            due = max(due + self._interval, time.monotonic() - self._interval)

    def _count(self, slots: Sequence[Slot], view: View, shown: dict[int, int], late: bool) -> None:
        """Count what came and went between two pictures, if it was the encoder that was late."""
        for slot in slots:
            if view.source_id in (None, slot.source_id):
                before = shown.get(slot.source_id)
                if late and before is not None:
                    self.dropped += max(0, slot.frames - before - 1)
                shown[slot.source_id] = slot.frames
