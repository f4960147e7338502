"""roboflow/trackers behind our seam: identities must land on the rows they belong to."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from people import person, poses_of

pytest.importorskip("trackers", reason="pip install trackers, in an environment of its own: docs/tracking.md")

from tensortap.errors import UsageError
from tensortap.track.roboflow import ALGORITHMS, RoboflowTracker
from tensortap.types import Poses

FRAME_NS = 40_000_000


@pytest.fixture(params=sorted(ALGORITHMS))
def tracker(request: pytest.FixtureRequest) -> RoboflowTracker:
    return RoboflowTracker(request.param, frame_rate=25.0)


def test_identities_follow_people_through_any_order(tracker: RoboflowTracker) -> None:
    generator = np.random.default_rng(3)
    whose: dict[int, set[int]] = {}
    for step in range(30):
        order = generator.permutation(4)
        people = [person(100 + 150 * who + 2 * step) for who in order.tolist()]
        scores = generator.uniform(0.75, 1, 4).tolist()
        tracked = tracker.update(poses_of(people, scores), step * FRAME_NS)
        for who, track_id in zip(order.tolist(), tracked.track_ids.tolist(), strict=True):
            if track_id >= 0:
                whose.setdefault(who, set()).add(track_id)
    assert sorted(map(sorted, whose.values())) == [[1], [2], [3], [4]]


def test_faint_people_stay_in_their_rows(tracker: RoboflowTracker) -> None:
    for step in range(20):
        people = [person(500), person(100 + step), person(300)]
        tracked = tracker.update(poses_of(people, [0.1, 0.9, 0.1]), step * FRAME_NS)
    assert tracked.track_ids.tolist() == [-1, 1, -1]


def test_broken_boxes_stay_untracked_and_harm_nobody(tracker: RoboflowTracker) -> None:
    for step in range(12):
        poses = poses_of([person(100), person(300 + step), person(500)])
        boxes = poses.boxes_xyxy.copy()
        boxes[0], boxes[2] = np.nan, (50, 50, 10, 10)
        ids = tracker.update(
            Poses(boxes, poses.scores, poses.class_ids, poses.keypoints, poses.skeleton), step * FRAME_NS
        ).track_ids.tolist()
    assert ids == [-1, 1, -1]


def test_a_clock_that_jumps_back_keeps_identities(tracker: RoboflowTracker) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(20):
            pts_ns = 10**12 + step * FRAME_NS if step < 10 else step * FRAME_NS
            ids = tracker.update(poses_of([person(100 + step)]), pts_ns).track_ids.tolist()
    assert ids == [1]


def test_unknown_names_and_settings_are_named() -> None:
    with pytest.raises(UsageError, match="Choose one of: botsort, bytetrack"):
        RoboflowTracker("deepsort")
    with pytest.raises(UsageError, match="colour"):
        RoboflowTracker("sort", colour="red")
