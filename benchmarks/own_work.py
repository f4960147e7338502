"""Our own CPU time for each frame: everything but FFmpeg's decoding and the engine's inference.

Frames are decoded beforehand and a ReplayEngine answers at once with a real output, so the whole process's CPU time belongs
to preprocessing, decoding, NMS, JSONL and the pipeline between them, its threads included. The best of several rounds counts:
whoever else works on the machine takes caches and half a core from us, and none of it is our work.
"""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from common import assets, machine

from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.portable.engines.replay import ReplayEngine
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.runtime import PortableRuntime
from tensortap.portable.sources.video import VideoSource
from tensortap.sinks.jsonl import JsonlSink
from tensortap.timing import StageClock
from tensortap.track.pose import PoseTracker
from tensortap.types import Frame, FrameInfo, Result, StreamInfo

NETWORK_WH = (640, 640)
NUM_FRAMES = 800
NUM_ROUNDS = 5
ASKED_FOR_MS = 0.5
"""With up to five people."""


class DecodedSource:
    """Frames that are decoded already, over and over, each with its planes read anew."""

    damaged = 0

    def __init__(self, frames: Sequence[Frame], count: int) -> None:
        self.stream = StreamInfo(0, "decoded")
        self._frames = frames
        self._count = count
        self._index = 0

    def read(self) -> Frame | None:
        """The next frame."""
        if self._index == self._count:
            return None
        frame = self._frames[self._index % len(self._frames)]
        info = FrameInfo(0, "decoded", self._index, self._index * 100_000_000, frame.info.size_wh)
        self._index += 1
        pixels = frame.pixels
        return Frame(info, type(pixels)(pixels.frame, pixels.quarter_turns))

    def close(self) -> None:
        """Nothing to release."""


def measure(frames: Sequence[Frame], tensor: np.ndarray, folder: Path, *, track: bool) -> tuple[float, dict[str, float]]:
    """CPU milliseconds a frame, and the wall-clock share of each stage."""
    clock = StageClock()
    engine = ReplayEngine({"output0": tensor}, network_wh=NETWORK_WH)
    source = DecodedSource(frames, NUM_FRAMES)
    runtime = PortableRuntime([source], engine, Preprocessor(NETWORK_WH, "ultralytics"), clock=clock)
    decoder, tracker, sink = YoloPoseDecoder(), PoseTracker(), JsonlSink(folder / "out.jsonl")
    started = time.process_time()
    for frame in runtime:
        clock.restart()
        poses = decoder(frame)
        clock.lap("decode")
        if track:
            poses = tracker.update(poses, frame.info.pts_ns)
            clock.lap("track")
        sink.write(Result(frame.frame, poses))
        clock.lap("jsonl")
    milliseconds = (time.process_time() - started) / NUM_FRAMES * 1e3
    sink.close()
    return milliseconds, {stage: seconds / NUM_FRAMES * 1e3 for stage, seconds in clock.seconds.items()}


def main() -> None:
    """Print CPU time a frame for different numbers of people."""
    cv2.setNumThreads(1)
    importlib.import_module("scipy.optimize")  # the tracker's, read behind the start-up of a run and no work of a frame
    source = VideoSource(0, "video", str(assets() / "video" / "one-by-one-person-detection.mp4"))
    frames = [frame for frame in (source.read() for _ in range(50)) if frame is not None]
    source.close()
    print(
        f"{machine()}\n768x432 to 640x640, {NUM_ROUNDS} rounds of {NUM_FRAMES} frames; CPU ms a frame of the whole process, "
        f"best and median round, shares of the best; asked for: {ASKED_FOR_MS} with up to 5"
    )
    cases = [(people, track) for people in (0, 1, 5, 30) for track in (False, True)]
    rounds: dict[tuple[int, bool], list[tuple[float, dict[str, float]]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder, np.load(assets() / "tensors" / "real_outputs_56x8400.npz") as stored:
        for _ in range(NUM_ROUNDS):
            for people, track in cases:
                rounds[people, track].append(measure(frames, stored[f"n{people}"], Path(folder), track=track))
    for (people, track), found in rounds.items():
        best, stages = min(found, key=lambda each: each[0])
        usual = statistics.median(total for total, _ in found)
        shares = ", ".join(f"{stage} {ms:.3f}" for stage, ms in stages.items() if "wait" not in stage)
        print(f"{people:2d} people, {'tracked' if track else 'not tracked':11s}: {best:.3f}, {usual:.3f} ms   ({shares})")


if __name__ == "__main__":
    main()
