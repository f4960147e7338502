"""Pictures to calibrate with, spread evenly over what there is, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensortap.errors import UsageError
from tensortap.geometry import Letterbox
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.model import ImageInput
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.runtime import Source
from tensortap.types import FrameInfo


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame as network input."""

    info: FrameInfo
    letterbox: Letterbox
    image: np.ndarray
    """uint8 (H, W, 3)."""


def gather(sources: Sequence[Source], preprocessor: Preprocessor, count: int) -> list[Picture]:
    """At most `count` pictures, spread evenly over all frames of all sources; each is read to its end.

    Raises:
        UsageError: there are fewer than two.
        SourceError: a source broke.
    """
    width, height = preprocessor.network_wh
    kept: list[Picture] = []
    stride, number = 1, 0
    for source in sources:
        while (frame := source.read()) is not None:
            if number % stride == 0:
                image = np.empty((height, width, 3), np.uint8)
                kept.append(Picture(frame.info, preprocessor.write(frame, image), image))
                if len(kept) == 2 * count:
                    kept, stride = kept[::2], stride * 2
            number += 1
    if len(kept) < 2:
        raise UsageError(f"{number} frames are too few to calibrate with. Give some hundred, of what the model is to see.")
    places = np.unique(np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int))
    return [kept[place] for place in places]


def network_input(picture: Picture, wanted: ImageInput, input_format: InputFormat) -> np.ndarray:
    """What the model's own input takes: (1, 3, H, W) or (1, H, W, 3), scaled."""
    image = picture.image
    if wanted.dtype != "uint8":
        image = (image.astype(np.float32) - np.array(input_format.mean, np.float32)) * np.array(input_format.scale, np.float32)
        image = image.astype(wanted.dtype)
    return np.ascontiguousarray(image.transpose(2, 0, 1) if wanted.layout == "NCHW" else image)[None]
