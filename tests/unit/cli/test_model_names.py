"""Names of models on the command line: listed, fetched, interrupted, refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import tensortap
from fileserver import FileServer, serve
from media import write_video
from models import pose_model
from tensortap.cli.fetch import DownloadProgress
from tensortap.config import Settings
from tensortap.zoo import ZOO

BODY = random.Random(3).randbytes(400_000)

# The command line with one more model in the table, at the address of the environment.
CODE = """
import os, sys
from tensortap.zoo import ZOO, ZooModel, download
download.PAUSE_SECONDS = ()
ZOO['tiny'] = ZooModel('tiny', 'onnx', 'MIT', 'https://host/tiny', 'small', os.environ.get('TINY_URL', 'http://127.0.0.1:9/tiny.onnx'))
from tensortap.cli.entry import main
sys.argv[0] = 'tensortap'
main()
"""


def environment(folder: Path, url: str | None = None) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(Path(tensortap.__file__).parents[1]),
        "TENSORTAP_CACHE": str(folder / "cache"),
        "COLUMNS": "200",
        "no_proxy": "*",
        **({"TINY_URL": url} if url else {}),
    }


def run(folder: Path, *arguments: object, url: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment(folder, url), capture_output=True, text=True, timeout=120, check=False
    )


def test_the_list(tmp_path: Path) -> None:
    done = run(tmp_path, "models")
    assert done.returncode == 0
    assert "yolov8n-pose" in done.stdout
    assert "AGPL-3.0" in done.stdout
    assert str(tmp_path / "cache" / "models") in done.stdout
    assert not (tmp_path / "cache").exists()


def test_the_list_for_machines(tmp_path: Path) -> None:
    (tmp_path / "cache" / "models").mkdir(parents=True)
    ready = tmp_path / "cache" / "models" / "rtmo-s.onnx"
    ready.touch()
    listed = json.loads(run(tmp_path, "models", "--json").stdout)
    assert listed["folder"] == str(ready.parent)
    found = {model["name"]: model for model in listed["models"]}
    assert set(found) == {*ZOO, "tiny"}
    assert found["rtmo-s"]["state"] == "ready"
    assert found["rtmo-s"]["path"] == str(ready)
    assert found["yolov8n-pose"]["state"] == "not downloaded"
    assert found["yolov8n-pose"]["size_bytes"] == 6_832_633


def test_the_path_of_a_model(tmp_path: Path) -> None:
    missing = run(tmp_path, "models", "--path", "tiny")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert str(tmp_path / "cache" / "models" / "tiny.onnx") in missing.stderr
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "cache" / "models" / "tiny.onnx").touch()
    assert run(tmp_path, "models", "--path", "tiny").stdout == f"{tmp_path / 'cache' / 'models' / 'tiny.onnx'}\n"
    unknown = run(tmp_path, "models", "--path", "huge")
    assert unknown.returncode == 2
    assert "Choose one of" in unknown.stderr


def test_a_name_is_fetched_once_and_run(tmp_path: Path) -> None:
    pose_model(tmp_path / "pose.onnx")
    write_video(tmp_path / "a.mp4")
    with serve(FileServer((tmp_path / "pose.onnx").read_bytes())) as server:
        first = run(tmp_path, "run", "-i", "a.mp4", "-m", "tiny", "-o", "null", url=server.url)
        assert first.returncode == 0, first.stderr
        assert "weights under MIT" in first.stderr
        assert "downloaded" in first.stderr
        second = run(tmp_path, "inspect", "tiny", "--json", url=server.url)
        assert json.loads(second.stdout)["path"] == str(tmp_path / "cache" / "models" / "tiny.onnx")
        assert second.stderr == ""
        assert len(server.requests) == 1


def test_nothing_is_fetched_for_an_input_that_is_not_there(tmp_path: Path) -> None:
    with serve(FileServer(BODY)) as server:
        done = run(tmp_path, "run", "-i", "a.mp4", "-m", "tiny", url=server.url)
        assert done.returncode == 1
        assert "a.mp4" in done.stderr
        assert server.requests == []


def test_no_network(tmp_path: Path) -> None:
    done = run(tmp_path, "inspect", "tiny")
    assert done.returncode == 1
    assert "http://127.0.0.1:9/tiny.onnx cannot be reached" in done.stderr
    assert f"save it as {tmp_path / 'cache' / 'models' / 'tiny.onnx'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_name(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    done = run(tmp_path, "run", "-i", "a.mp4", "-m", "yolo11n_pose")
    assert done.returncode == 1
    assert "Did you mean yolo11n-pose" in done.stderr
    none = run(tmp_path, "run", "-i", "a.mp4")
    assert none.returncode == 2
    assert "tensortap models" in none.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("command", ["run", "inspect"])
def test_ctrl_c_keeps_what_came(tmp_path: Path, command: str) -> None:
    write_video(tmp_path / "a.mp4")
    arguments = ["inspect", "tiny"] if command == "inspect" else ["run", "-i", "a.mp4", "-m", "tiny"]
    part = tmp_path / "cache" / "models" / "tiny.onnx.part"
    with serve(FileServer(BODY, stall=True)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            cwd=tmp_path,
            env=environment(tmp_path, server.url),
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size == len(BODY) // 2) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what has come is kept" in errors
    assert "Traceback" not in errors
    assert part.read_bytes() == BODY[: len(BODY) // 2]


def test_a_path_object_is_never_a_name() -> None:
    assert Settings.checked(inputs="a", model=Path("demo")).model == os.path.join(".", "demo")
    assert Settings.checked(inputs="a", model=Path("a/demo")).model == os.path.join("a", "demo")
    assert Settings.checked(inputs="a", model="demo").model == "demo"


@pytest.mark.parametrize("total", [1_000_000, None])
def test_the_bar_and_the_lines(total: int | None) -> None:
    for terminal, expected in (
        (True, "/1.0 MB" if total else "/? MB"),
        (False, "downloaded 1.0 of 1.0 MB" if total else ""),
    ):
        written = StringIO()
        console = Console(file=written, force_terminal=terminal, width=100)
        with DownloadProgress(console, quiet=False) as progress:
            progress.update(600_000, total)
            if progress._bar:
                progress._bar.refresh()
            progress.update(1_000_000, total)
        assert expected in written.getvalue()
        assert progress.done_bytes == 1_000_000
    written = StringIO()
    with DownloadProgress(Console(file=written, force_terminal=True), quiet=True) as progress:
        progress.update(1, 1)
    assert written.getvalue() == ""
