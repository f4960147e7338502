"""`tensortap quantize`: what is made, what was lost, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tensortap
from tensortap.cli.main import app
from tensortap.errors import UsageError
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.model import ImageInput, read_model
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.sources.scene import SceneSource
from tensortap.quantize.agreement import agreement
from tensortap.quantize.calibration import gather, network_input
from tensortap.skeletons import COCO_17
from tensortap.types import Poses

SCENE = "scene://street?people=4&seed=11&fps=4&seconds=8&size=640x360"
QUICK = ["-m", "demo", "-i", SCENE, "--frames", "8", "--imgsz", "192x320"]


def people(*places: float, score: float = 0.9) -> Poses:
    """One person 100 px high at each place."""
    keypoints = np.zeros((len(places), 17, 3), np.float32)
    keypoints[..., 0] = np.array(places)[:, None] + np.linspace(0, 40, 17)
    keypoints[..., 1] = np.linspace(0, 100, 17)
    keypoints[..., 2] = 0.9
    boxes = np.array([[place, 0, place + 40, 100] for place in places], np.float32).reshape(-1, 4)
    return Poses(boxes, np.full(len(places), score, np.float32), np.zeros(len(places), np.int64), keypoints, COCO_17)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_bundled_model_in_eight_bits(engine: str, tmp_path: Path) -> None:
    if engine == "openvino":
        pytest.importorskip("nncf", reason="pip install nncf")
    target = tmp_path / ("small" if engine == "openvino" else "small.onnx")
    arguments = ["quantize", *QUICK, "--engine", engine, "-o", str(target), "--tolerance", "0.6", "--json", "-q"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout[result.stdout.index("{") :])
    assert outcome["good"]
    assert 0 < outcome["lost"] <= 0.6
    assert outcome["matched"] > 10
    assert read_model(target).kpt_shape == (17, 3)
    with tensortap.Pipeline(SCENE, target, engine=engine, imgsz="192x320", max_frames=4) as pipeline:
        assert pipeline.parts.engine.precision.startswith("int8")
        assert sum(len(result.poses) for result in pipeline) > 4


def test_a_model_that_lost_too_much_is_not_kept(tmp_path: Path) -> None:
    target = tmp_path / "small.onnx"
    strict = ["quantize", *QUICK, "--engine", "onnxruntime", "-o", str(target), "--tolerance", "0"]
    result = CliRunner().invoke(app, strict)
    assert result.exit_code == 1
    assert not target.exists()
    assert "--tolerance 0" in result.stderr
    kept = CliRunner().invoke(app, [*strict, "--keep"])
    assert kept.exit_code == 1
    assert target.exists()


def test_nobody_to_compare_on(tmp_path: Path) -> None:
    arguments = ["quantize", "-m", "demo", "-i", "scene://street?people=0&seconds=1&size=320x192&fps=10"]
    result = CliRunner().invoke(app, [*arguments, "--engine", "onnxruntime", "-o", str(tmp_path / "a.onnx"), "-q"])
    assert isinstance(result.exception, UsageError)
    assert "nobody" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--engine", "abacus"], "--engine abacus"),
        (["--images", "."], "belong together"),
        (["--engine", "onnxruntime", "-o", "folder"], "-o folder"),
        (["--engine", "onnxruntime", "-o", "."], "is there already"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["quantize", *QUICK, *arguments])
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)


@pytest.mark.parametrize("count", [2, 5, 16, 100])
def test_pictures_are_spread_evenly(count: int) -> None:
    sources = [SceneSource(0, "scene", "scene://street?people=0&size=64x64&fps=10&seconds=3")]
    indices = [picture.info.index for picture in gather(sources, Preprocessor((64, 64), "ultralytics"), count)]
    assert len(indices) == min(count, 30)
    assert indices[0] == 0
    assert indices == sorted(set(indices))
    assert max(np.diff(indices)) <= 2 * min(np.diff(indices))
    assert indices[-1] >= 30 - 2 * 30 / len(indices)


def test_network_input_is_what_the_engine_makes_of_the_picture() -> None:
    sources = [SceneSource(0, "scene", "scene://street?size=64x64&fps=10&seconds=1")]
    [picture, _] = gather(sources, Preprocessor((64, 64), "ultralytics"), 2)
    wanted = ImageInput("images", "NCHW", "float32", None, None, None)
    fed = network_input(picture, wanted, InputFormat(scale=0.5, mean=(1.0, 2.0, 3.0)))
    assert fed.shape == (1, 3, 64, 64)
    np.testing.assert_allclose(fed[0, 2], (picture.image[..., 2] - 3.0) * 0.5, rtol=1e-6)


def test_agreement_of_the_same_and_of_others() -> None:
    assert agreement([people(0, 200)], [people(200, 0)]).similarity == pytest.approx(1.0)
    half = agreement([people(0, 200)], [people(0)])
    assert (half.matched, half.similarity) == (1, pytest.approx(0.5))
    apart = agreement([people(0)], [people(500)])
    assert (apart.matched, apart.similarity) == (0, 0.0)
    near = agreement([people(0)], [people(3)])
    assert near.mean_distance == pytest.approx(3.0)
    assert 0.5 < near.similarity < 1.0
