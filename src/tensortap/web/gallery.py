"""The latest result of every stream, as pictures for whoever watches; nothing is encoded where nobody does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio.to_thread
import cv2
import numpy as np

from tensortap.types import Result, StreamEvent, StreamState

WIDTHS = (320, 640, 960)
"""Pictures are made in these widths, so that those who watch share them."""
PICTURES_A_SECOND = 15.0
"""At most, of each stream and width."""
_QUALITY = 80
_WATCHED_SECONDS = 2.0
"""Results that come and go so long after a picture was made are counted as passed over."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A result, with its picture as JPEG."""

    version: int
    """Counts the stream's results."""
    result: Result
    jpeg: bytes | None
    """`None` where the pixels are not to be had."""


@dataclass(eq=False)
class _Slot:
    """One stream."""

    latest: tuple[int, Result]
    """Version and result; replaced as one."""
    pictures: dict[int, Picture] = field(default_factory=dict)
    """Width -> the latest that was made."""
    made: dict[int, float] = field(default_factory=dict)
    """Width -> when that was, by `time.monotonic()`."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    num_made: int = 0
    passed_over: int = 0


class _Bell:
    """Wakes a coroutine from another thread."""

    def __init__(self, wanted: Mapping[int, int]) -> None:
        self.wanted = wanted
        """Stream -> the version that the viewer has."""
        self.rung = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def ring(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.rung.set)
        except RuntimeError:
            return  # the server is gone


class Gallery:
    """Written by the pipeline, which never waits; read by any number of viewers, who get the newest and miss the rest."""

    def __init__(self, *, pictures_a_second: float = PICTURES_A_SECOND) -> None:
        self._slots: dict[int, _Slot] = {}
        self._bells: frozenset[_Bell] = frozenset()
        """Of those who wait; replaced by the server's thread, never changed: the pipeline's goes through them."""
        self._interval = 1 / pictures_a_second
        self._closed = False

    def put(self, result: Result) -> None:
        """A stream's latest result."""
        source_id = result.info.source_id
        slot = self._slots.get(source_id)
        if slot is None:
            self._slots[source_id] = _Slot((1, result))
        else:
            slot.latest = slot.latest[0] + 1, result
        for bell in self._bells:
            if source_id in bell.wanted:
                bell.ring()

    def tell(self, event: StreamEvent) -> None:
        """A stream that has ended is not kept."""
        if event.state is StreamState.ENDED:
            self._slots.pop(event.source_id, None)

    def counts(self, source_id: int) -> tuple[int, int]:
        """How many pictures were made of a stream, and how many results came too fast to be shown while somebody watched."""
        slot = self._slots.get(source_id)
        return (slot.num_made, slot.passed_over) if slot else (0, 0)

    async def newer(self, wanted: Mapping[int, int], width: int, timeout_seconds: float) -> list[Picture]:
        """What is newer than what a viewer has, as soon as there is something; empty after the time-out.

        Args:
            wanted: stream -> the version that the viewer has; 0 for none.
            width: one of `WIDTHS`.
            timeout_seconds: how long to wait.
        """
        deadline = time.monotonic() + timeout_seconds
        bell = _Bell(wanted)
        self._bells |= {bell}
        try:
            while not self._closed:
                bell.rung.clear()  # before looking: what comes meanwhile rings again
                now = time.monotonic()
                found, pause = self._look(wanted, width, now)
                if found:
                    return await anyio.to_thread.run_sync(self._pictures, found, width)
                if now >= deadline:
                    break
                waiting = bell.rung.wait() if pause is None else asyncio.sleep(pause)
                try:
                    await asyncio.wait_for(waiting, deadline - now)
                except asyncio.TimeoutError:
                    break
        finally:
            self._bells -= {bell}
        return []

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        for bell in self._bells:
            bell.ring()

    def _look(self, wanted: Mapping[int, int], width: int, now: float) -> tuple[list[_Slot], float | None]:
        """Streams with something newer, and otherwise in how many seconds there may be; `None`: when a result comes."""
        found, pause = [], None
        for source_id, has in wanted.items():
            slot = self._slots.get(source_id)
            if slot is None or slot.latest[0] == has:
                continue
            made = slot.pictures.get(width)
            # A number that has not been reached is one of an earlier run.
            is_newer = made is not None and made.version != has and (made.version > has or has > slot.latest[0])
            left = slot.made.get(width, 0.0) + self._interval - now
            if is_newer or left <= 0:
                found.append(slot)
            else:
                pause = left if pause is None else min(pause, left)
        return found, pause

    def _pictures(self, slots: Sequence[_Slot], width: int) -> list[Picture]:
        return [self._picture(slot, width) for slot in slots]

    def _picture(self, slot: _Slot, width: int) -> Picture:
        """The latest picture; made once for all who watch, and at most so often."""
        with slot.lock:
            made = slot.pictures.get(width)
            now = time.monotonic()
            version, result = slot.latest
            if made is not None and (made.version == version or now < slot.made[width] + self._interval):
                return made
            if made is not None and now < slot.made[width] + _WATCHED_SECONDS:
                slot.passed_over += version - made.version - 1
            picture = Picture(version, result, _jpeg(result, width))
            slot.pictures[width], slot.made[width] = picture, now
            slot.num_made += 1
            return picture


def width_for(pixels: int) -> int:
    """The least width that is enough for so many pixels of a screen, or the widest."""
    return next((width for width in WIDTHS if width >= pixels), WIDTHS[-1])


def encoded(image: np.ndarray, quality: int = _QUALITY) -> bytes:
    """uint8 (H, W, 3) BGR as JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)


def _jpeg(result: Result, width: int) -> bytes | None:
    image = result.image
    if image is None:
        return None
    if image.shape[1] > width:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return encoded(image)
