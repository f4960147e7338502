"""Drawn people as a source: `scene://street?people=6&seed=3`."""

from __future__ import annotations

import threading
import time

from tensortap.portable.pixels import BgrPixels
from tensortap.scenes.url import parse_scene
from tensortap.types import Frame, FrameInfo, StreamInfo

_SECOND_NS = 1_000_000_000


class SceneSource:
    """The frames of a scene, as fast as they are asked for, or with `live=1` each in its time.

    Args:
        source_id: number of the stream.
        name: name of the stream and its frames.
        location: the URL; see `tensortap.scenes.url.parse_scene`.

    Raises:
        UsageError: the URL asks for something that there is not.
    """

    def __init__(self, source_id: int, name: str, location: str) -> None:
        self.damaged = 0
        self._request = parse_scene(location)
        scene = self._request.scene
        self.stream = StreamInfo(
            source_id, name, size_wh=scene.size_wh, frame_rate=scene.frame_rate, num_frames=self._request.num_frames
        )
        self._index = 0
        self._started: float | None = None
        self._closed = threading.Event()

    def read(self) -> Frame | None:
        """The next frame, `None` at the end."""
        if self._closed.is_set() or self._index == self._request.num_frames:
            return None
        drawn = self._request.scene.frame(self._index)
        if self._request.live and not self._wait_until(drawn.pts_ns / _SECOND_NS):
            return None
        info = FrameInfo(
            source_id=self.stream.source_id,
            source=self.stream.name,
            index=self._index,
            pts_ns=drawn.pts_ns,
            size_wh=self._request.scene.size_wh,
            duration_ns=round(_SECOND_NS / self._request.scene.frame_rate),
            arrival_ns=time.time_ns(),
        )
        self._index += 1
        return Frame(info, BgrPixels(drawn.image))

    def close(self) -> None:
        """`read()` gives `None` from now on."""
        self._closed.set()

    def _wait_until(self, seconds: float) -> bool:
        """Wait for the moment of the next frame; False if the source was closed meanwhile."""
        now = time.monotonic()
        if self._started is None:
            self._started = now - seconds
        return not self._closed.wait(max(0.0, self._started + seconds - now))
