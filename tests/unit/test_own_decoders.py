"""Decoders of one's own: what they are told, what they inherit, and the example that documents them."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from heads import People, draw_people, frame_of, to_network
from models import pose_model
from scene import write_scene
from tensortap import COCO_17, Pipeline, Poses, UsageError
from tensortap.cli.main import app
from tensortap.geometry import LETTERBOX_POLICIES, Letterbox, letterbox
from tensortap.loading import load_callable
from tensortap.recording.writer import RecordingSink

EXAMPLE = Path(__file__).parents[2] / "examples" / "new_head.py"
MINE = """
import numpy as np
from tensortap import COCO_17, Poses
from tensortap.decode.base import Candidates, PoseDecoder, above, corners

class Mine(PoseDecoder):
    def candidates(self, frame, threshold):
        rows = frame.tensors["output0"]
        found = above(rows[4], threshold)
        points = rows[5:, found].T
        return Candidates(found, corners(rows[:4, found]), rows[4, found], None, lambda kept: points[kept])

class TakesSome:
    def __init__(self, conf_thres, *, colour="red"):
        self.conf_thres = conf_thres
    def __call__(self, frame):
        return Poses.empty(COCO_17)

class TakesNothing:
    def __call__(self, frame):
        return Poses.empty(COCO_17)

class WantsMore:
    def __init__(self, conf_thres, colour):
        pass

def function(frame):
    return Poses.empty(COCO_17)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    pose_model(tmp_path / "pose.onnx")
    write_scene(tmp_path / "a.mp4", 6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("asked", [{}, {"conf_thres": 0.9}, {"iou_thres": 1.0, "max_det": 3}, {"clip": True}])
def test_a_class_of_ones_own_heeds_the_flags(asked: dict[str, Any]) -> None:
    own = Pipeline("a.mp4", "pose.onnx", decoder="mine.py:Mine", tracker=None, **asked)
    ours = Pipeline("a.mp4", "pose.onnx", decoder="yolo-pose", tracker=None, **asked)
    assert own.parts.decoder.name == "Mine"
    for one, other in zip(own, ours, strict=True):
        for name in ("boxes_xyxy", "scores", "class_ids", "keypoints"):
            np.testing.assert_array_equal(getattr(one.poses, name), getattr(other.poses, name))


@pytest.mark.usefixtures("place")
def test_a_class_can_be_given_in_python() -> None:
    loaded = load_callable("mine.py:Mine", "--decoder")
    pipeline = Pipeline("a.mp4", "pose.onnx", decoder=type(loaded), conf_thres=0.4, tracker=None)
    assert pipeline.parts.decoder.conf_thres == 0.4  # type: ignore[attr-defined]
    assert pipeline.run().people > 0


@pytest.mark.usefixtures("place")
def test_keypoints_as_the_flags_say() -> None:
    decoder: Any = Pipeline("a.mp4", "pose.onnx", decoder="mine.py:Mine", kpt_shape="21x2").parts.decoder
    assert (decoder.num_keypoints, decoder.keypoint_dims) == (21, 2)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("decoder", "without_effect"),
    [
        ("mine.py:Mine", []),
        ("mine.py:TakesSome", ["--max-det"]),
        ("mine.py:TakesNothing", ["--conf-thres", "--max-det"]),
        ("mine.py:function", ["--conf-thres", "--max-det"]),
        (lambda _: Poses.empty(COCO_17), ["--conf-thres", "--max-det"]),
    ],
)
def test_flags_without_effect_are_said(decoder: Any, without_effect: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Pipeline("a.mp4", "pose.onnx", decoder=decoder, conf_thres=0.4, max_det=5).close()
    assert [record.getMessage().split()[0] for record in caplog.records] == without_effect
    caplog.clear()
    Pipeline("a.mp4", "pose.onnx", decoder=decoder).close()
    assert not caplog.records


@pytest.mark.usefixtures("place")
def test_a_class_that_wants_more_is_explained() -> None:
    with pytest.raises(
        UsageError, match=r"WantsMore is a class; it is made with conf_thres, which failed: TypeError: .*colour"
    ):
        Pipeline("a.mp4", "pose.onnx", decoder="mine.py:WantsMore")


def test_rows_of_ones_own_head_are_explained(place: Path) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:24, 32:40] = 255
    cv2.imwrite(str(place / "a.png"), picture)
    arguments = ["inspect", "pose.onnx", "-i", "a.png", "--decoder", "mine.py:Mine", "--plot", "plot.png", "--precision", "f32"]
    run = CliRunner().invoke(app, [*arguments, "--json"])
    assert run.exit_code == 0, run.output
    report = json.loads(run.stdout)
    assert report["head"]["decoder"] == "mine.py:Mine"
    assert report["people"] == 1
    assert report["rows"][0]["verdict"] == "kept"
    assert report["num_rows"] == 64
    assert (place / "plot.png").stat().st_size
    run = CliRunner().invoke(app, ["inspect", "pose.onnx", "--decoder", "none", "-i", "a.png"])
    assert run.exit_code == 0, run.output
    assert "output0" in run.output


pytestmark_example = pytest.mark.skipif(not EXAMPLE.is_file(), reason="the examples are not beside an installed package")


def encoded(people: People, box: Letterbox, logits: np.ndarray) -> dict[str, np.ndarray]:
    """CenterNet's maps of people whose centres lie in cells of their own, written in float64."""
    width, height = (side // 4 for side in box.network_wh)
    placed = to_network(people, box)
    num_keypoints = people.keypoints.shape[1]
    tensors = {
        name: np.zeros((channels, height, width)) for name, channels in (("reg", 2), ("wh", 2), ("hps", 2 * num_keypoints))
    }
    tensors["hm"] = np.full((1, height, width), -9.0)
    for corners, keypoints, logit in zip(placed.boxes_xyxy / 4, placed.keypoints[..., :2] / 4, logits, strict=True):
        center = (corners[:2] + corners[2:]) / 2
        x, y = np.clip(np.floor(center).astype(int), 0, (width - 1, height - 1))
        tensors["hm"][0, y, x] = logit
        tensors["reg"][:, y, x] = center - (x, y)
        tensors["wh"][:, y, x] = corners[2:] - corners[:2]
        tensors["hps"][:, y, x] = (keypoints - (x, y)).ravel()
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


@pytestmark_example
@settings(max_examples=40, deadline=None)
@given(
    policy=st.sampled_from(sorted(LETTERBOX_POLICIES)),
    source_wh=st.tuples(st.integers(200, 4000), st.integers(200, 4000)),
    num_people=st.integers(0, 4),
    num_keypoints=st.integers(1, 30),
    seed=st.integers(0, 2**31),
)
def test_the_example_is_exact(policy: str, source_wh: tuple[int, int], num_people: int, num_keypoints: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    box = letterbox(policy, source_wh, (512, 512))
    people = draw_people(generator, num_people, num_keypoints, 1, source_wh)
    logits = np.sort(generator.uniform(0, 5, num_people))[::-1]
    decode = load_callable(f"{EXAMPLE}:CenterNetPose", "--decoder", {"num_keypoints": num_keypoints})
    poses = decode(frame_of(encoded(people, box, logits), box))
    assert len(poses) == num_people
    np.testing.assert_allclose(poses.boxes_xyxy, people.boxes_xyxy, rtol=0, atol=2e-3)
    np.testing.assert_allclose(poses.keypoints[..., :2], people.keypoints[..., :2], rtol=0, atol=2e-3)
    np.testing.assert_allclose(poses.scores, 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytestmark_example
def test_the_example_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    box = letterbox("ultralytics", (1280, 720), (512, 512))
    people = draw_people(np.random.default_rng(5), 2, 17, 1, (1280, 720))
    tensors = encoded(people, box, np.array([3.0, 0.0]))
    sink = RecordingSink(tmp_path / "rec.tap")
    sink.write_tensors(frame_of(tensors, box))
    sink.write_tensors(frame_of({**tensors, "hps": tensors["hps"] * np.nan}, box))
    sink.close()
    for threshold, expected in (("0.3", 2), ("0.6", 1), ("0.99", 0)):
        arguments = ["-i", "rec.tap", "--decoder", f"{EXAMPLE}:CenterNetPose", "--conf-thres", threshold, "--no-track"]
        run = CliRunner().invoke(app, ["run", *arguments, "-o", "out.jsonl", "--json"])
        assert run.exit_code == 0, run.output
        outcome = json.loads(run.stdout)
        assert outcome["people"] == expected
        assert sum(outcome["streams"][0]["rejected"].values()) == expected  # those of the second frame
        lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
        assert [len(line["people"]) for line in lines] == [expected, 0]
        for person, keypoints in zip(lines[0]["people"], people.keypoints, strict=False):
            np.testing.assert_allclose(np.array(person["keypoints"])[:, :2], keypoints[:, :2], atol=0.01)


DOCS = Path(__file__).parents[2] / "docs" / "own_code.md"


@pytest.mark.skipif(not DOCS.is_file(), reason="the documentation is not beside an installed package")
def test_the_documentation_runs(place: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) == 3
    (place / "my.py").write_text("\n".join(blocks))
    ours = Pipeline("a.mp4", "pose.onnx", outputs="street.tap", tracker=None)
    expected = [result.poses for result in ours]
    assert sum(map(len, expected)) > 3
    for decoder in ("my.py:decode", "my.py:Mine"):
        found = [result.poses for result in Pipeline("street.tap", decoder=decoder, taps="my.py:look", tracker=None)]
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one.scores, other.scores)
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-4)
