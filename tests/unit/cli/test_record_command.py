"""`tensortap record`: what it asks for, and what it passes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models import pose_model
from scene import write_scene
from tensortap import Pipeline, UsageError
from tensortap.cli.main import app


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "x.onnx", "-o", "a.tap"], "Say what to look at"),
        (["-i", "a.mp4", "-m", "x.onnx"], "Say where the recording goes"),
        (["-i", "a.mp4", "-m", "x.onnx", "-o", "a.mkv"], "a recording's name ends in .tap"),
        (["-i", "a.mp4", "-m", "x.onnx", "-o", "a.tap", "-o", "null"], "-o null: a recording's name"),
        (["-i", "a.mp4", "-o", "a.tap"], "Say which model"),
        (["-i", "a.mp4", "-m", "x.onnx", "-o", "a.tap", "--tap", "gone.py:look"], "--tap gone.py: there is no such file"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_scene(tmp_path / "a.mp4", 2)
    pose_model(tmp_path / "x.onnx")
    run = CliRunner().invoke(app, ["record", *arguments])
    assert isinstance(run.exception, UsageError)
    assert message in str(run.exception)
    assert not (tmp_path / "a.tap").exists()


def test_what_is_said_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_scene(tmp_path / "a.mp4", 9)
    pose_model(tmp_path / "x.onnx", size=None)
    Path("my.py").write_text("def look(frame):\n    print('tapped', frame.info.index)\n")
    arguments = [
        "-i",
        "a.mp4",
        "-m",
        "x.onnx",
        "-o",
        "a.tap",
        "--frames",
        "--no-compress",
        "--interval",
        "1",
        "--max-frames",
        "7",
    ]
    arguments += ["--letterbox", "nvinfer", "--color", "bgr", "--mean", "1,2,3", "--scale", "0.5", "--precision", "f32"]
    run = CliRunner().invoke(app, ["record", *arguments, "--engine", "onnxruntime", "--tap", "my.py:look", "--json"])
    assert run.exit_code == 0, run.output
    assert [line for line in run.stdout.splitlines() if "tapped" in line] == [f"tapped {index}" for index in (0, 2, 4, 6)]
    outcome = json.loads(run.stdout[run.stdout.index("{") :])
    assert (outcome["frames"], outcome["inferred"], outcome["outputs"][0]["frames"]) == (7, 4, 7)
    assert (outcome["decoder"], outcome["engine"]) == ("none", "onnxruntime")
    header = json.loads(Path("a.tap/recording.json").read_text())
    assert header["images"] == "jpeg"
    assert header["feeding"] == {"letterbox": "nvinfer", "color": "bgr", "scale": 0.5, "mean": [1, 2, 3]}
    assert header["engine"]["precision"] == "f32"
    assert str(tmp_path) not in Path("a.tap/recording.json").read_text()
    with Pipeline("a.tap") as pipeline:
        frames = [(frame.info.index, frame.letterbox.pad_value, frame.image.shape) for frame in pipeline.tensors()]
    assert frames == [(index, 0, (128, 128, 3)) for index in (0, 2, 4, 6)]
    assert np.load("a.tap/chunk-000000.npz")["output0"].shape == (4, 56, 64)
