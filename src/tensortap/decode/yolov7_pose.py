"""YOLOv7-w6-pose in its three forms: decoded rows, raw grids, and the flat output of a TensorRT plugin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tensortap.decode.base import Candidates, PoseDecoder, above, corners, sigmoid, single_precision
from tensortap.errors import DecodeError
from tensortap.types import TensorFrame

ANCHORS = {
    8: ((19, 27), (44, 40), (38, 94)),
    16: ((96, 68), (86, 152), (180, 137)),
    32: ((140, 301), (303, 264), (238, 542)),
    64: ((436, 615), (739, 380), (925, 792)),
}
"""Stride -> width and height of its three anchors, by cfg/yolov7-w6-pose.yaml of WongKinYiu/yolov7."""
_NUM_ANCHORS = 3

_Read = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]
"""Numbers of rows, the rows as float32 (M, 6 + 3K) with their score in place of the box confidence, their classes."""


class YoloV7PoseDecoder(PoseDecoder):
    """Turns the output of a YOLOv7-w6-pose export into people.

    A row is centre x, centre y, width, height, two scores, and K keypoints of x, y, score. It comes in three forms:

    - `rows`: `[A, 6 + 3K]`, in network pixels; the score is box confidence times class confidence. This is what
      `IKeypoint` of models/yolo.py, WongKinYiu/yolov7 (branch pose), gives in inference mode.
    - `grids`: for each stride `[3, h, w, 6 + 3K]` or `[3 * (6 + 3K), h, w]`, before any sigmoid, as the same class gives them
      with `export`. With the logistic function s, cell g, stride and anchor: centre (2 s(xy) - 0.5 + g) * stride, size
      (2 s(wh))^2 * anchor, keypoint (2 xy - 0.5 + g) * stride without s, all scores s. Rows are numbered stride by stride,
      the finest first, as in `rows`.
    - `plugin`: `[1 + M * (6 + 3K), 1, 1]`, the `YoloLayer_TRT` of nanmi/yolov7-pose (yololayer.h, yololayer.cu): how many it
      found, which may be more than fit, then rows whose two scores are the product of both confidences and the class.

    Args:
        form: which of the three.
        outputs: names of the tensors: one, or one a grid; `None` takes all of the frame.
        **common: settings of `PoseDecoder`; d is always 3.
    """

    name = "yolov7-pose"

    def __init__(
        self, *, form: Literal["rows", "grids", "plugin"] = "rows", outputs: Sequence[str] | None = None, **common: Any
    ) -> None:
        super().__init__(**common)
        if self.keypoint_dims != 3:
            raise ValueError(f"keypoint_dims must be 3, got {self.keypoint_dims}")
        self.form = form
        self.outputs = outputs
        self.num_values = 6 + 3 * self.num_keypoints
        self.zeros_are_nobody = form == "plugin"

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """Only box confidences are read in full, then the rows of the candidates.

        Raises:
            DecodeError: a tensor is missing, or has another shape than the form says.
        """
        read = {"rows": self._from_rows, "grids": self._from_grids, "plugin": self._from_plugin}[self.form]
        rows, picked, class_ids = read(frame, threshold)
        if not len(rows):
            return None
        return Candidates(rows, corners(picked[:, :4].T), picked[:, 4], class_ids, lambda places: picked[places, 6:])

    def _from_rows(self, frame: TensorFrame, threshold: float) -> _Read:
        name, tensor = self.tensor(frame, self.outputs[0] if self.outputs else None)
        if tensor.ndim != 2 or tensor.shape[1] != self.num_values:
            raise self._misshapen(name, tensor, f"(anchors, {self.num_values})")
        # The product is above the threshold only where its first factor is.
        rows = above(tensor[:, 4], threshold)
        return _with_product(rows, tensor[rows].astype(np.float32, copy=False), threshold)

    def _from_plugin(self, frame: TensorFrame, threshold: float) -> _Read:
        name, tensor = self.tensor(frame, self.outputs[0] if self.outputs else None)
        capacity = (tensor.size - 1) // self.num_values
        if capacity < 1 or tensor.size != 1 + capacity * self.num_values:
            raise self._misshapen(name, tensor, f"1 + M x {self.num_values} values")
        values = tensor.reshape(-1)
        told = float(values[0])
        if not 0 <= told < math.inf:
            self._report(frame, "a count of people that is no number", 1)
            told = 0
        # Beyond the count lies what earlier frames left there.
        count = min(int(told), capacity)
        listed = values[1 : 1 + count * self.num_values].reshape(count, self.num_values)
        rows = above(listed[:, 4], threshold)
        picked = single_precision(listed[rows])
        return rows, picked, picked[:, 5].astype(np.int64)

    def _from_grids(self, frame: TensorFrame, threshold: float) -> _Read:
        grids = [self._grid(frame, name) for name in (self.outputs or tuple(frame.tensors))]
        least = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else (threshold - 0.5) * math.inf
        rows, picked, start = [np.empty(0, np.intp)], [np.empty((0, self.num_values), np.float32)], 0
        for stride, grid in sorted(grids, key=lambda each: each[0]):
            # The logit of the box confidence, so that only few are turned into probabilities.
            anchor, line, column = (~(grid[..., 4] <= least)).nonzero()
            rows.append(start + np.ravel_multi_index((anchor, line, column), grid.shape[:3]))
            picked.append(_decoded(grid[anchor, line, column], np.array(ANCHORS[stride])[anchor], line, column, stride))
            start += grid.size // self.num_values
        return _with_product(np.concatenate(rows), np.concatenate(picked), threshold)

    def _grid(self, frame: TensorFrame, name: str) -> tuple[int, np.ndarray]:
        """Stride and (3, h, w, 6 + 3K) of one grid."""
        name, tensor = self.tensor(frame, name)
        values = self.num_values
        if tensor.ndim == 3 and tensor.shape[0] == _NUM_ANCHORS * values:
            grid = tensor.reshape(_NUM_ANCHORS, values, *tensor.shape[1:]).transpose(0, 2, 3, 1)
        elif tensor.ndim == 4 and tensor.shape[0] == _NUM_ANCHORS and tensor.shape[3] == values:
            grid = tensor
        else:
            raise self._misshapen(name, tensor, f"(3, h, w, {values}) or ({_NUM_ANCHORS * values}, h, w)")
        network_wh = frame.letterbox.network_wh
        height, width = grid.shape[1:3]
        stride = network_wh[0] // width if width else 0
        if stride not in ANCHORS or (width * stride, height * stride) != network_wh:
            raise DecodeError(
                f"Model output {name!r} is {tensor.shape}: a grid of {width} x {height} has none of the strides "
                f"{', '.join(map(str, ANCHORS))} in an input of {network_wh[0]} x {network_wh[1]}."
            )
        return stride, grid

    def _misshapen(self, name: str, tensor: np.ndarray, expected: str) -> DecodeError:
        return DecodeError(
            f"Model output {name!r} is {tensor.shape}; yolov7-pose with {self.num_keypoints} keypoints expects {expected}."
        )


def _with_product(rows: np.ndarray, picked: np.ndarray, threshold: float) -> _Read:
    """The rows whose product of both confidences is above the threshold; it takes the place of the first."""
    picked[:, 4] *= picked[:, 5]
    good = above(picked[:, 4], threshold)
    return rows[good], picked[good], None


def _decoded(raw: np.ndarray, anchors: np.ndarray, line: np.ndarray, column: np.ndarray, stride: int) -> np.ndarray:
    """float32 (M, 6 + 3K) in network pixels of raw rows, with anchors (M, 2) and cells (M,)."""
    raw = raw.astype(np.float64)  # few rows, and the square makes rounding worse
    cell = np.stack((column, line), axis=1)
    rows = np.empty_like(raw)
    rows[:, :6] = sigmoid(raw[:, :6])
    rows[:, :2] = (rows[:, :2] * 2 - 0.5 + cell) * stride
    rows[:, 2:4] = (rows[:, 2:4] * 2) ** 2 * anchors
    rows[:, 6::3] = (raw[:, 6::3] * 2 - 0.5 + cell[:, :1]) * stride
    rows[:, 7::3] = (raw[:, 7::3] * 2 - 0.5 + cell[:, 1:]) * stride
    rows[:, 8::3] = sigmoid(raw[:, 8::3])
    return rows.astype(np.float32)
