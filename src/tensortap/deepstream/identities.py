"""nvtracker's identities, brought back to the poses that its objects were made of. Pure functions of arrays and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensortap.deepstream.metadata import Box
from tensortap.geometry import iou_matrix
from tensortap.types import Poses

_SAME_PIXELS = 0.01
"""Detector boxes are copied, not worked out again: they differ by float32 at most."""
_SAME_SCORE = 1e-5
_LEAST_IOU = 0.1


@dataclass(frozen=True)
class Tracked:
    """An object behind nvtracker."""

    track_id: int
    class_id: int
    confidence: float
    """The detector's, which nvtracker keeps; -0.1 for objects that it carries on without a detection."""
    box_xyxy: Box
    """nvtracker's."""
    detector_box_xyxy: Box | None = None
    """The detector's, which nvtracker keeps, where the binding tells it."""


def join(boxes_xyxy: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, objects: Sequence[Tracked]) -> np.ndarray:
    """int64 (N,): the identity of each person, -1 where nvtracker has not named it (yet).

    nvtracker moves the boxes and removes the objects that it does not follow; other metadata's order says nothing. So a person
    is known again by the detector's box, which stays with the object, or, where it cannot be read, by class and confidence
    together with the overlap.

    Args:
        boxes_xyxy: float32 (N, 4), the boxes that were attached.
        scores: float32 (N,), the confidences that were attached.
        class_ids: int64 (N,).
    """
    track_ids = np.full(len(boxes_xyxy), -1, np.int64)
    candidates = [each for each in objects if each.track_id >= 0 and each.confidence >= 0]
    if not len(boxes_xyxy) or not candidates:
        return track_ids
    agree = _agreement(boxes_xyxy, scores, class_ids, candidates)
    for _ in range(min(agree.shape)):
        row, column = np.unravel_index(int(agree.argmax()), agree.shape)
        if agree[row, column] <= 0:
            break
        track_ids[row] = candidates[column].track_id
        agree[row], agree[:, column] = 0, 0
    return track_ids


def _agreement(boxes_xyxy: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, objects: Sequence[Tracked]) -> np.ndarray:
    """float64 (N, M): how sure it is that an object is that person; 0 where it cannot be."""
    overlap = iou_matrix(boxes_xyxy, np.array([each.box_xyxy for each in objects], np.float32)).astype(np.float64)
    agree = np.where(overlap >= _LEAST_IOU, overlap, 0)
    same_class = class_ids[:, None] == np.array([each.class_id for each in objects])
    same_score = np.abs(scores[:, None] - np.array([each.confidence for each in objects], np.float32)) <= _SAME_SCORE
    agree *= same_class & same_score
    for column, each in enumerate(objects):
        if each.detector_box_xyxy is not None:
            distance = np.abs(boxes_xyxy - np.array(each.detector_box_xyxy, np.float32)).max(axis=1)
            is_it = (distance <= _SAME_PIXELS * np.maximum(1, np.abs(boxes_xyxy).max(axis=1) / 100)) & same_class[:, column]
            # Two people may share a box; then the score and the overlap tell them apart.
            agree[:, column] = np.where(is_it, 2 + same_score[:, column] + overlap[:, column], 0)
    return agree


class Carried:
    """The people of one stream whom nvtracker follows through frames without inference: their last pose goes with the box."""

    def __init__(self, nobody: Poses) -> None:
        self._nobody = nobody
        self._last = nobody

    def remember(self, poses: Poses) -> None:
        """The named people of an inferred frame; boxes are those of the detector."""
        self._last = poses.take(np.flatnonzero(poses.track_ids >= 0))

    def predict(self, objects: Sequence[Tracked]) -> Poses:
        """The people who are followed, moved and scaled with nvtracker's boxes."""
        rows = {int(track_id): row for row, track_id in enumerate(self._last.track_ids)}
        found = [(rows[each.track_id], each.box_xyxy) for each in objects if each.track_id in rows]
        if not found:
            return self._nobody
        before = self._last.take(np.array([row for row, _ in found]))
        boxes = np.array([box for _, box in found], np.float32)
        scale = (boxes[:, 2:] - boxes[:, :2]) / np.maximum(before.boxes_xyxy[:, 2:] - before.boxes_xyxy[:, :2], 1e-3)
        keypoints = before.keypoints.copy()
        keypoints[..., :2] = (keypoints[..., :2] - before.boxes_xyxy[:, None, :2]) * scale[:, None] + boxes[:, None, :2]
        return Poses(boxes, before.scores, before.class_ids, keypoints, before.skeleton, before.track_ids)
