"""What every tracker promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from people import person, poses_of
from tensortap import registry
from tensortap.types import Poses


def trackers() -> list[Any]:
    return [
        pytest.param(
            lambda name=name: registry.load("tracker", registry.TRACKERS, name)(),
            id=name,
            marks=pytest.mark.skipif(bool(registry.missing_modules(entry)), reason=f"{name} is not installed: {entry.install}"),
        )
        for name, entry in registry.TRACKERS.items()
    ]


@pytest.fixture(params=trackers())
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return request.param


def random_frames(seed: int, num_frames: int = 30) -> list[Poses]:
    generator = np.random.default_rng(seed)
    frames = []
    for _ in range(num_frames):
        count = int(generator.integers(0, 7))
        people = [person(float(x), top=float(y)) for x, y in generator.uniform(0, 600, (count, 2))]
        frames.append(poses_of(people, generator.uniform(0.25, 1, count).tolist()))
    return frames


def test_same_people_in_the_same_order(make: Callable[[], Any]) -> None:
    tracker = make()
    for step, poses in enumerate(random_frames(1)):
        for array in (poses.boxes_xyxy, poses.scores, poses.keypoints, poses.class_ids, poses.track_ids):
            array.flags.writeable = False
        tracked = tracker.update(poses, step * 40_000_000)
        np.testing.assert_array_equal(tracked.boxes_xyxy, poses.boxes_xyxy)
        np.testing.assert_array_equal(tracked.keypoints, poses.keypoints)
        np.testing.assert_array_equal(tracked.scores, poses.scores)
        assert tracked.track_ids.dtype == np.int64
        known = tracked.track_ids[tracked.track_ids >= 0]
        assert len(np.unique(known)) == len(known)
        assert (known >= 1).all()


def test_nobody_in_nobody_out(make: Callable[[], Any]) -> None:
    tracker = make()
    for step in range(3):
        assert len(tracker.update(poses_of([]), step * 40_000_000)) == 0
    assert len(tracker.predict(200_000_000)) == 0


def test_predictions_are_people_of_the_last_frame(make: Callable[[], Any]) -> None:
    tracker = make()
    for step in range(8):
        tracked = tracker.update(poses_of([person(200 + step), person(500)]), step * 40_000_000)
    for pts_ns in (0, 7 * 40_000_000, 8 * 40_000_000, 10**15):
        predicted = tracker.predict(pts_ns)
        assert set(predicted.track_ids.tolist()) <= set(tracked.track_ids.tolist())
        assert np.isfinite(predicted.boxes_xyxy).all()


def test_any_clock_will_do(make: Callable[[], Any]) -> None:
    tracker = make()
    for pts_ns in (0, 0, 40_000_000, -(10**12), 10**18, 10**18 + 1, 5):
        assert len(tracker.update(poses_of([person(200)]), pts_ns)) == 1


def test_objects_do_not_share_identities(make: Callable[[], Any]) -> None:
    first, second = make(), make()
    for step in range(20):
        for tracker, people in ((first, [person(100), person(300)]), (second, [person(500)])):
            ids = tracker.update(poses_of(people), step * 40_000_000).track_ids.tolist()
    assert ids == [1]


def test_somebody_who_stands_still_keeps_one_identity(make: Callable[[], Any]) -> None:
    tracker = make()
    ids = [int(tracker.update(poses_of([person(200)]), step * 40_000_000).track_ids[0]) for step in range(20)]
    assert set(ids[5:]) == {1}


def test_the_same_frames_give_the_same_identities(make: Callable[[], Any]) -> None:
    outcomes = []
    for _ in range(2):
        tracker = make()
        outcomes.append(
            [tracker.update(poses, step * 40_000_000).track_ids.tolist() for step, poses in enumerate(random_frames(7))]
        )
    assert outcomes[0] == outcomes[1]
