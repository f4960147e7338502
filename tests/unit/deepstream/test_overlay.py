"""Poses as objects and drawings: inside the surface, within the limits, whatever the poses are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from people import person, poses_of
from tensortap.deepstream.metadata import MAX_ELEMENTS
from tensortap.deepstream.overlay import clipped, clipped_segment, drawings_of, objects_of
from tensortap.skeletons import COCO_17
from tensortap.types import Poses

SURFACE = (640, 360)


def test_people_become_objects() -> None:
    poses = poses_of([person(100), person(400)], [0.875, 0.5], [0, 1]).with_track_ids(np.array([7, -1]))
    (first, one), (second, other) = objects_of(poses, SURFACE, 3, ["person", "rider"])
    assert (first, second) == (0, 1)
    assert (one.component_id, one.class_id, one.label, one.confidence, one.track_id) == (3, 0, "person", 0.875, 7)
    assert one.text == "person #7 0.88"
    assert (other.label, other.track_id, other.text) == ("rider", -1, "rider 0.50")
    np.testing.assert_allclose(one.box_xyxy, poses.boxes_xyxy[0])


def test_classes_without_a_name() -> None:
    [(_, found)] = objects_of(poses_of([person(100)], class_ids=[4]), SURFACE, 1, ["person"])
    assert found.label == "class 4"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-20, -10, 100, 50), (0, 0, 100, 50)),
        ((600, 300, 700, 400), (600, 300, 640, 360)),
        ((-50, 10, -1, 50), None),
        ((639.5, 10, 700, 50), None),
        ((50, 50, 40, 90), None),
        ((float("nan"), 0, 10, 10), None),
        ((0, 0, float("inf"), 10), None),
    ],
)
def test_boxes_are_clipped_to_the_surface(box: tuple[float, ...], expected: tuple[float, ...] | None) -> None:
    assert clipped(np.array(box, np.float32), SURFACE) == expected


def test_somebody_outside_is_no_object_and_rows_stay_true() -> None:
    poses = poses_of([person(-300), person(200)])
    assert [row for row, _ in objects_of(poses, SURFACE, 1, ["person"])] == [1]


def test_a_person_takes_two_drawings() -> None:
    """17 joints and 19 limbs; 16 of each fit."""
    drawings = drawings_of(poses_of([person(300, top=50)]), SURFACE)
    assert [(len(each.lines), len(each.circles)) for each in drawings] == [(16, 16), (3, 1)]


@pytest.mark.parametrize("num_people", [0, 1, 2, 16, 30])
def test_nothing_is_lost_between_drawings(num_people: int) -> None:
    poses = poses_of([person(20 + 20 * number, top=50) for number in range(num_people)])
    drawings = drawings_of(poses, SURFACE)
    assert sum(len(each.lines) for each in drawings) == 19 * num_people
    assert sum(len(each.circles) for each in drawings) == 17 * num_people
    assert len(drawings) == -(-19 * num_people // MAX_ELEMENTS)  # no more than it takes


def test_keypoints_that_are_not_sure_are_left_out() -> None:
    keypoints = person(300, top=50)
    keypoints[0, 2] = 0.1  # the nose, where two limbs end
    keypoints[1, 0] = np.nan  # an eye, where three more do, one of them to the nose
    [first, *rest] = drawings_of(poses_of([keypoints]), SURFACE)
    drawings = [first, *rest]
    assert sum(len(each.circles) for each in drawings) == 15
    ends = {0, 1}
    assert sum(len(each.lines) for each in drawings) == sum(not ends & set(edge) for edge in COCO_17.edges)


values = (
    st.floats(-1e6, 1e6) | st.floats(width=32) | st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, 639.5, 359.5])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=17, max_size=17), st.sampled_from([SURFACE, (1, 1), (2, 1080)]))
def test_every_coordinate_can_be_written(points: list[tuple[float, float]], surface_wh: tuple[int, int]) -> None:
    keypoints = np.ones((1, 17, 3), np.float32)
    keypoints[0, :, :2] = points
    poses = Poses(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), keypoints, COCO_17)
    for drawing in drawings_of(poses, surface_wh):
        for line in drawing.lines:
            assert all(type(value) is int for value in (line.x1, line.y1, line.x2, line.y2, line.width))
            assert 0 <= line.x1 < surface_wh[0]
            assert 0 <= line.x2 < surface_wh[0]
            assert 0 <= line.y1 < surface_wh[1]
            assert 0 <= line.y2 < surface_wh[1]
        for circle in drawing.circles:
            assert type(circle.x) is type(circle.y) is type(circle.radius) is int
            assert 0 <= circle.x < surface_wh[0]
            assert 0 <= circle.y < surface_wh[1]


@settings(deadline=None)
@given(*[st.floats(-2000, 2000) for _ in range(4)])
def test_lines_are_cut_and_not_turned(x1: float, y1: float, x2: float, y2: float) -> None:
    found = clipped_segment((x1, y1), (x2, y2), SURFACE)
    along = np.linspace(0, 1, 2001)
    xs, ys = x1 + (x2 - x1) * along, y1 + (y2 - y1) * along
    inside = (xs >= 0) & (xs <= SURFACE[0] - 1) & (ys >= 0) & (ys <= SURFACE[1] - 1)
    if found is None:
        assert not inside.any()
        return
    ends = np.array(found, np.float64).reshape(2, 2)
    for x, y in ends:  # on the line, but for the rounding
        length = max(np.hypot(x2 - x1, y2 - y1), 1e-9)
        distance = abs((x2 - x1) * (y1 - y) - (x1 - x) * (y2 - y1)) / length if length > 1e-6 else np.hypot(x - x1, y - y1)
        assert distance <= 0.75
    if inside.any():  # and as long as what is inside
        seen = np.hypot(np.ptp(xs[inside]), np.ptp(ys[inside]))
        assert abs(np.hypot(*(ends[1] - ends[0])) - seen) <= 0.005 * 5700 + 2
