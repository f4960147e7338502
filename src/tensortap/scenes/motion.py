"""What people do: walks, waves, crouches ... as joint angles over time, and who is where when."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tensortap.scenes.body import ANGLE, ANGLES

Pose = np.ndarray
"""float64 (len(ANGLES),)."""

_STRIDE = 0.8
"""Two steps, in heights."""
_BLEND_SECONDS = 0.4
"""How long somebody takes from one posture to the next."""
_LIMITS = {  # of postures drawn by lot: least, greatest
    "torso_pitch": (-0.2, 0.9),
    "torso_roll": (-0.35, 0.35),
    "torso_yaw": (-0.5, 0.5),
    "head_pitch": (-0.4, 0.6),
    "head_yaw": (-0.9, 0.9),
    "arm_pitch": (-0.7, 2.6),
    "arm_abduct": (0.0, 2.2),
    "arm_twist": (-1.2, 1.6),
    "elbow": (0.0, 2.3),
    "leg_pitch": (-0.4, 1.5),
    "leg_abduct": (0.0, 0.5),
    "knee": (0.0, 1.6),
    "lift": (0.0, 0.0),
}


@dataclass(frozen=True, eq=False)
class Habit:
    """How one person moves."""

    rng_numbers: np.ndarray
    """float64 (16,) in 0..1: what makes this person's wave differ from another's."""
    keyframes: np.ndarray
    """float64 (n, len(ANGLES)): postures drawn by lot, for the action `random`."""

    def number(self, which: int, least: float, greatest: float) -> float:
        """One of the numbers, scaled."""
        return least + (greatest - least) * float(self.rng_numbers[which])

    @classmethod
    def drawn_by_lot(cls, rng: np.random.Generator) -> Habit:
        """A person of their own."""
        least, greatest = np.array([_LIMITS.get(name) or _LIMITS[name.split("_", 1)[1]] for name in ANGLES]).T
        # Mostly moderate, sometimes extreme.
        share = rng.beta(1.3, 1.3, (12, len(ANGLES)))
        keyframes = least + (greatest - least) * share
        for side in ("left", "right"):
            # A leg that is lifted far has a bent knee, and most people stand on both.
            pitch, knee = ANGLE[f"{side}_leg_pitch"], ANGLE[f"{side}_knee"]
            keyframes[:, pitch] *= rng.uniform(0, 1, 12) ** 2
            keyframes[:, knee] = keyframes[:, knee] * 0.4 + keyframes[:, pitch].clip(0) * rng.uniform(0.3, 1.5, 12)
        return cls(rng.uniform(0, 1, 16), keyframes)


def _pose(**angles: float) -> Pose:
    pose = np.zeros(len(ANGLES))
    for name, value in angles.items():
        pose[ANGLE[name]] = value
    return pose


def _stand(time: float, habit: Habit) -> Pose:
    sway = np.sin(time * habit.number(0, 0.8, 1.6))
    return _pose(
        torso_roll=0.02 * sway,
        head_yaw=habit.number(1, -0.5, 0.5) * np.sin(time * habit.number(2, 0.3, 0.8)),
        head_pitch=habit.number(3, -0.1, 0.25),
        left_arm_abduct=0.1,
        right_arm_abduct=0.1,
        left_elbow=habit.number(4, 0.1, 0.4),
        right_elbow=habit.number(5, 0.1, 0.4),
        left_arm_pitch=0.05 * sway,
        left_leg_abduct=habit.number(6, 0.02, 0.12),
        right_leg_abduct=habit.number(6, 0.02, 0.12),
    )


def _gait(phase: float, swing: float, habit: Habit) -> Pose:
    """A step cycle of 2 pi; `swing` is how far the legs go, in radians."""
    sin, cos = np.sin(phase), np.cos(phase)
    arms = swing * habit.number(0, 0.7, 1.3)
    elbow = habit.number(1, 0.15, 0.5) + 0.9 * max(0.0, swing - 0.45)
    return _pose(
        torso_pitch=0.04 + 0.15 * max(0.0, swing - 0.4),
        torso_yaw=0.12 * sin,
        head_yaw=-0.12 * sin + habit.number(2, -0.3, 0.3),
        head_pitch=habit.number(3, -0.1, 0.3),
        left_leg_pitch=swing * sin,
        right_leg_pitch=-swing * sin,
        left_knee=0.12 + 1.5 * swing * max(0.0, cos),
        right_knee=0.12 + 1.5 * swing * max(0.0, -cos),
        left_arm_pitch=-arms * sin,
        right_arm_pitch=arms * sin,
        left_arm_abduct=0.08,
        right_arm_abduct=0.08,
        left_elbow=elbow,
        right_elbow=elbow,
    )


def _one_side(habit: Habit, **angles: float) -> Pose:
    """Angles of one arm, `arm_pitch=...`, given to the side that this person prefers."""
    side = "left" if habit.number(7, 0, 1) < 0.5 else "right"
    pose = _stand(0.0, habit)
    for name, value in angles.items():
        pose[ANGLE[f"{side}_{name}"]] = value
    return pose


def _wave(time: float, habit: Habit) -> Pose:
    swing = np.sin(time * habit.number(8, 6, 10))
    return _one_side(
        habit,
        arm_abduct=habit.number(9, 1.2, 2.0),
        arm_pitch=0.1,
        arm_twist=1.57,
        elbow=habit.number(10, 0.9, 1.3) + 0.45 * swing,
    )


def _crouch(time: float, habit: Habit) -> Pose:
    depth = habit.number(8, 0.5, 1.0) * (0.5 - 0.5 * np.cos(min(time / 0.9, 1.0) * np.pi))
    return _pose(
        torso_pitch=0.75 * depth,
        head_pitch=-0.3 * depth,
        left_leg_pitch=1.75 * depth,
        right_leg_pitch=1.75 * depth,
        left_leg_abduct=0.1 + 0.25 * depth,
        right_leg_abduct=0.1 + 0.25 * depth,
        left_knee=2.25 * depth,
        right_knee=2.25 * depth,
        left_arm_pitch=0.9 * depth,
        right_arm_pitch=habit.number(9, 0.3, 1.2) * depth,
        left_arm_abduct=0.15,
        right_arm_abduct=0.15,
        left_elbow=0.2 + 0.7 * depth,
        right_elbow=0.2 + 0.7 * depth,
    )


def _phone(time: float, habit: Habit) -> Pose:
    return _one_side(
        habit, arm_pitch=habit.number(8, 0.5, 0.9), arm_abduct=0.35, arm_twist=-0.5, elbow=habit.number(9, 2.0, 2.4)
    )


def _read(time: float, habit: Habit) -> Pose:
    pose = _stand(time, habit)
    for side in ("left", "right"):
        pose[ANGLE[f"{side}_arm_pitch"]] = habit.number(8, 0.4, 0.8)
        pose[ANGLE[f"{side}_elbow"]] = habit.number(9, 1.2, 1.7)
        pose[ANGLE[f"{side}_arm_twist"]] = -0.4
    pose[ANGLE["head_pitch"]] = 0.5
    return pose


def _point(time: float, habit: Habit) -> Pose:
    return _one_side(habit, arm_pitch=habit.number(8, 1.1, 1.8), arm_abduct=habit.number(9, 0.0, 1.2), elbow=0.1)


def _reach(time: float, habit: Habit) -> Pose:
    pose = _stand(time, habit)
    up = habit.number(8, 2.4, 3.0) + 0.1 * np.sin(2.5 * time)
    for side in ("left", "right"):
        pose[ANGLE[f"{side}_arm_pitch"]] = up
        pose[ANGLE[f"{side}_elbow"]] = habit.number(9, 0.0, 0.6)
    pose[ANGLE["head_pitch"]] = -0.35
    return pose


def _bend(time: float, habit: Habit) -> Pose:
    depth = 0.5 - 0.5 * np.cos(min(time / 0.8, 1.0) * np.pi)
    return _pose(
        torso_pitch=habit.number(8, 0.7, 1.35) * depth,
        left_arm_pitch=habit.number(9, 0.6, 1.4) * depth,
        right_arm_pitch=habit.number(10, 0.6, 1.4) * depth,
        left_knee=0.3 * depth,
        right_knee=0.3 * depth,
        left_leg_pitch=0.25 * depth,
        right_leg_pitch=0.25 * depth,
        left_elbow=0.2,
        right_elbow=0.2,
    )


def _jack(time: float, habit: Habit) -> Pose:
    up = 0.5 - 0.5 * np.cos(time * habit.number(8, 5.0, 8.0))
    return _pose(
        left_arm_abduct=0.15 + 2.5 * up,
        right_arm_abduct=0.15 + 2.5 * up,
        left_elbow=0.2,
        right_elbow=0.2,
        left_leg_abduct=0.03 + 0.42 * up,
        right_leg_abduct=0.03 + 0.42 * up,
        lift=0.05 * np.sin(np.pi * up),
    )


def _fists(time: float, habit: Habit) -> Pose:
    punch = np.sin(time * habit.number(8, 5, 9))
    return _pose(
        torso_yaw=0.4 * punch,
        torso_pitch=0.12,
        left_arm_pitch=0.6 + 0.7 * max(0.0, punch),
        right_arm_pitch=0.6 + 0.7 * max(0.0, -punch),
        left_arm_abduct=0.2,
        right_arm_abduct=0.2,
        left_elbow=2.0 - 1.6 * max(0.0, punch),
        right_elbow=2.0 - 1.6 * max(0.0, -punch),
        left_leg_pitch=0.35,
        left_knee=0.3,
        right_leg_pitch=-0.3,
        right_knee=0.25,
        left_leg_abduct=0.1,
        right_leg_abduct=0.1,
    )


def _random(time: float, habit: Habit) -> Pose:
    place = time / 0.9
    first = int(place) % len(habit.keyframes)
    share = _smooth(place % 1.0)
    following = (first + 1) % len(habit.keyframes)
    pose: Pose = (1 - share) * habit.keyframes[first] + share * habit.keyframes[following]
    return pose


def _dance(time: float, habit: Habit) -> Pose:
    beat = time * habit.number(8, 4.5, 7.0)
    sin, cos = np.sin(beat), np.cos(beat)
    return _pose(
        torso_roll=0.22 * sin,
        torso_yaw=0.3 * cos,
        head_yaw=0.3 * sin,
        left_arm_abduct=1.2 + 0.9 * sin,
        right_arm_abduct=1.2 - 0.9 * sin,
        left_arm_twist=1.2,
        right_arm_twist=1.2,
        left_elbow=1.1 + 0.6 * cos,
        right_elbow=1.1 - 0.6 * cos,
        left_leg_pitch=0.5 * max(0.0, sin),
        right_leg_pitch=0.5 * max(0.0, -sin),
        left_knee=0.9 * max(0.0, sin) + 0.1,
        right_knee=0.9 * max(0.0, -sin) + 0.1,
        left_leg_abduct=0.15,
        right_leg_abduct=0.15,
    )


def _kick(time: float, habit: Habit) -> Pose:
    up = max(0.0, np.sin(time * habit.number(8, 3.0, 5.0)))
    return _pose(
        torso_pitch=-0.2 * up,
        left_leg_pitch=1.4 * up,
        left_knee=0.7 * np.sin(np.pi * up),
        right_knee=0.15,
        left_arm_abduct=0.5,
        right_arm_abduct=0.5,
        left_arm_pitch=-0.5 * up,
        right_arm_pitch=0.9 * up,
        left_elbow=0.6,
        right_elbow=0.8,
    )


def _lunge(time: float, habit: Habit) -> Pose:
    depth = 0.6 + 0.4 * np.sin(time * habit.number(8, 1.5, 3.0))
    hands = habit.number(9, 0.0, 1.0)
    return _pose(
        torso_pitch=0.1,
        left_leg_pitch=1.2 * depth,
        left_knee=1.25 * depth,
        right_leg_pitch=-0.55 * depth,
        right_knee=0.9 * depth,
        left_arm_abduct=0.5 + hands,
        right_arm_abduct=0.5 + hands,
        left_elbow=2.0 - 1.4 * hands,
        right_elbow=2.0 - 1.4 * hands,
        left_arm_twist=1.0 * hands,
        right_arm_twist=1.0 * hands,
    )


ACTIONS: dict[str, Callable[[float, Habit], Pose]] = {
    "bend": _bend,
    "crouch": _crouch,
    "dance": _dance,
    "fists": _fists,
    "jack": _jack,
    "kick": _kick,
    "lunge": _lunge,
    "phone": _phone,
    "point": _point,
    "random": _random,
    "reach": _reach,
    "read": _read,
    "stand": _stand,
    "wave": _wave,
}
"""What somebody may do on the spot. Between places, people walk."""


@dataclass(frozen=True)
class Leg:
    """One stretch of somebody's time: going somewhere, or doing something on the spot."""

    start: float
    """Seconds from the start of the round."""
    seconds: float
    from_xz: tuple[float, float]
    """Metres to the right of the camera's axis, and away from it."""
    to_xz: tuple[float, float]
    heading: float
    """Where the person faces: 0 away from the camera, pi/2 to the right."""
    action: str
    """`walk`, or a key of ACTIONS."""


@dataclass(frozen=True, eq=False)
class Round:
    """What one person does, over and over again, so that any moment can be asked for."""

    legs: Sequence[Leg]
    seconds: float
    offset: float
    """Where in the round the person is at time 0."""
    height: float
    """Metres."""
    habit: Habit
    _starts: list[float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_starts", [leg.start for leg in self.legs])

    def at(self, time: float) -> tuple[tuple[float, float], float, Pose]:
        """Place, heading and joint angles at a time in seconds."""
        time = (time + self.offset) % self.seconds
        number = max(0, bisect_right(self._starts, time) - 1)
        leg = self.legs[number]
        since = time - leg.start
        share = since / leg.seconds
        place = tuple(a + (b - a) * share for a, b in zip(leg.from_xz, leg.to_xz, strict=True))
        # Turning begins with the leg, the posture melts into standing at both of its ends.
        turned = _smooth(min(1.0, since / _BLEND_SECONDS))
        before = self.legs[number - 1].heading
        heading = before + turned * _shortest_turn(before, leg.heading)
        weight = _smooth(min(1.0, since / _BLEND_SECONDS, (leg.seconds - since) / _BLEND_SECONDS))
        pose = weight * self._posture(leg, since) + (1 - weight) * _stand(0.0, self.habit)
        return (place[0], place[1]), heading, pose

    def _posture(self, leg: Leg, since: float) -> Pose:
        if leg.action != "walk":
            return ACTIONS[leg.action](since, self.habit)
        distance = np.hypot(leg.to_xz[0] - leg.from_xz[0], leg.to_xz[1] - leg.from_xz[1])
        speed = distance / leg.seconds / self.height
        phase = 2 * np.pi * since * speed / (_STRIDE * (0.75 + 0.35 * speed))
        return _gait(phase, 0.3 + 0.25 * speed, self.habit)


def plan_round(
    rng: np.random.Generator,
    places: Sequence[tuple[float, float]],
    actions: Sequence[str],
    *,
    height: float,
    act_share: float,
) -> Round:
    """Somebody who goes from place to place and back to the first, with something to do at some of them.

    Args:
        rng: draws the rest by lot.
        places: where the person goes, (x, z) in metres; a single place is never left.
        actions: what the person may do there.
        height: in metres.
        act_share: how often something is done at a place, 0..1.
    """
    legs: list[Leg] = []
    clock = 0.0
    heading = float(rng.uniform(-np.pi, np.pi))
    pace = float(rng.uniform(0.45, 0.95)) * height
    for number, place in enumerate(places):
        following = places[(number + 1) % len(places)]
        if actions and (len(places) == 1 or rng.uniform() < act_share):
            for _ in range(6 if len(places) == 1 else 1):
                seconds = float(rng.uniform(1.8, 4.0))
                # Mostly with the face to the camera, sometimes with the back.
                heading = float(rng.normal(np.pi, 0.8)) if rng.uniform() < 0.7 else float(rng.uniform(-np.pi, np.pi))
                legs.append(Leg(clock, seconds, place, place, heading, str(rng.choice(list(actions)))))
                clock += seconds
        distance = float(np.hypot(following[0] - place[0], following[1] - place[1]))
        if distance > 0.2:
            heading = float(np.arctan2(following[0] - place[0], following[1] - place[1]))
            legs.append(Leg(clock, distance / pace, place, following, heading, "walk"))
            clock += distance / pace
    if not legs:
        legs, clock = [Leg(0.0, 10.0, places[0], places[0], heading, "stand")], 10.0
    return Round(legs, clock, float(rng.uniform(0, clock)), height, Habit.drawn_by_lot(rng))


def _smooth(share: float) -> float:
    """0..1 -> 0..1, slow at both ends."""
    return share * share * (3 - 2 * share)


def _shortest_turn(before: float, after: float) -> float:
    return (after - before + np.pi) % (2 * np.pi) - np.pi
