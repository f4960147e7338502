"""A video to JSONL against the engine alone: same process, same engine settings, same threads, tracking off.

The engine's own loop starts every request as soon as it is done, with pictures already in place: the most that the engine
can give. Rounds alternate, so that a slow minute of a shared machine meets both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from common import assets, machine

from tensortap.assemble_engine import create_engine
from tensortap.config import Settings
from tensortap.pipeline import Pipeline
from tensortap.portable.model import read_model


def engine_alone(settings: Settings, num_frames: int) -> float:
    """Images a second of the engine's own loop."""
    engine, _ = create_engine(settings, read_model(Path(settings.model)))
    requests = engine.requests
    for request in requests:
        request.start(1)
    started = time.perf_counter()
    for number in range(num_frames):
        request = requests[number % len(requests)]
        request.wait()
        request.start(1)
    seconds = time.perf_counter() - started
    for request in requests:
        request.wait()
    engine.close()
    return num_frames / seconds


def end_to_end(settings: Settings, folder: Path) -> float:
    """Frames a second of the whole run, file to JSONL; start-up (loading the model) left out, as for the engine."""
    pipeline = Pipeline(
        **settings.model_dump(exclude={"outputs"}) | {"outputs": [folder / "out.jsonl"]},
    )
    started = time.perf_counter()
    summary = pipeline.run()
    return summary.frames / (time.perf_counter() - started)


def main() -> None:
    """Print both figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", default="one-by-one-person-detection.mp4")
    parser.add_argument("--model", default="yolov8n-pose.onnx")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    settings = Settings.checked(
        inputs=assets() / "video" / arguments.video,
        model=assets() / "models" / arguments.model,
        engine=arguments.engine,
        precision=arguments.precision,
        tracker=None,
        max_frames=arguments.frames,
    )
    print(
        f"{machine()}\n{arguments.model}, {arguments.engine} {arguments.precision}, {arguments.video}, "
        f"{arguments.frames} frames"
    )
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            before = engine_alone(settings, arguments.frames)
            whole = end_to_end(settings, Path(folder))
            after = engine_alone(settings, arguments.frames)
            alone = (before + after) / 2
            ratios.append(whole / alone)
            print(
                f"round {number + 1}: engine alone {before:6.1f} and {after:6.1f} images/s, "
                f"end to end {whole:6.1f}, ratio {ratios[-1]:.3f}"
            )
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); asked for: 0.95, INT8 0.92")


if __name__ == "__main__":
    main()
