"""Bodies: angles mean what they are called, and bones keep their lengths."""

from __future__ import annotations

import numpy as np
import pytest

from tensortap.scenes.body import ANGLE, ANGLES, JOINT, Proportions, joints_of
from tensortap.scenes.motion import ACTIONS, Habit

LEFT, UP, FORWARD = 0, 1, 2
BONES = (
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("left_shoulder", "right_shoulder"),
    ("left_eye", "right_eye"),
)


def body(num_people: int = 1) -> Proportions:
    return Proportions.drawn_by_lot(np.random.default_rng(0), num_people)


def joints(**angles: float) -> dict[str, np.ndarray]:
    pose = np.zeros((1, len(ANGLES)))
    for name, value in angles.items():
        pose[0, ANGLE[name]] = value
    found = joints_of(pose, body())[0]
    return {name: found[row] for name, row in JOINT.items()}


def test_somebody_stands_upright_on_the_ground() -> None:
    at = joints()
    order = ["left_toe", "left_ankle", "left_knee", "left_hip", "left_shoulder", "nose", "left_eye"]
    assert sorted(order, key=lambda name: at[name][UP]) == order
    assert at["left_hip"][LEFT] > 0 > at["right_hip"][LEFT]
    assert at["nose"][FORWARD] > at["left_ear"][FORWARD]
    assert 0 < at["left_toe"][UP] < 0.06
    assert 0.8 < at["nose"][UP] < 1.0


@pytest.mark.parametrize(
    ("angles", "joint", "than", "axis"),
    [
        ({"left_arm_pitch": 1.5}, "left_wrist", "left_shoulder", FORWARD),
        ({"left_arm_abduct": 1.5}, "left_wrist", "left_shoulder", LEFT),
        ({"left_arm_abduct": 3.0}, "left_wrist", "left_shoulder", UP),
        ({"left_arm_abduct": 1.57, "left_elbow": 1.57, "left_arm_twist": 1.57}, "left_wrist", "left_elbow", UP),
        ({"right_arm_abduct": 1.57, "right_elbow": 1.57, "right_arm_twist": 1.57}, "right_wrist", "right_elbow", UP),
        ({"right_elbow": 1.5}, "right_wrist", "right_elbow", FORWARD),
        ({"left_leg_pitch": 1.2}, "left_knee", "left_hip", FORWARD),
        ({"left_knee": 1.2}, "left_knee", "left_ankle", FORWARD),
        ({"torso_pitch": 0.6}, "chest", "pelvis", FORWARD),
        ({"torso_roll": 0.4}, "chest", "pelvis", LEFT),
        ({"head_yaw": 0.6}, "nose", "head", LEFT),
        ({"torso_yaw": 0.5}, "right_shoulder", "left_shoulder", FORWARD),
    ],
)
def test_angles_mean_what_they_are_called(angles: dict[str, float], joint: str, than: str, axis: int) -> None:
    at = joints(**angles)
    assert at[joint][axis] > at[than][axis] + 0.03


def test_bones_keep_their_lengths_whatever_the_posture() -> None:
    rng = np.random.default_rng(1)
    build = body(50)
    bent = joints_of(rng.uniform(-1.5, 1.5, (50, len(ANGLES))), build)
    straight = joints_of(np.zeros((50, len(ANGLES))), build)
    for first, second in BONES:
        lengths = [np.linalg.norm(at[:, JOINT[first]] - at[:, JOINT[second]], axis=1) for at in (bent, straight)]
        np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-9)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_actions_are_smooth_and_keep_the_feet_on_the_ground(action: str) -> None:
    habit = Habit.drawn_by_lot(np.random.default_rng(2))
    poses = np.array([ACTIONS[action](time, habit) for time in np.arange(0, 4, 0.02)])
    assert np.isfinite(poses).all()
    assert np.abs(np.diff(poses, axis=0)).max() < 0.6
    build = Proportions(*(np.repeat(getattr(body(), name), len(poses)) for name in Proportions.__dataclass_fields__))
    at = joints_of(poses, build)
    lowest = at[:, [JOINT["left_ankle"], JOINT["right_ankle"]], UP].min(axis=1)
    np.testing.assert_allclose(lowest, 0.045 + poses[:, ANGLE["lift"]], atol=1e-9)
