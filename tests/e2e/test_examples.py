"""Every example runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models import pose_model
from scene import write_scene

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.skipif(not EXAMPLES, reason="the examples are not beside an installed package")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    video, model = write_scene(tmp_path / "a.mp4"), pose_model(tmp_path / "pose.onnx")
    run = subprocess.run([sys.executable, example, video, model], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
