"""Heads in a whole run: how their networks are fed, what the flags do, what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from media import picture, write_video
from models import pose_model, rtmo_model
from tensortap import ModelError, Pipeline, UsageError
from tensortap.cli.main import app

ENGINES = ["onnxruntime", "openvino"]


@pytest.fixture
def blue(tmp_path: Path) -> Path:
    """A picture of one colour, 64 x 32."""
    path = tmp_path / "blue.png"
    cv2.imwrite(str(path), np.full((32, 64, 3), (200, 90, 40), np.uint8))
    return path


def renamed(model: Path, name: str) -> Path:
    """The same model without metadata, its output called otherwise."""
    proto = onnx.load(str(model))
    del proto.metadata_props[:]
    for node in proto.graph.node:
        for index, output in enumerate(node.output):
            if output == proto.graph.output[0].name:
                node.output[index] = name
    proto.graph.output[0].name = name
    onnx.save(proto, str(model))
    return model


def transposed(model: Path, name: str) -> Path:
    """The same model with rows of anchors, without metadata."""
    proto = onnx.load(str(renamed(model, "columns")))
    output = proto.graph.output[0]
    _, values, anchors = (each.dim_value for each in output.type.tensor_type.shape.dim)
    proto.graph.node.append(onnx.helper.make_node("Transpose", ["columns"], [name], perm=[0, 2, 1]))
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", anchors, values]))
    onnx.save(proto, str(model))
    return model


@pytest.mark.parametrize("engine", ENGINES)
def test_rtmo_is_fed_bgr_from_0_to_255_at_the_top_left(tmp_path: Path, blue: Path, engine: str) -> None:
    pipeline = Pipeline(blue, rtmo_model(tmp_path / "rtmo.onnx"), engine=engine, precision="f32")
    assert pipeline.parts.head is not None
    assert pipeline.parts.head.decoder == "rtmo"
    [result] = pipeline
    # Means of first and last channel, half of the input being padding of 114: blue first, red last.
    np.testing.assert_allclose(result.poses.keypoints[0, :, :2], np.tile([(200 + 114) / 2, (40 + 114) / 2], (17, 1)), atol=1)
    np.testing.assert_allclose(result.poses.boxes_xyxy, [[8, 8, 56, 56]], atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_is_fed_as_its_head_wants_also_for_a_tap(tmp_path: Path, blue: Path, engine: str) -> None:
    """Whoever reads the tensors: it is the network that needs it."""
    [(first, box)] = [
        (frame.tensors["keypoints"][0, 0].copy(), frame.letterbox)
        for frame in Pipeline(
            blue, rtmo_model(tmp_path / "rtmo.onnx"), engine=engine, precision="f32", letterbox="nvinfer"
        ).tensors()
    ]
    assert box.pad_value == 0
    np.testing.assert_allclose(first[:2], [100, 20], atol=1)


def test_a_letterbox_that_is_asked_for_is_taken(tmp_path: Path, blue: Path) -> None:
    model = pose_model(tmp_path / "m.onnx")
    for asked, offset in (("auto", (0, 16)), ("ultralytics", (0, 16)), ("rtmo", (0, 0))):
        [frame] = [frame.letterbox.offset_xy for frame in Pipeline(blue, model, letterbox=asked).tensors()]
        assert frame == offset


def test_clip(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "white.png"), np.full((64, 64, 3), 255, np.uint8))
    arguments: dict[str, Any] = {"model": pose_model(tmp_path / "m.onnx"), "iou_thres": 1.0}
    [free] = Pipeline(tmp_path / "white.png", **arguments)
    [clipped] = Pipeline(tmp_path / "white.png", **arguments, clip=True)
    assert len(free.poses) == len(clipped.poses) == 64
    assert free.poses.boxes_xyxy.min() < 0
    assert free.poses.keypoints[..., :2].max() > 64
    np.testing.assert_array_equal(clipped.poses.boxes_xyxy, free.poses.boxes_xyxy.clip(0, 64))
    np.testing.assert_array_equal(clipped.poses.keypoints[..., :2], free.poses.keypoints[..., :2].clip(0, 64))


def test_a_head_in_doubt_is_settled_by_its_name(tmp_path: Path, blue: Path) -> None:
    model = transposed(pose_model(tmp_path / "m.onnx"), "rows")
    with pytest.raises(ModelError, match=r"--decoder yolo-pose if .*--decoder deepstream-yolo-pose if"):
        Pipeline(blue, model)
    for name in ("yolo-pose", "deepstream-yolo-pose"):
        pipeline = Pipeline(blue, model, decoder=name)
        assert pipeline.parts.decoder.name == name  # type: ignore[attr-defined]
        pipeline.close()


def test_keypoints_that_the_file_does_not_tell(tmp_path: Path, blue: Path) -> None:
    model = renamed(pose_model(tmp_path / "m.onnx", num_keypoints=5), "out")
    with pytest.raises(ModelError, match="--kpt-shape"):
        Pipeline(blue, model)
    for told in ("5x3", (5, 3), 5):
        pipeline = Pipeline(blue, model, kpt_shape=told)
        assert pipeline.parts.nobody.skeleton.num_keypoints == 5
        pipeline.close()
    with pytest.raises(UsageError, match="--kpt-shape 4: should be less than or equal to 3"):
        Pipeline(blue, model, kpt_shape="5x4")


def broken(model: Path) -> Path:
    """The same model, giving NaN throughout."""
    proto = onnx.load(str(model))
    for constant in proto.graph.initializer:
        if constant.name in ("boxes", "keypoints"):
            values = onnx.numpy_helper.to_array(constant)
            constant.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), constant.name))
    onnx.save(proto, str(model))
    return model


def test_a_broken_model_is_reported_and_counted(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 255, np.uint8))
    video = write_video(tmp_path / "b.mp4", images=[np.full((96, 160, 3), 255, np.uint8)] * 3)
    model = broken(pose_model(tmp_path / "m.onnx"))
    arguments = ["run", "-i", str(tmp_path / "a.png"), "-i", str(video), "-m", str(model), "-o", str(tmp_path / "out.jsonl")]
    run = CliRunner().invoke(app, [*arguments, "--json", "--engine", "onnxruntime"])
    assert run.exit_code == 0, run.output
    outcome = json.loads(run.stdout)
    assert outcome["people"] == 0
    image, movie = (stream["rejected"]["boxes that are no numbers"] for stream in outcome["streams"])
    assert image > 9
    assert movie > 3 * 9
    said = " ".join(run.stderr.split())
    assert f"b.mp4: left out what cannot be people: {movie} boxes that are no numbers" in said
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4


def test_flags_of_run_and_eval(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(96, 64))
    model = transposed(pose_model(tmp_path / "m.onnx"), "rows")
    arguments = ["-m", str(model), "--decoder", "yolo-pose", "--kpt-shape", "17x3", "--clip", "--quiet"]
    run = CliRunner().invoke(app, ["run", "-i", str(tmp_path / "a.png"), *arguments])
    assert run.exit_code == 0, run.output
    person = {
        "image_id": 1,
        "category_id": 1,
        "id": 1,
        "keypoints": [9, 9, 2] * 17,
        "num_keypoints": 17,
        "area": 99,
        "iscrowd": 0,
    }
    annotations = {
        "images": [{"id": 1, "file_name": "a.png", "width": 96, "height": 64}],
        "annotations": [{**person, "bbox": [0, 0, 9, 9]}],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(annotations))
    run = CliRunner().invoke(
        app, ["eval", "--images", str(tmp_path), "--annotations", str(tmp_path / "truth.json"), *arguments, "--json"]
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["images"] == 1


def test_yolo26_as_exported(assets: Path) -> None:
    """Random weights: what it finds means nothing, but it is read, and nothing in it is taken for broken at a low threshold."""
    image = next((assets / "images" / "coco").glob("*.jpg"))
    model = assets / "models" / "yolo26n-pose-end2end-random.onnx"
    pipeline = Pipeline(image, model, engine="onnxruntime", conf_thres=0.0)
    assert pipeline.parts.head is not None
    assert pipeline.parts.head.decoder == "end2end"
    [result] = pipeline
    assert len(result.poses) + sum(pipeline.parts.decoder.rejected[0].values()) == 300  # type: ignore[attr-defined]
