"""Real model, real pictures: the same people as the reference, in the same places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agreement import Agreement
from tensortap import Pipeline

REFERENCE_IMAGES = "coco_people.json"


def reference(assets: Path, name: str) -> Any:
    return json.loads((assets / "reference" / name).read_text())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_people_in_images(assets: Path, engine: str) -> None:
    pytest.importorskip(engine)
    expected = reference(assets, REFERENCE_IMAGES)["images"]
    agreement = Agreement()
    for result in Pipeline(assets / "images" / "coco", assets / "models" / "yolov8n-pose.onnx", engine=engine, precision="f32"):
        agreement.add(result.poses, expected[result.info.source]["people"], result.info.size_wh)
    assert (agreement.missed, agreement.invented) == (0, 0)
    assert agreement.matched == sum(len(image["people"]) for image in expected.values()) > 60
    assert np.mean(agreement.distances) < 0.01  # asked for: 1.0
    assert np.percentile(agreement.distances, 99) < 0.05  # asked for: 3


@pytest.mark.parametrize("name", ["people", "one-by-one-person-detection"])
def test_people_in_videos(assets: Path, name: str) -> None:
    """The reference starts from BGR frames that FFmpeg rounds down, ours from the planes: they differ by tenths of a pixel."""
    expected = reference(assets, f"{name}.json")["frames"]
    agreement = Agreement()
    pipeline = Pipeline(
        assets / "video" / f"{name}.mp4",
        assets / "models" / "yolov8n-pose.onnx",
        precision="f32",
        tracker=None,
        max_frames=min(len(expected), 60 if name == "people" else 110),
    )
    for result in pipeline:
        frame = expected[result.info.index]
        assert result.info.pts_ns / 1e9 == pytest.approx(frame["pts_s"], abs=1e-3)
        agreement.add(result.poses, frame["people"], result.info.size_wh)
    assert agreement.matched > 20
    assert agreement.missed + agreement.invented <= 0.05 * agreement.matched
    assert np.mean(agreement.distances) < 1.0
    assert np.percentile(agreement.distances, 95) < 3.0


def test_average_precision(assets: Path, tmp_path: Path) -> None:
    """COCO keypoint AP through the COCO sink, judged by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = assets / "images" / "coco"
    pipeline = Pipeline(
        images,
        assets / "models" / "yolov8n-pose.onnx",
        outputs=tmp_path / "results.coco.json",
        precision="f32",
        conf_thres=0.001,
        iou_thres=0.7,
        max_det=300,
    )
    pipeline.run()
    truth = COCO(str(images / "person_keypoints.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "results.coco.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = reference(assets, "coco_ap.json")["stats"]
    print(f"AP {evaluation.stats[0]:.4f}, reference {expected[0]:.4f}")
    assert evaluation.stats[0] == pytest.approx(expected[0], abs=0.006)
    assert evaluation.stats[1] == pytest.approx(expected[1], abs=0.012)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_every_slot_of_a_batch_gives_the_same_people(assets: Path, engine: str) -> None:
    pytest.importorskip(engine)
    image = sorted((assets / "images" / "coco").glob("*.jpg"))[3]
    results = list(Pipeline([image] * 4, assets / "models" / "yolov8n-pose.onnx", engine=engine, precision="f32", batch_size=4))
    assert len(results) == 4
    assert len(results[0].poses) > 0
    for result in results[1:]:
        np.testing.assert_allclose(result.poses.keypoints, results[0].poses.keypoints, atol=1e-3)
        np.testing.assert_allclose(result.poses.boxes_xyxy, results[0].poses.boxes_xyxy, atol=1e-3)


def test_int8_openvino_model(assets: Path) -> None:
    pytest.importorskip("openvino")
    pipeline = Pipeline(
        assets / "video" / "one-by-one-person-detection.mp4",
        assets / "models" / "yolov8n-pose-int8-openvino",
        max_frames=80,
    )
    summary = pipeline.run()
    assert pipeline.parts.engine.precision.startswith("int8")
    assert summary.people > 10


def test_auto_takes_onnx_runtime_where_openvino_cannot_load_the_model(assets: Path) -> None:
    pytest.importorskip("openvino")

    def nobody(frame: Any) -> Any:
        assert frame.tensors["output0"].shape == (300, 57)
        return pipeline.parts.nobody

    model = assets / "models" / "yolo26n-pose-end2end-random.onnx"
    pipeline = Pipeline(assets / "video" / "people.mp4", model, decoder=nobody, max_frames=2)
    assert pipeline.run().frames == 2
    assert pipeline.parts.engine.name == "onnxruntime"
    assert "openvino does not take this model" in pipeline.parts.engine_reason


def test_models_with_random_weights_run(assets: Path) -> None:
    pipeline = Pipeline(assets / "video" / "people.mp4", assets / "models" / "yolo11n-pose-random.onnx", max_frames=3)
    assert pipeline.run().frames == 3
    assert pipeline.parts.head is not None
    assert pipeline.parts.head.decoder == "yolo-pose"
