"""Replay: recordings as a runtime, so that everything after the tensors works as it does live."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tensortap.errors import SourceError
from tensortap.recording.reader import Recording
from tensortap.timing import StageClock
from tensortap.types import StreamInfo, TensorFrame

_SECOND_NS = 1_000_000_000


@dataclass
class DescribedEngine:
    """What is known of an engine that works elsewhere: it made the tensors of a recording, or it is DeepStream's nvinfer."""

    name: str
    """Name in the registry."""
    precision: str
    """What it computed in."""
    device: str
    """What it ran on."""
    batch_size: int
    """Frames a batch."""
    outputs: Mapping[str, tuple[int, ...]]
    """Output name -> shape without batch axis."""
    network_wh: tuple[int, int] | None = None
    """Width and height of the network input; `None` where nobody says."""
    requests: Sequence[Any] = field(default=())
    """None."""
    streams: int = 0
    """None."""
    threads: int = 0
    """None."""

    def close(self) -> None:
        """Nothing to release."""


class ReplayRuntime:
    """Iterate it for the `TensorFrame`s of recordings, in the order in which they were recorded. Needs no model and no engine.

    Of several recordings, the frame that comes first by its pts comes first.

    Args:
        recordings: opened, with numbers of streams that do not meet.
        interval: keep the tensors of one frame, then let this many pass by without, in each stream.
        max_frames: stop each stream after so many frames.
        realtime: hand out each frame at its time instead of at full speed.
        clock: gets the lap `read`.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        *,
        interval: int = 0,
        max_frames: int | None = None,
        realtime: bool = False,
        clock: StageClock | None = None,
    ) -> None:
        self.failures: list[SourceError] = []
        """Recordings that broke while others went on."""
        self._recordings = recordings
        self._interval = interval
        self._max_frames = max_frames
        self._realtime = realtime
        self._clock = clock or StageClock()
        self._lost: Counter[int] = Counter()
        self._started: float | None = None
        self._closed = threading.Event()

    @property
    def streams(self) -> list[StreamInfo]:
        """The streams of all recordings."""
        return [stream for recording in self._recordings for stream in recording.streams]

    @property
    def damaged(self) -> dict[int, int]:
        """`source_id` -> frames whose chunk could not be read."""
        return {stream.source_id: self._lost[stream.source_id] for stream in self.streams}

    def __iter__(self) -> Iterator[TensorFrame]:
        """Every frame, those without tensors too.

        Raises:
            SourceError: a recording is damaged; raised after the frames of all others, and after what could be read.
        """
        self._clock.restart()
        for frame in (
            heapq.merge(*map(self._frames, self._recordings), key=lambda frame: frame.info.pts_ns)
            if len(self._recordings) > 1
            else self._frames(self._recordings[0])
        ):
            if self._realtime and not self._wait_until(frame.info.pts_ns):
                return
            self._clock.lap("read")
            yield frame
            self._clock.restart()
            if self._closed.is_set():
                return
        if self.failures:
            raise self.failures[0]

    def close(self) -> None:
        """Stop. Closing twice is fine."""
        self._closed.set()

    def _frames(self, recording: Recording) -> Iterator[TensorFrame]:
        """The frames of one recording; what breaks it is kept for the end."""
        lost = 0
        try:
            for frame in recording.frames():
                if isinstance(frame, int):
                    self._lost[frame] += 1
                    lost += 1
                elif self._max_frames is None or frame.info.index < self._max_frames:
                    skipped = frame.info.index % (self._interval + 1) != 0
                    yield replace(frame, tensors={}) if skipped and frame.tensors else frame
        except SourceError as exc:
            self.failures.append(exc)
            return
        if lost:
            self.failures.append(
                SourceError(f"The recording {recording.path} is damaged: {lost} frames could not be read. Copy it again.")
            )

    def _wait_until(self, pts_ns: int) -> bool:
        """Wait for the moment of a frame; False if the runtime was closed meanwhile."""
        now = time.monotonic()
        if self._started is None:
            self._started = now - pts_ns / _SECOND_NS
        return not self._closed.wait(max(0.0, self._started + pts_ns / _SECOND_NS - now))
