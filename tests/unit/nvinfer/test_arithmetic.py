"""Our nvinfer letterboxes against a step-by-step transcription of `get_converted_buffer`, in plain integers and doubles."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

from tensortap.geometry import letterbox
from tensortap.portable.pixels import BgrPixels
from tensortap.portable.preprocess import Preprocessor
from tensortap.types import Frame, FrameInfo


def transcription(
    source_wh: tuple[int, int], network_wh: tuple[int, int], keep_aspect: bool, symmetric: bool
) -> dict[str, int]:
    """`gstnvinfer.cpp` line by line, for a whole frame."""
    source_width = source_wh[0] - source_wh[0] % 2  # GST_ROUND_DOWN_2
    source_height = source_wh[1] - source_wh[1] % 2
    network_width, network_height = network_wh
    left = top = 0
    if keep_aspect:
        height = network_width * source_height / float(source_width)
        width = network_height * source_width / float(source_height)
        if height <= network_height:
            to_width, to_height = network_width, int(height)
        else:
            to_width, to_height = int(width), network_height
        if symmetric:
            left = (network_width - to_width) // 2
            top = (network_height - to_height) // 2
    else:
        to_width, to_height = network_width, network_height
    return {
        "source_width": source_width,
        "source_height": source_height,
        "width": to_width,
        "height": to_height,
        "left": left,
        "top": top,
    }


POLICIES = {
    "nvinfer": (True, False),
    "nvinfer-symmetric": (True, True),
    "nvinfer-stretch": (False, False),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_geometry_is_nvinfers(policy: str) -> None:
    rng = random.Random(5)
    for _ in range(4000):
        source_wh = (rng.randint(2, 4100), rng.randint(2, 2300))
        network_wh = (32 * rng.randint(1, 60), 32 * rng.randint(1, 60))
        expected = transcription(source_wh, network_wh, *POLICIES[policy])
        if not (expected["width"] and expected["height"]):
            continue  # thinner than a pixel: nvinfer fails there
        box = letterbox(policy, source_wh, network_wh)
        assert box.resized_wh == (expected["width"], expected["height"]), (source_wh, network_wh)
        assert box.offset_xy == (expected["left"], expected["top"]), (source_wh, network_wh)
        assert box.crop_xyxy == (0, 0, expected["source_width"], expected["source_height"]), (source_wh, network_wh)
        assert box.pad_value == 0
        # NVIDIA's own way back: (x - left) / ratio, the ratios as independent doubles.
        x, y = rng.uniform(0, network_wh[0]), rng.uniform(0, network_wh[1])
        back = box.points_to_source(np.array([[x, y]], np.float64))[0]
        ratio_x, ratio_y = expected["width"] / expected["source_width"], expected["height"] / expected["source_height"]
        assert back[0] == pytest.approx((x - expected["left"]) / ratio_x, abs=2e-2, rel=2e-5)
        assert back[1] == pytest.approx((y - expected["top"]) / ratio_y, abs=2e-2, rel=2e-5)


@pytest.mark.parametrize("policy", [*POLICIES, *(f"{name}-bilinear" for name in POLICIES)])
def test_pixels_are_nvinfers(policy: str) -> None:
    rng = np.random.default_rng(9)
    for _ in range(150):
        source_wh = (int(rng.integers(2, 400)), int(rng.integers(2, 400)))
        network_wh = (32 * int(rng.integers(1, 6)), 32 * int(rng.integers(1, 6)))
        geometry = transcription(source_wh, network_wh, *POLICIES[policy.removesuffix("-bilinear")])
        if not (geometry["width"] and geometry["height"]):
            continue
        image = rng.integers(0, 256, (source_wh[1], source_wh[0], 3)).astype(np.uint8)
        slot = np.full((network_wh[1], network_wh[0], 3), 77, np.uint8)
        frame = Frame(FrameInfo(0, "a", 0, 0, source_wh), BgrPixels(image))
        Preprocessor(network_wh, policy, "bgr").write(frame, slot)
        expected = np.zeros_like(slot)
        resized = cv2.resize(
            image[: geometry["source_height"], : geometry["source_width"]],
            (geometry["width"], geometry["height"]),
            interpolation=cv2.INTER_LINEAR if policy.endswith("bilinear") else cv2.INTER_NEAREST,
        )
        expected[geometry["top"] :, geometry["left"] :][: geometry["height"], : geometry["width"]] = resized
        np.testing.assert_allclose(slot.astype(int), expected.astype(int), atol=1)
