"""YOLOv7-w6-pose in its three forms: decoded rows, raw grids, and the flat output of a TensorRT plugin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tensortap.decode.base import PoseDecoder, above, corners, sigmoid, single_precision
from tensortap.errors import DecodeError
from tensortap.types import Poses, TensorFrame

ANCHORS = {
    8: ((19, 27), (44, 40), (38, 94)),
    16: ((96, 68), (86, 152), (180, 137)),
    32: ((140, 301), (303, 264), (238, 542)),
    64: ((436, 615), (739, 380), (925, 792)),
}
"""Stride -> width and height of its three anchors, by cfg/yolov7-w6-pose.yaml of WongKinYiu/yolov7."""


class YoloV7PoseDecoder(PoseDecoder):
    """Turns the output of a YOLOv7-w6-pose export into people.

    A row is centre x, centre y, width, height, two scores, and K keypoints of x, y, score. It comes in three forms:

    - `rows`: `[A, 6 + 3K]`, in network pixels; the score is box confidence times class confidence. This is what
      `IKeypoint` of models/yolo.py, WongKinYiu/yolov7 (branch pose), gives in inference mode.
    - `grids`: for each stride `[3, h, w, 6 + 3K]` or `[3 * (6 + 3K), h, w]`, before any sigmoid, as the same class gives them
      with `export`. With the logistic function s, cell g, stride and anchor: centre (2 s(xy) - 0.5 + g) * stride, size
      (2 s(wh))^2 * anchor, keypoint (2 xy - 0.5 + g) * stride without s, all scores s.
    - `plugin`: `[1 + M * (6 + 3K), 1, 1]`, the `YoloLayer_TRT` of nanmi/yolov7-pose: how many it found, which may be more
      than fit, then rows whose two scores are the product of both confidences and the class.

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

    def __call__(self, frame: TensorFrame) -> Poses:
        """The people in one frame, best first. The tensors are only read.

        Raises:
            DecodeError: a tensor is missing, or has another shape than the form says.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            if self.form == "grids":
                picked, scores, class_ids = self._from_grids(frame)
            elif self.form == "plugin":
                picked, scores, class_ids = self._from_plugin(frame)
            else:
                picked, scores, class_ids = self._from_rows(frame)
            if not len(scores):
                return self._nobody
            return self.people(frame, corners(picked[:, :4].T), scores, class_ids, lambda kept: picked[kept, 6:])

    def _from_rows(self, frame: TensorFrame) -> tuple[np.ndarray, np.ndarray, None]:
        name, rows = self.tensor(frame, self.outputs[0] if self.outputs else None)
        if rows.ndim != 2 or rows.shape[1] != self.num_values:
            raise self._misshapen(name, rows, f"(anchors, {self.num_values})")
        # The product is above the threshold only where its first factor is.
        return self._product(rows[above(rows[:, 4], self.conf_thres)])

    def _product(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, None]:
        picked = single_precision(rows)
        scores = picked[:, 4] * picked[:, 5]
        good = above(scores, self.conf_thres)
        return picked[good], scores[good], None

    def _from_plugin(self, frame: TensorFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        name, tensor = self.tensor(frame, self.outputs[0] if self.outputs else None)
        capacity = (tensor.size - 1) // self.num_values
        if capacity < 1 or tensor.size != 1 + capacity * self.num_values:
            raise self._misshapen(name, tensor, f"1 + M x {self.num_values} values")
        values = tensor.reshape(-1)
        told = float(values[0])
        if not 0 <= told < math.inf:
            self._reject(1, "counts that are no numbers")
            told = 0
        # Beyond the count lies what earlier frames left there.
        count = min(int(told), capacity)
        rows = values[1 : 1 + count * self.num_values].reshape(count, self.num_values)
        picked = single_precision(rows[above(rows[:, 4], self.conf_thres)])
        return picked, picked[:, 4], picked[:, 5].astype(np.int64)

    def _from_grids(self, frame: TensorFrame) -> tuple[np.ndarray, np.ndarray, None]:
        names = self.outputs if self.outputs is not None else tuple(frame.tensors)
        least = math.log(self.conf_thres / (1 - self.conf_thres)) if 0 < self.conf_thres < 1 else math.inf
        found = [self._from_grid(frame, name, least if self.conf_thres else -math.inf) for name in names]
        return self._product(np.concatenate(found) if found else np.empty((0, self.num_values), np.float32))

    def _from_grid(self, frame: TensorFrame, name: str, least: float) -> np.ndarray:
        """float32 (M, 6 + 3K): the rows of one grid whose box confidence is above `least`, a logit."""
        name, tensor = self.tensor(frame, name)
        values, num_anchors = self.num_values, 3
        if tensor.ndim == 3 and tensor.shape[0] == num_anchors * values:
            grid = tensor.reshape(num_anchors, values, *tensor.shape[1:]).transpose(0, 2, 3, 1)
        elif tensor.ndim == 4 and tensor.shape[0] == num_anchors and tensor.shape[3] == values:
            grid = tensor
        else:
            raise self._misshapen(name, tensor, f"(3, h, w, {values}) or ({num_anchors * values}, h, w)")
        network_wh = frame.letterbox.network_wh
        height, width = grid.shape[1:3]
        stride = network_wh[0] // width if width else 0
        if stride not in ANCHORS or (width * stride, height * stride) != network_wh:
            raise DecodeError(
                f"Model output {name!r} is {tensor.shape}: a grid of {width} x {height} has none of the strides "
                f"{', '.join(map(str, ANCHORS))} in an input of {network_wh[0]} x {network_wh[1]}."
            )
        anchor, row, column = (~(grid[..., 4] <= least)).nonzero()
        raw = single_precision(grid[anchor, row, column])
        cell = np.stack((column, row), axis=1).astype(np.float32)
        rows = np.empty_like(raw)
        rows[:, :6] = sigmoid(raw[:, :6])
        rows[:, :2] = (rows[:, :2] * 2 - 0.5 + cell) * stride
        rows[:, 2:4] = (rows[:, 2:4] * 2) ** 2 * np.array(ANCHORS[stride], np.float32)[anchor]
        rows[:, 6::3] = (raw[:, 6::3] * 2 - 0.5 + cell[:, :1]) * stride
        rows[:, 7::3] = (raw[:, 7::3] * 2 - 0.5 + cell[:, 1:]) * stride
        rows[:, 8::3] = sigmoid(raw[:, 8::3])
        return rows

    def _misshapen(self, name: str, tensor: np.ndarray, expected: str) -> DecodeError:
        return DecodeError(
            f"Model output {name!r} is {tensor.shape}; yolov7-pose with {self.num_keypoints} keypoints expects {expected}."
        )
