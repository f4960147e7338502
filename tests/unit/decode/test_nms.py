"""NMS against the textbook."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tensortap.decode.nms import nms
from tensortap.geometry import iou_matrix


def textbook(boxes: np.ndarray, scores: np.ndarray, threshold: float, class_ids: np.ndarray | None) -> list[int]:
    overlaps = iou_matrix(boxes, boxes)
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if all(
            overlaps[row, other] <= threshold or (class_ids is not None and class_ids[row] != class_ids[other])
            for other in kept
        ):
            kept.append(int(row))
    return kept


@given(num=st.integers(0, 60), threshold=st.floats(0.05, 0.95), seed=st.integers(0, 10_000), classes=st.booleans())
def test_nms_is_the_textbook_one(num: int, threshold: float, seed: int, classes: bool) -> None:
    generator = np.random.default_rng(seed)
    corners = generator.uniform(-50, 600, (num, 2))
    boxes = np.concatenate((corners, corners + generator.uniform(1, 200, (num, 2))), axis=1).astype(np.float32)
    scores = generator.permutation(num).astype(np.float32) / max(num, 1) * 0.7 + 0.2
    class_ids = generator.integers(0, 3, num) if classes else None
    # OpenCV works out overlaps of its own: leave out draws within rounding of the threshold.
    if (np.abs(iou_matrix(boxes, boxes) - threshold) < 1e-4).any():
        return
    assert nms(boxes, scores, threshold, class_ids=class_ids).tolist() == textbook(boxes, scores, threshold, class_ids)


def test_max_det_keeps_the_best() -> None:
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]], np.float32)
    assert nms(boxes, np.array([0.2, 0.9, 0.5], np.float32), 0.5, max_det=2).tolist() == [1, 2]
    assert nms(boxes[:1], np.array([0.2], np.float32), 0.5, max_det=0).tolist() == []
