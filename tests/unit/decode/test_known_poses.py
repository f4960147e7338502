"""Known people, encoded into every head's layout, come back: exactly, through every letterbox, in every type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads import HEADS, Asked, Head, People, draw_people, frame_of, to_network, to_source
from tensortap.decode.base import PoseDecoder
from tensortap.geometry import LETTERBOX_POLICIES, letterbox
from tensortap.registry import DECODERS, load
from tensortap.types import Poses

NETWORKS = [(640, 640), (960, 960), (1280, 768), (320, 640), (64, 64)]


def decoder_for(head: Head, num_keypoints: int, dims: int, num_classes: int = 1, **settings: Any) -> PoseDecoder:
    arguments = {**head.arguments, "num_keypoints": num_keypoints, "keypoint_dims": dims, **settings}
    if head.takes_classes:
        arguments["num_classes"] = num_classes
    decoder: PoseDecoder = load("decoder", DECODERS, head.decoder)(**arguments)
    return decoder


def check(poses: Poses, expected: People, dims: int, tolerance: float) -> None:
    """All of them, in their order, within so many pixels of the source."""
    assert len(poses) == len(expected.scores)
    np.testing.assert_array_equal(poses.class_ids, expected.class_ids)
    np.testing.assert_allclose(poses.boxes_xyxy, expected.boxes_xyxy, rtol=0, atol=tolerance)
    np.testing.assert_allclose(poses.keypoints[..., :2], expected.keypoints[..., :2], rtol=0, atol=tolerance)
    told = expected.keypoints[..., 2] if dims == 3 else np.ones(expected.keypoints.shape[:2])
    np.testing.assert_allclose(poses.keypoints[..., 2], told, atol=1e-6)
    np.testing.assert_allclose(poses.scores, expected.scores, atol=1e-6)
    for name in ("boxes_xyxy", "keypoints", "scores"):
        assert getattr(poses, name).dtype == np.float32


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=30, deadline=None)
@given(
    policy=st.sampled_from(sorted(LETTERBOX_POLICIES)),
    source_wh=st.tuples(st.integers(40, 4000), st.integers(40, 4000)),
    network_wh=st.sampled_from(NETWORKS),
    num_people=st.integers(0, 5),
    num_keypoints=st.integers(1, 133),
    dims=st.sampled_from([2, 3]),
    num_classes=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_known_poses_come_back(
    name: str,
    policy: str,
    source_wh: tuple[int, int],
    network_wh: tuple[int, int],
    num_people: int,
    num_keypoints: int,
    dims: int,
    num_classes: int,
    seed: int,
) -> None:
    head = HEADS[name]
    dims = dims if dims in head.dims else head.dims[0]
    num_classes = num_classes if head.many_classes else 1
    generator = np.random.default_rng(seed)
    box = letterbox(policy, source_wh, network_wh)
    people = draw_people(generator, num_people, num_keypoints, num_classes, source_wh)
    encoded = head.encode(to_network(people, box), Asked(network_wh, num_classes, dims, generator, head.num_rows))
    tensors = {key: tensor.astype(np.float32) for key, tensor in encoded.items()}
    decoder = decoder_for(head, num_keypoints, dims, num_classes)
    check(decoder(frame_of(tensors, box)), people, dims, 1e-3)
    assert not decoder.rejected


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("policy", sorted(LETTERBOX_POLICIES))
def test_known_poses_come_back_from_full_hd(name: str, policy: str) -> None:
    head = HEADS[name]
    for source_wh in ((1920, 1080), (1919, 1079), (1080, 1920), (641, 480)):
        generator = np.random.default_rng(1)
        box = letterbox(policy, source_wh, (640, 640))
        people = draw_people(generator, 5, 17, 1, source_wh)
        encoded = head.encode(to_network(people, box), Asked((640, 640), 1, 3, generator, head.num_rows))
        tensors = {key: tensor.astype(np.float32) for key, tensor in encoded.items()}
        check(decoder_for(head, 17, 3)(frame_of(tensors, box)), people, 3, 1e-3)


def as_bfloat16(tensor: np.ndarray) -> np.ndarray:
    """float32 with the 8 bits of a bfloat16, which is how engines hand it out."""
    return (tensor.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


TYPES = {"float16": lambda tensor: tensor.astype(np.float16), "bfloat16": as_bfloat16, "float64": lambda tensor: tensor}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", [name for name in HEADS if "grids" not in name])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), policy=st.sampled_from(sorted(LETTERBOX_POLICIES)), num_keypoints=st.integers(1, 40))
def test_half_precision_loses_nothing_that_it_holds(name: str, dtype: str, seed: int, policy: str, num_keypoints: int) -> None:
    """Network coordinates that the type holds exactly come back exactly: nothing is worked out in half precision."""
    head = HEADS[name]
    generator = np.random.default_rng(seed)
    num_people = 3
    left = np.arange(num_people) * 80.0 + 2 * generator.integers(0, 10, num_people)
    boxes = np.stack((left, np.full(num_people, -4.0), left + 48, 2.0 * generator.integers(50, 120, num_people)), axis=1)
    keypoints = generator.integers(-60, 250, (num_people, num_keypoints, 3)).astype(np.float64)
    keypoints[..., 2] = generator.integers(1, 128, keypoints.shape[:2]) / 128
    scores = np.array([0.875, 0.75, 0.625]) ** 2 if "rows" in name else np.array([0.875, 0.75, 0.5])
    people = People(boxes, keypoints, scores, np.zeros(num_people, int))
    box = letterbox(policy, (1919, 1081), (256, 256))
    encoded = head.encode(people, Asked((256, 256), 1, 3, generator, head.num_rows))
    tensors = {key: TYPES[dtype](tensor) for key, tensor in encoded.items()}
    check(decoder_for(head, num_keypoints, 3)(frame_of(tensors, box)), to_source(people, box), 3, 1e-3)


@pytest.mark.parametrize("name", ["yolov7-pose grids", "yolov7-pose grids in channels"])
def test_grids_in_half_precision(name: str) -> None:
    """Boxes and scores are logits there, rounded to 1 part in 2,000."""
    head = HEADS[name]
    generator = np.random.default_rng(0)
    people = draw_people(generator, 4, 17, 1, (640, 640))
    box = letterbox("ultralytics", (640, 640), (640, 640))
    encoded = head.encode(people, Asked((640, 640), 1, 3, generator))
    poses = decoder_for(head, 17, 3)(frame_of({key: grid.astype(np.float16) for key, grid in encoded.items()}, box))
    np.testing.assert_allclose(poses.boxes_xyxy, people.boxes_xyxy, atol=1.5)
    np.testing.assert_allclose(poses.keypoints[..., :2], people.keypoints[..., :2], atol=1.0)
    np.testing.assert_allclose(poses.scores, people.scores, atol=2e-3)


@pytest.mark.parametrize("name", HEADS)
def test_tensors_are_only_read_and_give_the_same_poses_again(name: str) -> None:
    head = HEADS[name]
    generator = np.random.default_rng(3)
    people = draw_people(generator, 4, 17, 1, (640, 480))
    box = letterbox("ultralytics", (640, 480), (640, 640))
    tensors = {
        key: tensor.astype(np.float32)
        for key, tensor in head.encode(to_network(people, box), Asked((640, 640), 1, 3, generator, head.num_rows)).items()
    }
    before = {key: tensor.copy() for key, tensor in tensors.items()}
    decoder = decoder_for(head, 17, 3)
    first, second = decoder(frame_of(tensors, box)), decoder(frame_of(tensors, box))
    for key, tensor in before.items():
        np.testing.assert_array_equal(tensors[key], tensor)
    for field in ("boxes_xyxy", "scores", "keypoints", "class_ids"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
        assert not any(np.shares_memory(getattr(first, field), tensor) for tensor in tensors.values())


@pytest.mark.parametrize("name", HEADS)
def test_nothing_is_clipped_unless_asked(name: str) -> None:
    head = HEADS[name]
    box = letterbox("nvinfer-symmetric", (640, 360), (640, 640))
    keypoints = np.array([[[-30, 100, 0.5], [700, 380, 0.6], [5, -7, 0.7]]])
    people = People(np.array([[-20.0, -10, 650, 355]]), keypoints, np.array([0.8]), np.array([0]))
    encoded = head.encode(to_network(people, box), Asked((640, 640), 1, 3, np.random.default_rng(0), head.num_rows))
    tensors = {key: tensor.astype(np.float32) for key, tensor in encoded.items()}
    check(decoder_for(head, 3, 3)(frame_of(tensors, box)), people, 3, 1e-3)
    clipped = decoder_for(head, 3, 3, clip=True)(frame_of(tensors, box))
    np.testing.assert_allclose(clipped.boxes_xyxy, [[0, 0, 640, 355]], atol=1e-3)
    np.testing.assert_allclose(clipped.keypoints[0, :, :2], [[0, 100], [640, 360], [5, 0]], atol=1e-3)
    np.testing.assert_allclose(clipped.keypoints[0, :, 2], [0.5, 0.6, 0.7], atol=1e-6)


@pytest.mark.parametrize("name", [name for name, head in HEADS.items() if head.many_classes])
def test_people_of_different_classes_do_not_suppress_each_other(name: str) -> None:
    head = HEADS[name]
    box = letterbox("ultralytics", (640, 640), (640, 640))
    boxes = np.array([[100.0, 100, 200, 300], [102, 100, 202, 300], [104, 100, 204, 300]])
    people = People(boxes, np.full((3, 5, 3), 0.5), np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))
    tensors = head.encode(people, Asked((640, 640), 2, 3, np.random.default_rng(0), head.num_rows))
    poses = decoder_for(head, 5, 3, 2)(frame_of(tensors, box))
    # An end-to-end head has had its NMS: what it gives is believed.
    assert poses.class_ids.tolist() == ([1, 0, 1] if name == "end2end" else [1, 0])


@pytest.mark.parametrize("name", HEADS)
def test_thresholds(name: str) -> None:
    head = HEADS[name]
    generator = np.random.default_rng(5)
    people = draw_people(generator, 5, 17, 1, (640, 640))._replace(scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5]))
    box = letterbox("ultralytics", (640, 640), (640, 640))
    tensors = {
        key: tensor.astype(np.float32)
        for key, tensor in head.encode(people, Asked((640, 640), 1, 3, generator, head.num_rows)).items()
    }
    frame = frame_of(tensors, box)
    np.testing.assert_allclose(decoder_for(head, 17, 3, conf_thres=0.65)(frame).scores, [0.9, 0.8, 0.7], atol=1e-6)
    np.testing.assert_allclose(decoder_for(head, 17, 3, max_det=2)(frame).scores, [0.9, 0.8], atol=1e-6)
    assert len(decoder_for(head, 17, 3, conf_thres=1.0)(frame)) == 0
