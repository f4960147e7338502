"""Non-maximum suppression: of boxes that cover the same person, the best one stays."""

from __future__ import annotations

import cv2
import numpy as np

_CLASS_SHIFT = 1e7
"""Further than any box that is believed reaches: boxes of different classes moved apart by it never meet."""


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
        boxes_xyxy: float32 (N, 4).
        scores: float32 (N,).
        iou_threshold: 0..1; 1 keeps all.
        class_ids: int (N,): boxes of different classes never suppress each other. `None` treats all as one class.
        max_det: at most so many rows come back.

    Returns:
        intp (M,): indices into the rows given, M <= max_det.
    """
    if len(boxes_xyxy) == 0:
        return np.empty(0, np.intp)
    if len(boxes_xyxy) == 1:
        return np.zeros(min(1, max_det), np.intp)
    boxes_xywh = boxes_xyxy.astype(np.float64)  # exact also where classes are moved far apart
    boxes_xywh[:, 2:] -= boxes_xyxy[:, :2]
    if class_ids is not None:
        boxes_xywh[:, 0] += class_ids * _CLASS_SHIFT
    # Lists, because OpenCV's binding reads them about three times faster than float32 arrays.
    kept = cv2.dnn.NMSBoxes(boxes_xywh.tolist(), scores.tolist(), 0.0, iou_threshold)
    return np.asarray(kept, np.intp).reshape(-1)[:max_det]
