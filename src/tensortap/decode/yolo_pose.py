"""YOLOv8-pose and YOLO11-pose: one tensor `[4 + nc + K*d, A]` of box centre, class scores and keypoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tensortap.batches import BatchTensors
from tensortap.decode.base import Candidates, PoseDecoder, above, corners, reach_of, single_precision
from tensortap.decode.batch import BatchPeople, Head, people_of_batch, people_of_shortlist, people_on_host
from tensortap.errors import DecodeError
from tensortap.geometry import Letterbox
from tensortap.types import Poses, TensorFrame


class _Decoded(NamedTuple):
    """A batch's people."""

    people: BatchPeople
    points: np.ndarray
    """float32 (N, 2 + K, 3): corners and keypoints in the source, for frames of this letterbox."""
    letterbox: Letterbox
    """The first frame's."""


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
        self.num_values = 4 + num_classes + self.num_keypoints * self.keypoint_dims

    def __call__(self, frame: TensorFrame) -> Poses:
        """The people in one frame, best first, in pixels of the source. All frames of a batch are decoded with its first one,
        on the device where the tensors are on one.

        Raises:
            DecodeError: the tensor is missing or does not have `4 + nc + K*d` rows.
        """
        if isinstance(frame.tensors, BatchTensors):
            found, slot = self._of_batch(frame, frame.tensors), frame.tensors.slot
            if found is not None and not found.people.for_host[slot]:
                people, mine = found.people, slice(found.people.starts[slot], found.people.starts[slot + 1])
                points = found.points[mine].copy()
                if frame.letterbox is not found.letterbox:  # streams of another size in one batch
                    points = self._joined(people.boxes_xyxy[mine], people.keypoints[mine])
                    self._place(frame.letterbox, points)
                return self._poses(points, people.scores[mine], people.class_ids[mine])
        return super().__call__(frame)

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """Only the scores are read in full, boxes of the candidates only, keypoints of the people who stay only.

        Raises:
            DecodeError: the tensor is missing or does not have `4 + nc + K*d` rows.
        """
        name, tensor = self.tensor(frame, self.output)
        values = tensor.T if self.transposed else tensor
        self._check(name, tensor.shape)
        classes = values[4 : 4 + self.num_classes]
        scores = classes[0] if self.num_classes == 1 else classes.max(axis=0)
        rows = above(scores, threshold)
        if not len(rows):
            return None
        keypoints = values[4 + self.num_classes :]
        return Candidates(
            rows,
            corners(_columns(values[:4], rows)),
            single_precision(scores[rows]),
            None if self.num_classes == 1 else classes[:, rows].argmax(axis=0),
            lambda places: single_precision(_columns(keypoints, rows[places]).T),
        )

    def _of_batch(self, frame: TensorFrame, tensors: BatchTensors) -> _Decoded | None:
        """The people of the frame's batch, decoded once; `None` where one frame after the other is better."""
        notes = tensors.batch.notes
        if self not in notes:
            name = self.output_of(frame, self.output)
            array = tensors.batch.arrays[name]
            self._check(name, tuple(array.shape[1:]))
            notes[self] = None
            picked = tensors.batch.shortlisted.get(name)
            on_host = isinstance(array, np.ndarray)
            if picked is None and on_host and (len(array) < 2 or not array.flags.c_contiguous):
                return None
            head = Head(
                num_classes=self.num_classes,
                num_values=self.num_values,
                conf_thres=self.conf_thres,
                iou_thres=self.iou_thres,
                max_det=self.max_det,
                reach=reach_of(frame.letterbox.network_wh),
                transposed=self.transposed,
            )
            with np.errstate(invalid="ignore", over="ignore"):
                if picked is not None:
                    people = people_of_shortlist(picked, array.shape[1 if self.transposed else 2], head)
                elif on_host:
                    people = people_on_host(array, head)
                else:
                    with tensors.batch.computing():
                        people = people_of_batch(array, head)
            points = self._joined(people.boxes_xyxy, people.keypoints)
            self._place(frame.letterbox, points)
            notes[self] = _Decoded(people, points, frame.letterbox)
        found: _Decoded | None = notes[self]
        return found

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or shape[1 if self.transposed else 0] != self.num_values:
            raise DecodeError(
                f"Model output {name!r} is {shape}; yolo-pose with {self.num_classes} classes and "
                f"{self.num_keypoints} keypoints of {self.keypoint_dims} values expects {self.num_values} rows."
            )


def _columns(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Some columns: `take` is the faster way, and copies everything where the values do not lie one after the other."""
    return values.take(columns, axis=1) if values.flags.c_contiguous else values[:, columns]
