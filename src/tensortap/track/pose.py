"""The pose-aware tracker: ByteTrack's association in two stages, on OKS together with IoU, in real time units."""

from __future__ import annotations

import numpy as np

from tensortap.skeletons import Skeleton
from tensortap.track.association import assign, compare
from tensortap.track.clock import StreamClock
from tensortap.track.kalman import BoxFilter
from tensortap.types import Poses

_LARGEST_BOX = 1e6
"""A box with a side of a million pixels or more is not a box."""
_TO_CENTERS = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
_TO_CORNERS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
"""Products with these are exact to the last rounding and cost a third of the additions."""


class PoseTracker:
    """Gives the people of one stream identities that last while they are in view or hidden for a moment.

    The association is ByteTrack's (Zhang et al., arXiv:2110.06864): people found with confidence are matched with all
    tracks first, the others then with the tracks that are left, so that somebody half hidden keeps an identity without faint
    detections starting new ones. What is compared is not the box alone but the pose, see `track.association.compare`.
    Time is the stream's own (pts), so frame rates, gaps and skipped frames need no setting. Identities count from 1 in each
    object; make one for each stream. The same frames give the same identities.

    Args:
        high_threshold: people with at least this score, 0..1, take part in the first stage.
        low_threshold: people below this score are left alone; those between the two only go on with tracks.
        new_threshold: people with at least this score may start a track.
        match_threshold: least similarity of a match in the first stage, 0..1.
        low_match_threshold: the same for the second stage, where detections are less sure.
        new_match_threshold: the same for tracks that have been seen once only.
        lost_seconds: how long an identity is kept for somebody out of view. At least the next frame is waited for.
        oks_weight: share of OKS in the similarity, 0..1; the rest is IoU.
        min_keypoint_score: keypoints at or below this score, 0..1, do not count.
    """

    def __init__(
        self,
        *,
        high_threshold: float = 0.25,
        low_threshold: float = 0.1,
        new_threshold: float = 0.3,
        match_threshold: float = 0.2,
        low_match_threshold: float = 0.4,
        new_match_threshold: float = 0.3,
        lost_seconds: float = 1.0,
        oks_weight: float = 0.6,
        min_keypoint_score: float = 0.3,
    ) -> None:
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.new_threshold = new_threshold
        self.match_threshold = match_threshold
        self.low_match_threshold = low_match_threshold
        self.new_match_threshold = new_match_threshold
        self.lost_seconds = lost_seconds
        self.oks_weight = oks_weight
        self.min_keypoint_score = min_keypoint_score
        self._clock = StreamClock()
        self._skeleton: Skeleton | None = None
        self._last_id = 0
        self._filter = BoxFilter()
        # One row for each of the T tracks, as in the filter.
        self._ids = np.empty(0, np.int64)
        """int64 (T,): identity; 0 until a second look has confirmed the track."""
        self._ages = np.empty(0)
        """float64 (T,): seconds since the track was seen; 0 for those seen in the last frame."""
        self._scores = np.empty(0, np.float32)
        self._class_ids = np.empty(0, np.int64)
        self._keypoints = np.empty((0, 0, 3), np.float32)
        """float32 (T, K, 3): as last seen, moved on with the box."""

    def update(self, poses: Poses, pts_ns: int) -> Poses:
        """The same people in the same order with `track_ids`; -1 for those who are not tracked (yet).

        People in the first frame of a stream are believed at once, later ones when they are found in two frames running.
        Boxes that are not finite or turned inside out are never tracked.

        Args:
            poses: the people of the next frame of this stream.
            pts_ns: when it was taken, in nanoseconds. A clock that stands still, jumps back, or jumps forward by more than an
                hour is taken for a new clock on the same scene: identities stay, and one usual frame has passed.
        """
        is_first = not self._clock.started
        dt_seconds = self._clock.advance(pts_ns)
        if poses.skeleton is not self._skeleton:
            self._change_skeleton(poses.skeleton)
        if not len(poses) and not len(self._ids):
            return poses
        track_ids = np.full(len(poses), -1, np.int64)
        # What is not a number is sorted out by comparisons, which are False for it.
        with np.errstate(invalid="ignore", over="ignore"):
            boxes = poses.boxes_xyxy.astype(np.float64)
            measured = _centers(boxes)
            size = measured[:, 2:]
            usable = ((size > 0) & (size < _LARGEST_BOX)).all(axis=1) & (poses.scores >= self.low_threshold)
            high = usable & (poses.scores >= self.high_threshold)
            if len(self._ids):
                matched = self._match(poses, boxes, measured, usable, high, track_ids, dt_seconds)
                usable &= ~matched
        self._start(
            poses, measured, (usable & (poses.scores >= self.new_threshold)).nonzero()[0], track_ids, confirmed=is_first
        )
        return poses.with_track_ids(track_ids)

    def predict(self, pts_ns: int) -> Poses:
        """Everybody who was in view at the last update, moved on by their velocity. Changes nothing.

        Args:
            pts_ns: the time to move them to, in nanoseconds; not after the last update gives them as they were then.

        Raises:
            RuntimeError: there was no update yet, so that not even the skeleton is known.
        """
        if self._skeleton is None:
            raise RuntimeError("predict() needs an update() before it.")
        rows = ((self._ids > 0) & (self._ages == 0)).nonzero()[0]
        if not len(rows):
            return Poses.empty(self._skeleton)
        moved = self._filter.motion(self._clock.seconds_until(pts_ns))[rows]
        position = self._filter.position[rows] + moved
        np.maximum(position[:, 2:], 1.0, out=position[:, 2:])
        keypoints = self._keypoints[rows]
        keypoints[..., :2] += moved[:, None, :2]
        return Poses(
            boxes_xyxy=_corners(position).astype(np.float32),
            scores=self._scores[rows],
            class_ids=self._class_ids[rows],
            keypoints=keypoints,
            skeleton=self._skeleton,
            track_ids=self._ids[rows],
        )

    def _match(
        self,
        poses: Poses,
        boxes: np.ndarray,
        measured: np.ndarray,
        usable: np.ndarray,
        high: np.ndarray,
        track_ids: np.ndarray,
        dt_seconds: float,
    ) -> np.ndarray:
        """Move the tracks on, join them with people in three stages, write `track_ids`; bool (N,): who was joined."""
        in_view = self._ages == 0
        self._keypoints[..., :2] += self._filter.predict(dt_seconds)[:, None, :2]
        self._ages += dt_seconds
        waiting = self._ages <= max(self.lost_seconds, 1.5 * self._clock.frame_seconds)
        left = usable.copy()
        if len(poses):
            pairs = compare(
                _corners(self._filter.position),
                self._keypoints,
                self._ages - dt_seconds,
                self._filter.spread(),
                boxes,
                poses.keypoints,
                usable & (self._class_ids[:, None] == poses.class_ids),
                poses.skeleton.sigmas,
                oks_weight=self.oks_weight,
                min_keypoint_score=self.min_keypoint_score,
                sure_iou=max(self.match_threshold, self.low_match_threshold, self.new_match_threshold),
            )
            confirmed = self._ids > 0
            for tracks, people, threshold in (
                (confirmed, high, self.match_threshold),
                (confirmed & in_view, ~high, self.low_match_threshold),
                (~confirmed, high, self.new_match_threshold),
            ):
                possible = pairs.where(tracks & waiting, people & left, threshold)
                if len(possible.rows):
                    rows, columns = assign(possible, (len(self._ids), len(poses)))
                    waiting[rows], left[columns] = False, False
                    self._see(rows, columns, poses, measured)
                    track_ids[columns] = self._ids.take(rows)
                if not left.any() or not waiting.any():
                    break
        if self._ages.any():
            # Tracks seen once and not again are dropped, and those out of view for too long.
            self._keep((self._ages == 0) | (waiting & (self._ids > 0)))
        joined: np.ndarray = usable & ~left
        return joined

    def _see(self, rows: np.ndarray, columns: np.ndarray, poses: Poses, measured: np.ndarray) -> None:
        """Tracks at `rows` were found as the people at `columns`."""
        self._filter.update(rows, measured.take(columns, axis=0))
        self._ages[rows] = 0
        self._scores[rows] = poses.scores.take(columns)
        self._keypoints[rows] = poses.keypoints.take(columns, axis=0)
        new = rows[self._ids.take(rows) == 0]
        if len(new):
            self._ids[new] = self._new_ids(len(new))

    def _start(
        self, poses: Poses, measured: np.ndarray, columns: np.ndarray, track_ids: np.ndarray, *, confirmed: bool
    ) -> None:
        """A track for each of these people."""
        if not len(columns):
            return
        ids = np.zeros(len(columns), np.int64)
        if confirmed:
            ids = self._new_ids(len(columns))
            track_ids[columns] = ids
        self._filter.append(measured[columns])
        self._ids = np.concatenate((self._ids, ids))
        self._ages = np.concatenate((self._ages, np.zeros(len(columns))))
        self._scores = np.concatenate((self._scores, poses.scores[columns]))
        self._class_ids = np.concatenate((self._class_ids, poses.class_ids[columns]))
        self._keypoints = np.concatenate((self._keypoints, poses.keypoints[columns]))

    def _keep(self, mask: np.ndarray) -> None:
        """Forget the tracks where this mask, bool (T,), is False."""
        self._filter.keep(mask)
        self._ids, self._ages, self._scores = self._ids[mask], self._ages[mask], self._scores[mask]
        self._class_ids, self._keypoints = self._class_ids[mask], self._keypoints[mask]

    def _change_skeleton(self, skeleton: Skeleton) -> None:
        """Poses of another skeleton cannot be compared: only the same number of keypoints goes on."""
        self._skeleton = skeleton
        if self._keypoints.shape[1] != skeleton.num_keypoints:
            self._keep(np.zeros(len(self._ids), bool))
            self._keypoints = np.empty((0, skeleton.num_keypoints, 3), np.float32)

    def _new_ids(self, count: int) -> np.ndarray:
        """int64 (count,): identities that nobody had before."""
        ids = np.arange(self._last_id + 1, self._last_id + 1 + count, dtype=np.int64)
        self._last_id += count
        return ids


def _centers(boxes_xyxy: np.ndarray) -> np.ndarray:
    """float64 (N, 4) xyxy -> centre x, centre y, width, height."""
    boxes: np.ndarray = np.dot(boxes_xyxy, _TO_CENTERS)
    return boxes


def _corners(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """float64 (N, 4) centre x, centre y, width, height -> xyxy."""
    boxes: np.ndarray = np.dot(boxes_cxcywh, _TO_CORNERS)
    return boxes
