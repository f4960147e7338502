"""JSONL and COCO: what is in them, and that it is whole at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pycocotools.coco import COCO

from people import person, poses_of, result
from tensortap.errors import SinkError, UsageError
from tensortap.sinks.coco import CocoSink
from tensortap.sinks.files import GrowingFile
from tensortap.sinks.jsonl import JsonlSink
from tensortap.sinks.names import parse_output
from tensortap.types import Frame, Poses, Result, StreamEvent, StreamState

SCHEMA = Path(__file__).parents[3] / "docs" / "frame.schema.json"
EVENT_SCHEMA = SCHEMA.with_name("event.schema.json")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_every_frame(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "a.jsonl")
    tracked = poses_of([person(60), person(90)]).with_track_ids(np.array([4, -1]))
    sink.write(result(0, tracked, source="people.mp4"))
    sink.write(result(1, poses_of([]), source="people.mp4"))
    sink.close()
    first, second = lines(tmp_path / "a.jsonl")
    assert list(first) == ["schema", "source_id", "source", "index", "pts_ns", "size_wh", "inferred", "people"]
    assert first["schema"] == "tensortap.frame/1"
    assert [each["track_id"] for each in first["people"]] == [4, None]
    np.testing.assert_allclose(first["people"][0]["box_xyxy"], tracked.boxes_xyxy[0], atol=0.006)
    np.testing.assert_allclose(first["people"][1]["keypoints"], tracked.keypoints[1], atol=0.006)
    assert second["people"] == []
    assert second["index"] == 1


@pytest.mark.skipif(not SCHEMA.exists(), reason="the documentation is not beside an installed package")
def test_lines_fit_the_schema(tmp_path: Path) -> None:
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    poses = poses_of([person(60), person(-500)])
    keypoints = poses.keypoints.copy()
    keypoints[0, 3] = np.nan
    strange = Poses(poses.boxes_xyxy, poses.scores, poses.class_ids, keypoints, poses.skeleton, np.array([1, -1]))
    sink = JsonlSink(tmp_path / "a.jsonl")
    for index, each in enumerate((strange, poses, poses_of([]))):
        sink.write(result(index, each))
    sink.write(Result(result(3).frame, poses, inferred=False))
    sink.close()
    for line in lines(tmp_path / "a.jsonl"):
        validator.validate(line)
        for wrong in ({"extra": 1}, {"schema": "other/1"}, {"pts_ns": -1}, {"size_wh": [1]}):
            assert not validator.is_valid(line | wrong)
    assert lines(tmp_path / "a.jsonl")[0]["people"][0]["keypoints"][3] == [None, None, None]


@pytest.mark.skipif(not SCHEMA.exists(), reason="the documentation is not beside an installed package")
def test_lines_of_live_streams_fit_their_schemas(tmp_path: Path) -> None:
    live = replace(result(0).info, is_live=True, capture_ns=1_700_000_000_000_000_000)
    sink = JsonlSink(tmp_path / "a.jsonl")
    for state in StreamState:
        sink.write_event(StreamEvent(0, "door", state, "", 1_700_000_000_000_000_000, 1))
    sink.write(Result(Frame(live, None), poses_of([person(60)])))
    sink.close()
    *events, frame = lines(tmp_path / "a.jsonl")
    validator = jsonschema.Draft202012Validator(json.loads(EVENT_SCHEMA.read_text()))
    validator.check_schema(json.loads(EVENT_SCHEMA.read_text()))
    assert [event["state"] for event in events] == ["connecting", "online", "stalled", "offline", "ended"]
    for event in events:
        validator.validate(event)
    assert not validator.is_valid(frame)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(frame)
    assert frame["capture_ns"] == live.capture_ns


def test_every_line_is_in_the_file_when_write_returns(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "a.jsonl")
    for index in range(5):
        sink.write(result(index))
        assert len(lines(tmp_path / "a.jsonl")) == index + 1
    sink.close()


def test_standard_output(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from people import result; from pathlib import Path;"
        "from tensortap.sinks.jsonl import JsonlSink; sink = JsonlSink(Path('-')); print('before');"
        "[sink.write(result(index)) for index in range(3)]; sink.close()"
    )
    folder = str(Path(__file__).parents[2])
    out = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert sum(line.startswith("{") for line in out.splitlines()) == 3


def test_coco_results_load(tmp_path: Path) -> None:
    sink = CocoSink(tmp_path / "a.coco.json")
    assert (tmp_path / "a.coco.json").stat().st_size == 0
    poses = poses_of([person(60), person(90)], [0.75, 0.5], [0, 1])
    for index, (source, people) in enumerate([("000000000785.jpg", poses), ("street.jpg", poses_of([])), ("park.jpg", poses)]):
        sink.write(result(index, people, source=source, still=True))
        json.loads((tmp_path / "a.coco.json").read_text())  # whole after every write
    sink.close()
    rows = json.loads((tmp_path / "a.coco.json").read_text())
    assert [row["image_id"] for row in rows] == [785, 785, 2, 2]
    assert [row["category_id"] for row in rows[:2]] == [1, 2]
    assert rows[0]["score"] == 0.75
    assert len(rows[0]["keypoints"]) == 51
    left, top, right, bottom = poses.boxes_xyxy[0]
    np.testing.assert_allclose(rows[0]["bbox"], [left, top, right - left, bottom - top], atol=1e-2)
    assert rows[2]["file_name"] == "park.jpg"
    truth = COCO()
    truth.dataset = {"images": [{"id": 785}, {"id": 2}], "annotations": [], "categories": [{"id": 1}, {"id": 2}]}
    truth.createIndex()
    assert len(truth.loadRes(str(tmp_path / "a.coco.json")).getAnnIds()) == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said() -> None:
    sink = JsonlSink(Path("/dev/full"))
    with pytest.raises(SinkError, match=r"/dev/full cannot be written: No space left.*Free some space"):
        sink.write(result())
    sink.close()


# A limit on the size of files stands in for a full disk: the system takes part of a piece and then no more.
_LIMITED = """
import json, resource, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from people import result
from tensortap.errors import SinkError
from tensortap.registry import SINKS, load
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
sink = load("sink", SINKS, sys.argv[2])(Path(sys.argv[3]))
written = 0
try:
    for index in range(5000):
        sink.write(result(index, size_wh=(320, 240)))
        written += 1
    sink.close()
except SinkError as exc:
    print(json.dumps({"written": written, "error": str(exc)}))
try:
    sink.close()
except SinkError:
    pass
import threading
assert threading.active_count() == 1, threading.enumerate()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
@pytest.mark.parametrize(("name", "file"), [("jsonl", "a.jsonl"), ("coco", "a.coco.json"), ("video", "a.mp4")])
def test_what_was_written_before_the_disk_was_full_is_whole(name: str, file: str, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _LIMITED, str(Path(__file__).parents[2]), name, str(tmp_path / file)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    outcome = json.loads(run.stdout)
    assert file in outcome["error"]
    if name == "jsonl":
        assert len(lines(tmp_path / file)) == outcome["written"] > 10
    elif name == "coco":
        assert len(json.loads((tmp_path / file).read_text())) == outcome["written"] > 10
    else:
        import av

        with av.open(str(tmp_path / file)) as container:
            assert sum(1 for _ in container.decode(video=0)) > 5


def test_a_piece_that_does_not_fit_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write
    for tail in (b"", b"\n]\n"):
        path = tmp_path / "growing"
        file = GrowingFile(path, tail=tail)
        file.append(b"[1")

        def half_then_full(descriptor: int, data: bytes) -> int:
            if len(data) > 10:
                return real_write(descriptor, data[:7])
            if data.startswith(b"x"):
                raise OSError(28, "No space left on device")
            return real_write(descriptor, data)

        monkeypatch.setattr(os, "write", half_then_full)
        with pytest.raises(SinkError, match="No space left"):
            file.append(b",222222" + b"x" * 7)
        monkeypatch.setattr(os, "write", real_write)
        assert path.read_bytes() == b"[1" + tail
        file.append(b",2")
        file.close()
        assert path.read_bytes() == b"[1,2" + tail


@pytest.mark.parametrize(
    ("text", "sink", "path"),
    [
        ("out.mp4", "video", "out.mp4"),
        ("a/OUT.MP4", "video", "a/OUT.MP4"),
        ("out.mkv", "video", "out.mkv"),
        ("people.jsonl", "jsonl", "people.jsonl"),
        ("results.coco.json", "coco", "results.coco.json"),
        ("jsonl:people.txt", "jsonl", "people.txt"),
        ("coco:results.json", "coco", "results.json"),
        ("null", "null", "null"),
        ("null:", "null", "null"),
        ("-", "jsonl", "-"),
    ],
)
def test_names_choose_sinks(text: str, sink: str, path: str) -> None:
    name = parse_output(text)
    assert (name.sink, name.path) == (sink, Path(path))


@pytest.mark.parametrize("text", ["out.json", "out", "out.avi", "jsonl:", "ftp:x"])
def test_names_that_say_nothing(text: str) -> None:
    with pytest.raises(UsageError, match=f"-o {text}"):
        parse_output(text)


def test_coco_numbers_never_collide(tmp_path: Path) -> None:
    sink = CocoSink(tmp_path / "a.coco.json")
    for index, (source, still) in enumerate(
        [("2.jpg", True), ("b.jpg", True), ("c.jpg", True), ("2.jpg", True), ("7.mp4", False)]
    ):
        sink.write(result(index, source=source, still=still))
    sink.close()
    assert [row["image_id"] for row in json.loads((tmp_path / "a.coco.json").read_text())] == [2, 1, 3, 4, 5]


@pytest.mark.parametrize("sink_class", [JsonlSink, CocoSink])
def test_what_was_there_stays_until_the_first_frame(tmp_path: Path, sink_class: Any) -> None:
    path = tmp_path / "old"
    path.write_text("precious")
    sink_class(path).close()
    assert path.read_text() == "precious"
    sink = sink_class(path)
    sink.write(result())
    sink.close()
    assert "precious" not in path.read_text()


def test_a_file_that_was_never_written_to_is_not_left_behind(tmp_path: Path) -> None:
    JsonlSink(tmp_path / "a.jsonl").close()
    assert not (tmp_path / "a.jsonl").exists()


def test_appending_to_a_file_by_the_shell_never_cuts_it(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("keep me\n")
    code = _LIMITED.replace("Path(sys.argv[3])", "Path('-')").replace("print(json", "sys.stderr.write(json")
    with log.open("a") as file:
        subprocess.run([sys.executable, "-c", code, str(Path(__file__).parents[2]), "jsonl", "-"], stdout=file, check=True)
    assert log.read_text().startswith("keep me\n{")
    assert log.stat().st_size >= 20_000
