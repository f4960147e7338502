"""End-to-end heads, YOLO26-pose among them: rows that are people already, `[N, 6 + K*d]`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensortap.decode.base import PoseDecoder, above, single_precision
from tensortap.errors import DecodeError
from tensortap.types import Poses, TensorFrame


class End2EndDecoder(PoseDecoder):
    """Turns the output of an NMS-free pose export into people.

    Each of the N rows is one person: left, top, right, bottom of the box in network pixels, score in 0..1, class, and K
    keypoints of x, y (network pixels) and, where `keypoint_dims` is 3, a score. This is `Pose26` and `Detect.postprocess`
    of ultralytics/nn/modules/head.py, which keep the N best rows of the one-to-one branch. No NMS is needed or done.

    Args:
        output: name of the tensor; `None` takes the frame's only one.
        transposed: the tensor is `[6 + K*d, N]`.
        **common: settings of `PoseDecoder`; `iou_thres` means nothing here.
    """

    name = "end2end"

    def __init__(self, *, output: str | None = None, transposed: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.output = output
        self.transposed = transposed
        self.num_values = 6 + self.num_keypoints * self.keypoint_dims

    def __call__(self, frame: TensorFrame) -> Poses:
        """The people in one frame, best first. The tensors are only read.

        Raises:
            DecodeError: the tensor is missing or does not have `6 + K*d` values in a row.
        """
        name, tensor = self.tensor(frame, self.output)
        rows = tensor.T if self.transposed else tensor
        if rows.ndim != 2 or rows.shape[1] != self.num_values:
            raise DecodeError(
                f"Model output {name!r} is {tensor.shape}; end2end with {self.num_keypoints} keypoints of "
                f"{self.keypoint_dims} values expects rows of {self.num_values}."
            )
        candidates = above(rows[:, 4], self.conf_thres)
        if not len(candidates):
            return self._nobody
        with np.errstate(invalid="ignore", over="ignore"):
            picked = single_precision(rows[candidates])
            return self.people(
                frame,
                picked[:, :4],
                picked[:, 4],
                picked[:, 5].astype(np.int64),
                lambda kept: picked[kept, 6:],
                suppress=False,
            )
