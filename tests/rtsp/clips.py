"""Clips for the RTSP server: every picture shows its number, so that a test can tell which ones came, and whether twice."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_BITS = 10
_CELL = 12
_MARGIN = 8


def numbered_picture(number: int, size_wh: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) BGR: a row of ten cells that are white for the ones of the number, and a white square that moves."""
    width, height = size_wh
    image = np.full((height, width, 3), 60, np.uint8)
    for bit in range(_BITS):
        left = _MARGIN + bit * _CELL
        image[_MARGIN : _MARGIN + _CELL, left : left + _CELL] = 255 * (number >> bit & 1)
    side = height // 3
    left = (number * 4) % (width - side)
    image[-side - 8 : -8, left : left + side] = 255
    return image


def number_of(image: np.ndarray) -> int:
    """The number that a picture shows."""
    center = _MARGIN + _CELL // 2
    cells = (image[center, center + bit * _CELL].mean() > 128 for bit in range(_BITS))
    return sum(int(white) << bit for bit, white in enumerate(cells))


def encode(
    num_frames: int, size_wh: tuple[int, int] = (160, 96), rate: int = 10, keyframe_every: int = 5, codec: str = "libx264"
) -> list[bytes]:
    """Numbered pictures as H.264 or H.265, one packet each, parameter sets in front of every keyframe."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height = size_wh
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, rate), Fraction(rate)
    parameters = "repeat-headers=1:" + ("sliced-threads=0" if codec == "libx264" else "log-level=error")
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "g": str(keyframe_every),
        "x264-params" if codec == "libx264" else "x265-params": parameters,
    }
    packets = []
    for number in range(num_frames):
        frame = av.VideoFrame.from_ndarray(numbered_picture(number, size_wh), format="bgr24").reformat(format="yuv420p")
        frame.pts = number
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    assert len(packets) == num_frames
    return packets


def write_clip(path: Path, num_frames: int = 600, size_wh: tuple[int, int] = (160, 96), rate: int = 10) -> Path:
    """A clip for `serve.py`: frames a second as a double, then each picture with its size in front."""
    with path.open("wb") as file:
        file.write(struct.pack("<d", rate))
        for packet in encode(num_frames, size_wh, rate):
            file.write(struct.pack("<I", len(packet)) + packet)
    return path
