"""One update of the tracker, for 0, 1, 5 and 30 people walking, in a steady state."""

from __future__ import annotations

import numpy as np
from common import machine, median_ms

from tensortap.skeletons import COCO_17
from tensortap.track.pose import PoseTracker
from tensortap.types import Poses


def crowd(num_people: int, step: int) -> Poses:
    """People side by side who walk to the right, with a little noise."""
    generator = np.random.default_rng(step)
    left = np.arange(num_people, dtype=np.float32) * 60 + step * 0.5
    boxes = np.stack([left, np.full_like(left, 100), left + 50, np.full_like(left, 250)], axis=1)
    boxes += generator.normal(0, 1, boxes.shape)
    keypoints = generator.uniform(0, 1, (num_people, 17, 3)).astype(np.float32)
    keypoints[..., 0] = left[:, None] + np.linspace(5, 45, 17)
    keypoints[..., 1] = np.linspace(110, 240, 17)
    return Poses(
        boxes.astype(np.float32),
        np.full(num_people, 0.8, np.float32),
        np.zeros(num_people, np.int64),
        keypoints,
        COCO_17,
    )


def main() -> None:
    """Print the median of an update."""
    print(machine())
    for num_people in (0, 1, 5, 30):
        tracker = PoseTracker()
        frames = [crowd(num_people, step) for step in range(100)]
        step = 0

        def update(frames: list[Poses] = frames, tracker: PoseTracker = tracker) -> None:
            nonlocal step
            tracker.update(frames[step % 100 if step // 100 % 2 == 0 else 99 - step % 100], step * 33_000_000)
            step += 1

        print(f"{num_people:2d} people: {median_ms(update):.4f} ms")


if __name__ == "__main__":
    main()
