"""Letterboxes there and back, and the similarities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensortap.geometry import LETTERBOX_POLICIES, iou_matrix, letterbox, oks_matrix, rectangle
from tensortap.skeletons import COCO_17

SIZES = st.tuples(st.integers(2, 8000), st.integers(2, 8000))
NETWORK_SIZES = st.tuples(st.integers(32, 2048), st.integers(32, 2048))


@pytest.mark.parametrize(
    ("policy", "source_wh", "resized_wh", "offset_xy"),
    [
        # Ultralytics: rounded, centred, the odd pixel to the right and bottom.
        ("ultralytics", (768, 432), (640, 360), (0, 140)),
        ("ultralytics", (800, 451), (640, 361), (0, 139)),
        ("ultralytics", (427, 640), (427, 640), (106, 0)),
        ("ultralytics", (100, 50), (640, 320), (0, 160)),
        # nvinfer: truncated; top left unless symmetric; even source sizes.
        ("nvinfer", (800, 451), (640, 360), (0, 0)),
        ("nvinfer", (427, 640), (426, 640), (0, 0)),
        ("nvinfer-symmetric", (427, 640), (426, 640), (107, 0)),
        ("nvinfer-symmetric", (1279, 719), (640, 359), (0, 140)),
        ("nvinfer-stretch", (427, 641), (640, 640), (0, 0)),
        ("rtmo", (800, 451), (640, 360), (0, 0)),
    ],
)
def test_sizes_and_offsets(
    policy: str, source_wh: tuple[int, int], resized_wh: tuple[int, int], offset_xy: tuple[int, int]
) -> None:
    box = letterbox(policy, source_wh, (640, 640))
    assert box.resized_wh == resized_wh
    assert box.offset_xy == offset_xy


def test_pad_values_and_interpolation() -> None:
    assert letterbox("ultralytics", (8, 8), (64, 32)).pad_value == 114
    assert letterbox("nvinfer", (8, 8), (64, 32)).pad_value == 0
    assert letterbox("nvinfer", (8, 8), (64, 32)).interpolation == "nearest"
    assert letterbox("nvinfer-symmetric-bilinear", (8, 8), (64, 32)).interpolation == "bilinear"
    assert letterbox("rtmo", (8, 8), (64, 32)).pad_value == 114


def test_nvinfer_rounds_the_source_down_to_even() -> None:
    assert letterbox("nvinfer", (641, 481), (640, 640)).crop_xyxy == (0, 0, 640, 480)
    assert letterbox("nvinfer", (1, 1), (64, 64)).crop_xyxy == (0, 0, 1, 1)


@pytest.mark.parametrize("policy", LETTERBOX_POLICIES)
@given(source_wh=SIZES, network_wh=NETWORK_SIZES)
def test_there_and_back(policy: str, source_wh: tuple[int, int], network_wh: tuple[int, int]) -> None:
    box = letterbox(policy, source_wh, network_wh)
    assert min(box.resized_wh) >= 1
    assert min(box.offset_xy) >= 0
    assert box.offset_xy[0] + box.resized_wh[0] <= network_wh[0]
    assert box.offset_xy[1] + box.resized_wh[1] <= network_wh[1]
    # The corners of the crop land on the corners of the picture.
    crop = np.array([box.crop_xyxy], np.float32)
    expected = [*box.offset_xy, box.offset_xy[0] + box.resized_wh[0], box.offset_xy[1] + box.resized_wh[1]]
    np.testing.assert_allclose(box.boxes_to_network(crop)[0], expected, atol=2e-3)
    # Points in and around the frame come back, scores are handed through.
    span = np.array([*source_wh, 1], np.float32)
    points = np.random.default_rng(0).uniform(-0.5, 1.5, (20, 3)).astype(np.float32) * span
    back = box.points_to_source(box.points_to_network(points))
    # float32 holds both places: a fixed share of the larger of the two pictures, in pixels of the source.
    rounding = max(*source_wh, *network_wh) * 2e-6 / min(1, *box.ratio_xy)
    np.testing.assert_allclose(back[:, :2], points[:, :2], rtol=2e-6, atol=rounding)
    np.testing.assert_array_equal(back[:, 2], points[:, 2])


def test_the_given_points_are_not_written_to() -> None:
    points = np.ones((3, 3), np.float32)
    points.flags.writeable = False
    letterbox("ultralytics", (768, 432), (640, 640)).points_to_source(points)


def test_same_sizes_give_the_same_letterbox() -> None:
    assert letterbox("ultralytics", (768, 432), (640, 640)) is letterbox("ultralytics", (768, 432), (640, 640))


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        letterbox("ultralytics", (0, 10), (640, 640))


def test_iou() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 20, 20]], np.float32)
    np.testing.assert_allclose(iou_matrix(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]], atol=1e-6)
    assert iou_matrix(boxes[:0], boxes).shape == (0, 3)


def test_oks_is_the_formula_of_coco() -> None:
    generator = np.random.default_rng(1)
    truth = np.concatenate((generator.uniform(0, 200, (2, 17, 2)), np.ones((2, 17, 1))), axis=2).astype(np.float32)
    found = truth.copy()
    found[..., :2] += generator.normal(0, 6, (2, 17, 2))
    area = 9000.0
    delta = found[0, :, :2] - truth[1, :, :2]
    # pycocotools/cocoeval.py, computeOks
    variance = (COCO_17.sigmas * 2) ** 2
    expected = np.exp(-((delta**2).sum(1)) / variance / area / 2).mean()
    oks = oks_matrix(found, truth, np.full((2, 2), area, np.float32), COCO_17.sigmas)
    np.testing.assert_allclose(oks[0, 1], expected, rtol=1e-5)
    assert oks[0, 0] > 0.5 > oks[0, 1]


def test_oks_counts_only_keypoints_seen_on_both_sides() -> None:
    pose = np.ones((1, 17, 3), np.float32)
    other = pose.copy()
    other[0, 1:, :2] += 1000
    other[0, 1:, 2] = 0.1
    areas = np.full((1, 1), 100, np.float32)
    assert oks_matrix(pose, other, areas, COCO_17.sigmas, min_score=0.5)[0, 0] == pytest.approx(1)
    other[..., 2] = 0
    assert oks_matrix(pose, other, areas, COCO_17.sigmas, min_score=0.5)[0, 0] == 0


@given(
    st.lists(st.tuples(st.integers(16, 4000), st.integers(16, 4000)), min_size=1, max_size=4),
    st.sampled_from(sorted(LETTERBOX_POLICIES)),
)
def test_a_rectangle_holds_the_pictures_as_large_as_the_whole_input(sizes_wh: list[tuple[int, int]], policy: str) -> None:
    whole = (640, 640)
    smaller = rectangle(policy, sizes_wh, whole, 32)
    assert not smaller[0] % 32
    assert not smaller[1] % 32
    assert max(smaller) <= 640
    for size_wh in sizes_wh:
        before, after = (np.array(letterbox(policy, size_wh, network_wh).resized_wh) for network_wh in (whole, smaller))
        assert np.abs(after - before).max() <= 1


def test_rectangles() -> None:
    assert rectangle("ultralytics", [(1920, 1080)], (640, 640), 32) == (640, 384)
    assert rectangle("ultralytics", [(1080, 1920)], (640, 640), 32) == (384, 640)
    assert rectangle("ultralytics", [(1920, 1080), (640, 480)], (640, 640), 32) == (640, 480)
    assert rectangle("ultralytics", [(1920, 1080), (1080, 1920)], (640, 640), 32) == (640, 640)
    assert rectangle("nvinfer-stretch", [(1920, 1080)], (640, 640), 32) == (640, 640)
