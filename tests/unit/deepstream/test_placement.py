"""Where nvinfer puts frames and objects, and back to the camera's pixels, against its arithmetic written out step by step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tensortap.deepstream.placement import of_frame, of_object

POLICIES = {
    "nvinfer": (True, False),
    "nvinfer-symmetric": (True, True),
    "nvinfer-stretch": (False, False),
}
sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))


class Converted(NamedTuple):
    """What `get_converted_buffer` works out, in its names."""

    src_left: int
    src_top: int
    src_width: int
    src_height: int
    dest_width: int
    dest_height: int
    offset_left: int
    offset_top: int


def converted(roi: tuple[float, float, float, float], network_wh: tuple[int, int], keep: bool, symmetric: bool) -> Converted:
    """`get_converted_buffer` of gstnvinfer.cpp, step by step; `roi` is left, top, width, height."""
    left, top, width, height = roi
    src_left, src_top = (int(left) + 1) // 2 * 2, (int(top) + 1) // 2 * 2
    src_width, src_height = int(width) // 2 * 2, int(height) // 2 * 2
    net_width, net_height = network_wh
    dest_width, dest_height, offset_left, offset_top = net_width, net_height, 0, 0
    if keep:
        hdest, wdest = net_width * src_height / src_width, net_height * src_width / src_height
        if hdest <= net_height:
            dest_width, dest_height = net_width, max(int(hdest), 1)
        else:
            dest_width, dest_height = max(int(wdest), 1), net_height
        if symmetric:
            offset_left, offset_top = (net_width - dest_width) // 2, (net_height - dest_height) // 2
    return Converted(src_left, src_top, src_width, src_height, dest_width, dest_height, offset_left, offset_top)


def nvinfer_inverse(
    roi: tuple[float, float, float, float], network_wh: tuple[int, int], keep: bool, symmetric: bool, x: float, y: float
) -> tuple[float, float]:
    """A point of the network input on the surface, as NVIDIA's detector has it: the ratios are independent doubles."""
    made = converted(roi, network_wh, keep, symmetric)
    ratio_x, ratio_y = made.dest_width / made.src_width, made.dest_height / made.src_height
    return (x - made.offset_left) / ratio_x + made.src_left, (y - made.offset_top) / ratio_y + made.src_top


@pytest.mark.parametrize("policy", POLICIES)
def test_regions_are_nvinfers_exactly(policy: str) -> None:
    rng = np.random.default_rng(11)
    for number in range(3000):
        network_wh = (32 * int(rng.integers(1, 40)), 32 * int(rng.integers(1, 40)))
        values = rng.uniform([0, 0, 2, 2], [1900, 1000, 1900, 1000])
        if number % 2:
            values = values.round()  # where rounding to even pixels matters most
        left, top, width, height = roi = tuple(float(value) for value in values.astype(np.float32))
        box = of_object(policy, (1920, 1080), (1920, 1080), network_wh, (left, top, left + width, top + height))
        made = converted(roi, network_wh, *POLICIES[policy])
        assert box is not None
        edges = (made.src_left, made.src_top, made.src_left + made.src_width, made.src_top + made.src_height)
        assert box.crop_xyxy == edges, roi
        assert box.resized_wh == (made.dest_width, made.dest_height), (roi, network_wh)
        assert box.offset_xy == (made.offset_left, made.offset_top), (roi, network_wh)


@settings(max_examples=300, deadline=None)
@given(sizes, sizes, st.sampled_from(sorted(POLICIES)))
def test_frames_come_back_to_the_camera(source_wh: tuple[int, int], surface_wh: tuple[int, int], policy: str) -> None:
    box = of_frame(policy, source_wh, surface_wh, (640, 384))
    for x, y in ((0.0, 0.0), (639.5, 12.25), (300.0, 384.0)):
        on_surface = nvinfer_inverse((0, 0, *surface_wh), (640, 384), *POLICIES[policy], x, y)
        expected = on_surface[0] * source_wh[0] / surface_wh[0], on_surface[1] * source_wh[1] / surface_wh[1]
        found = box.points_to_source(np.array([[x, y]], np.float32))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2)
    assert box.source_wh == source_wh


def float32(low: int, high: int) -> st.SearchStrategy[float]:
    """As rect_params has it; whole numbers, where rounding matters, are frequent."""
    return st.floats(low, high, width=32) | st.integers(low, high).map(float)


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(float32(0, 1000), float32(0, 1000), float32(2, 900), float32(2, 900)),
    sizes,
    st.sampled_from(sorted(POLICIES)),
)
@example((1.0000000116860974e-07, 1.0000000116860974e-07, 64.0, 512.0), (1920, 1080), "nvinfer")
def test_objects_come_back_to_the_camera(
    roi: tuple[float, float, float, float], source_wh: tuple[int, int], policy: str
) -> None:
    left, top, width, height = roi
    surface_wh = (1920, 1080)
    # The box that the runtime sees has edges; what nvinfer sees has sizes.
    box = of_object(policy, source_wh, surface_wh, (192, 256), (left, top, left + width, top + height))
    assert box is not None
    for x, y in ((0.0, 0.0), (191.0, 3.5), (96.0, 256.0)):
        on_surface = nvinfer_inverse(roi, (192, 256), *POLICIES[policy], x, y)
        expected = on_surface[0] * source_wh[0] / 1920, on_surface[1] * source_wh[1] / 1080
        found = box.points_to_source(np.array([[x, y]], np.float32))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2)


def test_an_odd_region_loses_a_column_and_a_row() -> None:
    box = of_object("nvinfer", (1920, 1080), (1920, 1080), (640, 640), (11.0, 20.0, 652.0, 501.0))
    assert box is not None
    assert box.crop_xyxy == (12, 20, 652, 500)
    assert box.resized_wh == (640, 480)


@pytest.mark.parametrize("box_xyxy", [(10, 10, 11.9, 40), (10, 10, 40, 11), (10, 10, 10, 10)])
def test_nothing_is_left_of_a_sliver(box_xyxy: tuple[float, float, float, float]) -> None:
    assert of_object("nvinfer", (1920, 1080), (1920, 1080), (640, 640), box_xyxy) is None


def test_a_camera_of_the_surface_size_has_whole_pixels() -> None:
    box = of_frame("nvinfer", (1281, 721), (1281, 721), (640, 640))
    assert box.crop_xyxy == (0, 0, 1280, 720)
    assert all(isinstance(value, int) for value in box.crop_xyxy)
