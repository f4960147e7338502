"""Constant-velocity Kalman filter over boxes, for all tracks of a stream at once."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

MEASUREMENT_STD = 0.06
"""How far a detected box is off, relative to the person's scale (square root of the box's area)."""
ACCELERATION_STD = 1.0
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

    def spread(self) -> np.ndarray:
        """float64 (T, 2): standard deviation of centre x and centre y in pixels; it grows while nothing is measured."""
        spread: np.ndarray = np.sqrt(self._state[2, :, :2])
        return spread

    def motion(self, dt_seconds: float) -> np.ndarray:
        """float64 (T, 4): by how much `position` changes in this time."""
        motion: np.ndarray = self._state[1] * _transition(dt_seconds)[0][0, 1]
        return motion

    def predict(self, dt_seconds: float) -> np.ndarray:
        """Move all boxes on by this time; gives by how much, as `motion` does."""
        transition, noise = _transition(dt_seconds)
        before = self._state
        after = np.einsum("ijc,jtc->itc", transition, before)
        after[2:] += noise * areas(before[0])
        moved: np.ndarray = after[0] - before[0]
        # A width or height that shrinks through zero means nothing.
        size = after[0, :, 2:]
        np.maximum(size, 1.0, out=size)
        self._state = after
        return moved

    def update(self, rows: np.ndarray, measured: np.ndarray) -> None:
        """Correct the boxes at these rows, intp (M,), by what was measured, (M, 4) as `position`."""
        state = self._state.take(rows, axis=1)
        moments, covariances = state[:2], state[2:]
        surprise = measured - moments[0]
        gains = covariances[:2] / (covariances[0] + (MEASUREMENT_STD**2) * areas(measured))
        moments += gains * surprise
        covariances[2] -= gains[1] * covariances[1]
        covariances[:2] *= 1 - gains[0]
        self._state[:, rows] = state

    def append(self, measured: np.ndarray) -> None:
        """Start a box at each of these positions, (M, 4), at rest."""
        variance = areas(measured)
        new = np.zeros((5, *measured.shape))
        new[0] = measured
        new[2] = MEASUREMENT_STD**2 * variance
        new[4] = INITIAL_VELOCITY_STD**2 * variance
        self._state = np.concatenate((self._state, new), axis=1)

    def keep(self, mask: np.ndarray) -> None:
        """Forget the boxes where this mask, bool (T,), is False."""
        self._state = self._state[:, mask]


def areas(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """(T, 1): each box's area in square pixels, at least 1; its root is the person's scale."""
    area: np.ndarray = np.maximum(boxes_cxcywh[:, 2:3] * boxes_cxcywh[:, 3:], 1.0)
    return area


@lru_cache(maxsize=64)  # most videos know one or two steps of time
def _transition(dt_seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """What a step of time makes of the five rows of the state, (5, 5, 4), and the noise it adds to the last three.

    With F = [[1, reach], [0, kept]] for each of the four columns, F x moves position and velocity, and F P F^T the three
    different entries of their covariance.
    """
    matrix = np.zeros((5, 5, 4))
    kept_size = math.exp(-dt_seconds / SIZE_SECONDS)
    reach_size = SIZE_SECONDS * (1 - kept_size)
    for column, (reach, kept) in enumerate(((dt_seconds, 1.0),) * 2 + ((reach_size, kept_size),) * 2):
        matrix[:2, :2, column] = ((1, reach), (0, kept))
        matrix[2:, 2:, column] = ((1, 2 * reach, reach**2), (0, kept, kept * reach), (0, 0, kept**2))
    noise = ACCELERATION_STD**2 * np.array((dt_seconds**3 / 3, dt_seconds**2 / 2, dt_seconds))
    return matrix, noise[:, None, None]
