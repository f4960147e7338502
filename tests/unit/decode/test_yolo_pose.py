"""YOLOv8/11-pose: known poses encoded into the head's layout come back, through every letterbox."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.errors import DecodeError
from tensortap.geometry import LETTERBOX_POLICIES, letterbox
from tensortap.skeletons import COCO_17
from tensortap.types import Frame, FrameInfo, TensorFrame

SOURCE_WH = (767, 433)
NETWORK_WH = (640, 640)


def tensor_frame(tensor: np.ndarray, policy: str = "ultralytics", source_wh: tuple[int, int] = SOURCE_WH) -> TensorFrame:
    tensor = tensor.view()
    tensor.flags.writeable = False
    frame = Frame(FrameInfo(0, "made", 0, 0, source_wh), None)
    return TensorFrame(frame, {"output0": tensor}, letterbox(policy, source_wh, NETWORK_WH))


def encode(
    boxes: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    class_ids: np.ndarray,
    *,
    num_classes: int,
    dims: int,
    frame: TensorFrame,
    num_anchors: int = 300,
) -> np.ndarray:
    """The tensor that a network would give for these people, in pixels of the source."""
    num_people, num_keypoints = keypoints.shape[:2]
    tensor = np.zeros((4 + num_classes + num_keypoints * dims, num_anchors), np.float32)
    columns = np.random.default_rng(0).permutation(num_anchors)[:num_people]
    corners = frame.letterbox.boxes_to_network(boxes)
    tensor[0:2, columns] = (corners[:, :2] + corners[:, 2:]).T / 2
    tensor[2:4, columns] = (corners[:, 2:] - corners[:, :2]).T
    tensor[4 + class_ids, columns] = scores
    placed = frame.letterbox.points_to_network(keypoints)
    tensor[4 + num_classes :, columns] = placed[..., :dims].reshape(num_people, -1).T
    return tensor


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from(sorted(LETTERBOX_POLICIES)),
    num_classes=st.integers(1, 5),
    num_keypoints=st.integers(1, 30),
    dims=st.sampled_from([2, 3]),
    transposed=st.booleans(),
    seed=st.integers(0, 2**31),
    source_wh=st.tuples(st.integers(40, 4000), st.integers(40, 4000)),
)
def test_known_poses_come_back(
    policy: str, num_classes: int, num_keypoints: int, dims: int, transposed: bool, seed: int, source_wh: tuple[int, int]
) -> None:
    generator = np.random.default_rng(seed)
    num_people = int(generator.integers(1, 6))
    scores = np.sort(generator.uniform(0.3, 1, num_people).astype(np.float32))[::-1]
    class_ids = generator.integers(0, num_classes, num_people)
    # Side by side, so that NMS keeps all; keypoints anywhere, also left of and outside the frame.
    width = source_wh[0] / num_people
    left = np.arange(num_people) * width
    boxes = np.stack([left, np.full(num_people, -5.0), left + width * 0.9, np.full(num_people, source_wh[1])], 1).astype(
        np.float32
    )
    keypoints = generator.uniform(-0.3, 1.3, (num_people, num_keypoints, 3)).astype(np.float32)
    keypoints[..., :2] *= source_wh
    keypoints[..., 2] = generator.uniform(0, 1, keypoints.shape[:2])
    frame = tensor_frame(np.empty((0, 0)), policy, source_wh)
    tensor = encode(boxes, keypoints, scores, class_ids, num_classes=num_classes, dims=dims, frame=frame)
    decoder = YoloPoseDecoder(
        num_keypoints=num_keypoints, keypoint_dims=dims, num_classes=num_classes, transposed=transposed, output="output0"
    )
    poses = decoder(tensor_frame(np.ascontiguousarray(tensor.T) if transposed else tensor, policy, source_wh))
    assert len(poses) == num_people
    # float32 holds about 7 digits of a network coordinate, which the letterbox may enlarge.
    tolerance = max(1e-3, 2e-4 / min(frame.letterbox.ratio_xy))
    np.testing.assert_allclose(poses.scores, scores)
    np.testing.assert_array_equal(poses.class_ids, class_ids)
    np.testing.assert_allclose(poses.boxes_xyxy, boxes, atol=tolerance)
    np.testing.assert_allclose(poses.keypoints[..., :2], keypoints[..., :2], atol=tolerance)
    expected_scores = keypoints[..., 2] if dims == 3 else np.ones(keypoints.shape[:2])
    np.testing.assert_allclose(poses.keypoints[..., 2], expected_scores)


def two_overlapping(class_ids: list[int], **arguments: float) -> int:
    """How many of two people with nearly the same box stay."""
    frame = tensor_frame(np.empty((0, 0)))
    boxes = np.array([[100, 100, 200, 300], [104, 100, 204, 300]], np.float32)
    tensor = encode(
        boxes,
        np.ones((2, 17, 3), np.float32),
        np.array([0.6, 0.9], np.float32),
        np.array(class_ids),
        num_classes=2,
        dims=3,
        frame=frame,
    )
    return len(YoloPoseDecoder(num_classes=2, **arguments)(tensor_frame(tensor)))  # type: ignore[arg-type]


def test_nms_is_class_aware() -> None:
    assert two_overlapping([0, 0]) == 1
    assert two_overlapping([0, 1]) == 2
    assert two_overlapping([1, 1], iou_thres=0.99) == 2
    assert two_overlapping([0, 1], max_det=1) == 1
    assert two_overlapping([0, 1], conf_thres=0.7) == 1


def test_nobody_in_view() -> None:
    poses = YoloPoseDecoder()(tensor_frame(np.zeros((56, 8400), np.float32)))
    assert len(poses) == 0
    assert poses.keypoints.shape == (0, 17, 3)


def test_half_precision_tensors() -> None:
    frame = tensor_frame(np.empty((0, 0)))
    boxes = np.array([[100, 100, 200, 300]], np.float32)
    keypoints = np.full((1, 17, 3), (150, 200, 0.5), np.float32)
    arguments = (boxes, keypoints, np.array([0.9], np.float32), np.array([0]))
    tensor = encode(*arguments, num_classes=1, dims=3, frame=frame).astype(np.float16)
    poses = YoloPoseDecoder()(tensor_frame(tensor))
    assert poses.boxes_xyxy.dtype == poses.keypoints.dtype == poses.scores.dtype == np.float32
    np.testing.assert_allclose(poses.keypoints[0, :, :2], keypoints[0, :, :2], atol=0.4)


def test_a_tensor_of_another_shape_is_explained() -> None:
    with pytest.raises(DecodeError, match=r"'output0' is \(84, 8400\).*expects 56 rows"):
        YoloPoseDecoder()(tensor_frame(np.zeros((84, 8400), np.float32)))
    with pytest.raises(DecodeError, match="'boxes'; this frame has 'output0'"):
        YoloPoseDecoder(output="boxes")(tensor_frame(np.zeros((56, 8400), np.float32)))


@pytest.mark.parametrize("people", [0, 1, 5, 30])
def test_real_outputs(assets: Path, people: int) -> None:
    with np.load(assets / "tensors" / "real_outputs_56x8400.npz") as stored:
        frame = tensor_frame(stored[f"n{people}"], source_wh=(768, 432))
    decoder = YoloPoseDecoder()
    first, second = decoder(frame), decoder(frame)  # the tensor is read-only: nobody writes into it
    assert abs(len(first) - people) <= 1
    for field in ("boxes_xyxy", "scores", "keypoints", "class_ids"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert first.skeleton is COCO_17
    assert (np.diff(first.scores) <= 0).all()


def test_half_precision_is_not_worked_out_in_half_precision() -> None:
    tensor = np.zeros((56, 1), np.float16)
    tensor[:5, 0] = (601.5, 333.5, 301.25, 201.25, 0.9)
    policy = "nvinfer-stretch"
    half = YoloPoseDecoder()(tensor_frame(tensor, policy, (1920, 1080)))
    full = YoloPoseDecoder()(tensor_frame(tensor.astype(np.float32), policy, (1920, 1080)))
    np.testing.assert_array_equal(half.boxes_xyxy, full.boxes_xyxy)
