"""Reading model files, and what is said of files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import channel_means, pose_model, two_inputs
from tensortap.errors import ModelError
from tensortap.portable.model import image_input, read_model


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    model = read_model(pose_model(tmp_path / "pose.onnx"))
    assert model.format == "onnx"
    assert [(each.name, each.dtype, each.shape) for each in model.inputs] == [("images", "float32", (None, 3, 64, 64))]
    assert [(each.name, each.shape) for each in model.outputs] == [("output0", (None, 56, 64))]
    assert model.kpt_shape == (17, 3)
    assert model.imgsz == (64, 64)
    assert model.stride == 8
    assert model.metadata["names"] == {0: "person"}  # the repr of a Python dict, which is not JSON


def test_metadata_that_make_no_sense_are_kept_as_text(tmp_path: Path) -> None:
    model = read_model(pose_model(tmp_path / "pose.onnx", metadata={"kpt_shape": "many", "imgsz": "[", "stride": "'x'"}))
    assert model.kpt_shape is None
    assert model.imgsz is None
    assert model.stride == 32
    assert model.metadata["imgsz"] == "["


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_input_that_takes_pictures(tmp_path: Path, layout: str) -> None:
    found = image_input(read_model(channel_means(tmp_path / "a.onnx", layout=layout, batch=3)))
    assert (found.layout, found.batch, found.height, found.width) == (layout, 3, 32, 48)


def test_openvino_models(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    network = openvino.Core().read_model(pose_model(tmp_path / "pose.onnx"))
    folder = tmp_path / "pose_openvino_model"
    openvino.save_model(network, folder / "pose.xml")
    (folder / "metadata.yaml").write_text("task: pose\nkpt_shape: [17, 3]\nimgsz: [64, 64]\nnames: {0: person}\n")
    model = read_model(folder)
    assert model.format == "openvino"
    assert model.path == folder / "pose.xml"
    assert model.outputs[0].name == "output0"
    assert model.kpt_shape == (17, 3)
    (folder / "metadata.yaml").write_text("[broken")
    assert read_model(folder / "pose.xml").metadata == {}
    (folder / "pose.bin").unlink()
    with pytest.raises(ModelError, match=r"has no pose.bin beside it"):
        read_model(folder)


def test_openvino_outputs_without_names(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    opset = pytest.importorskip("openvino.opset13")
    picture = opset.parameter([1, 3, 32, 32], np.float32)
    openvino.save_model(openvino.Model([opset.relu(picture)], [picture]), tmp_path / "a.xml")
    model = read_model(tmp_path / "a.xml")
    assert all(each.name for each in (*model.inputs, *model.outputs))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.onnx", b"this is no model\n" * 50, "is not an ONNX model"),
        ("empty.onnx", b"", "is empty"),
        ("model.pt", b"PK", r"yolo export model=model.pt format=onnx"),
        ("model.engine", b"x", "TensorRT engine.*ONNX file"),
        ("model.bin", b"x", "Name its model.xml"),
        ("model.tflite", b"x", "Give an ONNX file"),
        ("model.xml", b"<xml", "has no model.bin"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_model(tmp_path / name)


def test_files_that_are_cut_or_missing(tmp_path: Path) -> None:
    whole = pose_model(tmp_path / "pose.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="not an ONNX model, or it was cut off"):
        read_model(tmp_path / "cut.onnx")
    with pytest.raises(ModelError, match=r"no model .*pos.onnx.*holds cut.onnx, pose.onnx"):
        read_model(tmp_path / "pos.onnx")
    with pytest.raises(ModelError, match=r"should hold one OpenVINO \.xml; it holds none"):
        read_model(tmp_path)
    (tmp_path / "x.xml").write_text("<not a net/>")
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="not an OpenVINO model"):
        read_model(tmp_path / "x.xml")


def test_other_inputs_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has 2 inputs \(images float32 \(\?, 3, 64, 64\), mask"):
        image_input(read_model(two_inputs(tmp_path / "two.onnx")))
