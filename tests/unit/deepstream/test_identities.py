"""nvtracker's identities come back to the poses that its objects were made of."""

from __future__ import annotations

import numpy as np
import pytest

from people import person, poses_of
from tensortap.deepstream.identities import Carried, Tracked, join
from tensortap.skeletons import COCO_17
from tensortap.types import Poses

BOXES = np.array([[10, 10, 60, 110], [50, 10, 100, 110], [300, 20, 350, 120]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7], np.float32)
CLASSES = np.zeros(3, np.int64)


def moved(row: int, by: float = 3.0) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in BOXES[row])
    return left + by, top + by, right + by, bottom + by


def tracked(row: int, track_id: int, *, exact: bool, by: float = 3.0) -> Tracked:
    detector = tuple(float(value) for value in BOXES[row]) if exact else None
    return Tracked(track_id, 0, float(SCORES[row]), moved(row, by), detector)  # type: ignore[arg-type]


@pytest.mark.parametrize("exact", [True, False])
def test_whatever_the_order(exact: bool) -> None:
    objects = [tracked(2, 30, exact=exact), tracked(0, 10, exact=exact), tracked(1, 20, exact=exact)]
    assert join(BOXES, SCORES, CLASSES, objects).tolist() == [10, 20, 30]
    assert join(BOXES, SCORES, CLASSES, objects[::-1]).tolist() == [10, 20, 30]


@pytest.mark.parametrize("exact", [True, False])
def test_who_is_not_followed_yet(exact: bool) -> None:
    """nvtracker removes the objects that it does not follow: a pose without an object is untracked, not lost."""
    assert join(BOXES, SCORES, CLASSES, [tracked(1, 20, exact=exact)]).tolist() == [-1, 20, -1]
    assert join(BOXES, SCORES, CLASSES, []).tolist() == [-1, -1, -1]
    assert join(BOXES[:0], SCORES[:0], CLASSES[:0], [tracked(1, 20, exact=exact)]).tolist() == []


def test_objects_that_the_tracker_alone_believes_in() -> None:
    """They lie where somebody was, without a detection: they must not take the identity of whoever is there now."""
    for detector in (None, tuple(float(value) for value in BOXES[0])):  # which it may have kept from before
        shadow = Tracked(99, 0, -0.1, moved(0), detector)  # type: ignore[arg-type]
        assert join(BOXES, SCORES, CLASSES, [shadow, tracked(0, 10, exact=False)]).tolist() == [10, -1, -1]


def test_the_detectors_box_is_known_even_where_the_tracker_has_jumped() -> None:
    assert join(BOXES, SCORES, CLASSES, [tracked(0, 10, exact=True, by=500)]).tolist() == [10, -1, -1]
    assert join(BOXES, SCORES, CLASSES, [tracked(0, 10, exact=False, by=500)]).tolist() == [-1, -1, -1]


def test_two_people_of_one_score() -> None:
    scores = np.full(3, 0.5, np.float32)
    objects = [Tracked(20, 0, 0.5, moved(1)), Tracked(10, 0, 0.5, moved(0))]
    assert join(BOXES, scores, CLASSES, objects).tolist() == [10, 20, -1]


def test_two_people_of_one_box_are_told_apart_by_the_score() -> None:
    boxes = np.stack([BOXES[0], BOXES[0]])
    same = tuple(float(value) for value in BOXES[0])
    objects = [Tracked(20, 0, 0.6, same, same), Tracked(10, 0, 0.9, same, same)]  # type: ignore[arg-type]
    assert join(boxes, np.array([0.9, 0.6], np.float32), CLASSES[:2], objects).tolist() == [10, 20]


def test_other_classes_are_others() -> None:
    bag = Tracked(77, 5, float(SCORES[0]), moved(0), tuple(float(value) for value in BOXES[0]))  # type: ignore[arg-type]
    assert join(BOXES, SCORES, CLASSES, [bag]).tolist() == [-1, -1, -1]


def test_many_people_in_a_crowd() -> None:
    rng = np.random.default_rng(3)
    centers = rng.uniform(0, 1000, (60, 2))
    boxes = np.concatenate([centers - 40, centers + 40], axis=1).astype(np.float32)
    scores = rng.uniform(0.3, 1, 60).astype(np.float32)
    objects = [
        Tracked(1000 + row, 0, float(scores[row]), tuple(float(value) for value in boxes[row] + rng.uniform(-3, 3)))  # type: ignore[arg-type]
        for row in rng.permutation(60)
    ]
    assert join(boxes, scores, np.zeros(60, np.int64), objects).tolist() == list(range(1000, 1060))


def test_poses_go_with_the_boxes_through_frames_without_inference() -> None:
    nobody = Poses.empty(COCO_17)
    carried = Carried(nobody)
    assert carried.predict([Tracked(1, 0, -0.1, (0, 0, 10, 10))]) is nobody
    poses = poses_of([person(100), person(300), person(500)]).with_track_ids(np.array([5, -1, 6]))
    carried.remember(poses)
    left, top, right, bottom = (float(value) for value in poses.boxes_xyxy[2])
    width, height = right - left, bottom - top
    # To the right by its width, and twice as large.
    grown = left + width, top, left + 3 * width, top + 2 * height
    found = carried.predict([Tracked(9, 0, -0.1, (0, 0, 10, 10)), Tracked(6, 0, -0.1, grown)])
    assert found.track_ids.tolist() == [6]
    np.testing.assert_allclose(found.boxes_xyxy[0], grown, rtol=1e-5)
    before = (poses.keypoints[2, :, :2] - [left, top]) / [width, height]
    after = (found.keypoints[0, :, :2] - grown[:2]) / [2 * width, 2 * height]
    np.testing.assert_allclose(after, before, atol=1e-4)
    np.testing.assert_array_equal(found.keypoints[0, :, 2], poses.keypoints[2, :, 2])
    carried.remember(nobody)
    assert len(carried.predict([Tracked(6, 0, -0.1, grown)])) == 0
