"""YOLO-NAS-Pose: boxes, scores and keypoints in tensors of their own, before or after NMS, or in rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensortap.decode.base import Candidates, PoseDecoder, above, single_precision
from tensortap.errors import DecodeError
from tensortap.types import TensorFrame


class YoloNasPoseDecoder(PoseDecoder):
    """Turns the outputs of a super-gradients YOLO-NAS-Pose export into people. Boxes are corners in network pixels.

    documentation/source/models_export_pose.md of Deci-AI/super-gradients describes three forms:

    - After NMS, the "batch format" (`count` is named): number of people `[1]`, boxes `[N, 4]`, scores `[N]`, keypoints
      `[N, K, 3]`. Rows beyond the number are what NMS took away.
    - After NMS, the "flat format" (`flat` is named): rows `[N, 6 + 3K]` of image in the batch, box, score, keypoints, without
      a batch axis; so it takes a batch of one.
    - Before NMS, exported without postprocessing: boxes `[A, 4]`, scores `[A, 1]`, keypoint coordinates `[A, K, 2]` and
      keypoint scores `[A, K]`; or coordinates and scores together, `[A, K, 3]`.

    Args:
        boxes: name of the output with boxes.
        scores: name of the output with scores.
        keypoints: name of the output with coordinates, `[N, K, 2 or 3]`.
        keypoint_scores: name of the output with the keypoints' scores, where they have one of their own.
        count: name of the output with the number of people; `None` before NMS.
        flat: name of the only output, in the flat format.
        **common: settings of `PoseDecoder`; `iou_thres` means nothing after NMS.
    """

    name = "yolo-nas-pose"

    def __init__(
        self,
        *,
        boxes: str = "",
        scores: str = "",
        keypoints: str = "",
        keypoint_scores: str | None = None,
        count: str | None = None,
        flat: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if self.keypoint_dims != 3:
            raise ValueError(f"keypoint_dims must be 3, got {self.keypoint_dims}")
        self.boxes = boxes
        self.scores = scores
        self.keypoints = keypoints
        self.keypoint_scores = keypoint_scores
        self.count = count
        self.flat = flat
        self.suppress = count is None and flat is None
        self.zeros_are_nobody = not self.suppress

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """The rows with a score above the threshold.

        Raises:
            DecodeError: a tensor is missing or has another shape.
        """
        if self.flat is not None:
            return self._from_flat(frame, threshold)
        boxes, scores, keypoints, keypoint_scores = self._tensors(frame)
        if self.count is not None:
            scores = scores[: self._number(frame, len(scores))]
        rows = above(scores, threshold)
        if not len(rows):
            return None

        def gather(places: np.ndarray) -> np.ndarray:
            points = single_precision(keypoints[rows[places]])
            if keypoint_scores is None:
                return points
            return np.concatenate((points, single_precision(keypoint_scores[rows[places], :, None])), axis=2)

        return Candidates(rows, single_precision(boxes[rows]), single_precision(scores[rows]), None, gather)

    def _from_flat(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        name, tensor = self.tensor(frame, self.flat)
        if tensor.ndim != 2 or tensor.shape[1] != 6 + 3 * self.num_keypoints:
            raise DecodeError(
                f"Model output {name!r} is {tensor.shape}; yolo-nas-pose in its flat format with {self.num_keypoints} "
                f"keypoints expects rows of {6 + 3 * self.num_keypoints}."
            )
        rows = above(tensor[:, 5], threshold)
        if not len(rows):
            return None
        picked = single_precision(tensor[rows])
        return Candidates(rows, picked[:, 1:5], picked[:, 5], None, lambda places: picked[places, 6:])

    def _tensors(self, frame: TensorFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Boxes (N, 4), scores (N,), keypoints (N, K, 2 or 3) and their scores (N, K)."""
        _, boxes = self.tensor(frame, self.boxes)
        _, scores = self.tensor(frame, self.scores)
        _, keypoints = self.tensor(frame, self.keypoints)
        keypoint_scores = None if self.keypoint_scores is None else self.tensor(frame, self.keypoint_scores)[1]
        num, num_keypoints = len(boxes) if boxes.ndim else 0, self.num_keypoints
        if not (
            boxes.shape == (num, 4)
            and scores.shape in ((num,), (num, 1))
            and keypoints.shape == (num, num_keypoints, 3 if keypoint_scores is None else 2)
            and (keypoint_scores is None or keypoint_scores.shape == (num, num_keypoints))
        ):
            names = (self.boxes, self.scores, self.keypoints, self.keypoint_scores)
            found = ", ".join(f"{name!r} {frame.tensors[name].shape}" for name in names if name is not None)
            raise DecodeError(
                f"Model outputs are {found}; yolo-nas-pose with {num_keypoints} keypoints expects boxes (N, 4), scores (N,) "
                f"and keypoints (N, {num_keypoints}, 3), or (N, {num_keypoints}, 2) with scores (N, {num_keypoints})."
            )
        return boxes, scores.reshape(num), keypoints, keypoint_scores

    def _number(self, frame: TensorFrame, capacity: int) -> int:
        """How many rows are people: what the model says, as far as there are rows."""
        name, tensor = self.tensor(frame, self.count)
        if tensor.size != 1:
            raise DecodeError(f"Model output {name!r} is {tensor.shape}; yolo-nas-pose expects one number of people.")
        told = float(tensor.reshape(-1)[0])
        if not 0 <= told < math.inf:
            self._report(frame, "a count of people that is no number", 1)
            return 0
        return min(int(told), capacity)
