"""The body: joint angles and proportions -> joints in space, for many people at once.

A person's own axes are x to the left, y up, z forward, in units of the person's height, the origin on the ground below the
pelvis. Angles are radians and 0 for somebody who stands straight with the arms hanging.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ANGLES = (
    "torso_pitch",  # forward
    "torso_roll",  # to the left
    "torso_yaw",  # the left shoulder backward
    "head_pitch",  # down
    "head_yaw",  # to the left
    "left_arm_pitch",  # forward and up
    "left_arm_abduct",  # sideways and up
    "left_arm_twist",  # about the upper arm: where the bent elbow takes the hand, 0 forward
    "left_elbow",
    "right_arm_pitch",
    "right_arm_abduct",
    "right_arm_twist",
    "right_elbow",
    "left_leg_pitch",  # forward and up
    "left_leg_abduct",
    "left_knee",
    "right_leg_pitch",
    "right_leg_abduct",
    "right_knee",
    "lift",  # of the lowest foot above the ground, in heights: a jump
)
"""What the columns of an array of angles are."""
ANGLE = {name: column for column, name in enumerate(ANGLES)}

JOINTS = (
    "pelvis",
    "chest",
    "head",
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_toe",
    "right_toe",
    "hair",
    "mouth",
)
"""What the rows of an array of joints are."""
JOINT = {name: row for row, name in enumerate(JOINTS)}

_ANKLE_HEIGHT = 0.045
_DOWN = np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True, eq=False)
class Proportions:
    """Lengths of many people in units of their heights, each float64 (P,)."""

    torso: np.ndarray
    shoulders: np.ndarray
    """Half the distance between the shoulders."""
    hips: np.ndarray
    """Half the distance between the hips."""
    neck: np.ndarray
    """From between the shoulders to the middle of the head."""
    head: np.ndarray
    """Radius of the head."""
    upper_arm: np.ndarray
    forearm: np.ndarray
    thigh: np.ndarray
    shin: np.ndarray

    @classmethod
    def drawn_by_lot(cls, rng: np.random.Generator, num_people: int) -> Proportions:
        """Adults and children of many builds."""

        def around(mean: float, spread: float = 0.07) -> np.ndarray:
            return mean * rng.uniform(1 - spread, 1 + spread, num_people)

        child = rng.uniform(0, 1, num_people) < 0.15
        return cls(
            torso=around(0.285),
            shoulders=around(0.112, 0.15),
            hips=around(0.058, 0.15),
            neck=around(0.125) * np.where(child, 1.2, 1.0),
            head=around(0.066, 0.1) * np.where(child, 1.3, 1.0),
            upper_arm=around(0.168),
            forearm=around(0.148),
            thigh=around(0.24) * np.where(child, 0.92, 1.0),
            shin=around(0.235) * np.where(child, 0.92, 1.0),
        )


def joints_of(angles: np.ndarray, body: Proportions) -> np.ndarray:
    """Joints of P people.

    Args:
        angles: float64 (P, len(ANGLES)).
        body: their proportions.

    Returns:
        float64 (P, len(JOINTS), 3) in each person's own axes and height.
    """
    angle = dict(zip(ANGLES, angles.T, strict=True))
    joints = np.empty((len(angles), len(JOINTS), 3))
    zero = np.zeros(len(angles))

    pelvis = np.zeros((len(angles), 3))
    upright = _about_z(-angle["torso_roll"]) @ _about_x(angle["torso_pitch"])
    chest_axes = upright @ _about_y(angle["torso_yaw"])
    chest = pelvis + _apply(upright, zero, body.torso, zero)
    head_axes = chest_axes @ _about_y(angle["head_yaw"]) @ _about_x(angle["head_pitch"])
    head = chest + _apply(_mean_axes(chest_axes, head_axes), zero, body.neck, 0.1 * body.neck)

    def put(name: str, place: np.ndarray) -> np.ndarray:
        joints[:, JOINT[name]] = place
        return place

    put("pelvis", pelvis), put("chest", chest), put("head", head)
    radius = body.head
    put("nose", head + _apply(head_axes, zero, -0.1 * radius, 1.02 * radius))
    put("mouth", head + _apply(head_axes, zero, -0.5 * radius, 0.86 * radius))
    put("hair", head + _apply(head_axes, zero, 0.32 * radius, -0.3 * radius))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        put(f"{side}_eye", head + _apply(head_axes, sign * 0.4 * radius, 0.2 * radius, 0.88 * radius))
        put(f"{side}_ear", head + _apply(head_axes, sign * 0.98 * radius, 0.02 * radius, 0.02 * radius))

        shoulder = put(f"{side}_shoulder", chest + _apply(chest_axes, sign * body.shoulders, -0.1 * body.neck, zero))
        arm_axes = (
            chest_axes
            @ _about_z(sign * angle[f"{side}_arm_abduct"])
            @ _about_x(-angle[f"{side}_arm_pitch"])
            @ _about_y(sign * angle[f"{side}_arm_twist"])
        )
        elbow = put(f"{side}_elbow", shoulder + body.upper_arm[:, None] * (arm_axes @ _DOWN))
        forearm = arm_axes @ _about_x(-angle[f"{side}_elbow"]) @ _DOWN
        wrist = put(f"{side}_wrist", elbow + body.forearm[:, None] * forearm)
        put(f"{side}_hand", wrist + 0.3 * body.forearm[:, None] * forearm)

        hip = put(f"{side}_hip", pelvis + _apply(np.eye(3), sign * body.hips, zero, zero))
        leg_axes = _about_z(sign * angle[f"{side}_leg_abduct"]) @ _about_x(-angle[f"{side}_leg_pitch"])
        knee = put(f"{side}_knee", hip + body.thigh[:, None] * (leg_axes @ _DOWN))
        shin_axes = leg_axes @ _about_x(angle[f"{side}_knee"])
        ankle = put(f"{side}_ankle", knee + body.shin[:, None] * (shin_axes @ _DOWN))
        put(f"{side}_toe", ankle + _apply(shin_axes, zero, zero - 0.022, zero + 0.085))

    # The lowest foot stands on the ground.
    ankles = joints[:, [JOINT["left_ankle"], JOINT["right_ankle"]], 1]
    joints[..., 1] += (_ANKLE_HEIGHT + angle["lift"] - ankles.min(axis=1))[:, None]
    return joints


def _apply(axes: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(P, 3): a step of x, y, z along the columns of (P, 3, 3) axes."""
    step: np.ndarray = (axes @ np.stack((x, y, z), axis=-1)[..., None])[..., 0]
    return step


def _mean_axes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Halfway between, near enough for a neck."""
    mean: np.ndarray = (first + second) / 2
    return mean


def _about_x(angle: np.ndarray) -> np.ndarray:
    """Rotations that bring up (y) forward (z)."""
    return _rotation(angle, 1, 2)


def _about_y(angle: np.ndarray) -> np.ndarray:
    """Rotations that bring forward (z) to the left (x)."""
    return _rotation(angle, 2, 0)


def _about_z(angle: np.ndarray) -> np.ndarray:
    """Rotations that bring left (x) up (y)."""
    return _rotation(angle, 0, 1)


def _rotation(angle: np.ndarray, origin: int, target: int) -> np.ndarray:
    """(P, 3, 3): rotations that turn the axis `origin` towards `target`."""
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, 3 - origin - target, 3 - origin - target] = 1
    cos, sin = np.cos(angle), np.sin(angle)
    matrix[:, origin, origin] = matrix[:, target, target] = cos
    matrix[:, target, origin] = sin
    matrix[:, origin, target] = -sin
    return matrix
