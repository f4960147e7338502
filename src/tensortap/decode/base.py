"""What all decoders share: finding a tensor, and the way from candidates to people."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from tensortap.decode.grids import ScoreMap, score_maps
from tensortap.decode.nms import nms
from tensortap.errors import DecodeError
from tensortap.geometry import Letterbox
from tensortap.skeletons import Skeleton, skeleton_for
from tensortap.types import Poses, TensorFrame

_log = logging.getLogger(__name__)

_MAX_REACH = 100
"""Boxes and keypoints further away than so many network inputs are none."""
_MAX_SCORE = 1.1
"""Scores above it are no probabilities; half precision rounds to a little more than 1."""
_MAX_CLASS = 1_000_000
_INSIDE_OUT = "boxes turned inside out"
_SURE = 0.25
"""Heads without a distribution of distances (YOLO26) may turn boxes inside out in rows that they do not believe in."""

_TO_CORNERS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
_TO_SIZES = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]], np.float32)
"""Products with these are exact and cost a third of the additions."""

Gather = Callable[[np.ndarray], np.ndarray]
"""Places among the candidates, intp (n,) -> their keypoints, float32 (n, K*d) or (n, K, d), network pixels."""


class Candidates(NamedTuple):
    """Rows of a head whose scores are high enough, before anyone has looked whether they can be people."""

    rows: np.ndarray
    """intp (M,): which rows of the head, from 0."""
    boxes_xyxy: np.ndarray
    """float32 (M, 4): left, top, right, bottom in network pixels."""
    scores: np.ndarray
    """float32 (M,)."""
    class_ids: np.ndarray | None
    """int (M,), or `None` where there is only one class."""
    keypoints: Gather
    """Called for those that stay only."""

    def take(self, places: np.ndarray) -> Candidates:
        """Some of them, by place or mask."""
        if places.dtype == bool:
            places = places.nonzero()[0]
        keypoints = self.keypoints
        return Candidates(
            self.rows[places],
            self.boxes_xyxy[places],
            self.scores[places],
            None if self.class_ids is None else self.class_ids[places],
            lambda some: keypoints(places[some]),
        )


class PoseDecoder(ABC):
    """Settings and the last steps of every decoder; what a head looks like is the subclass's, in `candidates`.

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
    """Name in the registry, or of one's own; by default the name of the class."""
    suppress = True
    """Whether NMS is still to be done."""
    zeros_are_nobody = False
    """Whether a sound model may give nothing but zeros: one that has had its NMS and found nobody."""

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
        self.rejected: dict[int, Counter[str]] = defaultdict(Counter)
        """`source_id` -> what cannot be people -> how often it came."""
        self._told: set[int] = set()
        """Streams that have had their warning."""
        self._nobody = Poses.empty(self.skeleton)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = cls.__dict__.get("name", cls.__name__)

    @abstractmethod
    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """The rows with a score above the threshold, or with one that is no number; `None` where there are none.

        Args:
            frame: whose tensors are read.
            threshold: 0..1, or NaN for every row.

        Raises:
            DecodeError: a tensor is missing or has another shape.
        """

    def __call__(self, frame: TensorFrame) -> Poses:
        """The people in one frame, best first, in pixels of the source. The tensors are only read.

        Raises:
            DecodeError: a tensor is missing or has another shape.
        """
        with np.errstate(invalid="ignore", over="ignore"):  # what is no number is looked for, and left out
            found = self.candidates(frame, self.conf_thres)
            if found is None:
                self._look_for_silence(frame)
                return self._nobody
            return self._people(frame, found)

    def faults(self, found: Candidates, network_wh: tuple[int, int]) -> dict[str, np.ndarray]:
        """What is wrong with candidates that cannot be people -> bool (M,): which. Keypoints are not looked at."""
        boxes, scores = found.boxes_xyxy, found.scores
        faults: dict[str, np.ndarray] = {
            "scores that are no numbers": ~np.isfinite(scores),
            f"scores above {_MAX_SCORE}": scores > _MAX_SCORE,
            "boxes that are no numbers": _in_any_column(~np.isfinite(boxes)),
            f"boxes that reach further than {_MAX_REACH} network inputs": _in_any_column(np.abs(boxes) > reach_of(network_wh)),
            _INSIDE_OUT: _in_any_column(boxes[:, 2:] < boxes[:, :2]),
        }
        if found.class_ids is not None:
            faults["classes that are no index"] = (found.class_ids < 0) | (found.class_ids > _MAX_CLASS)
        return faults

    def keypoint_faults(self, found: Candidates, network_wh: tuple[int, int]) -> dict[str, np.ndarray]:
        """The same for their keypoints."""
        num_values = self.num_keypoints * self.keypoint_dims
        points = np.abs(found.keypoints(np.arange(len(found.rows)))).reshape(len(found.rows), num_values)
        return {
            "keypoints that are no numbers": _in_any_column(~np.isfinite(points)),
            f"keypoints further away than {_MAX_REACH} network inputs": _in_any_column(points > reach_of(network_wh)),
        }

    def score_maps(self, frame: TensorFrame) -> list[ScoreMap]:
        """The scores as the network sees them, a map for each stride; empty where rows do not lie on a grid."""
        with np.errstate(invalid="ignore", over="ignore"):
            found = self.candidates(frame, math.nan)
        return score_maps(found.rows, found.scores, frame.letterbox.network_wh) if found else []

    def tensor(self, frame: TensorFrame, wanted: str | None) -> tuple[str, np.ndarray]:
        """The output of this name, or the frame's only one for `None`, with its name.

        Raises:
            DecodeError: it is not there.
        """
        name = self.output_of(frame, wanted)
        return name, frame.tensors[name]

    def output_of(self, frame: TensorFrame, wanted: str | None) -> str:
        """The name of that output; nothing is read of it.

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
        return name

    def _people(self, frame: TensorFrame, found: Candidates) -> Poses:
        """Candidates -> those that can be people -> NMS -> pixels of the source."""
        network_wh = frame.letterbox.network_wh
        reach = reach_of(network_wh)
        boxes, scores, class_ids = found[1:4]
        # The sum of squares is a number, and small, only if all values are: one cheap look in the normal case.
        if not (
            np.vdot(boxes, boxes) <= reach * reach
            and np.dot(boxes, _TO_SIZES).min() >= 0
            and scores.max() <= _MAX_SCORE
            and (class_ids is None or (class_ids.min() >= 0 and class_ids.max() <= _MAX_CLASS))
        ):
            found = self._without(frame, found, self.faults(found, network_wh))
        kept = self._kept(found)
        points = self._points(found, kept)
        if not np.vdot(points, points) <= reach * reach and not np.abs(points).max(initial=0) <= reach:
            # Others may have been suppressed by what is left out now.
            found = self._without(frame, found, self.keypoint_faults(found, network_wh))
            kept = self._kept(found)
            points = self._points(found, kept)
        self._place(frame.letterbox, points)
        return self._poses(points, found.scores[kept], None if found.class_ids is None else found.class_ids[kept])

    def _place(self, box: Letterbox, points: np.ndarray) -> None:
        """Points as `_points` gives them, in place: from pixels of the network to those of the source."""
        box.place_in_source(points)
        if self.clip:
            np.clip(points[..., :2], 0, box.source_wh, out=points[..., :2])

    def _poses(self, points: np.ndarray, scores: np.ndarray, class_ids: np.ndarray | None) -> Poses:
        """People of points in the source, which become theirs."""
        num_people = len(points)
        if not num_people:
            return self._nobody
        return Poses(
            boxes_xyxy=points[:, :2, :2].reshape(num_people, 4),
            scores=scores,
            class_ids=np.zeros(num_people, np.int64) if class_ids is None else class_ids.astype(np.int64, copy=False),
            keypoints=points[:, 2:],
            skeleton=self.skeleton,
        )

    def _kept(self, found: Candidates) -> np.ndarray:
        """Places of those that stay, best first."""
        if self.suppress:
            return nms(found.boxes_xyxy, found.scores, self.iou_thres, class_ids=found.class_ids, max_det=self.max_det)
        return np.argsort(-found.scores, kind="stable")[: self.max_det]

    def _points(self, found: Candidates, places: np.ndarray) -> np.ndarray:
        """float32 (n, 2 + K, 3): both corners of the box and the keypoints, which go back to the source in one step."""
        return self._joined(found.boxes_xyxy[places], found.keypoints(places))

    def _joined(self, boxes_xyxy: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """The same of boxes (n, 4) and keypoints (n, K*d)."""
        num_people = len(boxes_xyxy)
        points = np.ones((num_people, 2 + self.num_keypoints, 3), np.float32)
        points[:, :2, :2] = boxes_xyxy.reshape(num_people, 2, 2)
        points[:, 2:, : self.keypoint_dims] = keypoints.reshape(num_people, self.num_keypoints, self.keypoint_dims)
        return points

    def _without(self, frame: TensorFrame, found: Candidates, faults: dict[str, np.ndarray]) -> Candidates:
        """Leave out and count the candidates with faults, each with its first."""
        sound = np.ones(len(found.rows), bool)
        for reason, faulty in faults.items():
            new = sound & faulty
            is_odd = reason != _INSIDE_OUT or bool((found.scores[new] > _SURE).any())
            self._report(frame, reason, int(new.sum()), aloud=is_odd)
            sound &= ~faulty
        return found.take(sound)

    def _look_for_silence(self, frame: TensorFrame) -> None:
        """Report outputs without a single value: of a network that works, some are always a little above 0."""
        if self.zeros_are_nobody:
            return
        for tensor in frame.tensors.values():
            if not tensor.size or tensor[(0,) * tensor.ndim] != 0 or tensor.any():
                return
        self._report(frame, "outputs that are zero throughout", 1)

    def _report(self, frame: TensorFrame, reason: str, number: int, *, aloud: bool = True) -> None:
        """Count what cannot be people, and say so once for each stream."""
        if not number:
            return
        source_id = frame.info.source_id
        self.rejected[source_id][reason] += number
        if aloud and source_id not in self._told:
            self._told.add(source_id)
            _log.warning(
                "%s: the model gives %s; nobody is made of that. It is broken, or its head is not %s. Try: "
                "tensortap inspect MODEL -i PICTURE.",
                frame.info.source,
                reason,
                self.name,
            )


def reach_of(network_wh: tuple[int, int]) -> float:
    """Network pixels."""
    return float(_MAX_REACH * max(network_wh))


def _in_any_column(mask: np.ndarray) -> np.ndarray:
    """bool (M, C) -> bool (M,)."""
    return np.asarray(mask.any(axis=1))


def single_precision(values: np.ndarray) -> np.ndarray:
    """float32, the same array if it is that already: half precision would be worked out in half precision."""
    if values.dtype == np.float32:
        return values
    return values.astype(np.float32)


def above(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the scores above a threshold, and of those that are no number, which are reported later; all for NaN."""
    return (~(scores <= threshold)).nonzero()[0]


def corners(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """float (4, M) rows of centre x, centre y, width, height -> float32 (M, 4) xyxy."""
    boxes: np.ndarray = np.dot(single_precision(boxes_cxcywh).T, _TO_CORNERS)
    return boxes


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow; of the type given."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)
