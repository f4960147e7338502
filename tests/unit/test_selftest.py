"""`tensortap doctor --model`: what is the same passes, what is not is found and named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

from models import channel_means, mixing_frames, one_frame_inside, pose_model, ranked_outputs, rtmo_model, typed_outputs
from people import person, poses_of
from scene import write_scene
from tensortap import registry
from tensortap.cli.main import app
from tensortap.portable.engines.onnxruntime import OnnxRuntimeEngine
from tensortap.selftest import difference, people_difference


class _Spoiled:
    """A request whose outputs are spoiled."""

    def __init__(self, request: Any, spoil: Any) -> None:
        self._request, self._spoil = request, spoil
        self.images = request.images
        self.start = request.start

    def wait(self) -> dict[str, np.ndarray]:
        return {name: self._spoil(array.copy()) for name, array in self._request.wait().items()}


class _SpoiledEngine(OnnxRuntimeEngine):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.requests = [_Spoiled(request, self.spoil) for request in self.requests]  # type: ignore[misc, assignment]

    def spoil(self, array: np.ndarray) -> np.ndarray:
        return array


class Larger(_SpoiledEngine):
    def spoil(self, array: np.ndarray) -> np.ndarray:
        return array * np.float32(1.01)


class Reversed(_SpoiledEngine):
    def spoil(self, array: np.ndarray) -> np.ndarray:
        return array[::-1]


class Overflowing(_SpoiledEngine):
    def spoil(self, array: np.ndarray) -> np.ndarray:
        array[..., 0] = np.nan
        return array


class Shifted(_SpoiledEngine):
    """The third frame of a batch gets a little of the second."""

    def spoil(self, array: np.ndarray) -> np.ndarray:
        if len(array) > 2:
            array[2] += array[1] * np.float32(0.02)
        return array


@pytest.fixture
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another engine in the registry, called `broken`."""
    monkeypatch.setitem(registry.ENGINES, "broken", registry.Entry(f"{__name__}:{request.param}"))
    return str(request.param)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "a.mp4", 1)


def doctor(model: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    run = CliRunner().invoke(app, ["doctor", "--model", str(model), "--json", *map(str, arguments)])
    assert run.exit_code in (0, 1), run.output
    return run.exit_code, json.loads(run.stdout)


def test_a_sound_model_agrees_with_itself(tmp_path: Path, video: Path) -> None:
    code, report = doctor(pose_model(tmp_path / "pose.onnx"), "-i", video)
    assert (code, report["same"]) == (0, True)
    assert report["head"] == "yolo-pose"
    assert report["reference"] == {"engine": "onnxruntime", "precision": "f32"}
    assert {"onnxruntime", "openvino"} <= {trial["engine"] for trial in report["trials"]}
    for trial in report["trials"]:
        assert trial["batch_sizes"] == [1, 2, 3, 4]
        # Each slot of every full batch, and the last of each that is not full; and every request at least once.
        assert trial["runs"] >= 1 + 2 + 3 + 4 + 0 + 1 + 2 + 3
        assert trial["people"]["found"] >= 1
        assert trial["slots"]["typical"] <= trial["tolerance"]
        assert not trial["faults"]
    assert sum(trial["is_reference"] for trial in report["trials"]) == 1
    text = CliRunner().invoke(app, ["doctor", "--model", str(tmp_path / "pose.onnx"), "-i", str(video), "--batch", "2"])
    assert text.exit_code == 0
    assert "1 to 2" in text.output
    assert "agree within their tolerances" in text.output


@pytest.mark.parametrize("make", [rtmo_model, channel_means, lambda path: pose_model(path, batch=3)])
def test_sound_models_of_other_kinds(tmp_path: Path, make: Any) -> None:
    code, report = doctor(make(tmp_path / "any.onnx"), "--batch", 3, "--precision", "f32")  # a drawn picture
    assert code == 0, report
    fixed = report["trials"][0]["batch_sizes"] == [3]
    assert fixed or all(trial["batch_sizes"] == [1, 2, 3] for trial in report["trials"])


def test_types_other_than_float(tmp_path: Path) -> None:
    types = {name: getattr(TensorProto, name) for name in ("BOOL", "INT8", "INT64", "FLOAT16", "DOUBLE")}
    code, report = doctor(typed_outputs(tmp_path / "any.onnx", types), "--batch", 2)
    assert code == 0, report


def test_outputs_without_a_batch_are_tried_one_by_one(tmp_path: Path) -> None:
    code, report = doctor(ranked_outputs(tmp_path / "any.onnx"), "--batch", 3)
    assert code == 0
    for trial in report["trials"]:
        assert trial["batch_sizes"] == [1]
        assert "is not the batch of 2" in trial["notes"][0]


def test_frames_that_leak_into_each_other_are_found(tmp_path: Path) -> None:
    code, report = doctor(mixing_frames(tmp_path / "mixing.onnx"), "--batch", 2)
    assert (code, report["same"]) == (1, False)
    for trial in report["trials"]:
        assert "its slots differ: output0" in trial["faults"][0]
        assert "of a batch of 2" in trial["faults"][0]
    run = CliRunner().invoke(app, ["doctor", "--model", str(tmp_path / "mixing.onnx"), "--batch", "2"])
    assert run.exit_code == 1
    assert "onnxruntime in f32 its slots differ" in run.output
    code, _ = doctor(tmp_path / "mixing.onnx", "--batch", 1)
    assert code == 0


def test_a_batch_that_fails_is_named(tmp_path: Path) -> None:
    code, report = doctor(one_frame_inside(tmp_path / "one.onnx"), "--batch", 2)
    for trial in report["trials"]:
        assert trial["batch_sizes"] == [1]
        assert trial["notes"] or trial["faults"]
        assert "batch 2" in [*trial["notes"], *trial["faults"]][0]
    assert code == int(any(trial["faults"] for trial in report["trials"]))


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("Larger", "differs from onnxruntime in f32: output0 by 1.0"),
        ("Reversed", "its slots differ"),
        ("Overflowing", "gives values that are no numbers in output0"),
        ("Shifted", "its slots differ: output0"),
    ],
    indirect=["broken"],
)
def test_broken_engines_are_found(tmp_path: Path, video: Path, broken: str, fault: str) -> None:
    code, report = doctor(pose_model(tmp_path / "pose.onnx"), "-i", video, "--precision", "f32", "--batch", 3)
    trials = {trial["engine"]: trial for trial in report["trials"]}
    assert code == 1
    assert any(fault in each for each in trials["broken"]["faults"]), trials["broken"]["faults"]
    if broken == "Shifted":
        assert trials["broken"]["slots"]["where"] == "slot 2 of a batch of 3"
    for name in ("onnxruntime", "openvino"):
        assert not trials[name]["faults"]


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["doctor", "-i", "a.png"])
    assert run.exit_code != 0
    assert "say which model to test" in str(run.exception)
    (tmp_path / "no.onnx").write_bytes(b"no model")
    run = CliRunner().invoke(app, ["doctor", "--model", str(tmp_path / "no.onnx")])
    assert run.exit_code != 0
    run = CliRunner().invoke(app, ["doctor", "--model", str(pose_model(tmp_path / "a.onnx", batch=2)), "--imgsz", "32"])
    assert "fixed at 64x64" in str(run.exception)


def test_differences_are_shares_of_a_channel() -> None:
    expected = {"a": np.array([[100.0, -200.0], [1.0, 0.5]], np.float32), "b": np.zeros(3, np.int64)}
    assert difference(expected, expected).typical == 0
    found = {**expected, "a": expected["a"] + np.array([[0, 0], [0.1, 0]], np.float32)}
    apart = difference(found, expected)
    assert (apart.output, round(apart.largest, 5), round(apart.typical, 5)) == ("a", 0.1, round(0.1 / math.sqrt(2), 5))
    assert difference({**expected, "b": np.array([0, 0, 1])}, expected).output == "b"
    for odd in (
        {"a": expected["a"]},
        {**expected, "c": expected["b"]},
        {**expected, "a": expected["a"].T[:1]},
        {**expected, "a": expected["a"] * np.nan},
        {**expected, "b": np.zeros(3, np.float32)},
    ):
        assert difference(odd, expected).typical == math.inf
    nans = {"a": np.array([1, np.nan], np.float32)}
    assert difference(nans, nans).typical == 0
    assert difference({"a": np.empty((0, 5))}, {"a": np.empty((0, 5))}).typical == 0


def test_people_are_compared_with_their_own() -> None:
    expected = poses_of([person(center) for center in (100, 300, 500)], [0.9, 0.5, 0.7])
    copied = expected.take(np.arange(3))
    apart = people_difference(expected, expected, 0.25, 0.05)
    assert (apart.found, apart.missing, apart.moved) == (3, 0, 0)
    turned = expected.take(np.array([2, 0, 1]))
    assert people_difference(turned, expected, 0.25, 0.05).moved == 0
    fewer = expected.take(np.array([0, 2]))
    assert people_difference(fewer, expected, 0.25, 0.05).missing == 1
    assert people_difference(fewer.take(np.array([], int)), expected, 0.25, 0.05).missing == 3
    assert people_difference(fewer, expected, float(expected.scores[1]), 0.05).missing == 0
    expected.keypoints[0, 3, :2] += (3, 4)
    moved = people_difference(copied, expected, 0.25, 0.05)
    assert moved.moved_pixels == pytest.approx(5)
    width, height = np.ptp(expected.boxes_xyxy[0].reshape(2, 2), axis=0)
    assert moved.moved == pytest.approx(5 / math.hypot(width, height))
