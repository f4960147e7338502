"""All benchmarks, one after another, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run them; the exit code is the worst of theirs."""
    worst = 0
    for script in ("decode.py", "tracking.py", "own_work.py", "scenes.py", "end_to_end.py"):
        print(f"\n== {script}", flush=True)
        worst = max(worst, subprocess.run([sys.executable, str(Path(__file__).with_name(script))], check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
