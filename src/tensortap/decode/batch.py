"""A whole batch of a YOLOv8-pose head decoded where its tensors are.

`people_of_batch` is the same code for NumPy, Torch and CuPy, by the array API standard: nothing but people, and a flag for each
frame, crosses to the host. Its steps are few and large, because each costs a GPU more in being launched than in being done.
A processor does better with `people_on_host`, which looks at candidates only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensortap.decode.base import corners, single_precision
from tensortap.decode.nms import nms_of_frames

MAX_CANDIDATES = 1024
"""Frames with more are left to the host: every candidate is compared with every other."""
_MAX_SCORE = 1.1


@dataclass(frozen=True)
class Head:
    """How the columns of a YOLOv8-pose head are read, and who is kept."""

    num_classes: int
    num_values: int
    """Rows of the tensor: 4 + nc + K*d."""
    conf_thres: float
    iou_thres: float
    max_det: int
    reach: float
    """Coordinates beyond it, in network pixels, are none."""


@dataclass(frozen=True, eq=False)
class BatchPeople:
    """People of a batch, on the host, best first in each frame."""

    starts: Sequence[int]
    """B + 1 places: the people of frame `b` are those from `starts[b]` to `starts[b + 1]`."""
    boxes_xyxy: np.ndarray
    """float32 (N, 4) in network pixels."""
    scores: np.ndarray
    """float32 (N,)."""
    class_ids: np.ndarray
    """int64 (N,)."""
    keypoints: np.ndarray
    """float32 (N, K*d) in network pixels."""
    for_host: Sequence[bool]
    """B of them: frames that have to be looked at one by one, for what is in them is not only people."""


def people_on_host(values: np.ndarray, head: Head) -> BatchPeople:
    """The same for a C-contiguous array on the host: NumPy's and OpenCV's calls are paid for once a batch.

    Args:
        values: (B, 4 + nc + K*d, A), only read.
        head: how it is read.
    """
    num_frames, num_rows, num_columns = values.shape
    classes = values[:, 4 : 4 + head.num_classes]
    scores = classes[:, 0] if head.num_classes == 1 else classes.max(axis=1)
    found = (~(scores <= head.conf_thres)).reshape(-1).nonzero()[0]
    frames, columns = np.divmod(found, num_columns)
    counts = np.bincount(frames, minlength=num_frames)
    for_host: np.ndarray = (counts == 0) & (values[:, 0, 0] == 0)
    flat = values.reshape(-1)
    first = frames * (num_rows * num_columns) + columns
    """Where each candidate's column begins; its next row is `num_columns` further on."""

    def rows(start: int, stop: int, of: np.ndarray) -> np.ndarray:
        return single_precision(flat.take(np.arange(start, stop)[:, None] * num_columns + of))

    boxes = corners(rows(0, 4, first))
    class_ids = np.zeros(len(found), np.int64)
    if head.num_classes == 1:
        best = rows(4, 5, first)[0]
    else:
        told = rows(4, 4 + head.num_classes, first)
        best, class_ids = told.max(axis=0), told.argmax(axis=0).astype(np.int64)
    # The sum of squares is a number, and small, only if all values are: one cheap look in the normal case.
    square = head.reach * head.reach
    sizes = boxes[:, 2:] - boxes[:, :2]
    if len(found) and not (np.vdot(boxes, boxes) <= square and sizes.min() >= 0 and best.max() <= _MAX_SCORE):
        sound = (np.abs(boxes) <= head.reach).all(axis=1) & (sizes >= 0).all(axis=1) & (best <= _MAX_SCORE)
        for_host[frames[~sound]] = True
    ends = zip(np.cumsum(counts).tolist(), counts.tolist(), for_host.tolist(), strict=True)
    places = [slice(end if out else end - count, end) for end, count, out in ends]
    of_class = None if head.num_classes == 1 else class_ids
    kept = nms_of_frames(boxes, best, places, head.iou_thres, class_ids=of_class, max_det=head.max_det)
    together = np.concatenate(kept)
    keypoints = rows(4 + head.num_classes, num_rows, first[together])
    if not np.vdot(keypoints, keypoints) <= square:
        strange = ~(np.abs(keypoints) <= head.reach).all(axis=0)
        for_host[frames[together[strange]]] = True
    starts = [0, *np.cumsum([len(each) for each in kept]).tolist()]
    return BatchPeople(starts, boxes[together], best[together], class_ids[together], keypoints.T, for_host.tolist())


def people_of_batch(values: Any, head: Head) -> BatchPeople:
    """Scores, NMS and gathering for (B, 4 + nc + K*d, A) on the device of the tensor, which is only read.

    Greedy NMS, as `nms.py` does it for one frame: the best box stays, boxes of its class that overlap it by more than
    `iou_thres` go. A box goes if one that stays covers it, so that the best is settled after one look at all pairs, who
    depends on it after two, and so on; it ends when nothing changes, which takes as many looks as boxes form chains.

    Args:
        values: NumPy, Torch or CuPy array.
        head: how it is read.
    """
    from array_api_compat import array_namespace, device

    xp = array_namespace(values)
    where = device(values)
    num_frames = values.shape[0]
    classes = xp.astype(values[:, 4 : 4 + head.num_classes, :], xp.float32)
    scores = classes[:, 0, :] if head.num_classes == 1 else xp.max(classes, axis=1)
    likely = ~(scores <= head.conf_thres)  # what is no number, too: it is told on the host
    counts = xp.sum(xp.astype(likely, xp.int64), axis=1)
    crowded = counts > MAX_CANDIDATES
    # A network that works gives no column of nothing but zeros; only the host looks through all of it.
    silent = (counts == 0) & (values[:, 0, 0] == 0)
    likely = likely & ~crowded[:, None]
    counts = xp.where(crowded, xp.zeros_like(counts), counts)
    width = int(xp.max(counts))
    if not width:
        return _nobody(to_host(silent | crowded), head)
    # Candidates side by side, (B, width), padded with those of the first place.
    _, columns = xp.nonzero(likely)
    places = xp.arange(width, device=where)
    valid = places[None, :] < counts[:, None]
    firsts = xp.cumulative_sum(counts) - counts
    columns = columns[xp.where(valid, firsts[:, None] + places[None, :], xp.zeros_like(columns[0]))]
    rows = xp.arange(num_frames, device=where)[:, None]
    order = xp.argsort(-xp.where(valid, scores[rows, columns], xp.full_like(scores[0, 0], -1.0)), axis=1, stable=True)
    columns, valid = columns[rows, order], valid[rows, order]
    best = scores[rows, columns]
    boxes = _corners(xp, xp.astype(values[rows[:, :, None], xp.arange(4, device=where), columns[:, :, None]], xp.float32))
    class_ids = None if head.num_classes == 1 else xp.argmax(classes[rows, :, columns], axis=2)
    odd = xp.any(valid & ~_sound(xp, boxes, best, head.reach), axis=1) | silent | crowded
    kept = _suppressed(xp, boxes, class_ids, valid, head.iou_thres)
    kept = kept & (xp.cumulative_sum(xp.astype(kept, xp.int64), axis=1) <= head.max_det)
    frame, place = xp.nonzero(kept)
    column = columns[frame, place]
    keypoints = values[frame[:, None], xp.arange(4 + head.num_classes, head.num_values, device=where), column[:, None]]
    packed = [
        xp.astype(frame, xp.float32)[:, None],
        best[frame, place][:, None],
        xp.astype(frame * 0 if class_ids is None else class_ids[frame, place], xp.float32)[:, None],
        boxes[frame, place],
        xp.astype(keypoints, xp.float32),
    ]
    table = to_host(xp.concat(packed, axis=1))
    for_host = to_host(odd)
    with np.errstate(invalid="ignore", over="ignore"):
        strange = ~(np.abs(table[:, 7:]) <= head.reach).all(axis=1)
    frames = table[:, 0].astype(np.intp)
    for_host[frames[strange]] = True
    starts = np.searchsorted(frames, np.arange(num_frames + 1)).tolist()
    return BatchPeople(starts, table[:, 3:7], table[:, 1], table[:, 2].astype(np.int64), table[:, 7:], for_host.tolist())


def to_host(array: Any) -> np.ndarray:
    """A NumPy array of one's own."""
    if hasattr(array, "get"):  # CuPy
        return np.asarray(array.get())
    if hasattr(array, "cpu"):  # Torch
        return np.array(array.cpu().numpy())
    return np.array(array)


def _nobody(for_host: np.ndarray, head: Head) -> BatchPeople:
    nothing = np.empty((0, head.num_values - 4 - head.num_classes), np.float32)
    none = np.empty(0, np.float32)
    starts = [0] * (len(for_host) + 1)
    return BatchPeople(starts, np.empty((0, 4), np.float32), none, np.empty(0, np.int64), nothing, for_host.tolist())


def _corners(xp: Any, boxes: Any) -> Any:
    """float32 (B, P, 4) centre and size -> left, top, right, bottom."""
    center, half = boxes[:, :, :2], boxes[:, :, 2:] * 0.5
    return xp.concat([center - half, center + half], axis=2)


def _sound(xp: Any, boxes: Any, scores: Any, reach: float) -> Any:
    """bool (B, P): can be people. What is no number never compares."""
    inside = xp.all(xp.abs(boxes) <= reach, axis=2)
    return inside & xp.all(boxes[:, :, 2:] >= boxes[:, :, :2], axis=2) & (scores <= _MAX_SCORE)


def _suppressed(xp: Any, boxes: Any, class_ids: Any, valid: Any, iou_thres: float) -> Any:
    """bool (B, P): who is left by greedy NMS of candidates that are sorted, best first."""
    left, top, right, bottom = (boxes[:, :, side] for side in range(4))
    # intersection / union > threshold, solved for the intersection: nothing is divided.
    shares = (right - left) * (bottom - top) * (iou_thres / (1 + iou_thres))
    width = _overlap(xp, left, right)
    height = _overlap(xp, top, bottom)
    covered = width * height > shares[:, :, None] + shares[:, None, :]
    places = xp.arange(boxes.shape[1], device=_device(boxes))
    covered = covered & (places[None, :] < places[:, None])  # [.., i, j]: i lies under j, which is better
    if class_ids is not None:
        covered = covered & (class_ids[:, :, None] == class_ids[:, None, :])
    kept = valid
    while True:
        left_over = valid & ~xp.any(covered & kept[:, None, :], axis=2)
        if bool(xp.all(left_over == kept)):
            return kept
        kept = left_over


def _overlap(xp: Any, low: Any, high: Any) -> Any:
    """float32 (B, P, P): how far each pair overlaps along one axis, 0 where it does not."""
    shared = xp.minimum(high[:, :, None], high[:, None, :]) - xp.maximum(low[:, :, None], low[:, None, :])
    return xp.where(shared > 0, shared, xp.zeros_like(shared))


def _device(array: Any) -> Any:
    from array_api_compat import device

    return device(array)
