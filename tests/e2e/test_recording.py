"""Record and replay, as people use them: the same people live and from the recording, with nothing else there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from models import pose_model, ranked_outputs, typed_outputs
from scene import write_scene
from tensortap import Pipeline, Poses, SinkError, SourceError, UsageError
from tensortap.recording import replay

DECODER = """
import numpy as np
from tensortap import COCO_17, Poses

def decode(frame):
    rows = frame.tensors["output0"].astype(np.float32)
    found = np.flatnonzero(rows[4] > 0.25)
    centre, size = rows[0:2, found].T, rows[2:4, found].T
    return Poses(
        boxes_xyxy=frame.letterbox.boxes_to_source(np.concatenate([centre - size / 2, centre + size / 2], axis=1)),
        scores=rows[4, found],
        class_ids=np.zeros(len(found), np.int64),
        keypoints=frame.letterbox.points_to_source(rows[5:, found].T.reshape(-1, 17, 3)),
        skeleton=COCO_17,
    )
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    pose_model(tmp_path / "pose.onnx")
    write_scene(tmp_path / "a.mp4")
    write_scene(tmp_path / "b.mp4", 7)
    (tmp_path / "mine.py").write_text(DECODER)
    return tmp_path


def tensortap(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tensortap", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "400"} | environment
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment, check=False)


def tensors_of(pipeline: Pipeline) -> list[Any]:
    return [
        (frame.info, frame.letterbox, {name: array.copy() for name, array in frame.tensors.items()})
        for frame in pipeline.tensors()
    ]


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def same_poses(one: Poses, other: Poses) -> bool:
    fields = ("boxes_xyxy", "scores", "class_ids", "keypoints", "track_ids")
    return all(same_bits(getattr(one, name), getattr(other, name)) for name in fields)


@pytest.mark.parametrize("interval", [0, 2])
@pytest.mark.parametrize("decoder", ["auto", "mine.py:decode"])
@pytest.mark.parametrize("inputs", [["a.mp4"], ["a.mp4", "b.mp4"]])
def test_live_and_replay_give_the_same_people(
    place: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], decoder: str, interval: int
) -> None:
    monkeypatch.chdir(place)
    live = list(
        Pipeline(inputs, "pose.onnx", outputs=["live.jsonl", "rec.tap"], decoder=decoder, interval=interval, batch_size=3)
    )
    with Pipeline("rec.tap", outputs="replay.jsonl", decoder=decoder) as pipeline:
        replayed = list(pipeline)
        assert pipeline.streams[0].num_frames == 20
        assert [stream.name for stream in pipeline.streams] == inputs
        assert pipeline.parts.engine.name in ("openvino", "onnxruntime")
    assert sum(len(result.poses) for result in live) >= 7
    assert [result.info for result in replayed] == [result.info for result in live]
    assert [result.inferred for result in replayed] == [result.inferred for result in live]
    assert all(same_poses(one.poses, other.poses) for one, other in zip(live, replayed, strict=True))
    assert Path("replay.jsonl").read_bytes() == Path("live.jsonl").read_bytes()
    # A replay can be recorded, and gives the same again.
    Pipeline("rec.tap", outputs=["again.tap"], decoder="none").run()
    Pipeline("again.tap", outputs="again.jsonl", decoder=decoder).run()
    assert Path("again.jsonl").read_bytes() == Path("live.jsonl").read_bytes()


def test_on_the_command_line_without_model_or_engine(place: Path) -> None:
    """The recording is all that is needed: no model, no ONNX, no engine."""
    live = tensortap("run", "-i", "a.mp4", "-m", "pose.onnx", "--decoder", "mine.py:decode", "-o", "live.jsonl", cwd=place)
    assert live.returncode == 0, live.stderr
    record = tensortap("record", "-i", "a.mp4", "-m", "pose.onnx", "-o", "rec.tap", cwd=place)
    assert record.returncode == 0, record.stderr
    assert "wrote rec.tap" in record.stderr
    assert "20 frames in" in record.stderr
    for name in ("pose.onnx", "a.mp4"):
        (place / name).unlink()
    hidden = place / "hidden"
    hidden.mkdir()
    for package in ("onnx", "onnxruntime", "openvino", "torch"):
        (hidden / f"{package}.py").write_text("raise ImportError('hidden')")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = ["run", "-i", "rec.tap", "--decoder", "mine.py:decode", "-o", "replay.jsonl", "--json"]
    replay = tensortap(*arguments, cwd=place, PYTHONPATH=path)
    assert replay.returncode == 0, replay.stderr
    assert "replayed from rec.tap" in replay.stderr
    assert json.loads(replay.stdout)["frames"] == 20
    assert (place / "replay.jsonl").read_bytes() == (place / "live.jsonl").read_bytes()
    again = tensortap("run", "-i", "rec.tap", "-o", "auto.jsonl", cwd=place, PYTHONPATH=path)
    assert again.returncode == 0, again.stderr
    assert "yolo-pose: output0 (56, 64)" in again.stderr


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "make",
    [
        ranked_outputs,
        lambda path: typed_outputs(
            path,
            {name: getattr(TensorProto, name) for name in ["FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT64", "BOOL"]},
        ),
    ],
)
def test_any_tensors_bit_for_bit(place: Path, make: Callable[[Path], Path], engine: str) -> None:
    inputs, model = [place / "a.mp4", place / "b.mp4"], make(place / "any.onnx")
    live = tensors_of(Pipeline(inputs, model, decoder="none", engine=engine, interval=1))
    Pipeline(inputs, model, decoder="none", engine=engine, interval=1, outputs=place / "rec.tap").run()
    replayed = tensors_of(Pipeline(place / "rec.tap", decoder="none"))
    key = lambda each: (each[0].source_id, each[0].index)  # noqa: E731  # threads bring streams in any order
    for one, other in zip(sorted(live, key=key), sorted(replayed, key=key), strict=True):
        assert key(one) == key(other)
        assert one[1] == other[1]
        assert list(one[2]) == list(other[2])
        assert all(same_bits(one[2][name], other[2][name]) for name in one[2])
        assert not any(
            array.flags.writeable for array in next(Pipeline(place / "rec.tap", decoder="none").tensors()).tensors.values()
        )


def test_pictures(place: Path) -> None:
    Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "with.tap", record_frames=True).run()
    live = [result.image for result in Pipeline(place / "a.mp4", place / "pose.onnx")]
    for result, image in zip(Pipeline(place / "with.tap", outputs=place / "out.mp4"), live, strict=True):
        assert np.abs(result.image.astype(int) - image).mean() < 3
        assert not result.image.flags.writeable
    assert (place / "out.mp4").stat().st_size
    Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "without.tap").run()
    assert all(result.image is None for result in Pipeline(place / "without.tap"))
    with pytest.raises(SinkError, match="recorded without --frames"):
        Pipeline(place / "without.tap", outputs=place / "out2.mp4").run()


def test_several_recordings_at_once(place: Path) -> None:
    for name in "ab":
        Pipeline(place / f"{name}.mp4", place / "pose.onnx", outputs=place / f"{name}.tap").run()
    results = list(Pipeline([place / "a.tap", place / "b.tap"]))
    assert [stream.name for stream in Pipeline([place / "a.tap", place / "b.tap"]).streams] == ["a.mp4", "b.mp4"]
    assert [result.info.index for result in results if result.info.source_id == 1] == list(range(7))
    assert len(results) == 27
    times = [result.info.pts_ns for result in results]
    assert times == sorted(times)
    for name, source_id in (("a", 0), ("b", 1)):
        alone = list(Pipeline(place / f"{name}.tap"))
        together = [result for result in results if result.info.source_id == source_id]
        assert all(same_poses(one.poses, other.poses) for one, other in zip(alone, together, strict=True))


class FakeTime:
    """A clock that is moved by waiting, and an event that is waited for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False

    def is_set(self) -> bool:
        return False

    def set(self) -> None:
        pass


def test_at_the_speed_of_the_recording(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "rec.tap").run()
    time_ = FakeTime()
    monkeypatch.setattr(replay, "time", time_)
    monkeypatch.setattr(replay, "threading", SimpleNamespace(Event=lambda: time_))
    seen = []
    for result in Pipeline(place / "rec.tap", realtime=True):
        seen.append((result.info.index, round(time_.now - 1000, 6), result.info.pts_ns / 1e9))
        if result.info.index == 7:
            time_.now += 0.35  # somebody is slow: the frames that are due follow at once, and none is left out
    assert [index for index, _, _ in seen] == list(range(20))
    assert [now for _, now, _ in seen[:8]] == pytest.approx([pts for _, _, pts in seen[:8]])
    late = seen[7][1] + 0.35
    assert [now for _, now, _ in seen[8:]] == pytest.approx([max(late, pts) for _, _, pts in seen[8:]])
    assert seen[-1][1] == pytest.approx(seen[-1][2])


def test_a_replay_in_real_time_can_be_closed(place: Path) -> None:
    Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "rec.tap").run()
    pipeline = Pipeline(place / "rec.tap", realtime=True)
    seen = []
    for result in pipeline:
        seen.append(result.info.index)
        pipeline.close()
    assert seen == [0]


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_full_disk_ends_the_run_with_an_error(place: Path) -> None:
    """A limit on the size of files, which the index reaches, stands in for the disk; the other output goes on."""
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (36_000, 36_000)); runpy.run_module('tensortap')"
    )
    write_scene(place / "long.mp4", 100)
    command = [sys.executable, "-c", limited, "run", "-i", "long.mp4", "-m", "pose.onnx", "-o", "rec.tap", "-o", "null"]
    run = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 1, run.stderr
    assert "rec.tap/frames.jsonl cannot be written: File too large" in run.stderr
    assert "failed: 100 frames" in run.stderr
    assert "Traceback" not in run.stderr
    again = tensortap("run", "-i", "rec.tap", "-o", "again.jsonl", cwd=place)
    assert again.returncode == 0, again.stderr
    assert "rec.tap was cut off: the run that wrote it was killed or its disk was full. 64 frames are there." in again.stderr
    assert len((place / "again.jsonl").read_text().splitlines()) == 64


def test_less_of_a_recording(place: Path) -> None:
    Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "rec.tap").run()
    results = list(Pipeline(place / "rec.tap", interval=3, max_frames=9))
    assert [result.inferred for result in results] == [index % 4 == 0 for index in range(9)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "rec.tap", "-m", "pose.onnx"], "--model pose.onnx: rec.tap is a recording"),
        (["-i", "rec.tap", "--engine", "openvino"], "--engine openvino: rec.tap is a recording"),
        (["-i", "rec.tap", "a.mp4"], "rec.tap is a recording and a.mp4 is none"),
        (["-i", "a.mp4", "-m", "pose.onnx", "--realtime"], "--realtime is for recordings"),
        (["-i", "rec.tap", "-o", "rec.tap"], "it is an input"),
    ],
)
def test_what_cannot_be_meant(place: Path, arguments: list[str], message: str) -> None:
    Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "rec.tap", max_frames=2).run()
    run = tensortap("run", *arguments, cwd=place)
    assert (run.returncode, message in run.stderr) == (2, True), run.stderr


def test_different_heads_are_not_mixed(place: Path) -> None:
    Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "a.tap", max_frames=2).run()
    other = pose_model(place / "five.onnx", num_keypoints=5)
    Pipeline(place / "b.mp4", other, outputs=place / "b.tap", max_frames=2).run()
    with pytest.raises(Exception, match="different heads"):
        Pipeline([place / "a.tap", place / "b.tap"])
    assert Pipeline([place / "a.tap", place / "b.tap"], decoder="none").run().frames == 4


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_leaves_what_it_had(place: Path) -> None:
    arguments = ["record", "-q", "-i", "scene://street?live=1&fps=20", "-m", "pose.onnx", "-o", "rec.tap"]
    run = subprocess.Popen([sys.executable, "-m", "tensortap", *arguments], cwd=place)
    index = place / "rec.tap" / "frames.jsonl"
    deadline = time.monotonic() + 60
    while not (index.exists() and index.read_bytes().count(b"\n") > 20):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    lines = index.read_bytes().count(b"\n")
    frames = tensors_of(Pipeline(place / "rec.tap"))
    assert [info.index for info, _, _ in frames] == list(range(lines))
    assert all(np.isfinite(tensors["output0"]).all() for _, _, tensors in frames)
    again = tensortap("run", "-i", "rec.tap", "-o", "out.jsonl", cwd=place)
    assert again.returncode == 0, again.stderr
    assert (
        f"rec.tap was cut off: the run that wrote it was killed or its disk was full. {lines} frames are there." in again.stderr
    )


def test_a_frame_that_a_tap_stumbles_over_is_recorded(place: Path) -> None:
    pipeline = Pipeline(place / "a.mp4", place / "pose.onnx", outputs=place / "rec.tap")

    @pipeline.tap
    def stumble(frame: Any) -> None:
        if frame.info.index == 5:
            raise ValueError

    with pytest.raises(Exception, match="stumble"):
        pipeline.run()
    assert [frame.info.index for frame in Pipeline(place / "rec.tap").tensors()] == list(range(6))


def test_damage_is_said_and_the_rest_is_read(place: Path) -> None:
    from tensortap.recording.writer import RecordingSink

    sink = RecordingSink(place / "rec.tap", chunk_frames=4)
    for frame in Pipeline(place / "a.mp4", place / "pose.onnx").tensors():
        sink.write_tensors(frame)
    sink.close()
    chunk = place / "rec.tap" / "chunk-000001.npz"
    whole = chunk.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:500] + b"\0" * 100 + whole[600:], b"", b"no zip" * 100):
        chunk.write_bytes(data)
        pipeline = Pipeline(place / "rec.tap", decoder="none")
        seen: list[int] = []
        with pytest.raises(SourceError, match=r"rec.tap is damaged: 4 frames could not be read"):
            seen.extend(result.info.index for result in pipeline)
        assert seen == [0, 1, 2, 3, *range(8, 20)]
        assert pipeline.parts.runtime.damaged == {0: 4}
    with pytest.raises(UsageError):
        Pipeline(place / "rec.tap", model="demo")


def test_a_recorded_camera_is_replayed_like_a_file(place: Path) -> None:
    camera = "scene://gym?people=1&size=128x128&fps=30&seconds=1&live=1"
    live = Pipeline(camera, place / "pose.onnx", outputs=[place / "live.tap", place / "live.jsonl"]).run()
    assert live.frames > 0
    pipeline = Pipeline(place / "live.tap", outputs=place / "again.jsonl")
    assert pipeline.run().frames == live.frames
    assert (place / "again.jsonl").read_text() == (place / "live.jsonl").read_text()  # with the time of capture
    [stream] = pipeline.numbers().streams
    assert stream.latency.count == 0  # that was then


def test_all_streams_of_a_recording_go_into_its_video(place: Path) -> None:
    Pipeline([place / "a.mp4", place / "b.mp4"], place / "pose.onnx", outputs=place / "two.tap", record_frames=True).run()
    pipeline = Pipeline(place / "two.tap", outputs=place / "two.mkv")
    assert pipeline.run().frames == 27
    assert pipeline.parts.outputs[0].num_frames == 27
