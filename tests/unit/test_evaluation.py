"""Keypoint AP through the pipeline: what is read, what is refused, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from models import pose_model
from tensortap.cli.main import app
from tensortap.errors import TensortapError, UsageError
from tensortap.evaluation import STATISTICS, as_coco_results, keypoint_statistics, read_annotations
from tensortap.scenes import Scene, coco_truth
from tensortap.skeletons import COCO_17
from tensortap.types import Frame, FrameInfo, Poses, Result

pytest.importorskip("pycocotools")


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A folder with ten drawn images in `images` and their truth in `truth.json`."""
    scene = Scene("street", 5, 1, (320, 180), 10.0)
    frames = [scene.frame(index) for index in range(0, 100, 10)]
    (tmp_path / "images").mkdir()
    for number, frame in enumerate(frames, start=1):
        cv2.imwrite(str(tmp_path / "images" / f"{number:06d}.png"), frame.image)
    (tmp_path / "truth.json").write_text(json.dumps(coco_truth(frames, file_name="{image_id:06d}.png")))
    return tmp_path


def perfect_results(folder: Path, *, moved: float = 0.0) -> list[dict[str, Any]]:
    """The truth, every keypoint moved to the right by some pixels, as a pipeline would hand it over."""
    annotations = read_annotations(folder / "truth.json", folder / "images")
    content = json.loads((folder / "truth.json").read_text())
    results = []
    for path in annotations.image_paths:
        image_id = annotations.image_ids[path.name]
        people = [each for each in content["annotations"] if each["image_id"] == image_id and each["num_keypoints"]]
        keypoints = np.array([each["keypoints"] for each in people], np.float32).reshape(-1, 17, 3)
        keypoints[..., 0] += moved
        boxes = np.array([each["bbox"] for each in people], np.float32).reshape(-1, 4)
        poses = Poses(boxes, np.full(len(people), 0.9, np.float32), np.zeros(len(people), np.int64), keypoints, COCO_17)
        results += as_coco_results(Result(Frame(FrameInfo(0, path.name, 0, 0, (320, 180)), None), poses), annotations)
    return results


def test_the_truth_itself_has_an_ap_of_1(annotated: Path) -> None:
    annotations = read_annotations(annotated / "truth.json", annotated / "images")
    assert (len(annotations.image_paths), annotations.missing) == (10, [])
    perfect = keypoint_statistics(annotations, perfect_results(annotated), COCO_17.sigmas)
    assert perfect["AP"] == pytest.approx(1.0)
    assert tuple(perfect) == STATISTICS
    moved = keypoint_statistics(annotations, perfect_results(annotated, moved=3.0), COCO_17.sigmas)
    assert 0 < moved["AP"] < 0.95
    assert keypoint_statistics(annotations, [], COCO_17.sigmas)["AP"] == 0


def test_images_that_are_not_there_do_not_count(annotated: Path) -> None:
    results = perfect_results(annotated)
    (annotated / "images" / "000003.png").unlink()
    annotations = read_annotations(annotated / "truth.json", annotated / "images")
    assert annotations.missing == ["000003.png"]
    remaining = [each for each in results if each["image_id"] != 3]
    assert keypoint_statistics(annotations, remaining, COCO_17.sigmas)["AP"] == pytest.approx(1.0)


def test_people_without_coordinates_are_left_out(annotated: Path) -> None:
    annotations = read_annotations(annotated / "truth.json", annotated / "images")
    keypoints = np.zeros((2, 17, 3), np.float32)
    keypoints[0, 3, 0] = np.nan
    poses = Poses(np.zeros((2, 4), np.float32), np.ones(2, np.float32), np.zeros(2, np.int64), keypoints, COCO_17)
    frame = Frame(FrameInfo(0, "000001.png", 0, 0, (320, 180)), None)
    assert len(as_coco_results(Result(frame, poses), annotations)) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "no COCO annotation file"),
        ('{"images": [], "annotations": [{"bbox": [0, 0, 1, 1]}]}', "has no keypoints.*person_keypoints"),
        ('{"images": [{"id": 1, "file_name": "no.jpg"}], "annotations": [{"keypoints": [0, 0, 0]}]}', "None of the 1 images"),
    ],
)
def test_files_that_cannot_be_meant(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UsageError, match=says):
        read_annotations(tmp_path / "a.json", tmp_path)


def test_folders_and_files_that_are_missing(tmp_path: Path, annotated: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_annotations(tmp_path / "no.json", tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        read_annotations(annotated / "truth.json", tmp_path / "no")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_the_command_compares_precisions(annotated: Path, tmp_path: Path) -> None:
    model = pose_model(tmp_path / "m.onnx")
    done = run(
        "-m", model, "--images", annotated / "images", "--annotations", annotated / "truth.json", "--json", "--quiet",
        "--engine", "openvino", "--precision", "f32", "--compare", "auto", "--compare", model,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["images"], report["precision"]) == (10, "f32")
    assert -1 <= report["AP"] < 0.5
    assert len(report["compared"]) == 2
    assert report["compared"][1]["AP_difference"] == 0


def test_the_command_prints_a_table(annotated: Path, tmp_path: Path) -> None:
    model = pose_model(tmp_path / "m.onnx")
    done = run("-m", model, "--images", annotated / "images", "--annotations", annotated / "truth.json", "--compare", "f32")
    assert done.exit_code == 0, done.output
    assert "10 images" in done.stderr
    assert "difference" in done.stderr


def test_another_number_of_keypoints_cannot_be_compared(annotated: Path, tmp_path: Path) -> None:
    model = pose_model(tmp_path / "m.onnx", num_keypoints=5)
    done = run("-m", model, "--images", annotated / "images", "--annotations", annotated / "truth.json", "--conf-thres", 0)
    assert isinstance(done.exception, TensortapError)
    assert "5 keypoints" in str(done.exception)
