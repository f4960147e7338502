"""One update of the tracker, for 0, 1, 5 and 30 people walking, in a steady state."""

from __future__ import annotations

import numpy as np
from common import machine, median_ms

from tensortap.skeletons import COCO_17
from tensortap.track.pose import PoseTracker
from tensortap.types import Poses

FRAME_NS = 33_333_333


def crowd(num_people: int, step: int) -> Poses:
    """People side by side, each a little in front of the next, who walk to the right, with a little noise."""
    generator = np.random.default_rng(step)
    left = np.arange(num_people, dtype=np.float32) * 40 + step * 0.5
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


def measure(num_people: int) -> float:
    """Median milliseconds of an update."""
    tracker = PoseTracker()
    there = [crowd(num_people, step) for step in range(100)]
    frames = there + there[::-1]  # and back again, so that nobody jumps
    step = 0

    def update() -> None:
        nonlocal step
        tracker.update(frames[step % len(frames)], step * FRAME_NS)
        step += 1

    milliseconds = median_ms(update)
    last = tracker.update(frames[step % len(frames)], step * FRAME_NS)
    assert sorted(last.track_ids.tolist()) == list(range(1, num_people + 1)), "the crowd is not in a steady state"
    return milliseconds


def main() -> None:
    """Print the median of an update."""
    print(machine())
    print("people   update")
    for num_people in (0, 1, 5, 30):
        print(f"{num_people:6d}   {measure(num_people) * 1e3:6.1f} us")


if __name__ == "__main__":
    main()
