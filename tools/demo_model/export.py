"""From weights.pt to the ONNX file that tensortap ships: batch normalisation folded, weights in half precision.

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

IMGSZ_HW = (384, 640)


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
    halve_weights(model)
    describe(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(options.model))
    print(f"{options.model}: {options.model.stat().st_size / 1e6:.2f} MB")
    check(options.model, net)


def halve_weights(model: onnx.ModelProto) -> None:
    """Store large weights as float16 and cast them back where they are used: half the file, the same arithmetic."""
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 256:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            half = numpy_helper.from_array(values, f"{tensor.name}_half")
            casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
            graph.initializer.remove(tensor)
            graph.initializer.append(half)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)
    del graph.value_info[:]


def describe(model: onnx.ModelProto) -> None:
    """Metadata as Ultralytics writes them, so that every tool finds its way; and what the model is."""
    model.producer_name = "tensortap"
    model.doc_string = "Finds the drawn people of tensortap's scenes. For real people bring a YOLO-Pose export."
    del model.metadata_props[:]
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
    for shape in ((1, 3, 384, 640), (3, 3, 320, 256)):
        images = torch.rand(shape)
        with torch.no_grad():
            expected = Exported(net)(images).numpy()
        [found] = session.run(None, {"images": images.numpy()})
        assert found.shape == expected.shape, (found.shape, expected.shape)
        print(f"{shape}: largest difference {np.abs(found - expected).max():.4f} (half-precision weights)")


if __name__ == "__main__":
    main()
