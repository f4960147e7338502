"""Heads that look at one person at a time: RTMPose's SimCC and heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensortap.decode.base import Candidates, PoseDecoder, single_precision
from tensortap.decode.grids import ScoreMap
from tensortap.errors import DecodeError
from tensortap.types import TensorFrame

_MAX_RAW = 10
"""Heights of maxima above it are no scores; what lies between 1 and this is a score of 1."""


class RegionDecoder(PoseDecoder):
    """One person for each tensor frame: the one in its region, or in the whole frame where it has none.

    The box is the region, the score of the person the mean of the keypoints' scores, which are brought into 0..1.
    """

    suppress = False

    def person(self, frame: TensorFrame, points: np.ndarray, heights: np.ndarray, threshold: float) -> Candidates | None:
        """Points (K, 2) in network pixels with the heights of their maxima (K,) -> the one candidate, if it is one."""
        keypoints = np.empty((1, self.num_keypoints, 3), np.float32)
        keypoints[0, :, :2] = points
        keypoints[0, :, 2] = np.where(np.abs(heights) <= _MAX_RAW, heights.clip(0, 1), np.nan)
        score = keypoints[:, :, 2].mean(axis=1)
        if score[0] <= threshold:
            return None
        box = np.array([frame.roi or (0, 0, *frame.letterbox.source_wh)], np.float32)
        return Candidates(
            np.zeros(1, np.intp), frame.letterbox.boxes_to_network(box), score, None, lambda places: keypoints[places]
        )


class SimccDecoder(RegionDecoder):
    """Turns RTMPose's SimCC into a pose: for each keypoint the likeliest column and the likeliest row.

    `simcc_x` is `[K, W * split]` and `simcc_y` `[K, H * split]`, 2 bins a network pixel as published. Place = bin / split;
    score = the smaller of both maxima. This is `get_simcc_maximum` of mmpose/codecs/utils/post_processing.py and
    `SimCCLabel.decode` of open-mmlab/mmpose, without DARK, as RTMPose is configured. Exact to half a bin.

    Args:
        simcc_x: name of the output of columns.
        simcc_y: name of the output of rows.
        **common: settings of `PoseDecoder`; `iou_thres` means nothing here, and d is always 3.
    """

    name = "simcc"

    def __init__(self, *, simcc_x: str = "simcc_x", simcc_y: str = "simcc_y", **common: Any) -> None:
        super().__init__(**common)
        self.simcc_x = simcc_x
        self.simcc_y = simcc_y

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """The person in one region.

        Raises:
            DecodeError: a tensor is missing or has another shape.
        """
        across, down = self._bins(frame)
        width, height = frame.letterbox.network_wh
        bins = np.stack((across.argmax(axis=1), down.argmax(axis=1)), axis=1)
        points = bins * np.array([width / across.shape[1], height / down.shape[1]])
        heights = single_precision(np.minimum(across.max(axis=1), down.max(axis=1)))
        return self.person(frame, points, heights, threshold)

    def score_maps(self, frame: TensorFrame) -> list[ScoreMap]:
        """In each place, the best keypoint's smaller value of column and row."""
        across, down = (single_precision(each) for each in self._bins(frame))
        best = np.full((down.shape[1], across.shape[1]), -np.inf, np.float32)
        for column, row in zip(across, down, strict=True):
            np.fmax(best, np.minimum(row[:, None], column[None, :]), out=best)
        return [ScoreMap("best keypoint", best)]

    def _bins(self, frame: TensorFrame) -> tuple[np.ndarray, np.ndarray]:
        _, across = self.tensor(frame, self.simcc_x)
        _, down = self.tensor(frame, self.simcc_y)
        if not (across.ndim == down.ndim == 2 and len(across) == len(down) == self.num_keypoints and across.size and down.size):
            raise DecodeError(
                f"Model outputs {self.simcc_x!r} and {self.simcc_y!r} are {across.shape} and {down.shape}; simcc with "
                f"{self.num_keypoints} keypoints expects ({self.num_keypoints}, columns) and ({self.num_keypoints}, rows)."
            )
        return across, down


class HeatmapDecoder(RegionDecoder):
    """Turns heat maps `[K, h, w]` into a pose: for each keypoint the hottest cell, a quarter nearer to its hotter neighbour.

    This is the decoding of HRNet and Simple Baselines (`MSRAHeatmap.decode` with `refine_keypoints` of open-mmlab/mmpose):
    in x where 1 < x < w - 1 and 0 < y < h, in y alike; then cells times network size / map size. Models trained with UDP or
    DARK (ViTPose) decode with it too, a fraction of a cell less exactly.

    Args:
        output: name of the tensor; `None` takes the frame's only one.
        **common: settings of `PoseDecoder`; `iou_thres` means nothing here, and d is always 3.
    """

    name = "heatmap"

    def __init__(self, *, output: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.output = output

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """The person in one region.

        Raises:
            DecodeError: the tensor is missing or has another shape.
        """
        maps = self._maps(frame)
        height, width = maps.shape[1:]
        each = np.arange(len(maps))
        y, x = np.divmod(maps.reshape(len(maps), -1).argmax(axis=1), width)
        inside_x = (x > 1) & (x < width - 1) & (y > 0)
        inside_y = (y > 1) & (y < height - 1) & (x > 0)
        right, left = np.minimum(x + 1, width - 1), np.maximum(x - 1, 0)
        below, over = np.minimum(y + 1, height - 1), np.maximum(y - 1, 0)
        slope_x = np.sign(single_precision(maps[each, y, right]) - single_precision(maps[each, y, left])) * inside_x
        slope_y = np.sign(single_precision(maps[each, below, x]) - single_precision(maps[each, over, x])) * inside_y
        cells = np.stack((x + 0.25 * slope_x, y + 0.25 * slope_y), axis=1)
        network_wh = frame.letterbox.network_wh
        points = cells * np.array([network_wh[0] / width, network_wh[1] / height])
        return self.person(frame, points, single_precision(maps[each, y, x]), threshold)

    def score_maps(self, frame: TensorFrame) -> list[ScoreMap]:
        """In each cell, the best keypoint's value."""
        return [ScoreMap("best keypoint", single_precision(np.fmax.reduce(self._maps(frame), axis=0)))]

    def _maps(self, frame: TensorFrame) -> np.ndarray:
        name, maps = self.tensor(frame, self.output)
        if maps.ndim != 3 or len(maps) != self.num_keypoints or not maps.size:
            raise DecodeError(
                f"Model output {name!r} is {maps.shape}; heatmap with {self.num_keypoints} keypoints expects "
                f"({self.num_keypoints}, height, width)."
            )
        return maps
