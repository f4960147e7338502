"""The algorithms of roboflow/trackers (SORT, ByteTrack, OC-SORT, BoT-SORT, C-BIoU) behind tensortap's tracker seam.

They compare boxes alone. Needs the package `trackers`, measured with 2.6.1; see docs/tracking.md before installing it beside
tensortap, because it brings an OpenCV of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import supervision
import trackers

from tensortap.errors import UsageError
from tensortap.skeletons import Skeleton
from tensortap.track.clock import StreamClock
from tensortap.types import Poses

_ROW = "tensortap_row"
"""Data field that carries the number of our row through their reordering."""

ALGORITHMS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    # Camera motion compensation needs the pixels, which a tracker is not given here.
    "botsort": (trackers.BoTSORTTracker, {"enable_cmc": False}),
    "bytetrack": (trackers.ByteTrackTracker, {}),
    "cbiou": (trackers.CBIoUTracker, {}),
    "ocsort": (trackers.OCSORTTracker, {}),
    "sort": (trackers.SORTTracker, {}),
}
"""Name -> class and the settings that differ from its own defaults."""


class RoboflowTracker:
    """One of roboflow/trackers' algorithms for one stream.

    It works on boxes, whatever the skeleton, and does not look at classes. Identities count from 1 in each object.

    Args:
        algorithm: a name of `ALGORITHMS`.
        frame_rate: usual frames a second of the stream. Motion and ages follow the pts of the frames; this only scales the
            noise of their Kalman filters, which is given by the frame.
        settings: further arguments of that algorithm by their own names, e.g. `lost_track_buffer=60`.

    Raises:
        UsageError: there is no such algorithm, or it does not take these settings.
    """

    def __init__(self, algorithm: str, *, frame_rate: float = 30.0, **settings: Any) -> None:
        if algorithm not in ALGORITHMS:
            raise UsageError(f"There is no algorithm called {algorithm!r}. Choose one of: {', '.join(sorted(ALGORITHMS))}.")
        tracker_class, own_settings = ALGORITHMS[algorithm]
        try:
            self._tracker = tracker_class(**{"frame_rate": frame_rate, **own_settings, **settings})
        except (TypeError, ValueError) as exc:
            raise UsageError(f"{tracker_class.__name__} of the package trackers does not take these settings: {exc}") from exc
        self._clock = StreamClock()
        self._seconds = 0.0
        """Time of the last frame on a clock that only goes forward: with any other, the algorithms skip the frame."""
        self._skeleton: Skeleton | None = None

    def update(self, poses: Poses, pts_ns: int) -> Poses:
        """The same people in the same order with `track_ids`; -1 for those who are not tracked (yet).

        Args:
            poses: the people of the next frame of this stream.
            pts_ns: when it was taken, in nanoseconds.
        """
        self._skeleton = poses.skeleton
        self._seconds += self._clock.advance(pts_ns)
        track_ids = np.full(len(poses), -1, np.int64)
        rows = _usable(poses).nonzero()[0]
        detections = supervision.Detections(
            xyxy=poses.boxes_xyxy[rows].astype(np.float32),
            confidence=poses.scores[rows].astype(np.float32),
            class_id=poses.class_ids[rows].astype(np.int64),
            data={_ROW: rows},
        )
        tracked = self._tracker.update(detections, timestamp=self._seconds)
        if len(tracked):
            theirs = np.asarray(tracked.tracker_id, np.int64)
            # They count from 0, and -1 is nobody.
            track_ids[np.asarray(tracked.data[_ROW], np.intp)] = np.where(theirs >= 0, theirs + 1, -1)
        return poses.with_track_ids(track_ids)

    def predict(self, pts_ns: int) -> Poses:
        """Nobody: these algorithms give boxes for frames that they saw, and no poses at all.

        Args:
            pts_ns: not looked at.

        Raises:
            RuntimeError: there was no update yet, so that not even the skeleton is known.
        """
        if self._skeleton is None:
            raise RuntimeError("predict() needs an update() before it.")
        return Poses.empty(self._skeleton)


def _usable(poses: Poses) -> np.ndarray:
    """bool (N,): people whose box is finite and not turned inside out, and whose score is a number."""
    boxes = poses.boxes_xyxy
    usable: np.ndarray = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(poses.scores)
    return usable


class BotsortTracker(RoboflowTracker):
    """BoT-SORT without camera motion compensation."""

    def __init__(self, *, frame_rate: float = 30.0) -> None:
        super().__init__("botsort", frame_rate=frame_rate)


class BytetrackTracker(RoboflowTracker):
    """ByteTrack."""

    def __init__(self, *, frame_rate: float = 30.0) -> None:
        super().__init__("bytetrack", frame_rate=frame_rate)


class CbiouTracker(RoboflowTracker):
    """C-BIoU."""

    def __init__(self, *, frame_rate: float = 30.0) -> None:
        super().__init__("cbiou", frame_rate=frame_rate)


class OcsortTracker(RoboflowTracker):
    """OC-SORT."""

    def __init__(self, *, frame_rate: float = 30.0) -> None:
        super().__init__("ocsort", frame_rate=frame_rate)


class SortTracker(RoboflowTracker):
    """SORT."""

    def __init__(self, *, frame_rate: float = 30.0) -> None:
        super().__init__("sort", frame_rate=frame_rate)
