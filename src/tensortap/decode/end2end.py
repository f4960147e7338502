"""End-to-end heads, YOLO26-pose among them: rows that are people already, `[N, 6 + K*d]`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensortap.decode.base import Candidates, PoseDecoder, above, single_precision
from tensortap.errors import DecodeError
from tensortap.types import TensorFrame


class End2EndDecoder(PoseDecoder):
    """Turns the output of an NMS-free pose export into people.

    Each of the N rows is one person: left, top, right, bottom of the box in network pixels, score in 0..1, class, and K
    keypoints of x, y (network pixels) and, where `keypoint_dims` is 3, a score. This is `Pose.postprocess` of
    ultralytics/nn/modules/head.py, which keeps the N best rows of the one-to-one branch; N is 300. No NMS is needed or done.

    Args:
        output: name of the tensor; `None` takes the frame's only one.
        **common: settings of `PoseDecoder`; `iou_thres` means nothing here.
    """

    name = "end2end"
    suppress = False

    def __init__(self, *, output: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.output = output
        self.num_values = 6 + self.num_keypoints * self.keypoint_dims

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """The rows with a score above the threshold.

        Raises:
            DecodeError: the tensor is missing or does not have `6 + K*d` values in a row.
        """
        name, tensor = self.tensor(frame, self.output)
        if tensor.ndim != 2 or tensor.shape[1] != self.num_values:
            raise DecodeError(
                f"Model output {name!r} is {tensor.shape}; end2end with {self.num_keypoints} keypoints of "
                f"{self.keypoint_dims} values expects rows of {self.num_values}."
            )
        rows = above(tensor[:, 4], threshold)
        if not len(rows):
            return None
        picked = single_precision(tensor[rows])
        return Candidates(rows, picked[:, :4], picked[:, 4], picked[:, 5].astype(np.int64), lambda places: picked[places, 6:])
