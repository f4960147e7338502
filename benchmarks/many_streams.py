"""16 files at once against one: the sum of their rates, and the memory that each further one takes.

Every measurement is a process of its own, because memory only grows; rounds alternate. Both runs infer as many frames in
all, track and write JSONL.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import assets, machine

from tensortap.bench.measure import peak_mb
from tensortap.pipeline import Pipeline

ASKED_FOR_RATIO, ASKED_FOR_MB = 0.95, 30


def child(streams: int, video: Path, model: Path, engine: str, frames: int) -> None:
    """One measurement; prints it as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            [video] * streams, model, outputs=Path(folder, "out.jsonl"), engine=engine, max_frames=frames // streams
        )
        started = time.perf_counter()
        summary = pipeline.run()
        seconds = time.perf_counter() - started
    print(json.dumps({"rate": summary.frames / seconds, "frames": summary.frames, "mb": peak_mb()}))


def measured(streams: int, arguments: argparse.Namespace) -> dict[str, float]:
    """One measurement in a process of its own."""
    flags = [f"--{name}={getattr(arguments, name)}" for name in ("video", "model", "engine", "frames")]
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(streams), *flags], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print rates, their ratio, and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", default="one-by-one-person-detection.mp4")
    parser.add_argument("--model", default="yolov8n-pose.onnx")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--frames", type=int, default=480, help="In all, divided by the streams.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        video, model = assets() / "video" / arguments.video, assets() / "models" / arguments.model
        child(arguments.child, video, model, arguments.engine, arguments.frames)
        return
    print(f"{machine()}\n{arguments.model}, {arguments.engine}, {arguments.video}, {arguments.frames} frames in all")
    ratios, megabytes = [], []
    for number in range(arguments.rounds):
        before, many, after = (measured(streams, arguments) for streams in (1, arguments.streams, 1))
        one = (before["rate"] + after["rate"]) / 2
        ratios.append(many["rate"] / one)
        megabytes.append((many["mb"] - max(before["mb"], after["mb"])) / (arguments.streams - 1))
        print(
            f"round {number + 1}: one stream {before['rate']:6.1f} and {after['rate']:6.1f} frames/s, "
            f"{arguments.streams} streams {many['rate']:6.1f}, ratio {ratios[-1]:.3f}; "
            f"{before['mb']:.0f} and {many['mb']:.0f} MB"
        )
    print(
        f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); asked for: {ASKED_FOR_RATIO}\n"
        f"memory of each further stream {statistics.median(megabytes):.1f} MB ({min(megabytes):.1f} to {max(megabytes):.1f}); "
        f"asked for: below {ASKED_FOR_MB}"
    )


if __name__ == "__main__":
    main()
