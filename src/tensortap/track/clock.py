"""The time of one stream, for trackers: what passed between two frames, whatever the camera's clock does."""

from __future__ import annotations

_SECOND_NS = 1_000_000_000
_LONGEST_GAP_NS = 3600 * _SECOND_NS
"""A larger step is a clock that was set (1970 to now, say), not a gap in the pictures."""
_UNKNOWN_FRAME_NS = _SECOND_NS // 30
"""Assumed time between frames until one was measured."""


class StreamClock:
    """Turns presentation times into steps that are always positive.

    Cameras are set, restarted and wrap around. A time that stands still, goes back, or goes forward by more than an hour is
    taken for a new clock: one usual frame has passed.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._frame_ns = 0.0
        """Running mean of the time between frames; 0 where it is not known."""

    @property
    def started(self) -> bool:
        """Whether there was a frame."""
        return self._last_ns is not None

    @property
    def frame_seconds(self) -> float:
        """Usual time between frames in seconds."""
        return (self._frame_ns or _UNKNOWN_FRAME_NS) / _SECOND_NS

    def advance(self, pts_ns: int) -> float:
        """Seconds from the frame before to the frame of this time, above 0; 0 only for the first frame."""
        last_ns, self._last_ns = self._last_ns, pts_ns
        if last_ns is None:
            return 0.0
        elapsed_ns = pts_ns - last_ns
        if not 0 < elapsed_ns <= _LONGEST_GAP_NS:
            return self.frame_seconds
        if self._frame_ns:
            # A long gap says little about the usual time: it counts as four frames at most.
            self._frame_ns += 0.1 * (min(elapsed_ns, 4 * self._frame_ns) - self._frame_ns)
        else:
            self._frame_ns = float(elapsed_ns)
        return elapsed_ns / _SECOND_NS

    def seconds_until(self, pts_ns: int) -> float:
        """Seconds from the last frame to this time; 0 if it is not after it, or a clock that was set."""
        if self._last_ns is None or not 0 < pts_ns - self._last_ns <= _LONGEST_GAP_NS:
            return 0.0
        return (pts_ns - self._last_ns) / _SECOND_NS
