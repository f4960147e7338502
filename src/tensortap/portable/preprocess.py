"""From decoded pixels to the network input: resized plane by plane, converted at network size, no full BGR frame made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from tensortap.errors import SourceError
from tensortap.geometry import Letterbox, letterbox
from tensortap.portable.pixels import BT601_LIMITED, BgrPixels, YuvPixels
from tensortap.types import Frame

_INTERPOLATION = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR}


class Preprocessor:
    """Writes frames into the slots of the network input. One object belongs to one thread.

    Args:
        network_wh: width and height of the network input.
        policy: name of the letterbox policy, a key of `tensortap.geometry.LETTERBOX_POLICIES`.
        color: order of the channels that the network wants.
    """

    def __init__(self, network_wh: tuple[int, int], policy: str, color: Literal["rgb", "bgr"] = "rgb") -> None:
        self.network_wh = network_wh
        self.policy = policy
        self.color = color
        self._padded: dict[int, Letterbox] = {}
        self._scratch: dict[tuple[int, ...], np.ndarray] = {}

    def another(self) -> Preprocessor:
        """One that does the same, for another thread."""
        return Preprocessor(self.network_wh, self.policy, self.color)

    def letterbox(self, frame: Frame) -> Letterbox:
        """Where this frame goes in the network input."""
        return letterbox(self.policy, frame.info.size_wh, self.network_wh)

    def write(self, frame: Frame, slot: np.ndarray) -> Letterbox:
        """Fill one slot, uint8 (H, W, 3), with the letterboxed frame; returns how it was placed. Raises SourceError."""
        box = self.placed(frame)
        self._pad(slot, box)
        left, top = box.offset_xy
        width, height = box.resized_wh
        target = slot[top : top + height, left : left + width]
        if isinstance(frame.pixels, YuvPixels):
            luma = frame.pixels.planes[0]
            # OpenCV's own halving is four times as fast as IPP's.
            is_halved = luma.shape == (2 * height, 2 * width)
            with nullcontext() if box.interpolation != "bilinear" or is_halved else _resizing_quickly():
                self._write_planes(frame.pixels, box, target)
        elif isinstance(frame.pixels, BgrPixels):
            self._write_bgr(frame.pixels, box, target)
        return box

    def placed(self, frame: Frame) -> Letterbox:
        """`letterbox` of a frame that is going to be written.

        Raises:
            SourceError: it has no pixels.
        """
        if not isinstance(frame.pixels, (YuvPixels, BgrPixels)):
            raise SourceError(f"Frame {frame.info.index} of {frame.info.source} has no pixels to make a network input from.")
        return self.letterbox(frame)

    def _pad(self, slot: np.ndarray, box: Letterbox) -> None:
        """Paint the padding, only when the slot last held another letterbox: the picture never touches it."""
        address = slot.__array_interface__["data"][0]
        if self._padded.get(address) is not box:
            slot[...] = box.pad_value
            self._padded[address] = box

    def _write_planes(self, pixels: YuvPixels, box: Letterbox, target: np.ndarray) -> None:
        if _is_plain_i420(pixels, box):
            self._write_i420(pixels.planes, box, target)
            return
        resized = [self._resized(plane, box, number) for number, plane in enumerate(pixels.planes)]
        if pixels.divisor > 1:
            resized = [cv2.convertScaleAbs(plane, alpha=1 / pixels.divisor) for plane in resized]
        if len(resized) == 2:  # Y and interleaved UV
            resized = [resized[0], *cv2.split(resized[1])]
        yuv = cv2.merge(resized, self._buffer(3, *target.shape))
        cv2.transform(yuv, _yuv_matrix(pixels.color, self.color), dst=target)

    def _write_i420(self, planes: tuple[np.ndarray, ...], box: Letterbox, target: np.ndarray) -> None:
        """The commonest layout by OpenCV's own conversion: chroma stays subsampled, which saves a third of the time."""
        width, height = box.resized_wh
        yuv = self._buffer(3, height + height // 2, width)
        chroma = yuv[height:].reshape(2, height // 2, width // 2)
        self._resize_into(planes[0], box, yuv[:height])
        self._resize_into(planes[1], box, chroma[0])
        self._resize_into(planes[2], box, chroma[1])
        cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB_I420 if self.color == "rgb" else cv2.COLOR_YUV2BGR_I420, dst=target)

    def _write_bgr(self, pixels: BgrPixels, box: Letterbox, target: np.ndarray) -> None:
        resized = self._resized(pixels.image, box, 0)
        if self.color == "rgb":
            cv2.cvtColor(resized, cv2.COLOR_BGR2RGB, dst=target)
        else:
            target[...] = resized

    def _resized(self, plane: np.ndarray, box: Letterbox, number: int) -> np.ndarray:
        """One plane, cropped and resized to the letterbox, in a buffer that the next frame reuses."""
        width, height = box.resized_wh
        buffer = self._buffer(number, height, width, *plane.shape[2:], dtype=plane.dtype)
        self._resize_into(plane, box, buffer)
        return buffer

    @staticmethod
    def _resize_into(plane: np.ndarray, box: Letterbox, target: np.ndarray) -> None:
        """Crop one plane and resize it to the size of the target."""
        # A subsampled plane is cropped at the same place, in its own pixels.
        across = -(-box.source_wh[0] // plane.shape[1])
        down = -(-box.source_wh[1] // plane.shape[0])
        left, top, right, bottom = map(int, box.crop_xyxy)
        cropped = plane[top // down : -(-bottom // down), left // across : -(-right // across)]
        cv2.resize(cropped, target.shape[1::-1], dst=target, interpolation=_INTERPOLATION[box.interpolation])

    def _buffer(self, number: int, *shape: int, dtype: np.dtype[np.generic] | type[np.generic] = np.uint8) -> np.ndarray:
        """Memory for intermediate pictures, kept: fresh pages cost more than the work done on them."""
        key = (number, np.dtype(dtype).itemsize, *shape)
        buffer = self._scratch.get(key)
        if buffer is None:
            if len(self._scratch) >= 64:  # many sources of many sizes: start over rather than grow
                self._scratch.clear()
            buffer = self._scratch[key] = np.empty(shape, dtype)
        return buffer


@contextmanager
def _resizing_quickly() -> Iterator[None]:
    """Bilinear by IPP where OpenCV has it: 0.6 to 0.75 of the time; up to an eighth of the pixels is rounded the other way.

    For a whole frame: each of OpenCV's functions, also one that only sets something, gives up Python's lock.
    """
    before = cv2.ipp.useIPP_NotExact()  # of this thread
    cv2.ipp.setUseIPP_NotExact(True)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP_NotExact(before)


def _is_plain_i420(pixels: YuvPixels, box: Letterbox) -> bool:
    """8-bit 4:2:0 in BT.601's limited range, at an even size: what `COLOR_YUV2RGB_I420` converts, and nothing else."""
    planes = pixels.planes
    return (
        len(planes) == 3
        and pixels.divisor == 1
        and planes[0].dtype == np.uint8
        and planes[1].shape == (-(-planes[0].shape[0] // 2), -(-planes[0].shape[1] // 2))
        and pixels.color == BT601_LIMITED
        and not (box.resized_wh[0] % 2 or box.resized_wh[1] % 2)
    )


@lru_cache(maxsize=32)
def _yuv_matrix(color: tuple[float, float, bool], order: Literal["rgb", "bgr"]) -> np.ndarray:
    """float32 (3, 4): what takes Y, U, V in 0..255 to RGB or BGR in 0..255 (ITU-T H.273, equations 11 to 14 and 38 to 40)."""
    luma_red, luma_blue, full_range = color
    luma_green = 1 - luma_red - luma_blue
    rows = np.array(
        [
            [1, 0, 2 * (1 - luma_red)],
            [1, -2 * (1 - luma_blue) * luma_blue / luma_green, -2 * (1 - luma_red) * luma_red / luma_green],
            [1, 2 * (1 - luma_blue), 0],
        ]
    )
    if not full_range:
        rows = rows * [255 / 219, 255 / 224, 255 / 224]
    zero = np.array([0 if full_range else 16, 128, 128])
    matrix = np.column_stack((rows, -rows @ zero)).astype(np.float32)
    return matrix if order == "rgb" else matrix[::-1].copy()
