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
        if self.form == "grids":
            return self._from_grids(frame, threshold)
        name, tensor = self.tensor(frame, self.outputs[0] if self.outputs else None)
        listed = self._listed(frame, name, tensor) if self.form == "plugin" else tensor
        if listed.ndim != 2 or listed.shape[1] != self.num_values:
            raise self._misshapen(name, tensor, f"(anchors, {self.num_values})")
        # A product is above the threshold only where its first factor is.
        rows = above(listed[:, 4], threshold)
        if not len(rows):
            return None
        picked = single_precision(listed[rows])
        scores, class_ids = picked[:, 4], None
        if self.form == "plugin":
            class_ids = picked[:, 5].astype(np.int64)
        else:
            scores = scores * picked[:, 5]
        found = Candidates(rows, corners(picked[:, :4].T), scores, class_ids, lambda places: picked[places, 6:])
        return found if self.form == "plugin" else _above(found, threshold)

    def _listed(self, frame: TensorFrame, name: str, tensor: np.ndarray) -> np.ndarray:
        """(count, 6 + 3K) of the plugin's flat output: beyond the count lies what earlier frames left there."""
        capacity = (tensor.size - 1) // self.num_values
        if capacity < 1 or tensor.size != 1 + capacity * self.num_values:
            raise self._misshapen(name, tensor, f"1 + M x {self.num_values} values")
        values = tensor.reshape(-1)
        told = float(values[0])
        if not 0 <= told < math.inf:
            self._report(frame, "a count of people that is no number", 1)
            told = 0
        count = min(int(told), capacity)
        return values[1 : 1 + count * self.num_values].reshape(count, self.num_values)

    def _from_grids(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        grids = [self._grid(frame, name) for name in (self.outputs or tuple(frame.tensors))]
        # The logit of the box confidence, so that only few are turned into probabilities.
        least = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else (threshold - 0.5) * math.inf
        rows, raw, places, anchors, strides, start = [], [], [], [], [], 0
        for stride, grid in sorted(grids, key=lambda each: each[0]):
            found = above(grid[..., 4].reshape(-1), least)
            if len(found):
                anchor, line, column = np.unravel_index(found, grid.shape[:3])
                rows.append(start + found)
                raw.append(single_precision(grid[anchor, line, column]))
                places.append(np.stack((column, line), axis=1))
                anchors.append(np.array(ANCHORS[stride])[anchor])
                strides.append(np.full((len(found), 1), stride))
            start += grid.size // self.num_values
        if not rows:
            return None
        picked, cells, all_strides = np.concatenate(raw), np.concatenate(places), np.concatenate(strides)
        # Boxes in float64: the square makes rounding worse.
        likely = sigmoid(picked[:, :6].astype(np.float64))
        centers = (likely[:, :2] * 2 - 0.5 + cells) * all_strides
        sizes = (likely[:, 2:4] * 2) ** 2 * np.concatenate(anchors)

        def keypoints(kept: np.ndarray) -> np.ndarray:
            points = picked[kept, 6:].reshape(len(kept), self.num_keypoints, 3).astype(np.float64)
            points[..., :2] = (points[..., :2] * 2 - 0.5 + cells[kept, None]) * all_strides[kept, None]
            points[..., 2] = sigmoid(points[..., 2])
            return points.astype(np.float32)

        boxes = corners(np.concatenate((centers, sizes), axis=1).T)
        scores = single_precision(likely[:, 4] * likely[:, 5])
        return _above(Candidates(np.concatenate(rows), boxes, scores, None, keypoints), threshold)

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


def _above(found: Candidates, threshold: float) -> Candidates | None:
    """Those whose score, the product of two that are above the threshold, is above it too."""
    good = above(found.scores, threshold)
    if len(good) == len(found.rows):
        return found
    return found.take(good) if len(good) else None
