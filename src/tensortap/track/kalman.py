"""Constant-velocity Kalman filter over boxes, for all tracks of a stream at once."""

from __future__ import annotations

import math

import numpy as np

MEASUREMENT_STD = 0.04
"""How far a detected box is off, relative to the person's scale (square root of the box's area)."""
ACCELERATION_STD = 1.2
"""How much people change their velocity: scales per second, per square root of a second."""
INITIAL_VELOCITY_STD = 1.5
"""How fast somebody new may move: scales per second."""
SIZE_SECONDS = 0.3
"""How long a change of size goes on by itself. Boxes shrink fast when somebody walks behind a table; the person does not."""


class BoxFilter:
    """Centre x, centre y, width and height of T boxes, each with a velocity.

    The four are independent, so every step has a closed form over (T, 4) arrays and no matrix is inverted. Process noise is
    white acceleration, whose covariance over dt is q * [[dt^3/3, dt^2/2], [dt^2/2, dt]] (Bar-Shalom, Estimation with
    Applications to Tracking and Navigation, section 6.2.2): twice the frame rate gives the same motion. The velocity of the
    centre stays, that of the size dies away with `SIZE_SECONDS`.
    """

    def __init__(self) -> None:
        self._state = np.empty((5, 0, 4))
        """float64 (5, T, 4): position, velocity, variance, covariance of the two, variance of the velocity."""

    @property
    def position(self) -> np.ndarray:
        """float64 (T, 4): centre x, centre y, width, height in pixels."""
        position: np.ndarray = self._state[0]
        return position

    def motion(self, dt_seconds: float) -> np.ndarray:
        """float64 (T, 4): by how much `position` changes in this time."""
        motion: np.ndarray = self._state[1] * _transition(dt_seconds)[0]
        return motion

    def predict(self, dt_seconds: float) -> np.ndarray:
        """Move all boxes on by this time; gives what `motion` gave before."""
        position, velocity, variance, covariance, velocity_variance = self._state
        reach, kept = _transition(dt_seconds)
        moved = velocity * reach
        noise = (ACCELERATION_STD**2) * scales(position) ** 2
        position += moved
        # A width or height that shrinks through zero means nothing.
        np.maximum(position[:, 2:], 1.0, out=position[:, 2:])
        variance += reach * (2 * covariance + reach * velocity_variance) + noise * (dt_seconds**3 / 3)
        covariance += reach * velocity_variance
        # Rows 3 and 4 of the transition are scaled by what is left of the velocity.
        covariance *= kept
        covariance += noise * (dt_seconds**2 / 2)
        velocity *= kept
        velocity_variance *= kept * kept
        velocity_variance += noise * dt_seconds
        return moved

    def update(self, rows: np.ndarray, measured: np.ndarray) -> None:
        """Correct the boxes at these rows, intp (M,), by what was measured, (M, 4) as `position`."""
        state = self._state[:, rows]
        position, velocity, variance, covariance, velocity_variance = state
        surprise = measured - position
        total = variance + (MEASUREMENT_STD**2) * scales(measured) ** 2
        gain, velocity_gain = variance / total, covariance / total
        position += gain * surprise
        velocity += velocity_gain * surprise
        velocity_variance -= velocity_gain * covariance
        rest = 1 - gain
        variance *= rest
        covariance *= rest
        self._state[:, rows] = state

    def append(self, measured: np.ndarray) -> None:
        """Start a box at each of these positions, (M, 4), at rest."""
        variance = scales(measured) ** 2
        new = np.zeros((5, *measured.shape))
        new[0] = measured
        new[2] = MEASUREMENT_STD**2 * variance
        new[4] = INITIAL_VELOCITY_STD**2 * variance
        self._state = np.concatenate((self._state, new), axis=1)

    def keep(self, mask: np.ndarray) -> None:
        """Forget the boxes where this mask, bool (T,), is False."""
        self._state = self._state[:, mask]


def scales(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """(T, 1): the square root of each box's area in pixels, at least 1."""
    scale: np.ndarray = np.sqrt(np.maximum(boxes_cxcywh[:, 2:3] * boxes_cxcywh[:, 3:4], 1.0))
    return scale


def _transition(dt_seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """What a velocity of 1 adds to the position, and what is left of it afterwards, (4,) each."""
    kept = math.exp(-dt_seconds / SIZE_SECONDS)
    reach = SIZE_SECONDS * (1 - kept)
    return np.array((dt_seconds, dt_seconds, reach, reach)), np.array((1.0, 1.0, kept, kept))
