"""Drawn people as a source: `scene://street?people=6&seed=3`."""

from __future__ import annotations

import threading
import time

from tensortap.portable.pixels import BgrPixels
from tensortap.scenes.url import parse_scene
from tensortap.types import Frame, FrameInfo, StreamInfo

_SECOND_NS = 1_000_000_000


class SceneSource:
    """The frames of a scene, as fast as they are asked for, or with `live=1` each in its time, like a camera: what could not be
    drawn in time was never there. `close()` may be called by any thread.

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
            source_id,
            name,
            size_wh=scene.size_wh,
            frame_rate=scene.frame_rate,
            num_frames=self._request.num_frames,
            is_live=self._request.live,
        )
        self._index = 0
        self._started: float | None = None
        self._closed = threading.Event()

    def read(self) -> Frame | None:
        """The next frame, `None` at the end."""
        request, scene = self._request, self._request.scene
        if request.live:
            self._skip_to_now()
        if self._closed.is_set() or (request.num_frames is not None and self._index >= request.num_frames):
            return None
        drawn = scene.frame(self._index)
        if request.live and not self._wait_for(self._index):
            return None
        now_ns = time.time_ns()
        late_ns = round((time.monotonic() - self._due(self._index)) * _SECOND_NS) if request.live else 0
        info = FrameInfo(
            source_id=self.stream.source_id,
            source=self.stream.name,
            index=self._index,
            pts_ns=drawn.pts_ns,
            size_wh=scene.size_wh,
            duration_ns=round(_SECOND_NS / scene.frame_rate),
            arrival_ns=now_ns,
            is_live=request.live,
            capture_ns=now_ns - late_ns if request.live else 0,
        )
        self._index += 1
        return Frame(info, BgrPixels(drawn.image))

    def close(self) -> None:
        """`read()` gives `None` from now on."""
        self._closed.set()

    def _due(self, index: int) -> float:
        """When this frame is shown, by `time.monotonic()`."""
        if self._started is None:
            self._started = time.monotonic()
        return self._started + index / self._request.scene.frame_rate

    def _skip_to_now(self) -> None:
        late_seconds = time.monotonic() - self._due(self._index)
        self._index += max(0, int(late_seconds * self._request.scene.frame_rate))

    def _wait_for(self, index: int) -> bool:
        """Wait for the moment of a frame; False if the source was closed meanwhile."""
        return not self._closed.wait(max(0.0, self._due(index) - time.monotonic()))
