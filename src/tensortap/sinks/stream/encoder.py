"""Pictures -> H.264 or H.265 for people who watch while it happens: no picture is held back."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av
import cv2
import numpy as np

_TICKS = 90_000
"""Ticks a second."""
_ENCODERS = {"h264": "libx264", "h265": "libx265"}
_SMPTE170M = 6  # AVColorSpace: BT.601, the matrix of OpenCV's conversion
_MPEG_RANGE = 1


@dataclass(frozen=True)
class Encoding:
    """How served pictures are encoded."""

    codec: Literal["h264", "h265"] = "h264"
    bitrate: int = 4_000_000
    """Bits a second."""
    keyframe_seconds: float = 2.0
    """From one keyframe to the next; a viewer who comes gets one at once."""
    frame_rate: float = 30.0
    """Pictures a second at most."""
    size_wh: tuple[int, int] = (1280, 720)
    """Of the tiled picture, in pixels; even."""


class Packet(NamedTuple):
    """One encoded picture, with the headers that a keyframe needs (H.264 or H.265 byte stream, one access unit)."""

    data: bytes
    is_keyframe: bool


class Encoder:
    """Encodes one picture after the other. Used by one thread.

    Args:
        encoding: how.
        size_wh: of all pictures, in pixels; even.
    """

    def __init__(self, encoding: Encoding, size_wh: tuple[int, int]) -> None:
        self._context = _context(encoding, size_wh)
        self._keyframe_seconds = encoding.keyframe_seconds
        self._next_keyframe = 0.0
        self._last_tick = -1

    def encode(self, picture: np.ndarray, seconds: float, keyframe: bool = False) -> list[Packet]:
        """One picture.

        Args:
            picture: uint8 (H, W, 3) BGR.
            seconds: since the beginning.
            keyframe: make it one, whatever the clock says.
        """
        frame = av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
        frame.colorspace, frame.color_range = _SMPTE170M, _MPEG_RANGE
        self._last_tick = max(round(seconds * _TICKS), self._last_tick + 1)
        frame.pts, frame.time_base = self._last_tick, Fraction(1, _TICKS)
        if keyframe or seconds >= self._next_keyframe:
            self._next_keyframe = seconds + self._keyframe_seconds
            frame.pict_type = av.video.frame.PictureType.I
        return [Packet(bytes(packet), packet.is_keyframe) for packet in self._context.encode(frame)]


def _context(encoding: Encoding, size_wh: tuple[int, int]) -> Any:
    context: Any = av.CodecContext.create(_ENCODERS[encoding.codec], "w")
    context.width, context.height = size_wh
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, _TICKS)
    context.framerate = Fraction(encoding.frame_rate).limit_denominator(1001)
    context.bit_rate = encoding.bitrate
    context.gop_size = max(1, round(encoding.keyframe_seconds * encoding.frame_rate))
    context.colorspace, context.color_range = _SMPTE170M, _MPEG_RANGE
    # One slice a picture: FFmpeg's RTSP client takes the slices of `zerolatency`'s threads for damage.
    options = {"preset": "veryfast", "tune": "zerolatency", "threads": "1", "forced-idr": "1"}
    options |= {"maxrate": str(encoding.bitrate), "bufsize": str(encoding.bitrate)}
    if encoding.codec == "h264":
        options["x264-params"] = "sliced-threads=0"
    else:
        options |= {"preset": "ultrafast", "x265-params": "log-level=error:pools=1:frame-threads=1:repeat-headers=1"}
    context.options = options
    return context
