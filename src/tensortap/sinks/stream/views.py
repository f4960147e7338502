"""The pictures that are served: all streams side by side, or one alone."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from tensortap.sinks.draw import draw_poses
from tensortap.sinks.stream.wall import Slot
from tensortap.types import Poses, Result

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKGROUND = (24, 24, 24)
_WHITE = (255, 255, 255)
_AMBER = (64, 176, 255)


class View(Protocol):
    """Draws slots into a picture of one size."""

    @property
    def source_id(self) -> int | None:
        """The one stream that it shows; `None` for all."""
        ...

    def draw(self, slots: Sequence[Slot]) -> np.ndarray:
        """uint8 (H, W, 3) BGR, both even, always of the same size; valid until the next call."""
        ...


def grid(number: int) -> tuple[int, int]:
    """Rows and columns of so many tiles, as DeepStream's reference application lays out its nvmultistreamtiler."""
    rows = max(1, math.isqrt(number))
    return rows, max(1, math.ceil(number / rows))


class TiledView:
    """All streams in rows and columns. A tile is drawn again only when its stream has changed.

    Args:
        size_wh: of the whole picture, in pixels.
    """

    source_id: int | None = None

    def __init__(self, size_wh: tuple[int, int]) -> None:
        width, height = size_wh
        self._canvas = np.empty((height, width, 3), np.uint8)
        self._layout: tuple[int, ...] | None = None
        self._drawn: dict[int, int] = {}

    def draw(self, slots: Sequence[Slot]) -> np.ndarray:
        """uint8 (H, W, 3) BGR."""
        layout = tuple(slot.source_id for slot in slots)
        if layout != self._layout:
            self._layout, self._drawn = layout, {}
            self._canvas[:] = _BACKGROUND
            if not slots:
                _sign(self._canvas, "no streams", "")
        height, width = self._canvas.shape[:2]
        rows, columns = grid(len(slots))
        for place, slot in enumerate(slots):
            if self._drawn.get(slot.source_id) == slot.version:
                continue
            self._drawn[slot.source_id] = slot.version
            row, column = divmod(place, columns)
            top, bottom = height * row // rows, height * (row + 1) // rows
            left, right = width * column // columns, width * (column + 1) // columns
            self._canvas[top:bottom, left:right] = picture_of(slot, (right - left, bottom - top), name=True)
        return self._canvas


class SingleView:
    """One stream alone, as large as its first picture.

    Args:
        source_id: of the stream.
        size_wh: of the picture where the stream has none yet.
    """

    def __init__(self, source_id: int, size_wh: tuple[int, int]) -> None:
        self.source_id: int | None = source_id
        self._fallback_wh = size_wh
        self._size_wh: tuple[int, int] | None = None
        self._drawn: tuple[int, np.ndarray] | None = None

    def draw(self, slots: Sequence[Slot]) -> np.ndarray:
        """uint8 (H, W, 3) BGR."""
        slot = next((slot for slot in slots if slot.source_id == self.source_id), None)
        if self._size_wh is None:
            width, height = slot.result.info.size_wh if slot and slot.result else self._fallback_wh
            self._size_wh = width + width % 2, height + height % 2
        version = slot.version if slot else -1
        if self._drawn is None or self._drawn[0] != version:
            self._drawn = version, picture_of(slot, self._size_wh, name=False) if slot else _ended(self._size_wh)
        return self._drawn[1]


def _ended(size_wh: tuple[int, int]) -> np.ndarray:
    picture = np.full((size_wh[1], size_wh[0], 3), _BACKGROUND, np.uint8)
    _sign(picture, "ended", "")
    return picture


def picture_of(slot: Slot, size_wh: tuple[int, int], *, name: bool) -> np.ndarray:
    """A stream's picture with its people, fitted into a size; with a sign over it while there is none of now.

    Args:
        slot: the stream.
        size_wh: of the picture that comes back.
        name: write the stream's name into a corner.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    width, height = size_wh
    picture = np.full((height, width, 3), _BACKGROUND, np.uint8)
    if slot.result is not None and (drawn := _fitted(slot.result, size_wh)) is not None:
        rows, columns = drawn.shape[:2]
        top, left = (height - rows) // 2, (width - columns) // 2
        picture[top : top + rows, left : left + columns] = drawn
    if not slot.is_shown:
        picture //= 3
        event = slot.event
        if event is None:
            _sign(picture, "waiting for a picture", "")
        else:
            since = time.strftime("%H:%M:%S", time.localtime(event.since_ns / 1e9)) if event.since_ns else ""
            _sign(picture, f"{event.state.value}{f' since {since}' if since else ''}", event.reason)
    if name:
        _write_name(picture, slot.name)
    return picture


def _fitted(result: Result, size_wh: tuple[int, int]) -> np.ndarray | None:
    """The picture scaled to fit, then drawn on: lines have the width that suits what is seen."""
    image = result.image
    if image is None:
        return None
    rows, columns = image.shape[:2]
    # A pixel that only makes the size even is worth no scaling.
    if 0 <= size_wh[0] - columns <= 1 and 0 <= size_wh[1] - rows <= 1:
        return draw_poses(image, result.poses)
    ratio = min(size_wh[0] / columns, size_wh[1] / rows)
    inner = max(1, min(size_wh[0], round(columns * ratio))), max(1, min(size_wh[1], round(rows * ratio)))
    how = cv2.INTER_AREA if ratio < 0.6 else cv2.INTER_LINEAR  # at nearly the same size both look alike, and one is faster
    return draw_poses(cv2.resize(image, inner, interpolation=how), _scaled(result.poses, inner[0] / columns, inner[1] / rows))


def _scaled(poses: Poses, x: float, y: float) -> Poses:
    boxes = poses.boxes_xyxy * np.array([x, y, x, y], np.float32)
    keypoints = poses.keypoints * np.array([x, y, 1], np.float32)
    return Poses(boxes, poses.scores, poses.class_ids, keypoints, poses.skeleton, poses.track_ids)


def _sign(picture: np.ndarray, text: str, reason: str) -> None:
    """Write what is wrong in the middle, as large as it fits; the reason below."""
    height, width = picture.shape[:2]
    middle = height // 2
    _centred(picture, text, middle, width * 0.7, height * 0.12, _AMBER)
    if reason:
        _centred(picture, reason, middle + round(height * 0.1), width * 0.8, height * 0.045, _WHITE)


def _centred(picture: np.ndarray, text: str, y: int, most_wide: float, most_high: float, color: tuple[int, int, int]) -> None:
    text = _ascii(text)
    (wide, high), _ = cv2.getTextSize(text, _FONT, 1.0, 2)
    scale = min(most_wide / max(wide, 1), most_high / max(high, 1))
    if scale * high < 5:
        if len(text) < 16:
            return
        text, scale = text[:40] + "..", most_high / max(high, 1)  # nobody reads smaller letters
    weight = max(1, round(2 * scale))
    (wide, _), _ = cv2.getTextSize(text, _FONT, scale, weight)
    cv2.putText(picture, text, ((picture.shape[1] - wide) // 2, y), _FONT, scale, color, weight, cv2.LINE_AA)


def _write_name(picture: np.ndarray, name: str) -> None:
    height = picture.shape[0]
    scale = max(0.35, height / 700)
    weight = max(1, round(scale * 1.6))
    (wide, high), below = cv2.getTextSize(_ascii(name), _FONT, scale, weight)
    pad = max(2, high // 3)
    top = height - high - 2 * pad - below // 2
    picture[top:height, : wide + 2 * pad] //= 3
    cv2.putText(picture, _ascii(name), (pad, height - pad - below // 2), _FONT, scale, _WHITE, weight, cv2.LINE_AA)


def _ascii(text: str) -> str:
    """What OpenCV's letters can write."""
    return text.encode("ascii", "replace").decode()
