"""Cameras for benchmarks: drawn people, encoded once, served over RTSP on loopback by gst-rtsp-server."""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from models import pose_model
from rtsp.server import RtspServer
from tensortap.scenes import Scene

__all__ = ["RtspServer", "hurt", "pose_model", "write_clip"]


def write_clip(path: Path, size_wh: tuple[int, int], rate: int, num_frames: int, seed: int) -> Path:
    """People in a street as a clip for the RTSP server, a keyframe every two seconds; see tests/rtsp/serve.py."""
    scene = Scene("street", people=4, seed=seed, size_wh=size_wh, frame_rate=float(rate))
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = size_wh
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, rate), Fraction(rate)
    context.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "g": str(2 * rate),
        "x264-params": "repeat-headers=1:sliced-threads=0",
    }
    with path.open("wb") as file:
        file.write(struct.pack("<d", rate))
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(scene.frame(number).image, format="bgr24").reformat(format="yuv420p")
            frame.pts = number
            for packet in context.encode(frame):
                data = bytes(packet)
                file.write(struct.pack("<I", len(data)) + data)
    return path


@contextmanager
def hurt(mounts: dict[str, Any], every_seconds: float) -> Iterator[RtspServer]:
    """A server that is killed every so often and comes back two seconds later, at the same port."""
    server = RtspServer(mounts)
    over = threading.Event()
    running = [server]

    def hit() -> None:
        while not over.wait(every_seconds):
            running[0].kill()
            if not over.wait(2.0):
                running[0] = RtspServer(mounts, server.port)

    thread = threading.Thread(target=hit, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        thread.join()
        running[0].kill()
