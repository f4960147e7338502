"""From weights.pt to the ONNX file that tensortap ships: batch normalisation folded, weights as int8 numbers and scales.

python tools/demo_model/export.py runs/demo/weights.pt src/tensortap/zoo/demo-pose.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from network import NUM_KEYPOINTS, Conv, Exported, PoseNet
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

IMGSZ_HW = (480, 800)
LIMIT_BYTES = 3_000_000


def main() -> None:
    """Export, shrink, describe, check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    net = PoseNet()
    net.load_state_dict(torch.load(options.weights, map_location="cpu", weights_only=True))
    net.eval()
    for module in list(net.modules()):
        if isinstance(module, Conv):
            module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
    images = torch.zeros(2, 3, *IMGSZ_HW)
    program = torch.onnx.export(
        Exported(net),
        (images,),
        input_names=["images"],
        output_names=["output0"],
        opset_version=18,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch"), 2: 32 * torch.export.Dim("h"), 3: 32 * torch.export.Dim("w")},),
    )
    model = program.model_proto
    shrink_weights(model)
    describe(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(options.model))
    size = options.model.stat().st_size
    print(f"{options.model}: {size / 1e6:.2f} MB")
    assert size <= LIMIT_BYTES, size
    check(options.model, net)


def shrink_weights(model: onnx.ModelProto) -> None:
    """Store large weights as bytes with a scale for each output: a quarter of the file. The arithmetic stays that of floats.

    The bytes are looked up in a table of numbers, which every engine folds when it loads. A Cast would say the same, but
    OpenVINO 2026.4 takes that for a request to keep bytes, and then gives wrong results now and then when several streams run.
    """
    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    graph.initializer.append(numpy_helper.from_array(np.arange(-127, 128, dtype=np.float32), "numbers"))
    # Weights of matrix products have their outputs in columns.
    columns = {name for node in graph.node if node.op_type == "MatMul" for name in node.input[1:2]}
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < 1024:
            continue
        axes: int | tuple[int, ...] = values.ndim - 2 if tensor.name in columns else tuple(range(1, values.ndim))
        scales = np.maximum(np.abs(values).max(axis=axes, keepdims=True), 1e-8) / 127
        rows = (np.rint(values / scales) + 127).astype(np.uint8)
        stored = numpy_helper.from_array(rows, f"{tensor.name}_bytes")
        scale = numpy_helper.from_array(scales.astype(np.float32), f"{tensor.name}_scale")
        nodes.append(helper.make_node("Cast", [stored.name], [f"{tensor.name}_rows"], to=TensorProto.INT32))
        nodes.append(helper.make_node("Gather", ["numbers", f"{tensor.name}_rows"], [f"{tensor.name}_numbers"]))
        nodes.append(helper.make_node("Mul", [f"{tensor.name}_numbers", scale.name], [tensor.name]))
        graph.initializer.remove(tensor)
        graph.initializer.extend([stored, scale])
    nodes += list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def describe(model: onnx.ModelProto) -> None:
    """Metadata as Ultralytics writes them, so that every tool finds its way; and what the model is."""
    model.producer_name = "tensortap"
    model.doc_string = "Finds the drawn people of tensortap's scenes. For real people bring a YOLO-Pose export."
    del model.metadata_props[:]
    for node in model.graph.node:  # the exporter notes where in the sources each came from
        del node.metadata_props[:]
        node.doc_string = ""
    metadata = {
        "description": "tensortap demo pose model, trained on drawn figures only; it does not know real people",
        "author": "tensortap",
        "license": "Apache-2.0",
        "task": "pose",
        "stride": "32",
        "batch": "1",
        "imgsz": str(list(IMGSZ_HW)),
        "names": "{0: 'person'}",
        "kpt_shape": f"[{NUM_KEYPOINTS}, 3]",
    }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


def check(path: Path, net: PoseNet) -> None:
    """The file must say what the network says, at another size and batch too."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, *IMGSZ_HW), (3, 3, 320, 256)):
        images = torch.rand(shape)
        with torch.no_grad():
            expected = Exported(net)(images).numpy()
        [found] = session.run(None, {"images": images.numpy()})
        assert found.shape == expected.shape, (found.shape, expected.shape)
        print(f"{shape}: mean difference {np.abs(found - expected).mean():.4f} (int8 weights)")


if __name__ == "__main__":
    main()
