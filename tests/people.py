"""Drawn people: poses that move as told."""

from __future__ import annotations

import numpy as np

from tensortap.skeletons import COCO_17
from tensortap.types import Frame, FrameInfo, Poses, Result

# A standing person in a box of width 1 and height 1: x, y of COCO's 17 keypoints.
_STANDING = np.array(
    [
        (0.50, 0.06), (0.53, 0.04), (0.47, 0.04), (0.57, 0.06), (0.43, 0.06), (0.66, 0.20), (0.34, 0.20), (0.72, 0.36),
        (0.28, 0.36), (0.74, 0.50), (0.26, 0.50), (0.61, 0.52), (0.39, 0.52), (0.62, 0.74), (0.38, 0.74), (0.63, 0.96),
        (0.37, 0.96),
    ],
    np.float32,
)  # fmt: skip


def person(center_x: float, *, top: float = 100, height: float = 200, facing: int = 1, stride: float = 0.0) -> np.ndarray:
    """float32 (17, 3): somebody standing or walking; `facing` -1 swaps left and right, `stride` -1..1 swings the legs."""
    width = height * 0.4
    keypoints = np.ones((17, 3), np.float32)
    keypoints[:, 0] = center_x + (_STANDING[:, 0] - 0.5) * width * facing
    keypoints[:, 1] = top + _STANDING[:, 1] * height
    for index, share in ((13, 0.5), (15, 1.0), (14, -0.5), (16, -1.0), (9, -0.5), (10, 0.5)):
        keypoints[index, 0] += share * stride * width * 0.5
    return keypoints


def poses_of(people: list[np.ndarray], scores: list[float] | None = None, class_ids: list[int] | None = None) -> Poses:
    """Poses with boxes around the keypoints given, (17, 3) each."""
    if not people:
        return Poses.empty(COCO_17)
    keypoints = np.stack(people).astype(np.float32)
    low, high = keypoints[..., :2].min(axis=1), keypoints[..., :2].max(axis=1)
    margin = (high - low) * 0.08
    return Poses(
        boxes_xyxy=np.concatenate((low - margin, high + margin), axis=1).astype(np.float32),
        scores=np.array(scores or [0.9] * len(people), np.float32),
        class_ids=np.array(class_ids or [0] * len(people), np.int64),
        keypoints=keypoints,
        skeleton=COCO_17,
    )


class _Picture:
    """Pixels of one colour."""

    def __init__(self, size_wh: tuple[int, int], value: int) -> None:
        self._image = np.full((size_wh[1], size_wh[0], 3), value, np.uint8)

    def bgr(self) -> np.ndarray:
        return self._image


def result(
    index: int = 0,
    poses: Poses | None = None,
    *,
    size_wh: tuple[int, int] = (160, 96),
    pts_ns: int | None = None,
    source: str = "made.mp4",
    pixels: bool = True,
    still: bool = False,
) -> Result:
    """A result as a pipeline hands it to sinks."""
    info = FrameInfo(
        0, source, index, index * 100_000_000 if pts_ns is None else pts_ns, size_wh, duration_ns=100_000_000, is_still=still
    )
    picture = _Picture(size_wh, 60 + index % 100) if pixels else None
    return Result(Frame(info, picture), poses if poses is not None else poses_of([person(60, top=10, height=70)]))
