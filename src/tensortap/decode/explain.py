"""Why a row of a head became a person, or did not: for people who look into a model, not for every frame."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tensortap.decode.base import Candidates, PoseDecoder
from tensortap.decode.grids import Grid, grids_of, place_of
from tensortap.decode.nms import nms
from tensortap.geometry import iou_matrix
from tensortap.types import Poses, TensorFrame

Verdict = Literal["kept", "suppressed", "max-det", "broken", "score"]
WORDS: dict[str, str] = {
    "kept": "kept",
    "suppressed": "suppressed",
    "max-det": "over max-det",
    "broken": "broken",
    "score": "below the score",
}
"""Verdict -> what it is called, the more interesting first."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a head, decoded."""

    row: int
    """Its number in the tensor, from 0."""
    place: str
    """Stride, and column and line on its grid, for people; empty where there is no grid."""
    score: float
    class_id: int
    box_xyxy: np.ndarray
    """float32 (4,): pixels of the source."""
    keypoints: np.ndarray
    """float32 (K, 3): pixels of the source."""
    verdict: Verdict
    reason: str
    """Why, for people."""


@dataclass(frozen=True)
class Explanation:
    """What became of all rows."""

    num_rows: int
    counts: dict[str, int]
    """Verdict -> rows, where there are any."""

    rows: list[Row]
    """The best of them, those that are broken after all others."""
    poses: Poses
    """The people."""

    @property
    def summary(self) -> str:
        """The counts for people."""
        told = ", ".join(f"{number} {WORDS[verdict]}" for verdict, number in self.counts.items())
        return f"{self.num_rows} rows: {told or 'none'}"


def explain(decoder: PoseDecoder, frame: TensorFrame, *, max_rows: int = 20) -> Explanation:
    """What becomes of the rows of a head, and why; the people are those of `decoder(frame)`.

    Args:
        decoder: whose settings decide.
        frame: is only read.
        max_rows: so many of the best rows are decoded and explained, and of those that are broken a few more.

    Raises:
        DecodeError: a tensor is missing or has another shape.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        found = decoder.candidates(frame, math.nan)
        if found is None:
            return Explanation(0, {}, [], Poses.empty(decoder.skeleton))
        verdicts, reasons, kept = _judge(decoder, frame, found)
        best_first = np.argsort(-np.nan_to_num(found.scores, nan=-math.inf), kind="stable")
        broken = best_first[verdicts[best_first] == "broken"]
        shown = [*best_first[verdicts[best_first] != "broken"][:max_rows], *broken[: max(max_rows // 4, 1)]]
        poses = _poses(decoder, frame, found, np.array(shown, np.intp))
        grids = grids_of(len(found.rows), frame.letterbox.network_wh)
        rows = [
            Row(
                row=int(found.rows[place]),
                place=_place(int(found.rows[place]), grids),
                score=float(found.scores[place]),
                class_id=int(poses.class_ids[number]),
                box_xyxy=poses.boxes_xyxy[number],
                keypoints=poses.keypoints[number],
                verdict=verdicts[place],
                reason=reasons[place],
            )
            for number, place in enumerate(shown)
        ]
        counted = Counter(verdicts.tolist())
        counts = {verdict: counted[verdict] for verdict in WORDS if counted[verdict]}
        return Explanation(len(found.rows), counts, rows, _poses(decoder, frame, found, kept))


def _judge(decoder: PoseDecoder, frame: TensorFrame, found: Candidates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdict and reason of every row, object (M,) each, and the places of the people, best first."""
    num_rows = len(found.rows)
    verdicts = np.full(num_rows, "score", object)
    reasons = np.full(num_rows, f"score not above {decoder.conf_thres:g} (--conf-thres)", object)
    network_wh = frame.letterbox.network_wh
    for reason, faulty in reversed(
        [*decoder.faults(found, network_wh).items(), *decoder.keypoint_faults(found, network_wh).items()]
    ):
        # As while decoding, nobody looks closer at a row whose score is too low.
        counted = faulty & ~(found.scores <= decoder.conf_thres)
        verdicts[counted], reasons[counted] = "broken", reason
    alive = ((verdicts != "broken") & (found.scores > decoder.conf_thres)).nonzero()[0]
    left = found.take(alive)
    if decoder.suppress:
        stay = alive[nms(left.boxes_xyxy, left.scores, decoder.iou_thres, class_ids=left.class_ids, max_det=num_rows)]
    else:
        stay = alive[np.argsort(-left.scores, kind="stable")]
    verdicts[stay[: decoder.max_det]], reasons[stay[: decoder.max_det]] = "kept", "a person"
    over = stay[decoder.max_det :]
    verdicts[over], reasons[over] = "max-det", f"{decoder.max_det} are better (--max-det)"
    gone = np.setdiff1d(alive, stay)
    overlaps = iou_matrix(found.boxes_xyxy[gone], found.boxes_xyxy[stay])
    if found.class_ids is not None:
        overlaps[found.class_ids[gone][:, None] != found.class_ids[stay][None, :]] = 0
    for place, each in zip(gone, overlaps, strict=True):
        # The best of those that cover it took it away; rounding may leave none just above the threshold.
        covering = np.flatnonzero(each > decoder.iou_thres)
        by = int(covering[0]) if len(covering) else int(each.argmax())
        verdicts[place] = "suppressed"
        reasons[place] = (
            f"suppressed by row {found.rows[stay[by]]}: IoU {each[by]:.2f} is above --iou-thres {decoder.iou_thres:g}"
        )
    return verdicts, reasons, stay[: decoder.max_det]


def _poses(decoder: PoseDecoder, frame: TensorFrame, found: Candidates, places: np.ndarray) -> Poses:
    """Rows in pixels of the source, whatever is wrong with them."""
    num_rows = len(places)
    keypoints = np.ones((num_rows, decoder.num_keypoints, 3), np.float32)
    keypoints[..., : decoder.keypoint_dims] = found.keypoints(places).reshape(
        num_rows, decoder.num_keypoints, decoder.keypoint_dims
    )
    frame.letterbox.place_in_source(keypoints)
    boxes = frame.letterbox.boxes_to_source(found.boxes_xyxy[places])
    if decoder.clip:
        width, height = frame.letterbox.source_wh
        np.clip(keypoints[..., :2], 0, (width, height), out=keypoints[..., :2])
        np.clip(boxes, 0, (width, height, width, height), out=boxes)
    class_ids = np.zeros(num_rows, np.int64) if found.class_ids is None else found.class_ids[places].astype(np.int64)
    return Poses(boxes, found.scores[places], class_ids, keypoints, decoder.skeleton)


def _place(row: int, grids: tuple[Grid, ...]) -> str:
    place = place_of(row, grids)
    if place is None:
        return ""
    grid, column, line = place
    return f"stride {grid.stride} ({column}, {line})"
