"""A standing installation: settings from a file, structured logs, credentials from the environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from models import pose_model
from rtsp.clips import write_clip
from rtsp.server import RtspServer
from scene import write_scene
from tensortap.config_file import read_config

USAGE, INTERRUPTED = 2, 130
REPOSITORY = Path(__file__).parents[2]
SECRETS = {"CAMERA_USER": "nutzer", "CAMERA_PASSWORD": "ge-heim"}


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"COLUMNS": "400"} | more


def tensortap(*arguments: object, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tensortap", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment(**environ), check=False
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    pose_model(tmp_path / "pose.onnx")
    write_scene(tmp_path / "a.mp4")
    write_scene(tmp_path / "b.mp4", 5)
    (tmp_path / "tensortap.toml").write_text(
        """
        model = "pose.onnx"
        outputs = "out.jsonl"
        max-frames = 10
        [streams]
        first = "a.mp4"
        second = "b.mp4"
        """
    )
    return tmp_path


def records(text: str) -> list[dict[str, Any]]:
    """Every line, which must be an object."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(record) for record in found)
    return found


def frames(path: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in path.read_text().splitlines():
        source = json.loads(line)["source"]
        counts[source] = counts.get(source, 0) + 1
    return counts


def test_the_file_in_the_working_folder(place: Path) -> None:
    run = tensortap("run", cwd=place)
    assert run.returncode == 0, run.stderr
    assert "settings: tensortap.toml" in run.stderr
    assert frames(place / "out.jsonl") == {"first": 10, "second": 5}


def test_flags_win(place: Path) -> None:
    run = tensortap("run", "--max-frames", 3, "-o", "other.jsonl", cwd=place)
    assert run.returncode == 0, run.stderr
    assert frames(place / "other.jsonl") == {"first": 3, "second": 3}
    assert not (place / "out.jsonl").exists()
    run = tensortap("run", "--config", "tensortap.toml", "-i", "b.mp4", cwd=place)
    assert run.returncode == 0, run.stderr
    assert frames(place / "out.jsonl") == {"b.mp4": 5}
    (place / "out.jsonl").unlink()
    # Whoever names an input and no file wants none.
    run = tensortap("run", "-i", "b.mp4", "-m", "pose.onnx", cwd=place)
    assert run.returncode == 0, run.stderr
    assert not (place / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conf_tres = 0.4", "tensortap.toml, line 1: there is no key 'conf_tres'. Did you mean 'conf_thres'?"),
        ("model = 'pose.onnx'", "Say what to look at: -i"),
        ("model = 'pose.onnx'\n[streams]\na = 'rtsp://me:${NOT_SET}@127.0.0.1:9/1'", "variable NOT_SET is not set"),
        ("inputs = 'a.mp4'\noutputs = '-'\nmodel='pose.onnx'", "--json and -o - would both write"),
    ],
)
def test_what_cannot_be_meant(place: Path, text: str, message: str) -> None:
    (place / "tensortap.toml").write_text(text)
    run = tensortap("run", "--json", cwd=place)
    assert run.returncode == USAGE
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_everything_said_is_one_object_a_line(place: Path) -> None:
    run = tensortap("run", "--log-format", "json", "--stats", 0.1, "-o", "out.jsonl", "out.mp4", "--web", ":0", cwd=place)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    said = records(run.stderr)
    assert said[-1]["outcome"]["frames"] == 15
    assert any(record["message"].startswith("pose.onnx on") for record in said)
    assert any(record["message"].startswith("page at http://127.0.0.1:") for record in said)
    assert any(record["message"].startswith("metrics at http://") for record in said)


@pytest.mark.parametrize("debug", [False, True])
def test_errors_are_objects_too(place: Path, debug: bool) -> None:
    arguments = ["run", "--log-format", "json", "-i", "missing.mp4", *(["--debug"] if debug else [])]
    run = tensortap(*arguments, "-m", "pose.onnx", cwd=place)
    assert run.returncode == 1
    said = records(run.stderr)
    assert said[-1]["level"] == "error"
    assert "There is no input file" in said[-1]["message"]
    assert any("Traceback" in record.get("exception", "") for record in said) is debug


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_camera_in_the_log_and_no_password(place: Path, tmp_path: Path, log_format: str) -> None:
    clip = write_clip(tmp_path / "a.clip")
    with RtspServer({"/a": {"clip": clip}}) as server:
        (place / "tensortap.toml").write_text(
            f"""
            model = "pose.onnx"
            outputs = ["out.jsonl", "rtsp+push://${{CAMERA_USER}}:${{CAMERA_PASSWORD}}@127.0.0.1:9/x"]
            log_format = "{log_format}"
            stats = 0.3
            retry_max = 0.3
            [streams]
            door = "{server.url("/a", credentials="${CAMERA_USER}:${CAMERA_PASSWORD}@")}"
            gone = "rtsp://${{CAMERA_USER}}:${{CAMERA_PASSWORD}}@127.0.0.1:9/x?token=${{CAMERA_PASSWORD}}"
            """
        )
        command = [sys.executable, "-m", "tensortap", "run", "--debug"]
        process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, env=environment(**SECRETS))
        deadline = time.monotonic() + 60
        while not ((place / "out.jsonl").exists() and (place / "out.jsonl").read_text().count('"index"') > 5):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert "ge-heim" not in stderr
    assert "nutzer" not in stderr
    if log_format == "json":
        said = records(stderr)
        online = next(record for record in said if record.get("stream") == "door" and record.get("state") == "online")
        assert (online["source_id"], online["times"], online["message"]) == (0, 1, "door is online: 160x96")
        gone = next(record for record in said if record.get("stream") == "gone" and record.get("state") == "offline")
        assert (gone["level"], gone["reason"]) == ("warning", "Connection refused")
        [stats, *_] = [record for record in said if "streams" in record]
        assert [stream["stream"] for stream in stats["streams"]] == ["door", "gone"]
        assert said[-1]["outcome"]["interrupted"]
    else:
        assert "warning: gone is offline: Connection refused" in stderr


@pytest.mark.parametrize(
    "line",
    [
        'outputs = "mqtt://${CAMERA_USER}:${CAMERA_PASSWORD}@broker/x"',
        'outputs = "rtsp:/${CAMERA_USER}:${CAMERA_PASSWORD}@:8554/x"',
        'inputs = "rtsp:/${CAMERA_USER}:${CAMERA_PASSWORD}@10.0.0.7/x"',
        'inputs = "http://${CAMERA_USER}:${CAMERA_PASSWORD}@127.0.0.1:9/x.mp4"',
        'bitrate = "${CAMERA_PASSWORD}"',
    ],
)
def test_errors_tell_no_password(place: Path, line: str) -> None:
    (place / "tensortap.toml").write_text(f"model = 'pose.onnx'\n{line}\n[streams]\na = 'a.mp4'")
    run = tensortap("run", "--debug", cwd=place, **SECRETS)
    assert run.returncode in (1, USAGE)
    assert "error:" in run.stderr
    assert "ge-heim" not in run.stderr


def test_the_example_runs(place: Path) -> None:
    example = REPOSITORY / "deploy" / "tensortap.toml"
    assert [each.partition("=")[0] for each in read_config(example, SECRETS).settings["inputs"]] == ["door", "yard"]
    live = "gym=scene://gym?people=1&size=128x128&fps=50&live=1"
    arguments = ["-i", live, "-m", "pose.onnx", "-o", "out.jsonl", "--max-frames", 5, "--web", ":0"]
    command = [sys.executable, "-m", "tensortap", "run", "--config", str(example), *map(str, arguments)]
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, env=environment(**SECRETS))
    deadline = time.monotonic() + 60
    while not ((place / "out.jsonl").exists() and (place / "out.jsonl").read_text().count('"index"') == 5):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # keep_running = true: it goes on without streams
    _, stderr = process.communicate(timeout=30)
    assert records(stderr)[-1]["outcome"]["frames"] == 5
