"""What `-o rtsp://` adds to a camera's latency: the same picture, seen from the camera and from the served stream.

A camera numbers its pictures. One client watches the camera, another one what tensortap serves of it, both in this process by
FFmpeg with one thread and no delay. For every number that both have seen, the difference is what receiving, decoding,
inference, drawing, encoding and serving added. Numbers that were seen from the camera only are counted.

    python benchmarks/served_latency.py --model yolov8n-pose.onnx --imgsz 320
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from common import machine
from loopback import RtspServer, pose_model

from rtsp.clips import number_of, write_clip
from tensortap.pipeline import Pipeline

_NUM_NUMBERS = 1000
"""Pictures of the clip; a number comes again after so many."""


class Watcher:
    """Notes when each number is seen first, after the warm-up."""

    def __init__(self, url: str) -> None:
        self.seen: dict[int, float] = {}
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> dict[int, float]:
        """What was seen."""
        self._over.set()
        self._thread.join()
        return self.seen

    def _run(self) -> None:
        options = {"rtsp_transport": "tcp", "analyzeduration": "300000", "fflags": "nobuffer"}
        while not self._over.is_set():  # what is served may not be there yet
            with suppress(av.error.FFmpegError), av.open(self._url, options=options, timeout=10) as container:
                context = container.streams.video[0].codec_context
                context.thread_count, context.flags = 1, context.flags | Flags.low_delay
                for frame in container.decode(video=0):
                    self.seen.setdefault(number_of(frame.to_ndarray(format="bgr24")), time.monotonic())
                    if self._over.is_set():
                        return
            self._over.wait(0.2)


def measure(camera: str, model: Path, imgsz: str | None, seconds: float) -> tuple[np.ndarray, int]:
    """Added milliseconds of every number that both have seen, and how many were seen from the camera only."""
    pipeline = Pipeline([f"camera={camera}"], model, outputs=["rtsp://:0/all"], imgsz=imgsz)
    (output,) = pipeline.parts.outputs
    urls = output.sink.urls  # type: ignore[attr-defined]
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        # Before the first frame, the size of what is served is not the camera's.
        while not pipeline.summary.frames:
            if not thread.is_alive():
                sys.exit("The run has ended without a frame.")
            time.sleep(0.1)
        watchers = [Watcher(camera), Watcher(urls[1])]
        time.sleep(5.0)  # connecting, the first keyframes
        for watcher in watchers:
            watcher.seen.clear()
        time.sleep(seconds)
        direct, served = (watcher.end() for watcher in watchers)
    finally:
        pipeline.close()
        thread.join()
    if not served:
        return np.empty(0), len(direct)
    # At both ends of the time, one of the two has seen what the other has not.
    began, ended = min(served.values()), max(served.values())
    direct = {number: when for number, when in direct.items() if began <= when <= ended - 1.0}
    added = [served[number] - when for number, when in direct.items() if number in served]
    return np.array(added) * 1e3, len(direct) - len(added)


def main() -> int:
    """Print the latency that was added, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="by default a tiny one")
    parser.add_argument("--imgsz", default=None)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    seconds = min(arguments.seconds, _NUM_NUMBERS / arguments.rate - 1)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or pose_model(Path(folder) / "tiny.onnx")
        clip = write_clip(Path(folder) / "numbers.clip", _NUM_NUMBERS, (width, height), arguments.rate)
        with RtspServer({"/camera": {"clip": str(clip)}}) as server:
            added, num_lost = measure(server.url("/camera"), model, arguments.imgsz, seconds)
    if not len(added):
        sys.exit("No picture was seen on both ways.")
    median, p95, p99 = np.percentile(added, (50, 95, 99))
    print(
        f"{machine()}\n{arguments.size} at {arguments.rate} frames/s, model {model.name}: added {median:.0f} ms (median), "
        f"{p95:.0f} ms (p95), {p99:.0f} ms (p99), {added.max():.0f} ms (most); {len(added)} pictures seen on both ways, "
        f"{num_lost} from the camera only"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
