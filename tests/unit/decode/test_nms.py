"""NMS against the textbook."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tensortap.decode.nms import nms
from tensortap.geometry import iou_matrix


def textbook(overlaps: np.ndarray, scores: np.ndarray, threshold: float, class_ids: np.ndarray | None) -> list[int]:
    """Greedy NMS by its definition, of the IoU of all pairs."""
    covers = overlaps > threshold
    if class_ids is not None:
        covers &= class_ids[:, None] == class_ids
    kept: list[int] = []
    gone = np.zeros(len(scores), bool)
    for row in np.argsort(-scores, kind="stable"):
        if not gone[row]:
            kept.append(int(row))
            gone |= covers[row]
    return kept


@given(num=st.integers(0, 60), threshold=st.floats(0.05, 0.95), seed=st.integers(0, 10_000), classes=st.booleans())
def test_nms_is_the_textbook_one(num: int, threshold: float, seed: int, classes: bool) -> None:
    generator = np.random.default_rng(seed)
    corners = generator.uniform(-50, 600, (num, 2))
    boxes = np.concatenate((corners, corners + generator.uniform(1, 200, (num, 2))), axis=1).astype(np.float32)
    scores = generator.permutation(num).astype(np.float32) / max(num, 1) * 0.7 + 0.2
    class_ids = generator.integers(0, 3, num) if classes else None
    # OpenCV works out overlaps of its own: leave out draws within rounding of the threshold.
    overlaps = iou_matrix(boxes, boxes)
    if (np.abs(overlaps - threshold) < 1e-4).any():
        return
    assert nms(boxes, scores, threshold, class_ids=class_ids).tolist() == textbook(overlaps, scores, threshold, class_ids)


@settings(max_examples=40, deadline=None)
@given(
    num=st.integers(513, 1500),
    people=st.sampled_from((1, 5, 40, 300, 2000)),
    spread=st.sampled_from(((640, 640), (5, 640), (640, 5), (60_000, 60_000))),
    threshold=st.floats(0.05, 0.95),
    max_det=st.sampled_from((20, 300, 2000)),
    seed=st.integers(0, 10_000),
    classes=st.booleans(),
)
def test_nms_of_a_crowd_is_the_textbook_one(
    num: int, people: int, spread: tuple[int, int], threshold: float, max_det: int, seed: int, classes: bool
) -> None:
    generator = np.random.default_rng(seed)
    centers = generator.uniform(0, spread, (people, 2))[np.arange(num) % people] + generator.normal(0, 3, (num, 2))
    sizes = np.array([40, 100]) * generator.uniform(0.5, 1.5, (num, 2))
    boxes = np.concatenate((centers - sizes / 2, centers + sizes / 2), axis=1).astype(np.float32)
    scores = generator.integers(20, 90, num).astype(np.float32) / 100  # many ties: the earlier row is the better one
    class_ids = generator.integers(0, 3, num) if classes else None
    # Overlaps within rounding of the threshold may go either way: move it to where there are none.
    overlaps = iou_matrix(boxes.astype(np.float64), boxes)
    while (np.abs(overlaps - threshold) < 1e-6).any():
        threshold += 1.7e-6
    kept = nms(boxes, scores, threshold, class_ids=class_ids, max_det=max_det)
    assert kept.tolist() == textbook(overlaps, scores, threshold, class_ids)[:max_det]


def test_max_det_keeps_the_best() -> None:
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]], np.float32)
    assert nms(boxes, np.array([0.2, 0.9, 0.5], np.float32), 0.5, max_det=2).tolist() == [1, 2]
    assert nms(boxes[:1], np.array([0.2], np.float32), 0.5, max_det=0).tolist() == []
