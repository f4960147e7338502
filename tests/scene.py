"""Videos with a bright square that the model of `models.pose_model` takes for somebody."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from media import write_video


def square_at(time: float) -> tuple[float, float]:
    """Centre of the square in a picture of 128 x 128, `time` in 0..1."""
    return 40 + 48 * time, 64.0


def pictures(num_frames: int, *, start: float = 0.0) -> list[np.ndarray]:
    """uint8 (128, 128, 3): a white square of 40 pixels that moves to the right over black."""
    images = []
    for number in range(num_frames):
        image = np.zeros((128, 128, 3), np.uint8)
        x, y = square_at(start + number / num_frames * (1 - start))
        image[int(y) - 20 : int(y) + 20, int(x) - 20 : int(x) + 20] = 255
        images.append(image)
    return images


def write_scene(path: Path, num_frames: int = 20, *, start: float = 0.0) -> Path:
    """The pictures as a video of 10 frames a second."""
    return write_video(path, size_wh=(128, 128), images=pictures(num_frames, start=start), num_frames=num_frames)
