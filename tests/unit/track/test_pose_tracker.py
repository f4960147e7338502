"""What a user notices of tracking: who keeps an identity, and who does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from people import person, poses_of
from tensortap.skeletons import skeleton_for
from tensortap.track.pose import PoseTracker
from tensortap.types import Poses

SECOND = 1_000_000_000


def run(tracker: PoseTracker, scene: Callable[[float], list[np.ndarray]], times: np.ndarray) -> list[list[int]]:
    """Identities of everybody in a scene, frame by frame; the scene always lists its people in the same order."""
    return [tracker.update(poses_of(scene(time)), round(time * SECOND)).track_ids.tolist() for time in times]


def crossing(time: float) -> list[np.ndarray]:
    """Two people who walk through each other at the same height; one faces us, the other shows the back."""
    swing = float(np.sin(time * 6))
    return [person(100 + 160 * time, facing=1, stride=swing), person(500 - 160 * time, facing=-1, stride=-swing)]


def meeting(time: float) -> list[np.ndarray]:
    """Two people who walk up to each other until one hides the other, and turn on their heels."""
    there = 1.0 - abs(time - 1.0)
    return [person(240 + 59 * there, facing=1), person(360 - 59 * there, facing=-1)]


@pytest.mark.parametrize("rate", [5, 10, 25, 30, 60])
def test_crossing_people_keep_their_identities(rate: int) -> None:
    times = np.arange(0, 2.5, 1 / rate)
    assert all(each == [1, 2] for each in run(PoseTracker(), crossing, times))
    if rate in (10, 30, 60):
        # The boxes alone swap them for a moment, though not at 5 and 25 frames a second.
        assert any(each != [1, 2] for each in run(PoseTracker(oks_weight=0), crossing, times))


@pytest.mark.parametrize("rate", [15, 25])
def test_people_who_meet_and_turn_back_are_told_apart_by_their_poses(rate: int) -> None:
    times = np.arange(0, 2, 1 / rate)
    assert run(PoseTracker(), meeting, times)[-1] == [1, 2]
    # The boxes alone cannot tell: they lead on through each other. If this ever passes, the test above shows nothing.
    assert run(PoseTracker(oks_weight=0), meeting, times)[-1] != [1, 2]


@pytest.mark.parametrize("rate", [5, 15, 60])
def test_the_frame_rate_does_not_matter(rate: int) -> None:
    ids = run(PoseTracker(), lambda time: [person(80 + 120 * time), person(400 + 20 * time)], np.arange(0, 3, 1 / rate))
    assert {tuple(each) for each in ids} == {(1, 2)}


def test_somebody_hidden_for_a_moment_comes_back_as_the_same() -> None:
    tracker = PoseTracker(lost_seconds=1.0)
    for step in range(60):
        time = step / 20
        people = [person(600 - 30 * time)] + ([] if 1.0 <= time < 1.5 else [person(80 + 100 * time)])
        ids = tracker.update(poses_of(people), round(time * SECOND)).track_ids.tolist()
    assert ids == [1, 2]


def test_somebody_gone_for_long_is_somebody_new() -> None:
    tracker = PoseTracker(lost_seconds=1.0)
    for step in range(80):
        time = step / 20
        there = not 1.0 <= time < 2.6
        ids = tracker.update(poses_of([person(100)] if there else []), round(time * SECOND)).track_ids.tolist()
    assert ids == [2]


def test_a_gap_in_time_is_counted_as_time() -> None:
    for gap_seconds, expected in ((0.8, [1]), (5.0, [-1])):
        tracker = PoseTracker(lost_seconds=1.0)
        for step in range(20):
            tracker.update(poses_of([person(100 + step * 3)]), step * SECOND // 20)
        later = tracker.update(poses_of([person(160 + gap_seconds * 60)]), SECOND + round(gap_seconds * SECOND))
        assert later.track_ids.tolist() == expected


def test_a_clock_that_jumps_back_keeps_identities() -> None:
    tracker = PoseTracker()
    for step in range(10):
        tracker.update(poses_of([person(100 + step)]), 1000 * SECOND + step * SECOND // 25)
    for step in range(10):
        ids = tracker.update(poses_of([person(110 + step)]), step * SECOND // 25).track_ids.tolist()
    assert ids == [1]


@pytest.mark.parametrize("pts_ns", [0, -5 * SECOND, 10**18])
def test_a_clock_that_is_set_or_stands_still_keeps_identities(pts_ns: int) -> None:
    tracker = PoseTracker()
    for step in range(10):
        tracker.update(poses_of([person(100 + step)]), step * SECOND // 25)
    for step in range(10):
        ids = tracker.update(poses_of([person(110 + step)]), pts_ns).track_ids.tolist()
    assert ids == [1]
    # Time goes on even so: somebody who left is forgotten.
    for _ in range(60):
        tracker.update(poses_of([]), pts_ns)
    tracker.update(poses_of([person(119)]), pts_ns)
    assert tracker.update(poses_of([person(119)]), pts_ns).track_ids.tolist() == [2]


def test_a_slow_camera_keeps_identities_longer_than_lost_seconds() -> None:
    tracker = PoseTracker(lost_seconds=1.0)
    ids = [tracker.update(poses_of([person(100 + step)]), 3 * step * SECOND).track_ids.tolist() for step in range(6)]
    assert ids == [[1]] * 6


def test_somebody_in_a_hurry_is_found_again_by_a_slow_camera() -> None:
    # 2 m/s at five frames a second: from one frame to the next the boxes do not touch.
    times = np.arange(0, 2, 1 / 5)
    assert set(map(tuple, run(PoseTracker(), lambda time: [person(100 + 240 * time)], times))) == {(1,)}


def test_somebody_who_leaves_and_somebody_who_comes_are_two() -> None:
    tracker = PoseTracker()
    for step in range(60):
        time = step / 20
        people = [person(100 + 200 * time)] if time < 1 else [person(700 - 200 * (time - 1.5))] if time >= 1.5 else []
        ids = tracker.update(poses_of(people), round(time * SECOND)).track_ids.tolist()
    assert ids == [2]


def test_somebody_new_is_believed_at_the_second_look() -> None:
    tracker = PoseTracker()
    seen = []
    for step in range(6):
        people = [person(100)] + ([person(400)] if step >= 2 else [])
        seen.append(tracker.update(poses_of(people), step * SECOND // 25).track_ids.tolist())
    assert seen == [[1], [1], [1, -1], [1, 2], [1, 2], [1, 2]]


def test_faint_people_keep_an_identity_but_start_none() -> None:
    tracker = PoseTracker(high_threshold=0.5, new_threshold=0.5)
    for step in range(12):
        scores = [0.9 if step < 4 else 0.3, 0.3]
        ids = tracker.update(poses_of([person(100 + step), person(400)], scores), step * SECOND // 25).track_ids.tolist()
    assert ids == [1, -1]
    # Below the low threshold they do not even keep one.
    poses = poses_of([person(112), person(400)], [0.05, 0.05])
    assert tracker.update(poses, 12 * SECOND // 25).track_ids.tolist() == [-1, -1]


def test_faint_people_do_not_take_the_tracks_of_clear_ones() -> None:
    tracker = PoseTracker(high_threshold=0.5, new_threshold=0.5)
    for step in range(4):
        tracker.update(poses_of([person(100)]), step * SECOND // 25)
    # The faint one is nearer, the clear one comes first.
    assert tracker.update(poses_of([person(100), person(110)], [0.3, 0.9]), 4 * SECOND // 25).track_ids.tolist() == [-1, 1]


def test_classes_never_take_each_others_identity() -> None:
    tracker = PoseTracker()
    for step in range(5):
        tracker.update(poses_of([person(100)], class_ids=[0]), step * SECOND // 25)
    for step in range(5, 9):
        ids = tracker.update(poses_of([person(100)], class_ids=[1]), step * SECOND // 25).track_ids.tolist()
    assert ids == [2]


def test_streams_do_not_share_identities() -> None:
    first, second = PoseTracker(), PoseTracker()
    for step in range(5):
        first.update(poses_of([person(100), person(300)]), step * SECOND // 25)
    assert second.update(poses_of([person(100)]), 0).track_ids.tolist() == [1]


def test_people_without_confident_keypoints_are_tracked_by_their_boxes() -> None:
    tracker = PoseTracker()
    for step in range(10):
        keypoints = person(100 + 4 * step)
        keypoints[:, 2] = 0.05
        ids = tracker.update(poses_of([keypoints]), step * SECOND // 25).track_ids.tolist()
    assert ids == [1]


@pytest.mark.parametrize("num_keypoints", [0, 4, 26])
def test_any_number_of_keypoints(num_keypoints: int) -> None:
    skeleton = skeleton_for(num_keypoints)
    tracker = PoseTracker()
    for step in range(10):
        poses = poses_of([person(100 + 4 * step), person(400)])
        keypoints = np.ones((2, num_keypoints, 3), np.float32)
        keypoints[..., :2] = poses.boxes_xyxy[:, None, :2] + np.arange(num_keypoints)[None, :, None]
        ids = tracker.update(
            Poses(poses.boxes_xyxy, poses.scores, poses.class_ids, keypoints, skeleton), step * SECOND // 25
        ).track_ids.tolist()
    assert ids == [1, 2]
    # Another model on the same stream starts again instead of failing.
    assert tracker.update(poses_of([person(136)]), 10 * SECOND // 25).track_ids.tolist() == [-1]


def test_boxes_that_are_no_boxes_stay_untracked_and_harm_nobody() -> None:
    tracker = PoseTracker()
    for step in range(10):
        poses = poses_of([person(100 + step), person(300), person(500)])
        boxes, keypoints = poses.boxes_xyxy.copy(), poses.keypoints.copy()
        boxes[1], boxes[2] = (np.nan, np.inf, -np.inf)[step % 3], (50, 50, 10, 10)
        keypoints[1] = np.inf
        broken = Poses(boxes, poses.scores, poses.class_ids, keypoints, poses.skeleton)
        ids = tracker.update(broken, step * SECOND // 25).track_ids.tolist()
        assert ids == [1, -1, -1]


def test_nan_keypoints_do_not_poison_a_track() -> None:
    tracker = PoseTracker()
    for step in range(12):
        poses = poses_of([person(100 + step)])
        keypoints = poses.keypoints.copy()
        if step % 5 == 4:
            keypoints[:] = np.nan
        ids = tracker.update(
            Poses(poses.boxes_xyxy, poses.scores, poses.class_ids, keypoints, poses.skeleton), step * SECOND // 25
        ).track_ids.tolist()
        assert ids == [1]  # the boxes go on where the keypoints fail


def test_predict_moves_people_and_changes_nothing() -> None:
    tracker = PoseTracker()
    for step in range(40):
        tracker.update(poses_of([person(100 + 100 * step / 20), person(500)]), step * SECOND // 20)
    now = 39 * SECOND // 20
    later = tracker.predict(now + SECOND // 5)
    expected = person(100 + 100 * (39 / 20 + 0.2))
    assert later.track_ids.tolist() == [1, 2]
    np.testing.assert_allclose(later.keypoints[0, :, :2], expected[:, :2], atol=4)
    np.testing.assert_allclose(later.boxes_xyxy[0], poses_of([expected]).boxes_xyxy[0], atol=4)
    np.testing.assert_array_equal(tracker.predict(now + SECOND // 5).boxes_xyxy, later.boxes_xyxy)
    # Somebody who was not found in the last frame is not made up.
    tracker.update(poses_of([person(500)]), now + SECOND // 20)
    assert tracker.predict(now + SECOND // 10).track_ids.tolist() == [2]


def test_predict_before_anything_was_seen() -> None:
    with pytest.raises(RuntimeError, match="needs an update"):
        PoseTracker().predict(0)
