"""Who is who: similarity of poses, and the assignment that maximises it. Pure functions of arrays."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

OKS_TOLERANCE = 2.0
"""By how much the sigmas of OKS are widened: they describe how exactly people annotate a still picture, but from one frame
to the next limbs move on their own."""
LIMB_SPEED = 4.0
"""How fast the tolerance grows while somebody is out of view, in tolerances a second: an old pose says less."""
FULL_TRUST = 8
"""With so many keypoints confident on both sides, OKS has its whole weight."""
MARGIN_SPREADS = 0.5
"""By how many standard deviations of a track's position boxes are grown before they are compared."""
LARGEST_MARGIN = 0.3
"""But by no more than this share of the person's scale (square root of the box's area)."""
_FARTHEST_SQUARED = 1e12
"""Keypoints farther apart than a million pixels are not keypoints; nor is anything that is not a number."""


class Pairs(NamedTuple):
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
        places = (tracks.take(self.rows) & people.take(self.columns) & (self.gate >= threshold)).nonzero()[0]
        # `take`, here and below: of a handful, it costs a third of what brackets cost.
        return self if len(places) == len(self.rows) else Pairs(*(each.take(places) for each in self))


def compare(
    track_boxes: np.ndarray,
    track_keypoints: np.ndarray,
    track_ages: np.ndarray,
    track_spreads: np.ndarray,
    boxes: np.ndarray,
    keypoints: np.ndarray,
    allowed: np.ndarray,
    sigmas: np.ndarray,
    *,
    oks_weight: float,
    min_keypoint_score: float,
    sure_iou: float = math.inf,
) -> Pairs:
    """How alike tracks and people are, for all pairs whose boxes overlap.

    Similarity is IoU + w (OKS - IoU), IoU being that of `grown_iou` and w `oks_weight` times the share of keypoints that
    both sides are sure of; where there are none, IoU decides alone. When two people cross, both boxes agree with both
    tracks, but their limbs do not. A pose that changed quickly must not lose its track, so OKS has a say in who is who and no
    veto: see `Pairs.gate`.

    Args:
        track_boxes: (T, 4) xyxy, predicted.
        track_keypoints: float32 (T, K, 3), predicted.
        track_ages: (T,) seconds for which each track was out of view, 0 for those seen in the frame before.
        track_spreads: (T, 2) standard deviation of the predicted centre in x and y, in pixels.
        boxes: (N, 4) xyxy, detected.
        keypoints: float32 (N, K, 3), detected.
        allowed: bool (T, N) or (N,): False where a pair is out of the question.
        sigmas: float32 (K,) of the skeleton.
        oks_weight: 0..1.
        min_keypoint_score: keypoints at or below it are not sure.
        sure_iou: where nobody is contested and every pair overlaps by at least this, IoU decides alone. With the largest of the
            thresholds that gates are held against, the assignment is the same, for a half of the work.
    """
    size = track_boxes[:, 2:] - track_boxes[:, :2]
    areas = np.maximum(size[:, 0] * size[:, 1], 1)
    margins = np.minimum(MARGIN_SPREADS * track_spreads, LARGEST_MARGIN * np.sqrt(areas)[:, None])
    iou = grown_iou(track_boxes, boxes, margins)
    rows, columns = ((iou > 0) & allowed).nonzero()
    overlap = iou.take(rows * len(boxes) + columns)
    if oks_weight <= 0 or not len(rows) or not keypoints.shape[1]:
        return Pairs(rows, columns, overlap, overlap)
    if overlap.min() >= sure_iou and _each_once(rows) and _each_once(columns):
        return Pairs(rows, columns, overlap, overlap)
    tolerance = OKS_TOLERANCE * (1 + LIMB_SPEED * track_ages)
    scales_squared = areas * tolerance * tolerance
    oks, num_common = pair_oks(
        track_keypoints.take(rows, axis=0),
        keypoints.take(columns, axis=0),
        scales_squared.take(rows).astype(np.float32),
        sigmas,
        min_keypoint_score,
    )
    weight = np.minimum(num_common * (oks_weight / min(FULL_TRUST, keypoints.shape[1])), oks_weight)
    similarity = overlap + weight * (oks - overlap)
    return Pairs(rows, columns, similarity, np.maximum(similarity, overlap))


def grown_iou(track_boxes: np.ndarray, boxes: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """float (T, N): IoU of boxes (T, 4) and (N, 4), both xyxy, each grown by the track's margin (T, 2) on every side.

    Growing both keeps equal boxes equal, and lets those meet that are as far apart as the track is uncertain (the buffered
    IoU of C-BIoU, Yang et al., arXiv:2211.14317, with the buffer taken from the Kalman filter).
    """
    # x and y as planes (2, T, N): NumPy is slow where the last axis has a length of 2.
    tracks, people = track_boxes.T[:, :, None], boxes.T[:, None]
    both_sides = 2 * margins.T[:, :, None]
    common = np.minimum(tracks[2:], people[2:]) - np.maximum(tracks[:2], people[:2]) + both_sides
    np.maximum(common, 0, out=common)
    overlap = common[0] * common[1]
    track_size = tracks[2:] - tracks[:2] + both_sides
    size = people[2:] - people[:2] + both_sides
    union = track_size[0] * track_size[1] + size[0] * size[1] - overlap
    iou: np.ndarray = overlap / np.maximum(union, 1e-9)
    return iou


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
    delta_x = keypoints_a[..., 0] - keypoints_b[..., 0]
    delta_y = keypoints_a[..., 1] - keypoints_b[..., 1]
    distance_squared = delta_x * delta_x + delta_y * delta_y
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
    if _each_once(pairs.rows) and _each_once(pairs.columns):
        return pairs.rows, pairs.columns  # nobody is contested
    from scipy.optimize import linear_sum_assignment  # a third of a second, which `assemble` has begun

    matrix = np.zeros(shape)
    # A pair that passed by its IoU may have next to no similarity, but it may be joined.
    matrix[pairs.rows, pairs.columns] = np.maximum(pairs.similarity, 1e-6)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    joined = matrix[rows, columns] > 0
    return rows[joined], columns[joined]


def _each_once(indices: np.ndarray) -> bool:
    """Whether no index, intp (P,), occurs twice; for a handful this is faster than `np.unique`."""
    listed = indices.tolist()
    return len(set(listed)) == len(listed)
