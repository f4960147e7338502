"""Non-maximum suppression: of boxes that cover the same person, the best one stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

_CLASS_SHIFT = 1e7
"""Further than any box that is believed reaches: boxes of different classes moved apart by it never meet."""
_BLOCK = 256
"""So many boxes are given to OpenCV at a time: handing them over costs more than comparing them."""
_CHUNK = 2048
"""So many boxes at most are compared with those that stay, so that the pairs do not fill the memory."""
_SPARSE = 5
"""Picking one pair costs as much as comparing so many that lie in order."""
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
        boxes_xyxy: float32 (N, 4), finite. Boxes without an area overlap nothing, except for OpenCV each other.
        scores: float32 (N,), finite and above 0.
        iou_threshold: 0..1; 1 keeps all.
        class_ids: int (N,): boxes of different classes never suppress each other. `None` treats all as one class.
        max_det: at most so many rows come back.

    Returns:
        intp (M,): indices into the rows given, M <= max_det.
    """
    if len(boxes_xyxy) <= 2 * _BLOCK:
        return _greedy(_for_opencv(boxes_xyxy, class_ids), scores, iou_threshold)[:max_det]
    order = np.argsort(-scores, kind="stable")
    boxes_xyxy, scores, class_ids = boxes_xyxy[order], scores[order], None if class_ids is None else class_ids[order]
    crowd = _Crowd(boxes_xyxy, iou_threshold, class_ids)
    left, kept, size = np.arange(len(order)), np.empty(0, np.intp), _BLOCK
    while len(left) and len(kept) < max_det:
        chunk, left = left[:size], left[size:]
        tried, before = len(chunk), len(kept)
        chunk = crowd.uncovered(chunk, kept)
        block, left = chunk[:_BLOCK], np.concatenate((chunk[_BLOCK:], left))
        boxes = _for_opencv(boxes_xyxy[block], None if class_ids is None else class_ids[block])
        kept = np.concatenate((kept, block[_greedy(boxes, scores[block], iou_threshold)]))
        # Enough for the people who are still asked for, if as many stay as of these.
        size = min(_CHUNK, _STRIP + (max_det - len(kept)) * tried // max(1, len(kept) - before))
    return order[kept[:max_det]]


def nms_of_frames(
    boxes_xyxy: np.ndarray,
    scores: np.ndarray,
    frames: Sequence[slice],
    iou_threshold: float,
    *,
    class_ids: np.ndarray | None = None,
    max_det: int = 300,
) -> list[np.ndarray]:
    """`nms` of some rows, then of others, and so on: the rows of each frame that stay. What is prepared is so only once."""
    boxes = _for_opencv(boxes_xyxy, class_ids)
    kept = []
    for mine in frames:
        if mine.stop - mine.start <= 2 * _BLOCK:
            rows = _greedy(boxes[mine], scores[mine], iou_threshold)[:max_det]
        else:
            of_class = None if class_ids is None else class_ids[mine]
            rows = nms(boxes_xyxy[mine], scores[mine], iou_threshold, class_ids=of_class, max_det=max_det)
        kept.append(rows + mine.start)
    return kept


def _for_opencv(boxes_xyxy: np.ndarray, class_ids: np.ndarray | None) -> np.ndarray:
    """float64 (N, 4): left, top, width, height, moved apart by class."""
    boxes_xywh = boxes_xyxy.astype(np.float64)  # exact also where classes are moved far apart
    boxes_xywh[:, 2:] -= boxes_xyxy[:, :2]
    if class_ids is not None:
        boxes_xywh[:, 0] += class_ids * _CLASS_SHIFT
    return boxes_xywh


def _greedy(boxes_xywh: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """OpenCV's: rows that stay, best first."""
    if len(boxes_xywh) < 2:
        return np.arange(len(boxes_xywh))
    # A list, because OpenCV's binding reads boxes from it faster than from an array; with scores it is the other way round.
    together: Any = np.ascontiguousarray(scores)
    return np.asarray(cv2.dnn.NMSBoxes(boxes_xywh.tolist(), together, 0.0, iou_threshold), np.intp).reshape(-1)


class _Crowd:
    """Many boxes, of which those are to be found that others cover.

    Boxes that overlap by more than t are no further apart, from centre to centre, than (1 - t) / (1 + t) of half the sum of
    their widths: of boxes sorted by their centres, each is compared with a few neighbours only.
    """

    def __init__(self, boxes_xyxy: np.ndarray, iou_threshold: float, class_ids: np.ndarray | None) -> None:
        # intersection / union > threshold, solved for the intersection: nothing is divided.
        share = np.float32(iou_threshold / (1 + iou_threshold))
        left, top, right, bottom = boxes_xyxy.T
        self._sides = np.stack((left, top, right, bottom, (right - left) * (bottom - top) * share))
        self._class_ids = class_ids
        # Both doubled, which saves halving them; a little further for what is rounded.
        self._centers = left.astype(np.float64) + right
        self._reaches = (right - left) * (1.0001 * (1 - iou_threshold) / (1 + iou_threshold))

    def uncovered(self, rows: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Those of the rows, intp (M,), that none of the best, intp (N,), covers; in the same order."""
        if not len(rows) or len(best) <= _STRIP:
            return rows[~self._covers(best[:, None], rows).any(axis=0)] if len(best) else rows
        best = best[self._centers[best].argsort()]
        centers, reaches = self._centers[best], self._reaches[rows] + self._reaches[best].max()
        first = centers.searchsorted(self._centers[rows] - reaches)
        counts = centers.searchsorted(self._centers[rows] + reaches, side="right") - first
        ends = counts.cumsum()
        if ends[-1] * _SPARSE > len(rows) * len(best):
            for start in range(0, len(best), _STRIP):
                rows = rows[~self._covers(best[start : start + _STRIP, None], rows).any(axis=0)]
            return rows
        places = np.repeat(np.arange(len(rows)), counts)
        others = best[np.arange(ends[-1]) + np.repeat(first - ends + counts, counts)]
        covered = np.zeros(len(rows), bool)
        covered[places[self._covers(others, rows[places])]] = True
        return rows[~covered]

    def _covers(self, over: np.ndarray, under: np.ndarray) -> np.ndarray:
        """bool, of the shape of both: whether boxes overlap others of their class by more than the threshold."""
        left, top, right, bottom, area = self._sides.take(under, axis=1)
        over_left, over_top, over_right, over_bottom, over_area = self._sides.take(over, axis=1)
        width = np.minimum(right, over_right)
        width -= np.maximum(left, over_left)
        np.maximum(width, 0, out=width)
        height = np.minimum(bottom, over_bottom)
        height -= np.maximum(top, over_top)
        width *= height
        covers: np.ndarray = width > area + over_area
        if self._class_ids is not None:
            covers &= self._class_ids[over] == self._class_ids[under]
        return covers
