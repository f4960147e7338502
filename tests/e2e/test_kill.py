"""Every output at once, and the end of the run at any moment: nothing that was written is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import av.error
import pytest

from models import pose_model
from people import person, poses_of
from rtsp.server import python_with_gi
from tensortap.recording.reader import Recording
from tensortap.types import Poses, TensorFrame

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

LIVE = "cam=scene://gym?people=1&size=128x128&fps=60&live=1"
FILE = "cam=scene://gym?people=1&size=128x128&fps=60"
FILES = ("out.jsonl", "other.ndjson", "out.coco.json", "out.mp4", "out.mkv", "out.mov", "out.tap")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pose_model(tmp_path_factory.mktemp("model") / "pose.onnx")


def start(folder: Path, model: Path, location: str) -> subprocess.Popen[str]:
    served = ["rtsp://:0/x"] if python_with_gi() else []
    outputs = [*FILES, "rtsp+push://127.0.0.1:9/nobody-listens", *served]
    command = [sys.executable, "-m", "tensortap", "run", "-m", str(model), "-i", location, "-o", *outputs, "--record-frames"]
    command += ["--decoder", f"{__file__}:somebody"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "400"}
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environ)


def somebody(frame: TensorFrame) -> Poses:
    """A decoder that finds one person in every frame."""
    return poses_of([person(60, top=10, height=70)])


def wait_for_lines(process: subprocess.Popen[str], path: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and len(path.read_bytes().splitlines()) >= number):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def indices(path: Path) -> list[int]:
    """Of the frames in a JSONL file; every line of it must be whole."""
    assert not path.stat().st_size or path.read_bytes().endswith(b"\n")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["index"] for line in found if line["schema"].startswith("tensortap.frame")]


def pictures(path: Path) -> int:
    """In a video, all of which must be decodable; 0 where nothing was written yet."""
    if not path.exists() or not path.stat().st_size:
        return 0
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def recorded(path: Path) -> list[int]:
    """Frames of a recording, with their tensors and pictures."""
    if not (path / "recording.json").exists():
        assert not list(path.glob("*.npz"))
        return []
    found = []
    for frame in Recording(path).frames():
        assert isinstance(frame, TensorFrame)
        assert frame.tensors["output0"].size
        assert frame.image is not None
        found.append(frame.info.index)
    return found


@pytest.mark.parametrize("location", [LIVE, FILE], ids=["live", "file"])
@pytest.mark.parametrize("moment", [1, 7, 30, 90])
def test_killed_at_any_moment(model: Path, tmp_path: Path, moment: int, location: str) -> None:
    process = start(tmp_path, model, location)
    wait_for_lines(process, tmp_path / "out.jsonl", moment)
    process.kill()
    process.communicate()
    frames = indices(tmp_path / "out.jsonl")
    assert len(frames) >= moment - 1
    assert frames == sorted(set(frames))
    indices(tmp_path / "other.ndjson")
    coco = (tmp_path / "out.coco.json").read_text()
    assert not coco or isinstance(json.loads(coco), list)
    for name in ("out.mp4", "out.mkv", "out.mov"):
        count = pictures(tmp_path / name)
        assert moment < 90 or count > 20, name  # what was written a second ago is there
    replayed = recorded(tmp_path / "out.tap")
    assert replayed == sorted(set(replayed))
    assert moment < 90 or len(replayed) > 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_with_every_output_complete(model: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, model, LIVE)
    wait_for_lines(process, tmp_path / "out.jsonl", 40)
    process.send_signal(number)
    stopped = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - stopped < 10  # 3 s are asked for, on a machine that has nothing else to do
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    frames = indices(tmp_path / "out.jsonl")
    assert indices(tmp_path / "other.ndjson") == frames
    assert len(json.loads((tmp_path / "out.coco.json").read_text())) == len(frames)  # one person in each
    # Slower than the camera, they may have left pictures out and said so, but the last one is in.
    said = {line.partition(":")[0]: int(line.split()[1]) for line in stderr.splitlines() if "results lost" in line}
    for name in ("out.mp4", "out.mkv", "out.mov"):
        assert pictures(tmp_path / name) == len(frames) - said.get(name, 0), name
    assert recorded(tmp_path / "out.tap")[-1] == frames[-1]
