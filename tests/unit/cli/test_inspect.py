"""`tensortap inspect -i`: the tensors that a model gives for a picture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from media import picture, write_video
from models import detection_model, pose_model
from tensortap.cli.main import app
from tensortap.errors import SourceError


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), picture(96, 64))
    return path


def test_every_output_is_summarised(tmp_path: Path, photo: Path) -> None:
    model = pose_model(tmp_path / "m.onnx")
    run = CliRunner().invoke(app, ["inspect", str(model), "-i", str(photo), "--json", "--engine", "onnxruntime"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)["tensors"]["output0"]
    assert (found["shape"], found["dtype"], found["nans"]) == ([56, 64], "float32", 0)
    assert found["max"] >= 60 - 1e-3  # centres of boxes, in pixels
    assert sum(found["histogram"]) == 56 * 64


def test_a_model_of_another_kind_is_looked_into_as_well(tmp_path: Path, photo: Path) -> None:
    run = CliRunner().invoke(app, ["inspect", str(detection_model(tmp_path / "d.onnx")), "-i", str(photo)])
    assert run.exit_code == 0, run.output
    assert "not recognised" in run.stdout
    assert "84 x 64" in run.stdout


def test_a_video_shows_its_first_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", num_frames=3)
    run = CliRunner().invoke(app, ["inspect", str(pose_model(tmp_path / "m.onnx")), "-i", str(video)])
    assert run.exit_code == 0, run.output
    assert "v.mp4 160x96" in run.stdout


def test_a_picture_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(np.zeros(10, np.uint8).tobytes())
    run = CliRunner().invoke(app, ["inspect", str(pose_model(tmp_path / "m.onnx")), "-i", str(tmp_path / "no.png")])
    assert isinstance(run.exception, SourceError)
