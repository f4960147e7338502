"""Scenes as sources, by URL, and as files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import tensortap
from models import pose_model
from tensortap.cli.main import app
from tensortap.errors import TensortapError, UsageError
from tensortap.portable.sources.inputs import find_inputs
from tensortap.portable.sources.scene import SceneSource
from tensortap.scenes import Scene, coco_truth, parse_scene


def test_a_url_says_everything() -> None:
    request = parse_scene("scene://gym?people=3&seed=5&size=640x360&fps=12.5&seconds=2")
    assert (request.scene.setting, request.scene.people, request.scene.seed) == ("gym", 3, 5)
    assert (request.scene.size_wh, request.scene.frame_rate) == ((640, 360), 12.5)
    assert (request.num_frames, request.live) == (25, False)


def test_what_a_url_leaves_out() -> None:
    request = parse_scene("scene://")
    assert (request.scene.setting, request.scene.size_wh, request.num_frames) == ("street", (1280, 720), 300)
    assert parse_scene("scene://street?live=1").num_frames is None
    assert parse_scene("scene://street?seconds=0").num_frames is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("scene://moon", "no scene called 'moon'"),
        ("scene://street?peple=3", "no 'peple'.*people"),
        ("scene://street?people=many", "people should be a whole number, not 'many'"),
        ("scene://street?size=huge", "WIDTHxHEIGHT.*'huge'"),
        ("scene://street?fps=nan", "frames a second"),
        ("scene://street?seconds=-1", "seconds should be"),
        ("scene://street?seed=-1", "seed should be"),
        ("scene://street/x", "parameters only"),
    ],
)
def test_a_url_that_cannot_be_meant_is_explained(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_scene(url)


def test_a_scene_is_a_source() -> None:
    url = "scene://street?people=2&size=320x180&fps=10&seconds=0.5"
    [found] = find_inputs([url])
    assert (found.kind, found.name) == ("scene", "scene-street")
    source = SceneSource(3, found.name, url)
    frames = []
    while frame := source.read():
        frames.append(frame)
    assert [frame.info.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.info.pts_ns for frame in frames] == [number * 100_000_000 for number in range(5)]
    assert {frame.info.source_id for frame in frames} == {3}
    assert (source.stream.size_wh, source.stream.num_frames, source.stream.frame_rate) == ((320, 180), 5, 10.0)
    np.testing.assert_array_equal(frames[4].image, Scene("street", 2, 0, (320, 180), 10.0).frame(4).image)


def test_a_live_scene_skips_what_it_could_not_show_in_time() -> None:
    source = SceneSource(0, "live", "scene://street?people=1&size=64x64&fps=50&live=1&seconds=2")
    first = source.read()
    time.sleep(0.5)
    second = source.read()
    assert first is not None
    assert second is not None
    assert (first.info.index, first.info.is_live) == (0, True)
    assert 24 <= second.info.index < 90
    assert abs(second.info.capture_ns - first.info.capture_ns - second.info.pts_ns) < 1_000_000
    time.sleep(max(0.0, 2.0 - second.info.pts_ns / 1e9))
    assert source.read() is None  # its time is over


def test_a_live_scene_keeps_to_the_clock_and_can_be_closed() -> None:
    source = SceneSource(0, "live", "scene://street?people=1&size=64x64&fps=50&live=1")
    started = time.monotonic()
    for _ in range(6):
        assert source.read() is not None
    assert time.monotonic() - started >= 0.1
    source.close()
    assert source.read() is None


def test_a_scene_runs_through_the_pipeline(tmp_path: Path) -> None:
    with tensortap.Pipeline(
        "scene://room?people=1&size=128x128&fps=10&seconds=1", pose_model(tmp_path / "m.onnx"), outputs=tmp_path / "o.jsonl"
    ) as pipeline:
        assert pipeline.run().frames == 10
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["pts_ns"] for line in lines] == [number * 100_000_000 for number in range(10)]
    assert lines[0]["source"] == "scene-room"


def test_a_wrong_scene_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(TensortapError, match="moon"):
        tensortap.Pipeline("scene://moon", pose_model(tmp_path / "m.onnx"))


def test_perfect_answers_have_an_ap_of_1(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    scene = Scene("street", 5, 1, (640, 360), 10.0)
    truth = coco_truth(scene.frame(index) for index in range(0, 60, 10))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    reference = coco.COCO(str(tmp_path / "truth.json"))
    answers = [
        {key: each[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 0.9}
        for each in truth["annotations"]
        if each["num_keypoints"]
    ]
    evaluated = evaluation.COCOeval(reference, reference.loadRes(answers), "keypoints")
    evaluated.evaluate(), evaluated.accumulate(), evaluated.summarize()
    assert evaluated.stats[0] == pytest.approx(1.0)
    assert len({each["track_id"] for each in truth["annotations"]}) >= 4


def test_truth_of_people_out_of_sight_asks_for_nobody() -> None:
    scene = Scene("street", 6, 3, (640, 360), 10.0)
    frames = [scene.frame(index) for index in range(0, 200, 5)]
    truth = coco_truth(frames)
    unrecognisable = sum(int((~frame.truth.recognisable).sum()) for frame in frames)
    assert unrecognisable > 0
    assert sum(each["num_keypoints"] == 0 for each in truth["annotations"]) == unrecognisable


def test_the_command_writes_video_pictures_and_truth(tmp_path: Path) -> None:
    url = "scene://gym?people=2&size=320x180&fps=10&seconds=1"
    arguments = ["--video", tmp_path / "s.mp4", "--coco", tmp_path / "s.json", "--images", tmp_path / "pictures"]
    run = CliRunner().invoke(app, ["scene", url, *map(str, arguments)])
    assert run.exit_code == 0, run.output
    truth = json.loads((tmp_path / "s.json").read_text())
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == [image["file_name"] for image in truth["images"]]
    scene = parse_scene(url).scene
    np.testing.assert_array_equal(cv2.imread(str(pictures[9])), scene.frame(9).image)
    with av.open(str(tmp_path / "s.mp4")) as container:
        decoded = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(decoded) == 10
    assert np.abs(decoded[9].astype(int) - scene.frame(9).image).mean() < 6


def test_the_command_wants_an_end_and_an_output() -> None:
    for arguments, says in ((["scene://gym?live=1", "--coco", "x.json"], "never ends"), (["scene://gym"], "what to write")):
        run = CliRunner().invoke(app, ["scene", *arguments])
        assert isinstance(run.exception, UsageError)
        assert says in str(run.exception)
