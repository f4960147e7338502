"""Sixteen cameras against one: the sum of their frame rates, and how evenly it is shared.

The same number of pictures a second is sent and decoded both times, by one camera and by sixteen: more than can be served.
What is missing is what many streams cost beyond one. Rounds alternate, so that a slow minute of a shared machine meets both.

    python benchmarks/sixteen_streams.py --model yolov8n-pose.onnx --imgsz 320
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import machine
from loopback import RtspServer, pose_model, write_clip

from tensortap.pipeline import Pipeline

_WARM_UP_SECONDS = 6.0
_LEAST_SHARE, _MOST_UNFAIR = 0.9, 1.2


def served(clip: Path, num_streams: int, model: Path, seconds: float, settings: dict[str, Any]) -> tuple[float, float, float]:
    """Frames a second of all, most/fewest frames of a stream, and the share of the pictures that was served."""
    with RtspServer({f"/{number}": {"clip": str(clip)} for number in range(num_streams)}) as server:
        inputs = [f"cam{number:02d}={server.url(f'/{number}')}" for number in range(num_streams)]
        pipeline = Pipeline(inputs, model, **settings)
        thread = threading.Thread(target=pipeline.run)
        thread.start()
        time.sleep(_WARM_UP_SECONDS)
        before, began = pipeline.numbers(), time.monotonic()
        time.sleep(seconds)
        after, took = pipeline.numbers(), time.monotonic() - began
        pipeline.close()
        thread.join()
    counts = [late.frames - early.frames for early, late in zip(before.streams, after.streams, strict=True)]
    dropped = sum(
        late.status.dropped_behind - early.status.dropped_behind
        for early, late in zip(before.streams, after.streams, strict=True)
    )
    return sum(counts) / took, max(counts) / max(1, min(counts)), sum(counts) / max(1, sum(counts) + dropped)


def main() -> int:
    """Print both figures and their ratio; 1 where it falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument(
        "--rate", type=int, default=15, help="frames a second of each of many; one sends as many as all of them"
    )
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--model", type=Path, help="by default a tiny one, with which the engine is no limit")
    parser.add_argument("--imgsz", default=None)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    settings: dict[str, Any] = {"imgsz": arguments.imgsz, "batch_size": arguments.batch_size}
    total = arguments.rate * arguments.streams
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or pose_model(Path(folder) / "tiny.onnx")
        many = write_clip(Path(folder) / "many.clip", (width, height), arguments.rate, 10 * arguments.rate, seed=1)
        one = write_clip(Path(folder) / "one.clip", (width, height), total, 4 * total, seed=1)
        print(
            f"{machine()}\n{arguments.streams} x {arguments.rate} frames/s of {arguments.size}, model {model.name}", flush=True
        )
        alone, together = [], []
        for number in range(arguments.rounds):
            alone.append(served(one, 1, model, arguments.seconds, settings))
            together.append(served(many, arguments.streams, model, arguments.seconds, settings))
            for what, (rate, uneven, share) in (("one", alone[-1]), (f"{arguments.streams} together", together[-1])):
                print(
                    f"{number + 1}: {what}: {rate:.1f} frames/s, {100 * share:.0f}% of the pictures, fairness {uneven:.3f}",
                    flush=True,
                )
    ratio = statistics.median(many[0] / one[0] for one, many in zip(alone, together, strict=True))
    fairness = statistics.median(fairness for _, fairness, _ in together)
    met = ratio >= _LEAST_SHARE and fairness < _MOST_UNFAIR
    print(
        f"{'ok     ' if met else 'NOT MET'}  the sum is {ratio:.3f} of one stream's, asked for: {_LEAST_SHARE}; "
        f"most/fewest frames {fairness:.3f}, asked for: below {_MOST_UNFAIR}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
