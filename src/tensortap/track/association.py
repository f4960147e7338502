"""Who is who: similarity of poses, and the assignment that maximises it. Pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tensortap.geometry import iou_matrix

OKS_TOLERANCE = 1.5
"""By how much the sigmas of OKS are widened: they describe how exactly people annotate a still picture, but from one frame
to the next limbs move on their own."""
LIMB_SPEED = 1.0
"""How fast the tolerance grows while somebody is out of view, in tolerances a second: an old pose says less."""
FULL_TRUST = 8
"""With so many keypoints confident on both sides, OKS has its whole weight."""
_FARTHEST_SQUARED = 1e12
"""Keypoints farther apart than a million pixels are not keypoints; nor is anything that is not a number."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The P pairs of a track and a person that can be the same at all; everybody else is too far apart."""

    rows: np.ndarray
    """intp (P,): the track."""
    columns: np.ndarray
    """intp (P,): the person."""
    similarity: np.ndarray
    """float (P,) in 0..1: boxes and poses together; what the assignment maximises."""
    gate: np.ndarray
    """float (P,) in 0..1: the larger of `similarity` and IoU; what thresholds are held against."""

    def where(self, tracks: np.ndarray, people: np.ndarray, threshold: float) -> Pairs:
        """The pairs of these tracks, bool (T,), and these people, bool (N,), whose gate reaches the threshold."""
        mask = tracks[self.rows] & people[self.columns] & (self.gate >= threshold)
        return Pairs(self.rows[mask], self.columns[mask], self.similarity[mask], self.gate[mask])


def compare(
    track_boxes: np.ndarray,
    track_keypoints: np.ndarray,
    track_ages: np.ndarray,
    boxes: np.ndarray,
    keypoints: np.ndarray,
    allowed: np.ndarray,
    sigmas: np.ndarray,
    *,
    oks_weight: float,
    min_keypoint_score: float,
) -> Pairs:
    """How alike tracks and people are, for all pairs whose boxes overlap.

    Similarity is IoU + w (OKS - IoU), where w is `oks_weight` times the share of keypoints that both sides are sure of; where
    there are none, IoU decides alone. When two people cross, both boxes agree with both tracks, but their limbs do not.
    A pose that changed quickly must not lose its track, so OKS has a say in who is who and no veto: see `Pairs.gate`.

    Args:
        track_boxes: (T, 4) xyxy, predicted.
        track_keypoints: float32 (T, K, 3), predicted.
        track_ages: (T,) seconds since each track was seen.
        boxes: (N, 4) xyxy, detected.
        keypoints: float32 (N, K, 3), detected.
        allowed: bool (T, N) or (N,): False where a pair is out of the question.
        sigmas: float32 (K,) of the skeleton.
        oks_weight: 0..1.
        min_keypoint_score: keypoints at or below it are not sure.
    """
    iou = iou_matrix(track_boxes, boxes)
    rows, columns = ((iou > 0) & allowed).nonzero()
    overlap = iou[rows, columns]
    if oks_weight <= 0 or not len(rows) or not keypoints.shape[1]:
        return Pairs(rows, columns, overlap, overlap)
    size = track_boxes[:, 2:] - track_boxes[:, :2]
    tolerance = OKS_TOLERANCE * (1 + LIMB_SPEED * track_ages)
    scales_squared = np.maximum(size[:, 0] * size[:, 1], 1) * tolerance * tolerance
    oks, num_common = pair_oks(
        track_keypoints[rows], keypoints[columns], scales_squared[rows].astype(np.float32), sigmas, min_keypoint_score
    )
    weight = np.minimum(num_common * (oks_weight / min(FULL_TRUST, keypoints.shape[1])), oks_weight)
    similarity = overlap + weight * (oks - overlap)
    return Pairs(rows, columns, similarity, np.maximum(similarity, overlap))


def pair_oks(
    keypoints_a: np.ndarray, keypoints_b: np.ndarray, scales_squared: np.ndarray, sigmas: np.ndarray, min_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """OKS of P pairs, (P,), and how many keypoints it rests on, (P,).

    The formula of `tensortap.geometry.oks_matrix`, for a list of pairs instead of all with all: of 30 people in view each
    overlaps with one or two, and the rest need not be worked out.

    Args:
        keypoints_a: float32 (P, K, 3) x, y, score.
        keypoints_b: float32 (P, K, 3).
        scales_squared: float32 (P,) square pixels.
        sigmas: float32 (K,).
        min_score: keypoints at or below it on either side do not count, nor do those that are not finite.
    """
    delta = keypoints_a[..., :2] - keypoints_b[..., :2]
    delta *= delta
    distance_squared = delta[..., 0] + delta[..., 1]
    counted = (np.minimum(keypoints_a[..., 2], keypoints_b[..., 2]) > min_score) & (distance_squared < _FARTHEST_SQUARED)
    num_counted = counted.sum(axis=1)
    similar = np.where(counted, np.exp(distance_squared / (scales_squared[:, None] * (-8 * sigmas * sigmas))), 0)
    oks: np.ndarray = similar.sum(axis=1) / np.maximum(num_counted, 1)
    return oks, num_counted


def assign(pairs: Pairs, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, intp (M,) each, of the pairs that together are most similar, each row and column once.

    Args:
        pairs: what may be joined.
        shape: number of tracks and of people.
    """
    matrix = np.zeros(shape)
    # A pair that passed by its IoU may have next to no similarity, but it may be joined.
    matrix[pairs.rows, pairs.columns] = np.maximum(pairs.similarity, 1e-6)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    joined = matrix[rows, columns] > 0
    return rows[joined], columns[joined]
