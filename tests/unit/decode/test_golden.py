"""Every layout with its numbers written out, and real outputs that mean the same in all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heads import frame_of, frame_with
from tensortap.decode.base import PoseDecoder
from tensortap.decode.deepstream_yolo_pose import DeepStreamYoloPoseDecoder
from tensortap.decode.end2end import End2EndDecoder
from tensortap.decode.rtmo import RtmoDecoder
from tensortap.decode.yolo_nas_pose import YoloNasPoseDecoder
from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.decode.yolov7_pose import YoloV7PoseDecoder
from tensortap.errors import DecodeError
from tensortap.geometry import letterbox
from tensortap.skeletons import COCO_17
from tensortap.types import Poses

# A frame of 1280 x 720 in an input of 640 x 640: halved, 140 black lines above. The person's box is 100 x 200 around
# (320, 320) there, which is (540, 160, 740, 560) in the frame; its only keypoint is at (10, 100), which is (20, -80).
BOX = [540, 160, 740, 560]
POINT = [20, -80]

PLUGIN = np.array([1, 320, 320, 100, 200, 0.5, 0, 10, 100, 0.75, 320, 320, 90, 90, 0.9, 0, 1, 1, 0.9], np.float32)
# Anchor 1 of stride 32 (303 x 264), column 9, line 10: the centre is at 32 * (2 s(0) - 0.5 + 9) = 304 and 336 across and down.
GRID = np.full((3, 20, 20, 9), -20, np.float32)
GRID[1, 10, 9] = [0, 0, 0, 0, 20, 0, (10 / 32 - 9 + 0.5) / 2, (100 / 32 - 10 + 0.5) / 2, np.log(3)]


@pytest.mark.parametrize(
    ("decoder", "tensors"),
    [
        pytest.param(
            YoloPoseDecoder(num_keypoints=1),
            {"output0": [[320], [320], [100], [200], [0.5], [10], [100], [0.75]]},
            id="yolo-pose",
        ),
        pytest.param(
            YoloPoseDecoder(num_keypoints=1, num_classes=2, transposed=True),
            {"output0": [[320, 320, 100, 200, 0.5, 0.1, 10, 100, 0.75]]},
            id="yolo-pose transposed",
        ),
        pytest.param(
            DeepStreamYoloPoseDecoder(num_keypoints=1),
            {"output": [[270, 220, 370, 420, 0.5, 10, 100, 0.75]]},
            id="deepstream-yolo-pose",
        ),
        pytest.param(
            End2EndDecoder(num_keypoints=1), {"output0": [[270, 220, 370, 420, 0.5, 0, 10, 100, 0.75], [0] * 9]}, id="end2end"
        ),
        pytest.param(
            YoloV7PoseDecoder(num_keypoints=1),
            {"output": [[320, 320, 100, 200, 0.625, 0.8, 10, 100, 0.75]]},
            id="yolov7-pose rows",
        ),
        pytest.param(
            YoloV7PoseDecoder(num_keypoints=1, form="plugin"), {"output0": PLUGIN.reshape(-1, 1, 1)}, id="yolov7-pose plugin"
        ),
        pytest.param(
            RtmoDecoder(num_keypoints=1), {"dets": [[270, 220, 370, 420, 0.5]], "keypoints": [[[10, 100, 0.75]]]}, id="rtmo"
        ),
        pytest.param(
            YoloNasPoseDecoder(num_keypoints=1, boxes="b", scores="s", keypoints="k", count="n"),
            {"n": [1], "b": [[270, 220, 370, 420]] * 2, "s": [0.5, 0.9], "k": [[[10, 100, 0.75]]] * 2},
            id="yolo-nas-pose batch",
        ),
        pytest.param(
            YoloNasPoseDecoder(num_keypoints=1, boxes="b", scores="s", keypoints="k", keypoint_scores="v"),
            {"b": [[270, 220, 370, 420]], "s": [[0.5]], "k": [[[10, 100]]], "v": [[0.75]]},
            id="yolo-nas-pose raw",
        ),
        pytest.param(
            YoloNasPoseDecoder(num_keypoints=1, flat="f"),
            {"f": [[0, 270, 220, 370, 420, 0.5, 10, 100, 0.75]]},
            id="yolo-nas-pose flat",
        ),
    ],
)
def test_by_hand(decoder: PoseDecoder, tensors: dict[str, Any]) -> None:
    frame = frame_with({name: np.array(value, np.float32) for name, value in tensors.items()}, source_wh=(1280, 720))
    poses = decoder(frame)
    np.testing.assert_allclose(poses.boxes_xyxy, [BOX], atol=1e-4)
    np.testing.assert_allclose(poses.keypoints, [[[*POINT, 0.75]]], atol=1e-4)
    np.testing.assert_allclose(poses.scores, [0.5])
    assert poses.class_ids.tolist() == [0]


def test_a_grid_by_hand() -> None:
    frame = frame_with({"grid": GRID}, source_wh=(1280, 720))
    poses = YoloV7PoseDecoder(num_keypoints=1, form="grids")(frame)
    np.testing.assert_allclose(poses.scores, [0.5], atol=1e-6)
    # The centre (304, 336) and the anchor's size, 303 x 264, in the frame.
    np.testing.assert_allclose(poses.boxes_xyxy, [[608 - 303, 392 - 264, 608 + 303, 392 + 264]], atol=1e-3)
    np.testing.assert_allclose(poses.keypoints, [[[*POINT, 0.75]]], atol=1e-3)


def test_the_output_of_the_tensorrt_plugin() -> None:
    flat = np.zeros((57001, 1, 1), np.float32)
    flat[0] = 1200  # more than fit
    rows = flat[1:].reshape(1000, 57)
    rows[7, :6] = [320, 320, 100, 200, 0.5, 0]
    poses = YoloV7PoseDecoder(form="plugin")(frame_with({"prob": flat}, source_wh=(1280, 720)))
    np.testing.assert_allclose(poses.boxes_xyxy, [BOX], atol=1e-4)
    assert poses.skeleton is COCO_17


def test_the_iou_threshold() -> None:
    tensor = np.array([[100, 100, 50, 50, 0.9, 1, 1, 1], [110, 100, 50, 50, 0.8, 1, 1, 1]], np.float32).T
    frame = frame_with({"output0": np.ascontiguousarray(tensor)})  # IoU 2/3
    assert len(YoloPoseDecoder(num_keypoints=1, iou_thres=0.6)(frame)) == 1
    assert len(YoloPoseDecoder(num_keypoints=1, iou_thres=0.7)(frame)) == 2


@pytest.mark.parametrize(
    ("decoder", "shapes", "message"),
    [
        (YoloPoseDecoder(), {"output0": (84, 8400)}, r"'output0' is \(84, 8400\).*expects 56 rows"),
        (YoloPoseDecoder(transposed=True), {"output0": (56, 8400)}, r"'output0' is \(56, 8400\).*expects 56 rows"),
        (YoloPoseDecoder(output="boxes"), {"output0": (56, 8400)}, "the output 'boxes'; this frame has 'output0'"),
        (YoloPoseDecoder(), {"a": (56, 8400), "b": (1,)}, "one output; this frame has 'a', 'b'"),
        (DeepStreamYoloPoseDecoder(), {"output": (8400, 57)}, "expects rows of 56"),
        (End2EndDecoder(), {"output0": (300, 56)}, "expects rows of 57"),
        (YoloV7PoseDecoder(), {"output": (25500, 56)}, r"expects \(anchors, 57\)"),
        (YoloV7PoseDecoder(form="plugin"), {"prob": (57000, 1, 1)}, r"expects 1 \+ M x 57 values"),
        (YoloV7PoseDecoder(form="grids"), {"a": (3, 80, 80, 56)}, r"expects \(3, h, w, 57\) or \(171, h, w\)"),
        (YoloV7PoseDecoder(form="grids"), {"a": (3, 70, 80, 57)}, "none of the strides 8, 16, 32, 64 in an input of 640 x 640"),
        (RtmoDecoder(), {"dets": (3, 5), "keypoints": (4, 17, 3)}, r"rtmo expects \(people, 5\) and \(people, 17, 3\)"),
        (RtmoDecoder(), {"dets": (3, 5)}, "the output 'keypoints'; this frame has 'dets'"),
        (
            YoloNasPoseDecoder(boxes="b", scores="s", keypoints="k"),
            {"b": (9, 4), "s": (8, 1), "k": (9, 17, 3)},
            r"'b' \(9, 4\), 's' \(8, 1\), 'k' \(9, 17, 3\); yolo-nas-pose",
        ),
        (
            YoloNasPoseDecoder(boxes="b", scores="s", keypoints="k", count="n"),
            {"b": (9, 4), "s": (9,), "k": (9, 17, 3), "n": (2,)},
            r"'n' is \(2,\); yolo-nas-pose expects one number",
        ),
        (YoloNasPoseDecoder(flat="f"), {"f": (9, 58)}, "expects rows of 57"),
    ],
)
def test_tensors_of_another_shape_are_explained(decoder: PoseDecoder, shapes: dict[str, Any], message: str) -> None:
    frame = frame_with({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    with pytest.raises(DecodeError, match=message):
        decoder(frame)


def same(first: Poses, second: Poses) -> None:
    for field in ("boxes_xyxy", "scores", "keypoints", "class_ids"):
        np.testing.assert_allclose(getattr(first, field), getattr(second, field), atol=2e-3, err_msg=field)


@pytest.mark.parametrize("people", [0, 1, 5, 30])
def test_real_outputs_mean_the_same_in_every_layout(assets: Path, people: int) -> None:
    with np.load(assets / "tensors" / "real_outputs_56x8400.npz") as stored:
        tensor, source_wh = stored[f"n{people}"], tuple(int(side) for side in stored[f"shape{people}"][1::-1])
    box = letterbox("ultralytics", source_wh, (640, 640))
    poses = YoloPoseDecoder()(frame_of({"output0": tensor}, box))
    assert abs(len(poses) - people) <= 1
    assert (np.diff(poses.scores) <= 0).all()

    rows = np.ascontiguousarray(tensor.T)
    same(YoloPoseDecoder(transposed=True)(frame_of({"output0": rows}, box)), poses)
    cornered = rows.copy()
    cornered[:, :2], cornered[:, 2:4] = rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2
    same(DeepStreamYoloPoseDecoder()(frame_of({"output": cornered}, box)), poses)
    with_two_scores = np.insert(rows, 5, 1, axis=1)
    same(YoloV7PoseDecoder()(frame_of({"output": with_two_scores}, box)), poses)
    flat = np.concatenate(([8400], with_two_scores.ravel())).astype(np.float32).reshape(-1, 1, 1)
    flat[6::57] = 0  # the class
    same(YoloV7PoseDecoder(form="plugin")(frame_of({"prob": flat}, box)), poses)
    separate = {"b": cornered[:, :4], "s": rows[:, 4:5], "k": rows[:, 5:].reshape(-1, 17, 3)}
    same(YoloNasPoseDecoder(boxes="b", scores="s", keypoints="k")(frame_of(separate, box)), poses)

    # After NMS.
    network_boxes, network_points = box.boxes_to_network(poses.boxes_xyxy), box.points_to_network(poses.keypoints)
    scores = poses.scores[:, None]
    dets = np.concatenate((network_boxes, scores), axis=1)
    same(RtmoDecoder()(frame_of({"dets": dets, "keypoints": network_points}, box)), poses)
    ended = np.concatenate((dets, np.zeros_like(scores), network_points.reshape(-1, 51)), axis=1)
    same(
        End2EndDecoder()(frame_of({"output0": np.pad(ended, ((0, 300 - len(ended)), (0, 0)), constant_values=0.01)}, box)),
        poses,
    )
