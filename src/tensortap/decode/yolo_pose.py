"""YOLOv8-pose and YOLO11-pose: one tensor `[4 + nc + K*d, A]` of box centre, class scores and keypoints."""

from __future__ import annotations

import numpy as np

from tensortap.decode.nms import nms
from tensortap.errors import DecodeError
from tensortap.skeletons import Skeleton, skeleton_for
from tensortap.types import Poses, TensorFrame


class YoloPoseDecoder:
    """Turns the output of an Ultralytics v8 or 11 pose export into people.

    Each of the A columns is one anchor: centre x, centre y, width and height of the box in network pixels, `num_classes`
    scores in 0..1 and K keypoints of x, y (network pixels) and, where `keypoint_dims` is 3, a score in 0..1. This is the
    `Pose` head of ultralytics/nn/modules/head.py in export mode.

    Args:
        num_keypoints: K.
        keypoint_dims: d: 3 with a score, 2 without one (the score is then 1).
        num_classes: nc.
        output: name of the tensor; `None` takes the frame's only one.
        transposed: the tensor is `[A, 4 + nc + K*d]`.
        conf_thres: people with a score above it are candidates.
        iou_thres: of candidates of one class that overlap by more, the best stays.
        max_det: at most so many people in a frame.
        skeleton: names and limbs; by default COCO-17 for K = 17, unnamed points otherwise.
    """

    def __init__(
        self,
        *,
        num_keypoints: int = 17,
        keypoint_dims: int = 3,
        num_classes: int = 1,
        output: str | None = None,
        transposed: bool = False,
        conf_thres: float = 0.25,
        iou_thres: float = 0.45,
        max_det: int = 300,
        skeleton: Skeleton | None = None,
    ) -> None:
        self.num_keypoints = num_keypoints
        self.keypoint_dims = keypoint_dims
        self.num_classes = num_classes
        self.output = output
        self.transposed = transposed
        self.conf_thres = conf_thres
        self.iou_thres = iou_thres
        self.max_det = max_det
        self.skeleton = skeleton or skeleton_for(num_keypoints)
        self.num_rows = 4 + num_classes + num_keypoints * keypoint_dims
        self._nobody = Poses.empty(self.skeleton)

    def __call__(self, frame: TensorFrame) -> Poses:
        """The people in one frame, best first. The tensors are only read.

        Raises:
            DecodeError: the tensor is missing or does not have `4 + nc + K*d` rows.
        """
        rows = self._rows(frame)
        # Only the score rows are read in full, boxes of the candidates only, keypoints of the people who stay only.
        class_rows = rows[4 : 4 + self.num_classes]
        best_scores = class_rows[0] if self.num_classes == 1 else class_rows.max(axis=0)
        candidates = (best_scores > self.conf_thres).nonzero()[0]
        if not len(candidates):
            return self._nobody
        scores = best_scores[candidates].astype(np.float32, copy=False)
        class_ids = None if self.num_classes == 1 else class_rows[:, candidates].argmax(axis=0)
        boxes_xyxy = _corners(rows[:4, candidates])
        kept = nms(boxes_xyxy, scores, self.iou_thres, class_ids=class_ids, max_det=self.max_det)

        num_people = len(kept)
        keypoint_rows = rows[4 + self.num_classes :, candidates[kept]]
        # Both corners of the box and the keypoints go back to the source in one step.
        points = np.ones((num_people, 2 + self.num_keypoints, 3), np.float32)
        points[:, :2, :2] = boxes_xyxy[kept].reshape(num_people, 2, 2)
        points[:, 2:, : self.keypoint_dims] = keypoint_rows.T.reshape(num_people, self.num_keypoints, self.keypoint_dims)
        points = frame.letterbox.points_to_source(points)
        return Poses(
            boxes_xyxy=points[:, :2, :2].reshape(num_people, 4),
            scores=scores[kept],
            class_ids=np.zeros(num_people, np.int64) if class_ids is None else class_ids[kept],
            keypoints=points[:, 2:],
            skeleton=self.skeleton,
        )

    def _rows(self, frame: TensorFrame) -> np.ndarray:
        """The tensor as `(4 + nc + K*d, A)`."""
        tensors = frame.tensors
        name = self.output
        if name is None and len(tensors) == 1:
            name = next(iter(tensors))
        if name is None or name not in tensors:
            wanted = "one output" if self.output is None else f"the output {self.output!r}"
            raise DecodeError(f"yolo-pose decodes {wanted}; this frame has {', '.join(map(repr, tensors)) or 'none'}.")
        rows = tensors[name]
        if self.transposed:
            rows = rows.T
        if rows.ndim != 2 or rows.shape[0] != self.num_rows:
            raise DecodeError(
                f"Model output {name!r} is {tensors[name].shape}; yolo-pose with {self.num_classes} classes and "
                f"{self.num_keypoints} keypoints of {self.keypoint_dims} values expects {self.num_rows} rows."
            )
        return rows


def _corners(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """float (4, N) rows of centre x, centre y, width, height -> float32 (N, 4) xyxy."""
    boxes_cxcywh = boxes_cxcywh.astype(np.float32, copy=False)  # half precision would be worked out in half precision
    corners = np.empty((boxes_cxcywh.shape[1], 4), np.float32)
    half_size = (boxes_cxcywh[2:] * 0.5).T
    centre = boxes_cxcywh[:2].T
    np.subtract(centre, half_size, out=corners[:, :2])
    np.add(centre, half_size, out=corners[:, 2:])
    return corners
