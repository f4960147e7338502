"""Comparing found people with reference people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensortap.geometry import iou_matrix
from tensortap.types import Poses


@dataclass
class Agreement:
    """How far results agree with a reference, collected over frames."""

    matched: int = 0
    missed: int = 0
    invented: int = 0
    distances: list[float] = field(default_factory=list)
    """Pixels between keypoints whose reference score is above 0.5."""

    def add(self, poses: Poses, people: list[dict[str, Any]], size_wh: tuple[int, int]) -> None:
        """Compare one frame. Both sides are clipped to the frame, as the reference was when it was made."""
        found_boxes, found_keypoints = clipped(poses.boxes_xyxy, size_wh), clipped(poses.keypoints, size_wh)
        boxes = np.array([person["box_xyxy"] for person in people], np.float32).reshape(-1, 4)
        overlaps = iou_matrix(boxes, found_boxes)
        used: set[int] = set()
        for row, person in enumerate(people):
            best = int(overlaps[row].argmax()) if len(found_boxes) else -1
            if best < 0 or overlaps[row, best] <= 0.9 or best in used:
                self.missed += 1
                continue
            used.add(best)
            self.matched += 1
            expected = np.array(person["keypoints"], np.float32)
            counted = expected[:, 2] > 0.5
            delta = found_keypoints[best, counted, :2] - expected[counted, :2]
            self.distances += np.hypot(*delta.T).tolist()
        self.invented += len(poses) - len(used)


def clipped(points: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) or keypoints (N, K, 3) inside the frame."""
    points = points.copy()
    step = 2 if points.ndim == 2 else 3
    points[..., 0::step] = points[..., 0::step].clip(0, size_wh[0])
    points[..., 1::step] = points[..., 1::step].clip(0, size_wh[1])
    return points
