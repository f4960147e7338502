"""What installed packages add through entry points."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import pose_model
from scene import write_scene
from tensortap import Pipeline, PluginError, UsageError, registry
from tensortap.sinks.names import parse_output

CODE = """
from tensortap import COCO_17, Poses
from tensortap.portable.engines.onnxruntime import OnnxRuntimeEngine
from tensortap.portable.sources.scene import SceneSource
from tensortap.sinks.memory import MemorySink

def nobody(frame):
    return Poses.empty(COCO_17)

class Decoder:
    def __call__(self, frame):
        return Poses.empty(COCO_17)

class Engine(OnnxRuntimeEngine):
    name = "my-engine"

class Source(SceneSource):
    def __init__(self, source_id, name, location):
        super().__init__(source_id, name, "scene://street?fps=3&seconds=1")

class Sink(MemorySink):
    def __init__(self, path):
        super().__init__()

class Tracker:
    def update(self, poses, pts_ns):
        return poses
    def predict(self, pts_ns):
        return Poses.empty(COCO_17)
"""
ENTRY_POINTS = """
[tensortap.decoders]
my-decoder = plugged_in:Decoder
my-function = plugged_in:nobody
broken = plugged_in:Gone
yolo-pose = plugged_in:Decoder
[tensortap.engines]
my-engine = plugged_in:Engine
[tensortap.sources]
mine = plugged_in:Source
[tensortap.sinks]
mine = plugged_in:Sink
[tensortap.trackers]
my-tracker = plugged_in:Tracker
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package, as pip would leave it."""
    folder = tmp_path / "site"
    info = folder / "plugged_in-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "plugged_in.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged-in\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(folder))
    registry.plugins.cache_clear()
    yield folder
    registry.plugins.cache_clear()
    sys.modules.pop("plugged_in", None)


@pytest.mark.usefixtures("installed")
def test_every_kind(tmp_path: Path) -> None:
    model = pose_model(tmp_path / "pose.onnx")
    with Pipeline(
        "mine://anything", model, decoder="my-decoder", engine="my-engine", tracker="my-tracker", outputs="mine:x"
    ) as pipeline:
        assert pipeline.run().frames == 3
        assert pipeline.parts.engine.name == "my-engine"
        assert len(pipeline.parts.outputs[0].sink.results) == 3
    with Pipeline("mine://anything", model, decoder="my-function") as pipeline:
        assert pipeline.run().people == 0
    assert parse_output("mine:x").sink == "mine"


@pytest.mark.usefixtures("installed")
def test_our_names_stay_ours(tmp_path: Path) -> None:
    assert registry.load("decoder", registry.DECODERS, "yolo-pose").__module__ == "tensortap.decode.yolo_pose"
    with Pipeline(write_scene(tmp_path / "a.mp4"), pose_model(tmp_path / "pose.onnx"), decoder="yolo-pose") as pipeline:
        assert pipeline.run().people > 0


@pytest.mark.usefixtures("installed")
def test_a_broken_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match=r"'broken' \(plugged_in:Gone\) of the installed package plugged-in 1.2 cannot be loaded"
    ):
        Pipeline(write_scene(tmp_path / "a.mp4"), pose_model(tmp_path / "pose.onnx"), decoder="broken")
    with pytest.raises(UsageError, match=r"auto, broken, .*my-decoder, my-function, none, .*yolo-pose"):
        Pipeline("a.mp4", "b.onnx", decoder="unheard-of")


@pytest.mark.usefixtures("installed")
def test_doctor_tells(capsys: pytest.CaptureFixture[str]) -> None:
    from tensortap.cli.doctor import doctor

    doctor(as_json=True)
    report = json.loads(capsys.readouterr().out)
    states = {(each["kind"], each["name"]): each["problem"] for each in report["plugins"]}
    assert states["engine", "my-engine"] is None
    assert "cannot be loaded" in states["decoder", "broken"]
    assert any("'yolo-pose' of plugged-in 1.2 is not used: tensortap has one" in each for each in report["problems"])
    assert any("'broken'" in each for each in report["problems"])
    doctor()
    assert "my-engine" in capsys.readouterr().out
