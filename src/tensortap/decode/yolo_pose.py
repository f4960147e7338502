"""YOLOv8-pose and YOLO11-pose: one tensor `[4 + nc + K*d, A]` of box centre, class scores and keypoints."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensortap.decode.base import PoseDecoder, above, corners, single_precision
from tensortap.errors import DecodeError
from tensortap.types import Poses, TensorFrame


class YoloPoseDecoder(PoseDecoder):
    """Turns the output of an Ultralytics v8 or 11 pose export into people.

    Each of the A columns is one anchor: centre x, centre y, width and height of the box in network pixels, `num_classes`
    scores in 0..1 and K keypoints of x, y (network pixels) and, where `keypoint_dims` is 3, a score in 0..1. This is the
    `Pose` head of ultralytics/nn/modules/head.py in export mode.

    Args:
        num_classes: nc.
        output: name of the tensor; `None` takes the frame's only one.
        transposed: the tensor is `[A, 4 + nc + K*d]`.
        **common: settings of `PoseDecoder`.
    """

    name = "yolo-pose"

    def __init__(self, *, num_classes: int = 1, output: str | None = None, transposed: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.num_classes = num_classes
        self.output = output
        self.transposed = transposed
        self.num_rows = 4 + num_classes + self.num_keypoints * self.keypoint_dims

    def __call__(self, frame: TensorFrame) -> Poses:
        """The people in one frame, best first. The tensors are only read.

        Raises:
            DecodeError: the tensor is missing or does not have `4 + nc + K*d` rows.
        """
        rows = self._rows(frame)
        # Only the score rows are read in full, boxes of the candidates only, keypoints of the people who stay only.
        class_rows = rows[4 : 4 + self.num_classes]
        best_scores = class_rows[0] if self.num_classes == 1 else class_rows.max(axis=0)
        candidates = above(best_scores, self.conf_thres)
        if not len(candidates):
            return self._nobody
        keypoint_rows = rows[4 + self.num_classes :]
        return self.people(
            frame,
            corners(_columns(rows[:4], candidates)),
            single_precision(best_scores[candidates]),
            None if self.num_classes == 1 else class_rows[:, candidates].argmax(axis=0),
            lambda kept: _columns(keypoint_rows, candidates[kept]).T,
        )

    def _rows(self, frame: TensorFrame) -> np.ndarray:
        """The tensor as `(4 + nc + K*d, A)`."""
        name, tensor = self.tensor(frame, self.output)
        rows = tensor.T if self.transposed else tensor
        if rows.ndim != 2 or rows.shape[0] != self.num_rows:
            raise DecodeError(
                f"Model output {name!r} is {tensor.shape}; yolo-pose with {self.num_classes} classes and "
                f"{self.num_keypoints} keypoints of {self.keypoint_dims} values expects {self.num_rows} rows."
            )
        return rows


def _columns(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Some columns: `take` is the faster way, and copies everything where the rows do not lie one after the other."""
    return rows.take(columns, axis=1) if rows.flags.c_contiguous else rows[:, columns]
