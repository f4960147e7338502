"""Decoded pixels as FFmpeg and OpenCV leave them: Y, U and V planes, or a BGR picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import av
import cv2
import numpy as np

_QUARTER_TURNS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}

# Format -> (bytes a sample, divisor that brings a sample to 8 bits, whether U and V are interleaved).
_PLANAR_FORMATS = {
    **{f"yuv{subsampling}p": (1, 1, False) for subsampling in (410, 411, 420, 422, 440, 444)},
    **{f"yuvj{subsampling}p": (1, 1, False) for subsampling in (411, 420, 422, 440, 444)},
    **{f"yuv{subsampling}p10le": (2, 4, False) for subsampling in (420, 422, 440, 444)},
    **{f"yuv{subsampling}p12le": (2, 16, False) for subsampling in (420, 422, 440, 444)},
    "nv12": (1, 1, True),
    "p010le": (2, 256, True),
}

# AVColorSpace -> (Kr, Kb), ITU-T H.273 table 4. What is not here, above all "unspecified", is taken for BT.601, as
# FFmpeg and OpenCV do.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),
}
_BT601_WEIGHTS = (0.299, 0.114)
BT601_LIMITED = (*_BT601_WEIGHTS, False)
"""`YuvPixels.color` of most video of standard definition, and of video that does not say."""
_AVCOL_SPC_RGB = 0
_AVCOL_RANGE_JPEG = 2


@dataclass(frozen=True, eq=False)
class BgrPixels:
    """A BGR picture, from an image file or from a format without usable planes."""

    image: np.ndarray
    """uint8 (H, W, 3) BGR."""

    def bgr(self) -> np.ndarray:
        """uint8 (H, W, 3) BGR."""
        return self.image


@dataclass(frozen=True, eq=False)
class YuvPixels:
    """A frame that FFmpeg decoded to Y, U and V planes. Holds the decoder's buffer; nothing is copied until asked for."""

    frame: av.VideoFrame
    quarter_turns: int
    """How often the picture must be turned clockwise by 90 degrees to stand upright, 0..3."""

    def bgr(self) -> np.ndarray:
        """uint8 (H, W, 3) BGR, upright, with the frame's own matrix and range."""
        return _upright(_to_bgr(self.frame), self.quarter_turns)

    @cached_property
    def planes(self) -> tuple[np.ndarray, ...]:
        """Upright Y, U and V, or Y and interleaved UV of shape (h, w, 2); uint8 or uint16, chroma as subsampled."""
        bytes_per_sample, _, interleaved = _PLANAR_FORMATS[self.frame.format.name]
        dtype = np.uint8 if bytes_per_sample == 1 else np.uint16
        planes = []
        for number, plane in enumerate(self.frame.planes):
            shape: tuple[int, ...] = (plane.height, plane.width)
            strides: tuple[int, ...] = (plane.line_size, bytes_per_sample)
            if interleaved and number == 1:
                shape, strides = (*shape, 2), (plane.line_size, 2 * bytes_per_sample, bytes_per_sample)
            planes.append(_upright(np.ndarray(shape, dtype, memoryview(plane), 0, strides), self.quarter_turns))
        return tuple(planes)

    @property
    def divisor(self) -> int:
        """What a sample is divided by to come to 0..255."""
        return _PLANAR_FORMATS[self.frame.format.name][1]

    @cached_property
    def color(self) -> tuple[float, float, bool]:
        """Kr, Kb and whether Y, U and V use the full range 0..255; equal for all frames of a stream."""
        full_range = self.frame.color_range == _AVCOL_RANGE_JPEG or self.frame.format.name.startswith("yuvj")
        return (*_LUMA_WEIGHTS.get(int(self.frame.colorspace), _BT601_WEIGHTS), full_range)


def wrap(frame: av.VideoFrame, quarter_turns: int) -> YuvPixels | BgrPixels:
    """The pixels of a decoded frame: its planes where their layout is known, else converted to BGR by FFmpeg."""
    if frame.format.name in _PLANAR_FORMATS and int(frame.colorspace) != _AVCOL_SPC_RGB:
        return YuvPixels(frame, quarter_turns)
    return BgrPixels(_upright(_to_bgr(frame), quarter_turns))


def quarter_turns_of(frame: av.VideoFrame) -> int:
    """Clockwise quarter turns that bring the frame upright. FFmpeg's `rotation` counts degrees counter-clockwise."""
    return round(-frame.rotation / 90) % 4


def _upright(picture: np.ndarray, quarter_turns: int) -> np.ndarray:
    return cv2.rotate(picture, _QUARTER_TURNS[quarter_turns]) if quarter_turns else picture


def _to_bgr(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="bgr24")
