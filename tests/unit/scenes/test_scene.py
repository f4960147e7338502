"""Scenes: always the same, and their truth is what the picture shows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tensortap.errors import UsageError
from tensortap.scenes import HELD_OUT_ACTIONS, HELD_OUT_BACKGROUNDS, SETTINGS, Scene, Setting, Truth, random_setting
from tensortap.scenes.backgrounds import BACKGROUNDS
from tensortap.scenes.body import JOINT
from tensortap.scenes.figures import Shape, hidden_keypoints
from tensortap.scenes.motion import ACTIONS
from tensortap.skeletons import COCO_17

NOSE = COCO_17.keypoint_names.index("nose")


def clean(name: str = "street", **changes: object) -> Setting:
    """A setting without grain, blur and light, so that the figures are what differs from the background."""
    return replace(SETTINGS[name], light=(1.0, 1.0), noise=(0.0, 0.0), blur=(0.0, 0.0), things=(0, 0), **changes)


def changed(scene: Scene, index: int) -> np.ndarray:
    """bool (H, W): where somebody is, by comparing with the same scene without people."""
    with_people = scene.frame(index).image.astype(int)
    without = Scene(scene.setting, 0, scene.seed, scene.size_wh, scene.frame_rate).frame(index).image
    return np.abs(with_people - without).max(axis=2) > 3


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_equal_arguments_make_equal_scenes(name: str) -> None:
    first, second = (Scene(name, 4, 7, (320, 240), 25.0) for _ in range(2))
    late = first.frame(90)
    first.frame(3), second.frame(50)  # other frames asked for before change nothing
    np.testing.assert_array_equal(late.image, second.frame(90).image)
    np.testing.assert_array_equal(late.truth.keypoints, second.frame(90).truth.keypoints)
    assert (Scene(name, 4, 8, (320, 240), 25.0).frame(90).image != late.image).any()


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_keypoints_lie_on_the_figures(name: str) -> None:
    hits = total = 0
    for seed in range(4):
        scene = Scene(clean(name), 5, seed, (960, 540), 10.0)
        for index in (0, 33, 71):
            truth = scene.frame(index).truth
            mask = changed(scene, index)
            places = truth.keypoints[truth.visibility == 2]
            columns, rows = np.floor(places).astype(int).T
            hits += int(mask[rows, columns].sum())
            total += len(places)
    assert total > 150
    assert hits / total > 0.97  # clothes may have the colour of what is behind them


def test_boxes_hold_the_figures_and_nothing_else() -> None:
    scene = Scene(clean("gym"), 1, 3, (640, 480), 10.0)
    for index in (0, 20, 40):
        truth = scene.frame(index).truth
        rows, columns = np.nonzero(changed(scene, index))
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(truth.boxes_xyxy[0], seen, atol=2.5)
        assert truth.areas[0] == pytest.approx(len(rows), rel=0.15)  # rims are drawn beyond the shapes


def test_whoever_looks_away_hides_the_nose() -> None:
    checked = {2: 0, 1: 0}
    for seed in range(24):
        scene = Scene(clean("gym", places=(1, 1), actions=("stand",)), 1, seed, (64, 48), 10.0)
        for index in range(0, 200, 10):
            frame = scene.frame(index)
            _, heading, _ = scene._rounds[0].at(frame.pts_ns / 1e9)
            towards_camera = -np.cos(heading)
            if len(frame.truth) and abs(towards_camera) > 0.9 and frame.truth.visibility[0, NOSE]:
                expected = 2 if towards_camera > 0 else 1
                assert frame.truth.visibility[0, NOSE] == expected
                checked[expected] += 1
    assert min(checked.values()) >= 3


def test_what_is_painted_later_hides() -> None:
    points = np.full((2, len(JOINT), 2), 50.0)
    points[1] += 100
    depths = np.zeros((2, len(JOINT)))
    behind = Shape(-1, "thing", np.array([[140.0, 140], [160, 140], [160, 160], [140, 160]]), (0, 0, 0))
    limb = Shape(0, "left_forearm", np.array([[45.0, 45], [55, 45], [55, 55], [45, 55]]), (0, 0, 0))
    other = Shape(1, "left_forearm", limb.points + 100, (0, 0, 0))
    before = Shape(-1, "thing", np.array([[40.0, 40], [60, 40], [60, 60], [40, 60]]), (0, 0, 0))
    wrist = COCO_17.keypoint_names.index("left_wrist")
    hidden = hidden_keypoints([behind, limb, other, before], points, depths)
    assert hidden[0, wrist]
    assert not hidden[1, wrist]


def test_the_place_of_a_hidden_keypoint_can_be_told_next_to_one_in_sight() -> None:
    visibility = np.zeros((1, 17), np.int64)
    shoulder, elbow, wrist, knee = (
        COCO_17.keypoint_names.index(f"left_{part}") for part in ("shoulder", "elbow", "wrist", "knee")
    )
    visibility[0, shoulder] = 2
    visibility[0, [elbow, wrist, knee]] = 1
    nobody = np.zeros((1, 4), np.float32)
    truth = Truth(nobody, np.zeros((1, 17, 2), np.float32), visibility, np.array([1]), np.ones(1, np.float32))
    assert np.flatnonzero(truth.tellable[0]).tolist() == [shoulder, elbow]


def test_people_are_outside_inside_and_before_each_other() -> None:
    """What makes a scene worth testing with happens in it: crossing, hiding, coming and going."""
    scene = Scene("street", 6, 3, (640, 360), 10.0)
    truths = [scene.frame(index).truth for index in range(0, 300, 2)]
    assert len({len(truth) for truth in truths}) > 1, "nobody comes or goes"
    assert any((truth.visibility == 1).all(axis=1).any() or (truth.visibility == 1).sum() > 25 for truth in truths)
    sides = [{int(who): float(box[0]) for who, box in zip(truth.person_ids, truth.boxes_xyxy, strict=True)} for truth in truths]
    crossings = 0
    for before, after in pairwise(sides):
        shared = sorted(before.keys() & after.keys())
        crossings += sum((before[a] - before[b]) * (after[a] - after[b]) < 0 for a in shared for b in shared if a < b)
    assert crossings >= 5


def test_identities_move_smoothly() -> None:
    scene = Scene("street", 6, 2, (640, 360), 30.0)
    previous: dict[int, np.ndarray] = {}
    for index in range(120):
        truth = scene.frame(index).truth
        now = {int(who): points for who, points in zip(truth.person_ids, truth.keypoints, strict=True)}
        for who in now.keys() & previous.keys():
            assert np.abs(now[who][5:] - previous[who][5:]).max() < 30  # faces may turn faster
        previous = now


def test_another_size_shows_the_same() -> None:
    small, large = (Scene(clean(), 5, 1, (320 * factor, 180 * factor), 10.0).frame(12).truth for factor in (1, 4))
    np.testing.assert_array_equal(small.person_ids, large.person_ids)
    np.testing.assert_allclose(small.keypoints * 4, large.keypoints, atol=1e-2)


def test_nobody_is_an_empty_truth() -> None:
    frame = Scene("room", 0, 0, (320, 240)).frame(5)
    assert len(frame.truth) == 0
    assert frame.truth.keypoints.shape == (0, 17, 2)
    assert frame.image.shape == (240, 320, 3)


def test_what_is_held_out_is_not_trained_on() -> None:
    setting = random_setting(np.random.default_rng(0))
    assert not set(setting.backgrounds) & set(HELD_OUT_BACKGROUNDS)
    assert not set(setting.actions) & set(HELD_OUT_ACTIONS)
    for named in SETTINGS.values():
        assert set(named.backgrounds) <= set(BACKGROUNDS)
        assert set(named.actions) <= set(ACTIONS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"setting": "moon"}, "no scene called 'moon'.*street"),
        ({"people": -1}, "-1 people"),
        ({"size_wh": (4, 4)}, "4x4"),
        ({"frame_rate": 0.0}, "0 frames a second"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Scene(**arguments)
