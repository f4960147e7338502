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
from tensortap.errors import SinkError, SourceError, UsageError


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


def test_rows_are_explained(tmp_path: Path, photo: Path) -> None:
    cv2.imwrite(str(photo), np.full((64, 64, 3), 255, np.uint8))  # somebody in every cell
    model = pose_model(tmp_path / "m.onnx")
    arguments = ["inspect", str(model), "-i", str(photo), "--engine", "onnxruntime", "--conf-thres", "0.1", "--max-det", "1"]
    run = CliRunner().invoke(app, [*arguments, "--rows", "5"])
    assert run.exit_code == 0, run.output
    assert "64 rows: 1 kept" in run.stdout
    assert "a person" in run.stdout
    assert "suppressed by row" in run.stdout
    run = CliRunner().invoke(app, [*arguments, "--rows", "64", "--json"])
    report = json.loads(run.stdout)
    assert report["people"] == report["verdicts"]["kept"] == 1
    assert sum(report["verdicts"].values()) == len(report["rows"]) == report["num_rows"] == 64
    first = report["rows"][0]
    assert (first["verdict"], len(first["box_xyxy"]), len(first["keypoints"])) == ("kept", 4, 17)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_score_maps_are_drawn(tmp_path: Path, photo: Path, suffix: str) -> None:
    model = pose_model(tmp_path / "m.onnx")
    out = tmp_path / f"plot{suffix}"
    run = CliRunner().invoke(app, ["inspect", str(model), "-i", str(photo), "--plot", str(out), "--engine", "onnxruntime"])
    assert run.exit_code == 0, run.output
    assert "plot" in run.stdout
    sheet = cv2.imread(str(out))
    assert sheet.shape[1] == 800  # 64 anchors at 64 x 64 are no grid of any YOLO: the people alone


def test_plots_that_cannot_be_meant(tmp_path: Path, photo: Path) -> None:
    model = pose_model(tmp_path / "m.onnx")
    other = detection_model(tmp_path / "d.onnx")
    for arguments, error, message in (
        ([model, "--plot", tmp_path / "a.png"], UsageError, "say which picture"),
        ([model, "-i", photo, "--plot", tmp_path / "a.txt"], UsageError, "should end in .png"),
        ([model, "-i", photo, "--plot", photo], UsageError, "it is the input; it would be overwritten"),
        ([other, "-i", photo, "--plot", tmp_path / "a.png"], UsageError, "was not recognised"),
        ([model, "-i", photo, "--plot", tmp_path / "no" / "a.png"], SinkError, "cannot be written"),
    ):
        run = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
        assert isinstance(run.exception, error), run.output
        assert message in str(run.exception)
    assert cv2.imread(str(photo)).shape == (64, 96, 3)


def test_a_decoder_that_does_not_fit_is_explained(tmp_path: Path, photo: Path) -> None:
    run = CliRunner().invoke(app, ["inspect", str(pose_model(tmp_path / "m.onnx")), "--decoder", "rtmo"])
    assert run.exit_code == 0, run.output
    said = " ".join(run.stdout.split())
    assert "not recognised" in said
    assert "Use --decoder yolo-pose, or leave it out" in said


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
