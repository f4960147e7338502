"""Non-maximum suppression: of boxes that cover the same person, the best one stays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

_CLASS_SHIFT = 1e7
"""Further than any box that is believed reaches: boxes of different classes moved apart by it never meet."""
_BLOCK = 256
"""So many boxes are given to OpenCV at a time: handing them over costs more than comparing them."""
_STRIP = 16
"""So many boxes are compared with all others at a time: what is worked out fits the processor's cache."""


def nms(
    boxes_xyxy: np.ndarray,
    scores: np.ndarray,
    iou_threshold: float,
    *,
    class_ids: np.ndarray | None = None,
    max_det: int = 300,
) -> np.ndarray:
    """Rows that stay, best first.

    Greedy NMS as everybody does it: the best box stays, boxes that overlap it by more than `iou_threshold` go, and so on.

    Args:
        boxes_xyxy: float32 (N, 4), finite.
        scores: float32 (N,), finite.
        iou_threshold: 0..1; 1 keeps all.
        class_ids: int (N,): boxes of different classes never suppress each other. `None` treats all as one class.
        max_det: at most so many rows come back.

    Returns:
        intp (M,): indices into the rows given, M <= max_det.
    """
    if len(boxes_xyxy) <= 2 * _BLOCK:
        return _greedy(boxes_xyxy, scores, iou_threshold, class_ids)[:max_det]
    left = np.argsort(-scores, kind="stable")
    kept = np.empty(0, np.intp)
    while len(left) and len(kept) < max_det:
        block, left = left[:_BLOCK], left[_BLOCK:]
        best = block[_greedy(boxes_xyxy[block], scores[block], iou_threshold, None if class_ids is None else class_ids[block])]
        kept = np.concatenate((kept, best))
        if len(kept) < max_det:
            left = _uncovered(boxes_xyxy, left, best, iou_threshold, class_ids)
    return kept[:max_det]


def _greedy(boxes_xyxy: np.ndarray, scores: np.ndarray, iou_threshold: float, class_ids: np.ndarray | None) -> np.ndarray:
    """OpenCV's: rows that stay, best first."""
    if len(boxes_xyxy) < 2:
        return np.arange(len(boxes_xyxy))
    boxes_xywh = boxes_xyxy.astype(np.float64)  # exact also where classes are moved far apart
    boxes_xywh[:, 2:] -= boxes_xyxy[:, :2]
    if class_ids is not None:
        boxes_xywh[:, 0] += class_ids * _CLASS_SHIFT
    # A list, because OpenCV's binding reads boxes from it faster than from an array; with scores it is the other way round.
    together: Any = np.ascontiguousarray(scores)
    kept = cv2.dnn.NMSBoxes(boxes_xywh.tolist(), together, 0.0, iou_threshold)
    return np.asarray(kept, np.intp).reshape(-1)


def _uncovered(
    boxes_xyxy: np.ndarray, rows: np.ndarray, best: np.ndarray, iou_threshold: float, class_ids: np.ndarray | None
) -> np.ndarray:
    """Those of the rows that none of the best covers."""
    # intersection / union > threshold, solved for the intersection: nothing is divided.
    share = np.float32(iou_threshold / (1 + iou_threshold))
    for start in range(0, len(best), _STRIP):
        if not len(rows):
            break
        strip = best[start : start + _STRIP]
        left, top, right, bottom = boxes_xyxy[rows].T
        over_left, over_top, over_right, over_bottom = boxes_xyxy[strip].T[:, :, None]
        width = np.minimum(right, over_right)
        width -= np.maximum(left, over_left)
        np.maximum(width, 0, out=width)
        height = np.minimum(bottom, over_bottom)
        height -= np.maximum(top, over_top)
        width *= height
        areas = (right - left) * (bottom - top) * share
        over_areas = (over_right - over_left) * (over_bottom - over_top) * share
        covered = width > areas + over_areas
        if class_ids is not None:
            covered &= class_ids[rows] == class_ids[strip, None]
        rows = rows[~covered.any(axis=0)]
    return rows
