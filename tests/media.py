"""Small videos and images, made on the spot."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def picture(width: int, height: int, number: int = 0) -> np.ndarray:
    """uint8 (H, W, 3) BGR: smooth colours with one white square per corner but the bottom right; no symmetry."""
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    image = (60 + 120 * x * np.array([1, 0.2, 0.5]) + 60 * y * np.array([0.1, 1, 0.6])).astype(np.uint8)
    image = np.ascontiguousarray(np.roll(image, number * 3, axis=1))
    side = max(2, min(width, height) // 6)
    image[:side, :side] = 255
    image[:side, -side:] = (0, 0, 255)
    image[-side:, :side] = (255, 0, 0)
    return image


def write_video(
    path: Path,
    *,
    size_wh: tuple[int, int] = (160, 96),
    num_frames: int = 12,
    pts_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 10,
    colorspace: int | None = None,
    images: Iterable[np.ndarray] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of `picture()`s, or of the images given; the container follows from the suffix."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "12", "bf": "0"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = *size_wh, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        if options:
            stream.options = {**stream.options, **options}
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        for number, image in enumerate(images or (picture(*size_wh, number) for number in range(num_frames))):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pix_fmt, dst_colorspace=colorspace)
            frame.pts = pts_ms[number] if pts_ms else number * 1000 // rate
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_audio(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rotate_by_metadata(path: Path, degrees_clockwise: int) -> Path:
    """Write a rotation into an MP4's track header, as phones do (ISO/IEC 14496-12, 8.3.2)."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees_clockwise]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    matrix = start + (4 + 5 * 4 + 2 * 4 + 4 * 2)  # version 0: flags, five words, two reserved, four shorts
    data[matrix : matrix + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_image(path: Path, size_wh: tuple[int, int] = (160, 96), number: int = 0) -> Path:
    """A still image; the format follows from the suffix."""
    assert cv2.imwrite(str(path), picture(*size_wh, number))
    return path
