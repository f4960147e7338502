"""SimCC and heat maps: the pose of the one person in a region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads import frame_of
from tensortap.decode.region import HeatmapDecoder, SimccDecoder
from tensortap.errors import DecodeError
from tensortap.geometry import LETTERBOX_POLICIES, Letterbox, letterbox

ROI = (400.0, 300.0, 544.0, 492.0)
# The region of 144 x 192 of a frame, enlarged to fill an input of 192 x 256.
BOX = Letterbox((1920, 1080), (192, 256), (192, 256), (0, 0), (400, 300, 544, 492), 0, "bilinear")


def simcc(bins: np.ndarray, heights: np.ndarray, network_wh: tuple[int, int], split: float = 2) -> dict[str, np.ndarray]:
    """Two bells around each bin (K, 2), as high as told."""
    tensors = {}
    for name, axis in (("simcc_x", 0), ("simcc_y", 1)):
        places = np.arange(int(network_wh[axis] * split))
        tensors[name] = (heights[:, None] * np.exp(-((places - bins[:, axis, None]) ** 2) / 72)).astype(np.float32)
    return tensors


def to_source(points: np.ndarray, box: Letterbox) -> np.ndarray:
    return (points - box.offset_xy) / np.array(box.ratio_xy) + box.crop_xyxy[:2]


@settings(max_examples=40, deadline=None)
@given(
    policy=st.sampled_from(sorted(LETTERBOX_POLICIES)),
    source_wh=st.tuples(st.integers(40, 4000), st.integers(40, 4000)),
    network_wh=st.sampled_from([(192, 256), (288, 384), (256, 256)]),
    num_keypoints=st.integers(1, 133),
    half=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_simcc_comes_back_from_every_letterbox(
    policy: str, source_wh: tuple[int, int], network_wh: tuple[int, int], num_keypoints: int, half: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    box = letterbox(policy, source_wh, network_wh)
    bins = generator.integers(0, np.array(network_wh) * 2, (num_keypoints, 2))
    heights = generator.uniform(0.3, 1, num_keypoints)
    tensors = simcc(bins, heights, network_wh)
    frame = frame_of({name: tensor.astype(np.float16) if half else tensor for name, tensor in tensors.items()}, box)
    poses = SimccDecoder(num_keypoints=num_keypoints)(frame)
    np.testing.assert_allclose(poses.keypoints[0, :, :2], to_source(bins / 2, box), atol=1e-3)
    np.testing.assert_allclose(poses.keypoints[0, :, 2], heights, atol=1e-3)
    np.testing.assert_allclose(poses.scores, [heights.mean()], atol=1e-3)
    np.testing.assert_allclose(poses.boxes_xyxy, [[0, 0, *source_wh]], atol=1e-3)


def test_a_region_is_the_box_and_its_keypoints_are_in_the_frame() -> None:
    bins = np.array([[0, 0], [192, 256], [383, 511]])
    poses = SimccDecoder(num_keypoints=3)(frame_of(simcc(bins, np.ones(3), (192, 256)), BOX, roi=ROI))
    np.testing.assert_allclose(poses.boxes_xyxy, [ROI], atol=1e-4)
    np.testing.assert_allclose(poses.keypoints[0, :, :2], [[400, 300], [472, 396], [543.625, 491.625]], atol=1e-4)


def test_the_lower_of_both_maxima_is_the_score() -> None:
    tensors = simcc(np.array([[10, 20], [30, 40]]), np.array([0.9, 0.9]), (192, 256))
    tensors["simcc_y"][1] *= 0.5
    poses = SimccDecoder(num_keypoints=2)(frame_of(tensors, BOX))
    np.testing.assert_allclose(poses.keypoints[0, :, 2], [0.9, 0.45], atol=1e-6)
    assert len(SimccDecoder(num_keypoints=2, conf_thres=0.7)(frame_of(tensors, BOX))) == 0


def test_maxima_above_one_are_a_score_of_one() -> None:
    poses = SimccDecoder(num_keypoints=1)(frame_of(simcc(np.array([[10, 20]]), np.array([1.4]), (192, 256)), BOX))
    assert poses.keypoints[0, 0, 2] == poses.scores[0] == 1


def heat(cells: np.ndarray, towards: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps with a maximum of 0.8 in each cell (K, 2) and a warmer neighbour on the side told, -1, 0 or 1 across and down."""
    maps = np.zeros((len(cells), height, width), np.float32)
    for each, (column, line), (right, below) in zip(maps, cells, towards, strict=True):
        each[line, column] = 0.8
        if right:
            each[line, column + right] = 0.5
        if below:
            each[line + below, column] = 0.5
    return maps


@settings(max_examples=40, deadline=None)
@given(
    policy=st.sampled_from(sorted(LETTERBOX_POLICIES)),
    source_wh=st.tuples(st.integers(40, 4000), st.integers(40, 4000)),
    num_keypoints=st.integers(1, 133),
    half=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_heat_maps_come_back_to_a_quarter_of_a_cell(
    policy: str, source_wh: tuple[int, int], num_keypoints: int, half: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    box = letterbox(policy, source_wh, (192, 256))
    cells = generator.integers(2, (46, 62), (num_keypoints, 2))
    towards = generator.integers(-1, 2, (num_keypoints, 2))
    maps = heat(cells, towards, 64, 48).astype(np.float16 if half else np.float32)
    poses = HeatmapDecoder(num_keypoints=num_keypoints)(frame_of({"maps": maps}, box))
    np.testing.assert_allclose(poses.keypoints[0, :, :2], to_source((cells + 0.25 * towards) * 4, box), atol=1e-3)


def test_at_the_edge_nothing_is_moved() -> None:
    """Where 1 < x < w - 1 does not hold, as in the evaluation that the models were published with."""
    cells = np.array([[0, 0], [1, 30], [47, 63], [20, 0], [20, 1]])
    towards = np.array([[1, 1], [1, 1], [-1, -1], [1, 1], [1, 1]])
    poses = HeatmapDecoder(num_keypoints=5)(
        frame_of({"maps": heat(cells, towards, 64, 48)}, letterbox("rtmo", (192, 256), (192, 256)))
    )
    expected = np.array([[0, 0], [1, 30.25], [47, 63], [20, 0], [20.25, 1]]) * 4
    np.testing.assert_allclose(poses.keypoints[0, :, :2], expected, atol=1e-4)


def test_clip() -> None:
    box = letterbox("nvinfer-symmetric", (100, 300), (192, 256))  # wide black bars left and right
    tensors = simcc(np.array([[0, 0], [383, 511]]), np.ones(2), (192, 256))
    poses = SimccDecoder(num_keypoints=2)(frame_of(tensors, box))
    assert poses.keypoints[0, 0, 0] < 0
    assert poses.keypoints[0, 1, 0] > 100
    clipped = SimccDecoder(num_keypoints=2, clip=True)(frame_of(tensors, box))
    assert clipped.keypoints[0, :, 0].tolist() == [0, 100]


def test_shapes_are_explained() -> None:
    with pytest.raises(
        DecodeError, match=r"\(2, 384\) and \(3, 512\); simcc with 2 keypoints expects \(2, columns\) and \(2, rows\)"
    ):
        SimccDecoder(num_keypoints=2)(frame_of({"simcc_x": np.ones((2, 384)), "simcc_y": np.ones((3, 512))}, BOX))
    with pytest.raises(DecodeError, match=r"'maps' is \(17, 64\); heatmap with 17 keypoints expects \(17, height, width\)"):
        HeatmapDecoder()(frame_of({"maps": np.ones((17, 64))}, BOX))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_no_score_is_reported(value: float) -> None:
    tensors = simcc(np.array([[10, 20], [30, 40]]), np.ones(2), (192, 256))
    for tensor in tensors.values():
        tensor[0, 3] = value
    decoder = SimccDecoder(num_keypoints=2)
    assert len(decoder(frame_of(tensors, BOX))) == 0
    assert dict(decoder.rejected[0]) == {"scores that are no numbers": 1}
    maps = heat(np.array([[5, 5], [6, 6]]), np.zeros((2, 2), int), 64, 48)
    maps[0, 3, 3] = value
    of_maps = HeatmapDecoder(num_keypoints=2)
    assert len(of_maps(frame_of({"maps": maps}, BOX))) == 0
    assert dict(of_maps.rejected[0]) == {"scores that are no numbers": 1}


def test_score_maps_show_the_best_keypoint() -> None:
    [found] = HeatmapDecoder(num_keypoints=2).score_maps(
        frame_of({"maps": heat(np.array([[5, 6], [7, 8]]), np.zeros((2, 2), int), 64, 48)}, BOX)
    )
    assert found.scores.shape == (64, 48)
    assert np.argwhere(found.scores > 0.7).tolist() == [[6, 5], [8, 7]]
    [found] = SimccDecoder(num_keypoints=1).score_maps(frame_of(simcc(np.array([[10, 20]]), np.ones(1), (192, 256)), BOX))
    assert found.scores.shape == (512, 384)
    assert np.unravel_index(found.scores.argmax(), found.scores.shape) == (20, 10)
