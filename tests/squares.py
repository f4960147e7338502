"""Two squares that move, as people for the model of tests/models.py, and nvinfer's file for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from media import write_video
from models import pose_model


def squares(path: Path, num_frames: int = 12, size_wh: tuple[int, int] = (160, 96), num_black: int = 0) -> Path:
    """Two squares that move towards each other, on black, brightest in the middle: two people for the model of
    tests/models.py. Then so many frames without them."""
    up = 1 - np.abs(np.linspace(-1, 1, 48))
    square = (212 + 43 * np.minimum(up[:, None], up[None])).astype(np.uint8)[..., None]

    def image(number: int) -> np.ndarray:
        picture = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        number %= 12
        picture[20:68, number : 48 + number] = square
        picture[30:78, 110 - number : 158 - number] = square
        return picture

    black = [np.zeros((size_wh[1], size_wh[0], 3), np.uint8)] * num_black
    return write_video(path, size_wh=size_wh, images=[image(number) for number in range(num_frames)] + black)


def config(folder: Path, name: str = "pose.txt", **keys: Any) -> Path:
    """A file of nvinfer's for the model of tests/models.py, which it writes beside it."""
    model = folder / "squares.onnx"
    if not model.exists():
        pose_model(model)
    told = {
        "onnx-file": model.name,
        "batch-size": 2,
        "infer-dims": "3;64;64",
        "net-scale-factor": 1 / 255,
        "maintain-aspect-ratio": 1,
        "symmetric-padding": 1,
        "scaling-filter": 1,
        "network-type": 100,
        "gie-unique-id": 3,
        "output-tensor-meta": 1,
    } | {key.replace("_", "-"): value for key, value in keys.items()}
    path = folder / name
    path.write_text("[property]\n" + "".join(f"{key}={value}\n" for key, value in told.items() if value is not None))
    return path
