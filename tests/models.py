"""Tiny ONNX models, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GRID = 8
NUM_ANCHORS = GRID * GRID


def pose_model(
    path: Path,
    *,
    size: int | None = 64,
    batch: int | None = None,
    half: bool = False,
    num_keypoints: int = 17,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A model with a YOLOv8-pose head that finds somebody wherever the picture is bright: one anchor in each cell of 8 x 8.

    The person's box is 6 cells wide and 6 high around the cell; its keypoints lie on the box's diagonal. It is built for a
    network input of 64 x 64; `size=None` makes height and width dynamic axes of the file all the same.
    """
    float_type, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    cell = 64 // GRID
    center = (np.arange(GRID, dtype=np.float32) + 0.5) * cell
    x, y = (axis.ravel() for axis in np.meshgrid(center, center))
    extent = np.full(NUM_ANCHORS, 6.0 * cell)
    boxes = np.stack([x, y, extent, extent])
    along = np.linspace(-3.0 * cell, 3.0 * cell, num_keypoints)
    keypoints = np.concatenate([np.stack([x + step, y + step, np.full(NUM_ANCHORS, 0.9)]) for step in along])
    constants = {
        "boxes": boxes[None].astype(dtype),
        "keypoints": keypoints[None].astype(dtype),
        "zero": np.zeros(1, dtype),
        "dark": np.array([0.75], dtype),
        "steep": np.array([4.0], dtype),
        "low": np.array(0.0, dtype),
        "high": np.array(1.0, dtype),
        "flat": np.array([0, 1, NUM_ANCHORS], np.int64),
    }
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("ReduceMean", ["cells"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Reshape", ["grey", "flat"], ["row"]),
        helper.make_node("Sub", ["row", "dark"], ["lit"]),
        helper.make_node("Mul", ["lit", "steep"], ["steeper"]),
        helper.make_node("Clip", ["steeper", "low", "high"], ["scores"]),
        helper.make_node("Mul", ["row", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "boxes"], ["box_rows"]),
        helper.make_node("Add", ["nothing", "keypoints"], ["keypoint_rows"]),
        helper.make_node("Concat", ["box_rows", "scores", "keypoint_rows"], ["output0"], axis=1),
    ]
    shape = [batch or "batch", 3, size or "height", size or "width"]
    rows = 5 + 3 * num_keypoints
    told = (
        metadata if metadata is not None else {"task": "pose", "kpt_shape": f"[{num_keypoints}, 3]", "names": "{0: 'person'}"}
    )
    told = {"imgsz": "[64, 64]", "stride": "8", **told} if told else {}
    return _save(
        path,
        nodes,
        [helper.make_tensor_value_info("images", float_type, shape)],
        [helper.make_tensor_value_info("output0", float_type, [batch or "batch", rows, NUM_ANCHORS])],
        constants,
        told,
    )


def detection_model(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """A model with the head of an 80-class detector."""
    constants = {
        "pattern": np.ones((1, 84, 1), np.float32),
        "flat": np.array([0, 1, NUM_ANCHORS], np.int64),
    }
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("ReduceMean", ["cells"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Reshape", ["grey", "flat"], ["row"]),
        helper.make_node("Mul", ["row", "pattern"], ["output0"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 64])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 84, NUM_ANCHORS])
    return _save(path, nodes, [image], [output], constants, metadata or {})


def rtmo_model(path: Path) -> Path:
    """A model with RTMO's outputs and one person, whose keypoints are the means of the first and last channel it was fed."""
    constants = {
        "told": np.array([[[8, 8, 56, 56, 0.9]]], np.float32),
        "scores": np.full((1, 1, 17, 1), 0.8, np.float32),
        "ends": np.array([0, 2], np.int64),
        "point": np.array([-1, 1, 1, 2], np.int64),
        "everyone": np.array([1, 1, 17, 1], np.int64),
        "zero": np.zeros(1, np.float32),
        "flat": np.array([-1, 1, 1], np.int64),
        "last": np.array([3], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Gather", ["means", "ends"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "point"], ["points"]),
        helper.make_node("Tile", ["points", "everyone"], ["all_points"]),
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "flat"], ["nothing_3"]),
        helper.make_node("Add", ["told", "nothing_3"], ["dets"]),
        helper.make_node("Unsqueeze", ["nothing_3", "last"], ["nothing_4"]),
        helper.make_node("Add", ["scores", "nothing_4"], ["all_scores"]),
        helper.make_node("Concat", ["all_points", "all_scores"], ["keypoints"], axis=3),
    ]
    return _save(
        path,
        nodes,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, ["batch", "people", 5]),
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["batch", "people", 17, 3]),
        ],
        constants,
        {},
    )


def channel_means(
    path: Path, *, layout: str = "NCHW", dtype: int = TensorProto.FLOAT, batch: int | None = None, num_outputs: int = 1
) -> Path:
    """A model that gives the mean of each channel, (N, 3); a second output, if asked for, gives its double."""
    shape = [batch or "batch", 3, 32, 48] if layout == "NCHW" else [batch or "batch", 32, 48, 3]
    nodes = [helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT)]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes.append(helper.make_node("ReduceMean", ["floats"], ["mean"], axes=axes, keepdims=0))
    if num_outputs == 2:
        nodes.append(helper.make_node("Add", ["mean", "mean"], ["double"]))
    names = ["mean", "double"][:num_outputs]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch or "batch", 3]) for name in names]
    return _save(path, nodes, [helper.make_tensor_value_info("images", dtype, shape)], outputs, {}, {})


def mixing_frames(path: Path) -> Path:
    """A model whose frames leak into each other: it takes the batch's mean away, as a normalisation left in training does."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["shared"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["images", "shared"], ["apart"]),
        helper.make_node("AveragePool", ["apart"], ["output0"], kernel_shape=[8, 8], strides=[8, 8]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 64])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 3, 8, 8])
    return _save(path, nodes, [image], [output], {}, {})


def one_frame_inside(path: Path) -> Path:
    """A model with a dynamic batch that only works for one frame, as exports with a shape written into them do."""
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["cells", "flat"], ["output0"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 64])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 192])
    return _save(path, nodes, [image], [output], {"flat": np.array([1, 192], np.int64)}, {})


def two_inputs(path: Path) -> Path:
    """A model that wants pictures and something else."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 64, 64]) for name in ("images", "mask")]
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 3, 64, 64])
    return _save(path, [helper.make_node("Add", ["images", "mask"], ["output0"])], inputs, [output], {}, {})


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
    metadata: dict[str, str],
) -> Path:
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "made", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def typed_outputs(path: Path, dtypes: dict[str, int], *, batch: int | None = None) -> Path:
    """A model with an output of each ONNX type: the mean of each channel in 0..255, (N, 3), rounded; bool is "above 127"."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Round", ["mean"], ["round"]),
        helper.make_node("Greater", ["mean", "half"], ["above"]),
    ]
    nodes += [
        helper.make_node("Cast", ["above" if dtype == TensorProto.BOOL else "round"], [name], to=dtype)
        for name, dtype in dtypes.items()
    ]
    outputs = [helper.make_tensor_value_info(name, dtype, [batch or "batch", 3]) for name, dtype in dtypes.items()]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch or "batch", 3, 32, 48])
    return _save(path, nodes, [image], outputs, {"half": np.array(127, np.float32)}, {})


def ranked_outputs(path: Path) -> Path:
    """A model with outputs of one, two and five axes, the batch first, and one of two without the batch: (7, 3) always."""
    constants = {
        "shape5": np.array([0, 1, 3, 1, 1], np.int64),
        "rows": np.arange(21, dtype=np.float32).reshape(7, 3),
        "zero": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["rank2"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["rank2"], ["rank1"], axes=[1], keepdims=0),
        helper.make_node("Reshape", ["rank2", "shape5"], ["rank5"]),
        helper.make_node("ReduceMean", ["rank2"], ["all"], axes=[0, 1], keepdims=0),
        helper.make_node("Mul", ["all", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "rows"], ["loose"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 48])
    shapes = {"rank1": ["batch"], "rank2": ["batch", 3], "rank5": ["batch", 1, 3, 1, 1], "loose": [7, 3]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    return _save(path, nodes, [image], outputs, constants, {})
