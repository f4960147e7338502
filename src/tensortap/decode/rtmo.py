"""RTMO and YOLOX-Pose: boxes with scores, and keypoints, after the NMS within the model."""

from __future__ import annotations

from typing import Any

from tensortap.decode.base import Candidates, PoseDecoder, above, single_precision
from tensortap.errors import DecodeError
from tensortap.types import TensorFrame


class RtmoDecoder(PoseDecoder):
    """Turns the outputs of an RTMO export of mmdeploy into people.

    `dets` is `[N, 5]`: left, top, right, bottom in network pixels and a score in 0..1; `keypoints` is `[N, K, 3]`: x, y in
    network pixels and a score. This is `mmdeploy/codebase/mmpose/models/heads/rtmo_head.py` of open-mmlab/mmdeploy, with the
    names of its configs/mmpose/pose-detection_rtmo_onnxruntime_dynamic.py. NMS has been done at the model's own threshold.

    Args:
        dets: name of the output with boxes and scores.
        keypoints: name of the output with keypoints.
        **common: settings of `PoseDecoder`; `iou_thres` means nothing here.
    """

    name = "rtmo"
    suppress = False
    zeros_are_nobody = True  # TensorRT's export pads with zeros

    def __init__(self, *, dets: str = "dets", keypoints: str = "keypoints", **common: Any) -> None:
        super().__init__(**common)
        self.dets = dets
        self.keypoints = keypoints

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """The rows with a score above the threshold.

        Raises:
            DecodeError: a tensor is missing or has another shape.
        """
        _, dets = self.tensor(frame, self.dets)
        _, keypoints = self.tensor(frame, self.keypoints)
        expected = (self.num_keypoints, self.keypoint_dims)
        if dets.ndim != 2 or dets.shape[1] != 5 or keypoints.shape != (len(dets), *expected):
            raise DecodeError(
                f"Model outputs {self.dets!r} and {self.keypoints!r} are {dets.shape} and {keypoints.shape}; rtmo expects "
                f"(people, 5) and (people, {expected[0]}, {expected[1]})."
            )
        rows = above(dets[:, 4], threshold)
        if not len(rows):
            return None
        picked = single_precision(dets[rows])
        return Candidates(rows, picked[:, :4], picked[:, 4], None, lambda places: single_precision(keypoints[rows[places]]))
