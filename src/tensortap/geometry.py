"""Letterboxes, boxes, IoU and OKS: pure functions of numbers and arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from typing import Literal

import numpy as np

Interpolation = Literal["nearest", "bilinear"]


@dataclass(frozen=True)
class Letterbox:
    """How a frame was placed in the network input, and the exact way back.

    A part of the source (`crop_xyxy`, nearly always all of it) was resized to `resized_wh` and put at `offset_xy` of an
    input of `network_wh` filled with `pad_value`. x and y have ratios of their own, because sizes are whole pixels.
    """

    source_wh: tuple[int, int]
    """Width and height of the original frame in pixels."""
    network_wh: tuple[int, int]
    """Width and height of the network input in pixels."""
    resized_wh: tuple[int, int]
    """Width and height of the picture inside the network input."""
    offset_xy: tuple[int, int]
    """Left and top padding in network pixels."""
    crop_xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom of the part of the source that was resized; whole pixels, unless the source had been scaled
    before (DeepStream's nvstreammux)."""
    pad_value: int
    """Value of the padding in every channel, 0..255."""
    interpolation: Interpolation
    """How the picture was resized."""

    @cached_property
    def ratio_xy(self) -> tuple[float, float]:
        """Network pixels for each source pixel, in x and in y."""
        left, top, right, bottom = self.crop_xyxy
        return self.resized_wh[0] / (right - left), self.resized_wh[1] / (bottom - top)

    def points_to_source(self, points: np.ndarray) -> np.ndarray:
        """float32 (..., 2 or more), network -> source pixels; what follows x and y (a score) is handed through."""
        return self._map(points, *self._to_source)

    def points_to_network(self, points: np.ndarray) -> np.ndarray:
        """float32 (..., 2 or more), source -> network pixels; what follows x and y (a score) is handed through."""
        return self._map(points, *self._to_network)

    def boxes_to_source(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """float32 (N, 4), network -> source pixels. Nothing is clipped."""
        return self.points_to_source(boxes_xyxy.reshape(-1, 2)).reshape(-1, 4)

    def boxes_to_network(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """float32 (N, 4), source -> network pixels. Nothing is clipped."""
        return self.points_to_network(boxes_xyxy.reshape(-1, 2)).reshape(-1, 4)

    def place_in_source(self, points: np.ndarray) -> None:
        """float32 (..., 2 or more), network -> source pixels, in place: for arrays that the caller has just made."""
        if points.ndim == 3 and points.flags.c_contiguous:  # all values of one person in a row: three times as fast
            scale, shift = self._rows_to_source(*points.shape[1:])
            rows = points.reshape(len(points), len(scale))
            rows[...] = rows * scale + shift
        else:
            scale, shift = self._to_source
            points[..., :2] = points[..., :2] * scale + shift

    def _rows_to_source(self, num_points: int, num_values: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift, float64 (num_points * num_values,) each, of points that lie one after the other."""
        found = self._rows.get((num_points, num_values))
        if found is None:
            scale, shift = np.ones((num_points, num_values)), np.zeros((num_points, num_values))
            scale[:, :2], shift[:, :2] = self._to_source
            found = self._rows[num_points, num_values] = scale.ravel(), shift.ravel()
        return found

    @cached_property
    def _rows(self) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        """What `_rows_to_source` has worked out."""
        return {}

    @cached_property
    def _to_source(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift, float64 (2,) each, of network -> source: only the result is rounded to float32."""
        ratio, offset, origin = np.array(self.ratio_xy), np.array(self.offset_xy), np.array(self.crop_xyxy[:2])
        return 1 / ratio, origin - offset / ratio

    @cached_property
    def _to_network(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift, float64 (2,) each, of source -> network."""
        ratio, offset, origin = np.array(self.ratio_xy), np.array(self.offset_xy), np.array(self.crop_xyxy[:2])
        return ratio, offset - origin * ratio

    @staticmethod
    def _map(points: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        mapped = points.astype(np.float32)
        mapped[..., :2] = points[..., :2] * scale + shift
        return mapped


def _ultralytics(source_wh: tuple[int, int], network_wh: tuple[int, int]) -> Letterbox:
    """Ultralytics' `LetterBox`: sizes rounded, centred with the odd pixel to the right and bottom, grey 114."""
    ratio = min(network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
    resized = (max(1, round(source_wh[0] * ratio)), max(1, round(source_wh[1] * ratio)))
    offset = (round((network_wh[0] - resized[0]) / 2 - 0.1), round((network_wh[1] - resized[1]) / 2 - 0.1))
    return Letterbox(source_wh, network_wh, resized, offset, (0, 0, *source_wh), 114, "bilinear")


def _rtmo(source_wh: tuple[int, int], network_wh: tuple[int, int]) -> Letterbox:
    """rtmlib's preprocessing of RTMO: sizes truncated, top left, grey 114."""
    ratio = min(network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
    resized = (max(1, int(source_wh[0] * ratio)), max(1, int(source_wh[1] * ratio)))
    return Letterbox(source_wh, network_wh, resized, (0, 0), (0, 0, *source_wh), 114, "bilinear")


def _nvinfer(
    source_wh: tuple[int, int],
    network_wh: tuple[int, int],
    *,
    keep_aspect: bool,
    symmetric: bool = False,
    interpolation: Interpolation = "nearest",
) -> Letterbox:
    """`get_converted_buffer` of DeepStream's gstnvinfer.cpp: even source sizes, truncated sizes, black."""
    # A source of one pixel cannot be rounded down to even.
    even_wh = (max(source_wh[0] & ~1, 1), max(source_wh[1] & ~1, 1))
    resized, offset = network_wh, (0, 0)
    if keep_aspect:
        height_at_full_width = network_wh[0] * even_wh[1] / even_wh[0]
        if height_at_full_width <= network_wh[1]:
            resized = (network_wh[0], max(1, int(height_at_full_width)))
        else:
            resized = (max(1, int(network_wh[1] * even_wh[0] / even_wh[1])), network_wh[1])
        if symmetric:
            offset = ((network_wh[0] - resized[0]) // 2, (network_wh[1] - resized[1]) // 2)
    return Letterbox(source_wh, network_wh, resized, offset, (0, 0, *even_wh), 0, interpolation)


LetterboxPolicy = Callable[[tuple[int, int], tuple[int, int]], Letterbox]

LETTERBOX_POLICIES: dict[str, LetterboxPolicy] = {
    "nvinfer": partial(_nvinfer, keep_aspect=True),
    "nvinfer-bilinear": partial(_nvinfer, keep_aspect=True, interpolation="bilinear"),
    "nvinfer-stretch": partial(_nvinfer, keep_aspect=False),
    "nvinfer-stretch-bilinear": partial(_nvinfer, keep_aspect=False, interpolation="bilinear"),
    "nvinfer-symmetric": partial(_nvinfer, keep_aspect=True, symmetric=True),
    "nvinfer-symmetric-bilinear": partial(_nvinfer, keep_aspect=True, symmetric=True, interpolation="bilinear"),
    "rtmo": _rtmo,
    "ultralytics": _ultralytics,
}
"""Name -> policy. The nvinfer names spell `maintain-aspect-ratio`, `symmetric-padding` and `scaling-filter`."""


@lru_cache(maxsize=256)
def letterbox(policy: str, source_wh: tuple[int, int], network_wh: tuple[int, int]) -> Letterbox:
    """The letterbox of a policy for these sizes; the same sizes give the same object.

    Raises:
        KeyError: no policy has this name.
        ValueError: a size is not positive.
    """
    if min(*source_wh, *network_wh) < 1:
        raise ValueError(f"sizes must be positive, got source {source_wh} and network {network_wh}")
    return LETTERBOX_POLICIES[policy](source_wh, network_wh)


def rectangle(
    policy: str, source_sizes_wh: Iterable[tuple[int, int]], network_wh: tuple[int, int], stride: int
) -> tuple[int, int]:
    """Width and height of a small network input in which pictures of these sizes are as large as in `network_wh`.

    What Ultralytics calls rectangular inference, for one input that all sources share: less padding, the same pictures.

    Args:
        policy: name of the letterbox policy.
        source_sizes_wh: of the pictures, one or more.
        network_wh: the larger input.
        stride: both sides are multiples of it, as those of `network_wh`.
    """
    needed = [stride, stride]
    for source_wh in source_sizes_wh:
        box = letterbox(policy, source_wh, network_wh)
        left, top, right, bottom = map(int, box.crop_xyxy)
        sides = right - left, bottom - top
        # Before it is rounded: a side that is cut to the rounded size would make the picture smaller.
        ratio = min(Fraction(network_wh[0], sides[0]), Fraction(network_wh[1], sides[1]))
        for axis in (0, 1):
            side = network_wh[axis] if box.resized_wh == network_wh else math.ceil(sides[axis] * ratio)
            needed[axis] = max(needed[axis], -(-side // stride) * stride)
    return min(needed[0], network_wh[0]), min(needed[1], network_wh[1])


def box_areas(boxes_xyxy: np.ndarray) -> np.ndarray:
    """float32 (N,): areas of boxes (N, 4) in square pixels; 0 where a box is turned inside out."""
    width = np.maximum(boxes_xyxy[:, 2] - boxes_xyxy[:, 0], 0)
    height = np.maximum(boxes_xyxy[:, 3] - boxes_xyxy[:, 1], 0)
    areas: np.ndarray = width * height
    return areas


def iou_matrix(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """float (M, N): intersection over union of boxes (M, 4) and (N, 4), both xyxy; 0 where both are empty."""
    # Width and height apart: NumPy's product along a short axis takes five times as long.
    width = np.minimum(boxes_a[:, None, 2], boxes_b[None, :, 2]) - np.maximum(boxes_a[:, None, 0], boxes_b[None, :, 0])
    height = np.minimum(boxes_a[:, None, 3], boxes_b[None, :, 3]) - np.maximum(boxes_a[:, None, 1], boxes_b[None, :, 1])
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    union = box_areas(boxes_a)[:, None] + box_areas(boxes_b)[None, :] - overlap
    iou: np.ndarray = overlap / np.maximum(union, 1e-9)
    return iou


def oks_matrix(
    keypoints_a: np.ndarray, keypoints_b: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, min_score: float = 0.0
) -> np.ndarray:
    """float (M, N): object keypoint similarity, 1 for the same pose and towards 0 for poses far apart.

    The formula of the COCO keypoint evaluation, mean over keypoints of exp(-d^2 / (2 * area * (2 * sigma)^2)), over the
    keypoints whose scores are above `min_score` on both sides; 0 where there are none.

    Args:
        keypoints_a: (M, K, 3) x, y, score.
        keypoints_b: (N, K, 3).
        areas: scale squared of the objects in square pixels, (M, 1), (1, N) or (M, N).
        sigmas: (K,).
        min_score: keypoints at or below it do not count.
    """
    delta = keypoints_a[:, None, :, :2] - keypoints_b[None, :, :, :2]
    distance_squared = np.einsum("mnkc,mnkc->mnk", delta, delta)
    variance = 2 * np.maximum(areas, 1e-9)[..., None] * (2 * sigmas) ** 2
    counted = (keypoints_a[:, None, :, 2] > min_score) & (keypoints_b[None, :, :, 2] > min_score)
    similarity = np.exp(-distance_squared / variance) * counted
    oks: np.ndarray = similarity.sum(axis=2) / np.maximum(counted.sum(axis=2), 1)
    return oks
