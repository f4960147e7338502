"""The pose-aware tracker: ByteTrack's association in two stages, on OKS together with IoU, in real time units."""

from __future__ import annotations

import numpy as np

from tensortap.skeletons import Skeleton
from tensortap.track.association import assign, similarity
from tensortap.track.kalman import BoxFilter
from tensortap.types import Poses

_SECOND_NS = 1_000_000_000


class PoseTracker:
    """Gives the people of one stream identities that last while they are in view or hidden for a moment.

    The association is ByteTrack's (Zhang et al., arXiv:2110.06864): people found with confidence are matched with all
    tracks first, the others then with the tracks that are left, so that somebody half hidden keeps an identity without faint
    detections starting new ones. What is compared is not the box alone but the pose, see `track.association.similarity`.
    Time is the stream's own (pts), so frame rates, gaps and skipped frames need no setting. Identities count from 1 in each
    object; make one for each stream.

    Args:
        high_threshold: people with at least this score take part in the first stage and may start tracks.
        match_threshold: least similarity of a match in the first stage, 0..1.
        low_match_threshold: the same for the second stage, where detections are less sure.
        new_match_threshold: the same for tracks that have been seen once only.
        lost_seconds: how long an identity is kept for somebody out of view.
        oks_weight: share of OKS in the similarity, 0..1; the rest is IoU.
        min_keypoint_score: keypoints at or below this score do not count.
    """

    def __init__(
        self,
        *,
        high_threshold: float = 0.45,
        match_threshold: float = 0.2,
        low_match_threshold: float = 0.4,
        new_match_threshold: float = 0.3,
        lost_seconds: float = 1.0,
        oks_weight: float = 0.7,
        min_keypoint_score: float = 0.3,
    ) -> None:
        self.high_threshold = high_threshold
        self.match_threshold = match_threshold
        self.low_match_threshold = low_match_threshold
        self.new_match_threshold = new_match_threshold
        self.lost_seconds = lost_seconds
        self.oks_weight = oks_weight
        self.min_keypoint_score = min_keypoint_score
        self._filter = BoxFilter()
        self._ids = np.empty(0, np.int64)
        """int64 (T,): identity; 0 until a second look has confirmed the track."""
        self._seen_ns = np.empty(0, np.int64)
        self._scores = np.empty(0, np.float32)
        self._class_ids = np.empty(0, np.int64)
        self._keypoints = np.empty((0, 0, 3), np.float32)
        """float32 (T, K, 3): as last seen."""
        self._keypoint_centers = np.empty((0, 2))
        """float64 (T, 2): centre of the filtered box when the keypoints were seen."""
        self._skeleton: Skeleton | None = None
        self._last_id = 0
        self._now_ns: int | None = None
        self._before_ns = 0
        """Time of the frame before."""
        self._frame_ns = 0.0
        """Running mean of the time between frames."""

    def update(self, poses: Poses, pts_ns: int) -> Poses:
        """The same people in the same order with `track_ids`; -1 for those who are not tracked (yet).

        Args:
            poses: the people of the next frame of this stream.
            pts_ns: when it was taken, in nanoseconds. A clock that jumps back is taken for a new start of the same scene.
        """
        first = self._now_ns is None
        self._advance(pts_ns)
        self._skeleton = poses.skeleton
        if not len(poses) and not len(self._ids):
            return poses
        track_ids = np.full(len(poses), -1, np.int64)
        boxes = poses.boxes_xyxy.astype(np.float64)
        usable = _usable(boxes)
        high = usable & (poses.scores >= self.high_threshold)
        left = usable.copy()  # who has no track yet
        if len(self._ids):
            self._match(poses, boxes, usable, high, left, track_ids)
        self._forget()
        self._start(poses, boxes, np.flatnonzero(left & high), track_ids, confirmed=first)
        return poses.with_track_ids(track_ids)

    def predict(self, pts_ns: int) -> Poses:
        """Everybody who was in view at the last update, moved on by their velocity. Changes nothing.

        Raises:
            RuntimeError: nothing was ever seen, so that not even the skeleton is known.
        """
        if self._skeleton is None or self._now_ns is None:
            raise RuntimeError("predict() needs an update() before it.")
        rows = np.flatnonzero((self._ids > 0) & (self._seen_ns == self._now_ns))
        if not len(rows):
            return Poses.empty(self._skeleton)
        seconds = max(0, pts_ns - self._now_ns) / _SECOND_NS
        position = self._filter.position[rows] + self._filter.velocity[rows] * seconds
        keypoints = self._keypoints[rows].copy()
        keypoints[..., :2] += (position[:, :2] - self._keypoint_centers[rows])[:, None]
        return Poses(
            boxes_xyxy=_corners(position).astype(np.float32),
            scores=self._scores[rows],
            class_ids=self._class_ids[rows],
            keypoints=keypoints,
            skeleton=self._skeleton,
            track_ids=self._ids[rows],
        )

    def _advance(self, pts_ns: int) -> None:
        """Move all tracks to the time of the new frame."""
        if self._now_ns is not None:
            elapsed_ns = pts_ns - self._now_ns
            self._before_ns = min(self._now_ns, pts_ns)
            if elapsed_ns < 0:
                self._seen_ns += elapsed_ns  # their ages stay what they were
                elapsed_ns = 0
            else:
                self._frame_ns += 0.1 * (elapsed_ns - self._frame_ns) if self._frame_ns else elapsed_ns
            longest_ns = max(self.lost_seconds * _SECOND_NS, 2 * self._frame_ns)
            if elapsed_ns > longest_ns:
                self._keep(np.zeros(len(self._ids), bool))
            self._filter.predict(elapsed_ns / _SECOND_NS)
        self._now_ns = pts_ns

    def _match(
        self,
        poses: Poses,
        boxes: np.ndarray,
        usable: np.ndarray,
        high: np.ndarray,
        left: np.ndarray,
        track_ids: np.ndarray,
    ) -> None:
        """The three stages of the association; strikes those who are matched from `left` and writes their ids."""
        position = self._filter.position
        predicted = self._keypoints.copy()
        predicted[..., :2] += (position[:, :2] - self._keypoint_centers)[:, None]
        alike = similarity(
            _corners(position),
            predicted,
            np.where(usable[:, None], boxes, 0),
            poses.keypoints,
            poses.skeleton.sigmas,
            oks_weight=self.oks_weight,
            min_keypoint_score=self.min_keypoint_score,
        )
        # Other classes never match; nor does what is not a number.
        alike = np.where((self._class_ids[:, None] == poses.class_ids) & (alike > 0), alike, 0.0)
        confirmed = self._ids > 0
        in_view = self._seen_ns >= self._before_ns
        waiting = np.ones(len(self._ids), bool)
        for tracks, people, threshold in (
            (confirmed, high, self.match_threshold),
            (confirmed & in_view, ~high, self.low_match_threshold),
            (~confirmed, high, self.new_match_threshold),
        ):
            rows, columns = (tracks & waiting).nonzero()[0], (people & left).nonzero()[0]
            if not len(rows) or not len(columns):
                continue
            matched_rows, matched_columns = assign(alike[rows[:, None], columns], threshold)
            rows, columns = rows[matched_rows], columns[matched_columns]
            waiting[rows], left[columns] = False, False
            self._see(rows, columns, poses, boxes)
            track_ids[columns] = self._ids[rows]

    def _see(self, rows: np.ndarray, columns: np.ndarray, poses: Poses, boxes: np.ndarray) -> None:
        """Tracks at `rows` were found as the people at `columns`."""
        if not len(rows):
            return
        self._filter.update(rows, _centers(boxes[columns]))
        self._seen_ns[rows] = self._now_ns or 0
        self._scores[rows] = poses.scores[columns]
        self._keypoints[rows] = poses.keypoints[columns]
        self._keypoint_centers[rows] = self._filter.position[rows, :2]
        new = rows[self._ids[rows] == 0]
        self._ids[new] = self._new_ids(len(new))

    def _start(self, poses: Poses, boxes: np.ndarray, columns: np.ndarray, track_ids: np.ndarray, *, confirmed: bool) -> None:
        """A track for each of these people; in the first frame of a stream they are believed at once."""
        if not len(columns):
            return
        ids = self._new_ids(len(columns)) if confirmed else np.zeros(len(columns), np.int64)
        measured = _centers(boxes[columns])
        self._filter.append(measured)
        if self._keypoints.shape[1] != poses.keypoints.shape[1]:
            self._keypoints = np.empty((0, poses.keypoints.shape[1], 3), np.float32)
        self._ids = np.concatenate((self._ids, ids))
        self._seen_ns = np.concatenate((self._seen_ns, np.full(len(columns), self._now_ns, np.int64)))
        self._scores = np.concatenate((self._scores, poses.scores[columns]))
        self._class_ids = np.concatenate((self._class_ids, poses.class_ids[columns]))
        self._keypoints = np.concatenate((self._keypoints, poses.keypoints[columns]))
        self._keypoint_centers = np.concatenate((self._keypoint_centers, measured[:, :2]))
        if confirmed:
            track_ids[columns] = ids

    def _forget(self) -> None:
        """Drop tracks that were seen once and not again, and those out of view for too long."""
        assert self._now_ns is not None
        age_ns = self._now_ns - self._seen_ns
        longest_ns = max(self.lost_seconds * _SECOND_NS, 2 * self._frame_ns)
        keep = (age_ns == 0) | ((self._ids > 0) & (age_ns <= longest_ns))
        if not keep.all():
            self._keep(keep)

    def _keep(self, mask: np.ndarray) -> None:
        self._filter.keep(mask)
        self._ids, self._seen_ns, self._scores = self._ids[mask], self._seen_ns[mask], self._scores[mask]
        self._class_ids, self._keypoints = self._class_ids[mask], self._keypoints[mask]
        self._keypoint_centers = self._keypoint_centers[mask]

    def _new_ids(self, count: int) -> np.ndarray:
        ids = np.arange(self._last_id + 1, self._last_id + 1 + count, dtype=np.int64)
        self._last_id += count
        return ids


def _usable(boxes_xyxy: np.ndarray) -> np.ndarray:
    """bool (N,): boxes that are finite and not turned inside out."""
    usable: np.ndarray = np.isfinite(boxes_xyxy).all(axis=1) & (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    return usable


def _centers(boxes_xyxy: np.ndarray) -> np.ndarray:
    """(N, 4) xyxy -> centre x, centre y, width, height."""
    size = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return np.concatenate((boxes_xyxy[:, :2] + size / 2, size), axis=1)


def _corners(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """(N, 4) centre x, centre y, width, height -> xyxy."""
    half = boxes_cxcywh[:, 2:] / 2
    return np.concatenate((boxes_cxcywh[:, :2] - half, boxes_cxcywh[:, :2] + half), axis=1)
