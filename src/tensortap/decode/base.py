"""What all decoders share: finding a tensor, and the way from candidates to people."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from tensortap.decode.nms import nms
from tensortap.errors import DecodeError
from tensortap.skeletons import Skeleton, skeleton_for
from tensortap.types import Poses, TensorFrame

_log = logging.getLogger(__name__)

_MAX_REACH = 100
"""Boxes that reach further than so many network inputs are no boxes."""
_MAX_SCORE = 1.1
"""Scores above it are no probabilities; half precision rounds to a little more than 1."""
_MAX_CLASS = 1_000_000
_MAX_COORDINATE = 1e9
"""Keypoints further away are no keypoints: float32 has no decimals left long before."""

_TO_CORNERS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
_TO_SIZES = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]], np.float32)
"""Products with these are exact, cost a third of the additions, and say nothing of infinities, which are looked for later."""

Gather = Callable[[np.ndarray], np.ndarray]
"""Rows of the candidates -> their keypoints, (n, K*d) or (n, K, d)."""


class PoseDecoder:
    """Settings and the last steps of every decoder; what a head looks like is the subclass's.

    Args:
        num_keypoints: K.
        keypoint_dims: d: 3 with a score, 2 without one (the score is then 1).
        conf_thres: people with a score above it are candidates.
        iou_thres: of candidates of one class that overlap by more, the best stays.
        max_det: at most so many people in a frame.
        clip: move boxes and keypoints that lie outside the frame to its edge.
        skeleton: names and limbs; by default COCO-17 for K = 17, unnamed points otherwise.
    """

    name: ClassVar[str]
    """Name in the registry."""

    def __init__(
        self,
        *,
        num_keypoints: int = 17,
        keypoint_dims: int = 3,
        conf_thres: float = 0.25,
        iou_thres: float = 0.45,
        max_det: int = 300,
        clip: bool = False,
        skeleton: Skeleton | None = None,
    ) -> None:
        self.num_keypoints = num_keypoints
        self.keypoint_dims = keypoint_dims
        self.conf_thres = conf_thres
        self.iou_thres = iou_thres
        self.max_det = max_det
        self.clip = clip
        self.skeleton = skeleton or skeleton_for(num_keypoints)
        self.rejected: Counter[str] = Counter()
        """Reason -> candidates that were left out because they cannot be people: not a number, absurd."""
        self._nobody = Poses.empty(self.skeleton)

    def tensor(self, frame: TensorFrame, wanted: str | None) -> tuple[str, np.ndarray]:
        """The output of this name, or the frame's only one for `None`, with its name.

        Raises:
            DecodeError: it is not there.
        """
        tensors = frame.tensors
        name = wanted
        if name is None and len(tensors) == 1:
            name = next(iter(tensors))
        if name is None or name not in tensors:
            expected = "one output" if wanted is None else f"the output {wanted!r}"
            raise DecodeError(f"{self.name} decodes {expected}; this frame has {', '.join(map(repr, tensors)) or 'none'}.")
        return name, tensors[name]

    def people(
        self,
        frame: TensorFrame,
        boxes_xyxy: np.ndarray,
        scores: np.ndarray,
        class_ids: np.ndarray | None,
        keypoints: Gather,
        *,
        suppress: bool = True,
    ) -> Poses:
        """Candidates -> those that can be people -> NMS -> pixels of the source.

        Args:
            frame: where they were found.
            boxes_xyxy: float32 (M, 4), network pixels.
            scores: float32 (M,).
            class_ids: int (M,), or `None` where there is only one class.
            keypoints: called with the rows that stay; network pixels, then scores where d is 3.
            suppress: False for heads that have had their NMS.
        """
        reach = _MAX_REACH * max(frame.letterbox.network_wh)
        # The sum of squares is a number, and small, exactly if all values are: one cheap look in the normal case.
        if not (
            np.vdot(boxes_xyxy, boxes_xyxy) <= reach * reach
            and np.dot(boxes_xyxy, _TO_SIZES).min() >= 0
            and scores.max() <= _MAX_SCORE
            and (class_ids is None or (class_ids.min() >= 0 and class_ids.max() <= _MAX_CLASS))
        ):
            sane = self._sane(boxes_xyxy, scores, class_ids, reach)
            if not len(sane):
                return self._nobody
            boxes_xyxy, scores, keypoints = boxes_xyxy[sane], scores[sane], _of(keypoints, sane)
            class_ids = None if class_ids is None else class_ids[sane]

        kept = self._kept(boxes_xyxy, scores, class_ids, suppress)
        points = self._points(boxes_xyxy, keypoints, kept)
        if not np.vdot(points, points) <= _MAX_COORDINATE:  # rare, or a crowd: look closely, and let others have their place
            everyone = self._points(boxes_xyxy, keypoints, np.arange(len(boxes_xyxy)))
            fine = (np.abs(everyone) <= _MAX_COORDINATE).all(axis=(1, 2))
            if not fine.all():
                self._reject(int(len(fine) - fine.sum()), "keypoints that are no numbers or absurdly far away")
                boxes_xyxy, scores, everyone = boxes_xyxy[fine], scores[fine], everyone[fine]
                class_ids = None if class_ids is None else class_ids[fine]
                if not len(boxes_xyxy):
                    return self._nobody
                kept = self._kept(boxes_xyxy, scores, class_ids, suppress)
                points = everyone[kept]
        num_people = len(kept)
        frame.letterbox.place_in_source(points)
        if self.clip:
            np.clip(points[..., :2], 0, frame.letterbox.source_wh, out=points[..., :2])
        return Poses(
            boxes_xyxy=points[:, :2, :2].reshape(num_people, 4),
            scores=scores[kept],
            class_ids=np.zeros(num_people, np.int64) if class_ids is None else class_ids[kept].astype(np.int64),
            keypoints=points[:, 2:],
            skeleton=self.skeleton,
        )

    def _kept(self, boxes_xyxy: np.ndarray, scores: np.ndarray, class_ids: np.ndarray | None, suppress: bool) -> np.ndarray:
        """The rows that stay, best first."""
        if suppress:
            return nms(boxes_xyxy, scores, self.iou_thres, class_ids=class_ids, max_det=self.max_det)
        return np.argsort(-scores, kind="stable")[: self.max_det]

    def _points(self, boxes_xyxy: np.ndarray, keypoints: Gather, rows: np.ndarray) -> np.ndarray:
        """float32 (n, 2 + K, 3): both corners of the box and the keypoints, which go back to the source in one step."""
        num_people = len(rows)
        points = np.ones((num_people, 2 + self.num_keypoints, 3), np.float32)
        points[:, :2, :2] = boxes_xyxy[rows].reshape(num_people, 2, 2)
        points[:, 2:, : self.keypoint_dims] = keypoints(rows).reshape(num_people, self.num_keypoints, self.keypoint_dims)
        return points

    def _sane(self, boxes_xyxy: np.ndarray, scores: np.ndarray, class_ids: np.ndarray | None, reach: float) -> np.ndarray:
        """Rows that can be people; the others are counted by what is wrong with them."""
        checks = {
            "scores that are no numbers": np.isfinite(scores),
            f"scores above {_MAX_SCORE}": ~(scores > _MAX_SCORE),
            "boxes that are no numbers": np.isfinite(boxes_xyxy).all(axis=1),
            f"boxes that reach further than {_MAX_REACH} network inputs": ~(np.abs(boxes_xyxy) > reach).any(axis=1),
            "boxes turned inside out": ~(boxes_xyxy[:, 2:] < boxes_xyxy[:, :2]).any(axis=1),
        }
        if class_ids is not None:
            checks["classes that are no index"] = (class_ids >= 0) & (class_ids <= _MAX_CLASS)
        sane = np.ones(len(scores), bool)
        for reason, passed in checks.items():
            self._reject(int((sane & ~passed).sum()), reason)
            sane &= passed
        return sane.nonzero()[0]

    def _reject(self, number: int, reason: str) -> None:
        """Count candidates that were left out, and say so the first time."""
        if not number:
            return
        if reason not in self.rejected:
            _log.warning("%s left out candidates: %s. The model's output is broken or of another head.", self.name, reason)
        self.rejected[reason] += number


def single_precision(values: np.ndarray) -> np.ndarray:
    """float32, the same array if it is that already: half precision would be worked out in half precision."""
    if values.dtype == np.float32:
        return values
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is left out for it
        return values.astype(np.float32)


def above(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the scores above a threshold, and of those that are no number, which are reported later."""
    return (~(scores <= threshold)).nonzero()[0]


def corners(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """float (4, M) rows of centre x, centre y, width, height -> float32 (M, 4) xyxy."""
    return np.dot(single_precision(boxes_cxcywh).T, _TO_CORNERS)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """float32, 1 / (1 + exp(-x)), without overflow."""
    return (0.5 + 0.5 * np.tanh(0.5 * single_precision(logits))).astype(np.float32, copy=False)


def _of(gather: Gather, rows: np.ndarray) -> Gather:
    return lambda some: gather(rows[some])
