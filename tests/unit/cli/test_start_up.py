"""What a run imports: every package is felt before the first result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from media import write_video
from models import pose_model

NOT_FOR_OTHERS = {"matplotlib", "nncf", "pycocotools", "ssl", "starlette", "tensorrt", "torch", "uvicorn", "yaml"}


def imported(code: str) -> set[str]:
    tell = "lambda: print('|', ' '.join({name.split('.')[0] for name in sys.modules}))"
    code = f"import atexit, sys; atexit.register({tell})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("|")[2].split())


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_run_imports_what_it_needs(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    video, model = write_video(tmp_path / "a.mp4", num_frames=3), pose_model(tmp_path / "pose.onnx")
    arguments = [
        "tensortap",
        "run",
        "-i",
        str(video),
        "-m",
        str(model),
        "-o",
        str(tmp_path / "a.jsonl"),
        "--engine",
        engine,
        "-q",
    ]
    found = imported(f"sys.argv = {arguments!r}\nfrom tensortap.cli.main import main; main()")
    others = NOT_FOR_OTHERS | ({"openvino", "onnxruntime"} - {engine})
    assert found & others == set()
    assert engine in found


def test_commands_are_imported_when_they_are_asked_for() -> None:
    found = imported("from tensortap.cli.main import app, _COMMANDS\nassert 'tensortap.cli.run' not in sys.modules")
    assert "pydantic" not in found


def test_every_command_has_help() -> None:
    from tensortap.cli.main import _COMMANDS

    done = subprocess.run([sys.executable, "-m", "tensortap", "--help"], capture_output=True, text=True, check=True)
    for name in _COMMANDS:
        assert f" {name} " in done.stdout
    done = subprocess.run([sys.executable, "-m", "tensortap", "runn"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command" in done.stderr
