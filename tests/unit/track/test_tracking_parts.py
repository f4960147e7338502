"""The pieces of the tracker by themselves: filter, similarity, assignment and clock."""

from __future__ import annotations

import numpy as np
import pytest

from tensortap.geometry import iou_matrix, oks_matrix
from tensortap.skeletons import COCO_17
from tensortap.track.association import Pairs, assign, compare, grown_iou, pair_oks
from tensortap.track.clock import StreamClock
from tensortap.track.kalman import MEASUREMENT_STD, BoxFilter

SECOND = 1_000_000_000


def random_boxes(seed: int, count: int) -> np.ndarray:
    low, size = np.random.default_rng(seed).uniform(10, 200, (2, count, 2))
    return np.concatenate((low, low + size), axis=1)


def random_keypoints(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 17, 3)).astype(np.float32) * np.array([60, 60, 1], np.float32)


def test_iou_without_margin_is_iou() -> None:
    one, other = random_boxes(1, 5), random_boxes(2, 7)
    np.testing.assert_allclose(grown_iou(one, other, np.zeros((5, 2))), iou_matrix(one, other))


def test_a_margin_lets_boxes_meet_and_leaves_equal_ones_equal() -> None:
    box = np.array([[0.0, 0.0, 10.0, 20.0]])
    beside = box + np.array([12, 0, 12, 0])
    assert grown_iou(box, beside, np.zeros((1, 2)))[0, 0] == 0
    assert grown_iou(box, beside, np.full((1, 2), 4.0))[0, 0] > 0.1
    assert grown_iou(box, box, np.full((1, 2), 4.0))[0, 0] == pytest.approx(1)


def test_oks_of_pairs_is_that_of_the_matrix() -> None:
    one, other, areas = random_keypoints(1, 4), random_keypoints(2, 6), np.array([900, 400, 2500, 100], np.float32)
    expected = oks_matrix(one, other, areas[:, None], COCO_17.sigmas, 0.3)
    rows, columns = np.indices((4, 6)).reshape(2, -1)
    oks, num_counted = pair_oks(one[rows], other[columns], areas[rows], COCO_17.sigmas, 0.3)
    np.testing.assert_allclose(oks.reshape(4, 6), expected, rtol=1e-4, atol=1e-6)
    assert num_counted.reshape(4, 6)[1, 2] == ((one[1, :, 2] > 0.3) & (other[2, :, 2] > 0.3)).sum()


def test_unsure_keypoints_leave_the_boxes_to_decide() -> None:
    boxes, keypoints = random_boxes(3, 4), random_keypoints(3, 4)
    keypoints[..., 2] = 0.1
    pairs = compare(
        boxes,
        keypoints,
        np.zeros(4),
        np.zeros((4, 2)),
        boxes,
        keypoints[::-1],
        np.ones((4, 4), bool),
        COCO_17.sigmas,
        oks_weight=0.6,
        min_keypoint_score=0.3,
    )
    np.testing.assert_allclose(pairs.similarity, iou_matrix(boxes, boxes)[pairs.rows, pairs.columns])


@pytest.mark.parametrize("contested", [False, True])
def test_poses_are_not_looked_at_where_boxes_leave_no_question(contested: bool) -> None:
    boxes = np.array([[0.0, 0, 50, 100], [200, 0, 250, 100]])
    if contested:
        boxes[1] = boxes[0] + 10
    keypoints = random_keypoints(5, 2)
    arguments = (boxes, keypoints, np.zeros(2), np.zeros((2, 2)), boxes + 2, keypoints[::-1], np.ones((2, 2), bool))
    quick, thorough = (
        compare(*arguments, COCO_17.sigmas, oks_weight=0.6, min_keypoint_score=0.3, sure_iou=sure_iou)
        for sure_iou in (0.4, np.inf)
    )
    assert (quick.similarity == thorough.similarity).all() == contested
    everybody = np.ones(2, bool)
    found = [assign(pairs.where(everybody, everybody, 0.4), (2, 2)) for pairs in (quick, thorough)]
    np.testing.assert_array_equal(*found)


def test_the_assignment_is_the_best_of_all() -> None:
    rows, columns = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    similarity = np.array([0.9, 0.8, 0.7, 0.1])  # greedy would take 0.9 + 0.1
    found = assign(Pairs(rows, columns, similarity, similarity), (2, 2))
    assert sorted(zip(*map(np.ndarray.tolist, found), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("rate", [5, 15, 60])
def test_the_filter_learns_the_speed_at_any_frame_rate(rate: int) -> None:
    boxes = BoxFilter()
    boxes.append(np.array([[100.0, 100, 80, 200]]))
    for step in range(1, 2 * rate):
        boxes.predict(1 / rate)
        boxes.update(np.array([0]), np.array([[100 + 90 * step / rate, 100 - 30 * step / rate, 80, 200]]))
    np.testing.assert_allclose(boxes.motion(1.0)[0], [90, -30, 0, 0], atol=2)


def test_two_half_steps_are_one_step() -> None:
    once, twice = BoxFilter(), BoxFilter()
    for boxes in (once, twice):
        boxes.append(np.array([[100.0, 100, 80, 200]]))
        boxes.predict(0.1)
        boxes.update(np.array([0]), np.array([[110.0, 100, 84, 206]]))
    once.predict(0.4)
    twice.predict(0.2)
    twice.predict(0.2)
    np.testing.assert_allclose(once.position, twice.position, rtol=1e-9)
    np.testing.assert_allclose(once.spread(), twice.spread(), rtol=0.01)


def test_the_filter_is_surer_the_more_it_sees_and_less_sure_when_it_does_not() -> None:
    boxes = BoxFilter()
    boxes.append(np.array([[100.0, 100, 100, 100], [300.0, 100, 100, 100]]))
    for _ in range(20):
        boxes.predict(0.04)
        boxes.update(np.array([0]), boxes.position[:1].copy())
    seen, unseen = boxes.spread()[:, 0]
    assert seen < MEASUREMENT_STD * 100 < unseen


def test_boxes_never_shrink_to_nothing() -> None:
    boxes = BoxFilter()
    boxes.append(np.array([[100.0, 100, 80, 200]]))
    for size in (60, 30, 5):
        boxes.predict(0.04)
        boxes.update(np.array([0]), np.array([[100.0, 100, size, 2 * size]]))
    boxes.predict(10)
    assert (boxes.position[0, 2:] >= 1).all()


def test_the_clock_only_goes_forward() -> None:
    clock = StreamClock()
    times = [0, 40_000_000, 80_000_000, 80_000_000, 20_000_000, 60_000_000, 5_000 * SECOND, 5_001 * SECOND]
    steps = [clock.advance(time) for time in times]
    assert steps == pytest.approx([0, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 1.0])
    assert clock.seconds_until(5_001 * SECOND + 30_000_000) == pytest.approx(0.03)
    assert clock.seconds_until(0) == 0
