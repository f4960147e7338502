"""Where nvinfer put a frame or an object in the network input, told in pixels of the camera's frame."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from tensortap.geometry import Letterbox, letterbox

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@lru_cache(maxsize=256)
def of_frame(policy: str, source_wh: Size, surface_wh: Size, network_wh: Size) -> Letterbox:
    """The letterbox of a whole frame.

    Args:
        policy: nvinfer's, by the name that `tensortap.geometry` knows it by. No binding of Python tells it (nor
            maintain_aspect_ratio, nor symmetric_padding), so it comes from the configuration file.
        source_wh: the camera's frame.
        surface_wh: what nvstreammux made of it, and nvinfer scaled from.
        network_wh: the network input.
    """
    return _in_source(letterbox(policy, surface_wh, network_wh), source_wh, surface_wh)


def of_object(policy: str, source_wh: Size, surface_wh: Size, network_wh: Size, box_xyxy: Box) -> Letterbox | None:
    """The letterbox of an object, by its box in pixels of the surface; `None` where nothing is left of it.

    nvinfer rounds the left and top up to even pixels, and width and height down (`GST_ROUND_UP_2`, `GST_ROUND_DOWN_2`, in
    `get_converted_buffer` of gstnvinfer.cpp).
    """
    left, top, right, bottom = box_xyxy
    even_left, even_top = int(left) + 1 & ~1, int(top) + 1 & ~1
    # Sizes are float32 there; the sum and the difference that edges are may have lost their last bit, and 100 with it.
    width, height = int(np.float32(right - left)) & ~1, int(np.float32(bottom - top)) & ~1
    if min(width, height) < 2:
        return None
    box = letterbox(policy, (width, height), network_wh)
    box = replace(box, source_wh=surface_wh, crop_xyxy=(even_left, even_top, even_left + width, even_top + height))
    return _in_source(box, source_wh, surface_wh)


def _in_source(box: Letterbox, source_wh: Size, surface_wh: Size) -> Letterbox:
    """The same placement by pixels of the frame that the surface was stretched from."""
    if source_wh == surface_wh:
        return box
    across, down = source_wh[0] / surface_wh[0], source_wh[1] / surface_wh[1]
    left, top, right, bottom = box.crop_xyxy
    return replace(box, source_wh=source_wh, crop_xyxy=(left * across, top * down, right * across, bottom * down))
