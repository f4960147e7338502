"""All benchmarks, one after another, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_INT8 = ("--model", "yolov8n-pose-int8-openvino")
_RUNS: tuple[tuple[str, ...], ...] = (
    ("decode.py",),
    ("decode_batch.py",),
    ("tracking.py",),
    ("own_work.py",),
    ("scenes.py",),
    ("end_to_end.py",),
    ("end_to_end.py", *_INT8),
    ("plain_loop.py",),
    ("plain_loop.py", *_INT8),
    ("many_streams.py",),
    ("start_up.py",),
)


def main() -> int:
    """Run them; the exit code is the worst of theirs."""
    worst = 0
    for script, *flags in _RUNS:
        print(f"\n== {' '.join((script, *flags))}", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(script)), *flags]
        worst = max(worst, subprocess.run(command, check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
