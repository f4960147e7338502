"""From the command to the first result: `tensortap run` in a new process, with a warm cache, until its first line of JSONL.

Then what Python imports on the way, by `-X importtime`: the packages that cost most, and what a run should not need.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import assets, machine

ASKED_FOR_SECONDS = 1.5
NOT_NEEDED = ("matplotlib", "nncf", "onnxruntime", "pycocotools", "ssl", "starlette", "torch", "uvicorn", "yaml")
"""By a run with OpenVINO on a file."""
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( *)(\S+)")


def first_result(command: list[str], environ: dict[str, str]) -> float:
    """Seconds until the first line."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        process.terminate()
        process.stdout.read()
    if not line.startswith(b"{"):
        sys.exit(f"{' '.join(command)} gave no result.")
    return seconds


def imports(command: list[str], environ: dict[str, str]) -> dict[str, float]:
    """Package -> milliseconds of its own modules, without those that they import."""
    said = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], capture_output=True, text=True, env=environ, check=True
    )
    found: dict[str, float] = {}
    for own, _, _, module in _LINE.findall(said.stderr):
        package = module.split(".")[0]
        found[package] = found.get(package, 0.0) + int(own) / 1e3
    return found


def main() -> None:
    """Print times and packages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", default="one-by-one-person-detection.mp4")
    parser.add_argument("--model", default="yolov8n-pose.onnx")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    video, model = assets() / "video" / arguments.video, assets() / "models" / arguments.model
    run = [sys.executable, "-m", "tensortap", "run", "-i", str(video), "-m", str(model), "--engine", arguments.engine, "-q"]
    print(f"{machine()}\n{arguments.model}, {arguments.engine}, {arguments.video}")
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "TENSORTAP_CACHE": folder}
        cold = first_result([*run, "-o", "-"], environ)
        warm = [first_result([*run, "-o", "-"], environ) for _ in range(arguments.rounds)]
        packages = imports([*run, "-o", str(Path(folder, "out.jsonl")), "--max-frames", "1"], environ)
    print(f"first result, nothing in the cache: {cold:.2f} s")
    print(
        f"first result, warm cache: {statistics.median(warm):.2f} s ({min(warm):.2f} to {max(warm):.2f}); "
        f"asked for: below {ASKED_FOR_SECONDS}"
    )
    print("\nimports, ms (own modules; measured with -X importtime, which adds to it)")
    for package, milliseconds in sorted(packages.items(), key=lambda each: -each[1])[:15]:
        print(f"  {package:<20} {milliseconds:7.1f}")
    print(f"  {'all':<20} {sum(packages.values()):7.1f}")
    unneeded = [package for package in NOT_NEEDED if package in packages]
    print(f"imported without need: {', '.join(unneeded) or 'nothing'}")


if __name__ == "__main__":
    main()
