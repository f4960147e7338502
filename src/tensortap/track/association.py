"""Who is who: similarity of poses, and the assignment that maximises it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from tensortap.geometry import iou_matrix, oks_matrix

OKS_TOLERANCE = 1.5
"""By how much the sigmas of OKS are widened: they describe how exactly people annotate a still picture, but between two frames
limbs move on their own. The area goes with its square."""
FULL_TRUST = 8
"""With so many keypoints confident on both sides, OKS has its whole weight."""


def similarity(
    boxes_a: np.ndarray,
    keypoints_a: np.ndarray,
    boxes_b: np.ndarray,
    keypoints_b: np.ndarray,
    sigmas: np.ndarray,
    *,
    oks_weight: float,
    min_keypoint_score: float,
) -> np.ndarray:
    """float (M, N) in 0..1: IoU of the boxes and OKS of the keypoints, mixed.

    OKS counts by `oks_weight` times the share of keypoints that both sides are sure of; where there are none, IoU decides
    alone. When two people cross, their boxes agree with both tracks, but their limbs do not.

    Args:
        boxes_a: (M, 4) xyxy, predicted.
        keypoints_a: (M, K, 3), predicted.
        boxes_b: (N, 4) xyxy, detected.
        keypoints_b: (N, K, 3), detected.
        sigmas: (K,) of the skeleton.
        oks_weight: 0..1.
        min_keypoint_score: keypoints at or below it are not sure.
    """
    iou = iou_matrix(boxes_a, boxes_b)
    if oks_weight <= 0:
        return iou
    sure_a = keypoints_a[..., 2] > min_keypoint_score
    sure_b = keypoints_b[..., 2] > min_keypoint_score
    num_common = sure_a.astype(np.float32) @ sure_b.astype(np.float32).T
    num_keypoints = max(1, min(FULL_TRUST, keypoints_a.shape[1]))
    weight = oks_weight * np.minimum(num_common / num_keypoints, 1)
    size = boxes_a[:, 2:] - boxes_a[:, :2]
    areas = np.maximum(size[:, 0] * size[:, 1], 1).astype(np.float32)[:, None] * np.float32(OKS_TOLERANCE**2)
    oks = oks_matrix(keypoints_a, keypoints_b, areas, sigmas, min_keypoint_score)
    mixed: np.ndarray = iou + weight * (oks - iou)
    return mixed


def assign(similarity: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, intp (P,) each, of the pairs that together are most similar; none of them below the threshold."""
    gated = np.where(similarity >= threshold, similarity, 0.0)
    rows, columns = linear_sum_assignment(gated, maximize=True)
    good = gated[rows, columns] > 0
    return rows[good], columns[good]
