"""Input conversion as nodes of the ONNX graph, so that no float picture is ever made in NumPy."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from tensortap.batches import Shortlist
from tensortap.errors import EngineError
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.model import ImageInput, ModelInfo, image_input

_log = logging.getLogger(__name__)
_PREFIX = "tensortap_input"
WIDENED = "tensortap_output_"
"""What the names of outputs begin with that were bfloat16."""
PICKED_VALUES, PICKED_ANCHORS = "tensortap_picked_values", "tensortap_picked_anchors"
"""The names of what `with_shortlist` adds to the outputs."""
_OLDEST_OPSET = 13
"""Since then Squeeze and Unsqueeze take axes as they do today."""
_QUANTISED_OPERATORS = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"}
_FLOAT_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE}


def folded_onnx(
    model: ModelInfo,
    input_format: InputFormat,
    *,
    cast_first: bool = False,
    fixed_bhw: tuple[int | None, int, int] | None = None,
) -> tuple[bytes, str]:
    """The model with an input `tensortap_input`, uint8 (B, H, W, 3), in front of its own; and what it computes in.

    Outputs of bfloat16, which NumPy has not, are widened to float32 under another name, in the same place.

    Args:
        cast_first: turn the bytes into floats before anything else, for backends that can do nothing else with them.
        fixed_bhw: batch, height and width of the input, where the model leaves them open; a batch of `None` stays open.

    Raises:
        EngineError: the weights cannot be read, or the input has a type that pictures cannot be turned into.
    """
    try:
        proto = onnx.load(str(model.path))
    except Exception as exc:  # protobuf, missing external data and wrong offsets all raise something else
        raise EngineError(f"{model.path} cannot be read: {exc}") from exc
    wanted = image_input(model)
    graph = proto.graph
    own = next(each for each in graph.input if each.name == wanted.name)
    nodes, constants = _conversion(wanted, input_format, cast_first)
    batch, height, width = _axes(own, wanted)
    if fixed_bhw is not None:
        batch, height, width = fixed_bhw[0] or batch, *fixed_bhw[1:]
    graph.input.remove(own)
    graph.input.insert(0, helper.make_tensor_value_info(_PREFIX, TensorProto.UINT8, [batch, height, width, 3]))
    graph.initializer.extend(constants)
    existing = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *existing, *_widened_outputs(graph)])
    try:
        return proto.SerializeToString(), _precision(proto, wanted)
    except ValueError as exc:
        raise EngineError(f"{model.path} is larger than 2 GB; use --engine openvino.") from exc


def with_shortlist(folded: bytes, shortlist: Shortlist) -> bytes | None:
    """The model with two outputs more: the best anchors of each frame with all of their values, and which they are.

    `None` where that cannot be added: nothing is known of how many anchors there are, or they are of another type than floats.
    """
    proto = onnx.load_from_string(folded)
    try:
        graph = shape_inference.infer_shapes(proto, data_prop=True).graph
    except Exception as exc:  # too large, or of operators that it does not know
        _log.debug("no shapes: %s", exc)
        return None
    output = next((each for each in graph.output if each.name == shortlist.output), None)
    opset = max((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), default=0)
    if output is None or opset < _OLDEST_OPSET:
        return None
    element, dims = output.type.tensor_type.elem_type, output.type.tensor_type.shape.dim
    rows, anchors = (2, 1) if shortlist.transposed else (1, 2)
    if (
        len(dims) != 3
        or not (dims[anchors].dim_value and dims[rows].dim_value)
        or element not in (TensorProto.FLOAT, TensorProto.FLOAT16)
    ):
        return None
    size, num_rows = min(shortlist.size, dims[anchors].dim_value), dims[rows].dim_value
    picking = _Nodes("tensortap_shortlist")
    scores = picking.add("Slice", shortlist.output, np.array([4]), np.array([4 + shortlist.num_classes]), np.array([rows]))
    # What is no number is not sorted, and the largest of several passes over it: it comes first, so that it is told.
    first = np.array(np.inf, helper.tensor_dtype_to_np_dtype(element))
    scores = picking.add("Where", picking.add("IsNaN", scores), first, scores)
    if shortlist.num_classes == 1:
        scores = picking.add("Squeeze", scores, np.array([rows]))
    elif opset < 18:
        scores = picking.add("ReduceMax", scores, axes=[rows], keepdims=0)
    else:
        scores = picking.add("ReduceMax", scores, np.array([rows]), keepdims=0)
    picking.nodes.append(
        helper.make_node(
            "TopK",
            [scores, picking.constant(np.array([size]))],
            ["tensortap_scores", PICKED_ANCHORS],
            axis=1,
            name="tensortap_topk",
        )
    )
    places = picking.add("Unsqueeze", PICKED_ANCHORS, np.array([rows]))
    spread = [1, 1, num_rows] if shortlist.transposed else [1, num_rows, 1]
    places = picking.add("Expand", places, np.array(spread))
    values = picking.add("GatherElements", shortlist.output, places, axis=anchors)
    picking.nodes.append(
        helper.make_node("Transpose", [values], [PICKED_VALUES], perm=[0, 2, 1])
        if shortlist.transposed
        else helper.make_node("Identity", [values], [PICKED_VALUES])
    )
    proto.graph.node.extend(picking.nodes)
    proto.graph.initializer.extend(picking.constants)
    batch = dims[0].dim_value or dims[0].dim_param or None
    proto.graph.output.append(helper.make_tensor_value_info(PICKED_VALUES, element, [batch, num_rows, size]))
    proto.graph.output.append(helper.make_tensor_value_info(PICKED_ANCHORS, TensorProto.INT64, [batch, size]))
    try:
        added: bytes = proto.SerializeToString()
    except ValueError:  # larger than 2 GB by now
        return None
    return added


class _Nodes:
    """Nodes that are added to a graph, with names of their own."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._prefix = prefix

    def add(self, operator: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        """The name of what an operator gives."""
        name = f"{self._prefix}_{len(self.nodes)}_{operator.lower()}"
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """The name of a constant."""
        name = f"{self._prefix}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def in_half(folded: bytes) -> bytes:
    """The model in float16, by ONNX Runtime's converter; its inputs and outputs keep their types.

    Raises:
        EngineError: the converter is not installed, or cannot convert this model.
    """
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as exc:
        raise EngineError(
            "--precision f16: the model is turned into f16 by onnxruntime, which is not installed. Export it so, or: "
            "pip install onnxruntime"
        ) from exc
    try:
        proto = convert_float_to_float16(onnx.load_from_string(folded), keep_io_types=True)
    except Exception as exc:  # of somebody else's code
        raise EngineError(f"--precision f16: onnxruntime cannot turn this model into f16: {exc}") from exc
    converted: bytes = proto.SerializeToString()
    return converted


def _conversion(wanted: ImageInput, input_format: InputFormat, cast_first: bool) -> tuple[list[Any], list[Any]]:
    """Nodes and constants from the pictures to the network's own input, which keeps its name."""
    added = _Nodes(_PREFIX)
    current = _PREFIX
    if wanted.dtype in _FLOAT_TYPES and cast_first:
        current = added.add("Cast", current, to=_FLOAT_TYPES[wanted.dtype])
    if wanted.layout == "NCHW":
        # As bytes, if possible: a quarter of the memory that moves after the cast.
        current = added.add("Transpose", current, perm=[0, 3, 1, 2])
    if wanted.dtype in _FLOAT_TYPES:
        shape = (1, 3, 1, 1) if wanted.layout == "NCHW" else (1, 1, 1, 3)
        dtype = np.dtype(wanted.dtype)
        if not cast_first:
            current = added.add("Cast", current, to=_FLOAT_TYPES[wanted.dtype])
        if any(input_format.mean):
            current = added.add("Sub", current, np.array(input_format.mean, dtype).reshape(shape))
        scale = np.array(input_format.scale, dtype)
        current = added.add("Mul", current, scale.reshape(shape) if scale.ndim else scale)
    elif wanted.dtype != "uint8":
        raise EngineError(f"The input {wanted.name!r} is {wanted.dtype}; pictures can be given as float or uint8 only.")
    added.nodes.append(helper.make_node("Identity", [current], [wanted.name], name=f"{_PREFIX}_identity"))
    return added.nodes, added.constants


def _widened_outputs(graph: Any) -> list[Any]:
    """Nodes after the outputs of bfloat16."""
    nodes = []
    for output in graph.output:
        if output.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            widened = f"{WIDENED}{output.name}"
            nodes.append(helper.make_node("Cast", [output.name], [widened], name=widened, to=TensorProto.FLOAT))
            output.name = widened
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return nodes


def _axes(own: Any, wanted: ImageInput) -> tuple[Any, Any, Any]:
    """Batch, height and width as the graph has them: numbers, or names of dynamic axes."""
    dims = own.type.tensor_type.shape.dim
    axes = (0, 2, 3) if wanted.layout == "NCHW" else (0, 1, 2)
    return tuple(dims[axis].dim_value or dims[axis].dim_param or None for axis in axes)  # type: ignore[return-value]


def _precision(proto: Any, wanted: ImageInput) -> str:
    if any(node.op_type in _QUANTISED_OPERATORS for node in proto.graph.node):
        return "int8"
    weights = {tensor.data_type for tensor in proto.graph.initializer if len(tensor.dims) > 1}
    return "f16" if TensorProto.FLOAT16 in weights and TensorProto.FLOAT not in weights else "f32"
