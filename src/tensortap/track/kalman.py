"""Constant-velocity Kalman filter over boxes, for all tracks of a stream at once."""

from __future__ import annotations

import numpy as np

MEASUREMENT_STD = 0.04
"""How far a detected box is off, relative to the person's scale (square root of the box's area)."""
ACCELERATION_STD = 1.2
"""How much people change their velocity: scales per second, per square root of a second."""
INITIAL_VELOCITY_STD = 1.5
"""How fast somebody new may move: scales per second."""


class BoxFilter:
    """Centre x, centre y, width and height of T boxes, each with a velocity.

    The four are independent, so every step has a closed form over (T, 4) arrays and no matrix is inverted. Process noise is
    white acceleration, whose covariance over dt is q * [[dt^3/3, dt^2/2], [dt^2/2, dt]] (Bar-Shalom, Estimation with
    Applications to Tracking and Navigation, section 6.2.2): twice the frame rate gives the same motion.
    """

    def __init__(self) -> None:
        empty = np.empty((0, 4))
        self.position = empty
        """float64 (T, 4): centre x, centre y, width, height in pixels."""
        self.velocity = empty
        """float64 (T, 4): their change in pixels a second."""
        self._variance = empty
        self._covariance = empty
        self._velocity_variance = empty

    def predict(self, dt_seconds: float) -> None:
        """Move all boxes on by this time."""
        if dt_seconds <= 0 or not len(self.position):
            return
        self.position = self.position + self.velocity * dt_seconds
        # A width or height that shrinks through zero means nothing.
        np.maximum(self.position[:, 2:], 1.0, out=self.position[:, 2:])
        noise = (ACCELERATION_STD * scales(self.position)) ** 2
        self._variance = (
            self._variance
            + dt_seconds * (2 * self._covariance + dt_seconds * self._velocity_variance)
            + noise * (dt_seconds**3 / 3)
        )
        self._covariance = self._covariance + dt_seconds * self._velocity_variance + noise * (dt_seconds**2 / 2)
        self._velocity_variance = self._velocity_variance + noise * dt_seconds

    def update(self, rows: np.ndarray, measured: np.ndarray) -> None:
        """Correct the boxes at these rows, intp (M,), by what was measured, (M, 4) as `position`."""
        if not len(rows):
            return
        position, variance, covariance = self.position[rows], self._variance[rows], self._covariance[rows]
        surprise = measured - position
        total = variance + (MEASUREMENT_STD * scales(measured)) ** 2
        gain, velocity_gain = variance / total, covariance / total
        self.position[rows] = position + gain * surprise
        self.velocity[rows] += velocity_gain * surprise
        self._variance[rows] = (1 - gain) * variance
        self._velocity_variance[rows] -= velocity_gain * covariance
        self._covariance[rows] = (1 - gain) * covariance

    def append(self, measured: np.ndarray) -> None:
        """Start a box at each of these positions, (M, 4), at rest."""
        scale = scales(measured)
        zero = np.zeros_like(measured)
        self.position = np.concatenate((self.position, measured))
        self.velocity = np.concatenate((self.velocity, zero))
        self._variance = np.concatenate((self._variance, zero + (MEASUREMENT_STD * scale) ** 2))
        self._covariance = np.concatenate((self._covariance, zero))
        self._velocity_variance = np.concatenate((self._velocity_variance, zero + (INITIAL_VELOCITY_STD * scale) ** 2))

    def keep(self, mask: np.ndarray) -> None:
        """Forget the boxes where this mask, bool (T,), is False."""
        self.position, self.velocity = self.position[mask], self.velocity[mask]
        self._variance, self._covariance = self._variance[mask], self._covariance[mask]
        self._velocity_variance = self._velocity_variance[mask]


def scales(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """(T, 1): the square root of each box's area in pixels, at least 1."""
    scale: np.ndarray = np.sqrt(np.maximum(boxes_cxcywh[:, 2:3] * boxes_cxcywh[:, 3:4], 1.0))
    return scale
