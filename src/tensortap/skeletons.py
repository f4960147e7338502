"""Skeletons: what the K keypoints of a person are called, how they are joined and how exactly people place them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The meaning of the K keypoints of a pose."""

    name: str
    """Short name, e.g. `coco-17`."""
    keypoint_names: tuple[str, ...]
    """K names in the order of the model's output."""
    edges: tuple[tuple[int, int], ...]
    """Pairs of keypoint indices that are drawn as limbs."""
    sigmas: np.ndarray
    """float32 (K,): standard deviation of each keypoint's placement relative to the object's scale, for OKS."""

    def __post_init__(self) -> None:
        num_keypoints = len(self.keypoint_names)
        if self.sigmas.shape != (num_keypoints,):
            raise ValueError(f"sigmas must be ({num_keypoints},), got {self.sigmas.shape}")
        if any(not 0 <= end < num_keypoints for edge in self.edges for end in edge):
            raise ValueError(f"edges of {self.name!r} point outside its {num_keypoints} keypoints: {self.edges}")

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoint_names)


# fmt: off
_COCO_EDGES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)
# fmt: on

COCO_17 = Skeleton(
    name="coco-17",
    keypoint_names=(
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
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    edges=_COCO_EDGES,
    sigmas=np.array(
        [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089],
        np.float32,
    ),
)
"""The 17 keypoints of COCO, with its limbs and the sigmas of the official evaluation (pycocotools)."""


def skeleton_for(num_keypoints: int) -> Skeleton:
    """The skeleton of a model with K keypoints: COCO-17 for 17, else unnamed points without limbs.

    Unnamed points get the sigma 1/K, the value that Ultralytics trains and validates such models with.
    """
    if num_keypoints == COCO_17.num_keypoints:
        return COCO_17
    return Skeleton(
        name=f"points-{num_keypoints}",
        keypoint_names=tuple(f"point_{index}" for index in range(num_keypoints)),
        edges=(),
        sigmas=np.full(num_keypoints, 1 / max(num_keypoints, 1), np.float32),
    )
