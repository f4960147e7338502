"""Exports of DeepStream-Yolo-Pose: rows of box corners, scores and keypoints, `[A, 4 + nc + 3K]`."""

from __future__ import annotations

from typing import Any

from tensortap.decode.base import Candidates, PoseDecoder, above, single_precision
from tensortap.errors import DecodeError
from tensortap.types import TensorFrame


class DeepStreamYoloPoseDecoder(PoseDecoder):
    """Turns the output of a model exported for DeepStream by marcoslucianops/DeepStream-Yolo-Pose into people.

    Each of the A rows is one anchor: left, top, right, bottom of the box in network pixels, `num_classes` scores in 0..1,
    and K keypoints of x, y (network pixels) and score. All four exporters of its utils/ write this: export_yoloV8_pose.py
    and export_yolo11_pose.py make Ultralytics' head give corners and turn the tensor round; export_yoloV7_pose.py turns
    centre and size into corners and multiplies class and box confidence; export_yolonas_pose.py joins boxes, scores and
    keypoints. Their parser (nvdsparsepose_Yolo.cpp) reads one class and 3 values a keypoint.

    Args:
        num_classes: nc.
        output: name of the tensor; `None` takes the frame's only one.
        **common: settings of `PoseDecoder`.
    """

    name = "deepstream-yolo-pose"

    def __init__(self, *, num_classes: int = 1, output: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.num_classes = num_classes
        self.output = output
        self.num_values = 4 + num_classes + self.num_keypoints * self.keypoint_dims

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """Only the scores are read in full, then the rows of the candidates.

        Raises:
            DecodeError: the tensor is missing or does not have `4 + nc + 3K` values in a row.
        """
        name, tensor = self.tensor(frame, self.output)
        if tensor.ndim != 2 or tensor.shape[1] != self.num_values:
            raise DecodeError(
                f"Model output {name!r} is {tensor.shape}; deepstream-yolo-pose with {self.num_classes} classes and "
                f"{self.num_keypoints} keypoints of {self.keypoint_dims} values expects rows of {self.num_values}."
            )
        classes = tensor[:, 4 : 4 + self.num_classes]
        rows = above(classes[:, 0] if self.num_classes == 1 else classes.max(axis=1), threshold)
        if not len(rows):
            return None
        picked = single_precision(tensor[rows])
        scores = picked[:, 4 : 4 + self.num_classes]
        return Candidates(
            rows,
            picked[:, :4],
            scores.max(axis=1),
            None if self.num_classes == 1 else scores.argmax(axis=1),
            lambda places: picked[places, 4 + self.num_classes :],
        )
