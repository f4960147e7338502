"""A whole batch of a YOLOv8-pose head decoded at once.

Where the tensors are on a device, candidates alone cross to the host: picked by the engine, which costs Python nothing, or else
by Torch or CuPy. The rest is the same code for all, and best done by a processor: candidates are few, and a GPU that is busy
with the next batch takes longer to begin each of the fifty steps of NMS than a processor takes for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensortap.batches import Shortlisted
from tensortap.decode.base import corners, single_precision
from tensortap.decode.nms import nms_of_frames

_MAX_SCORE = 1.1
_Rows = Callable[[int, int, Any], np.ndarray]
"""From row, to row, of which candidates (N of them) -> float32 (rows, N)."""


@dataclass(frozen=True)
class Head:
    """How the values of a YOLOv8-pose head are read, and who is kept."""

    num_classes: int
    num_values: int
    """Of each anchor: 4 + nc + K*d."""
    conf_thres: float
    iou_thres: float
    max_det: int
    reach: float
    """Coordinates beyond it, in network pixels, are none."""
    transposed: bool = False
    """The tensor is (B, A, 4 + nc + K*d)."""


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
    """The people of a batch in the host's memory: NumPy's and OpenCV's calls are paid for once.

    Args:
        values: C-contiguous (B, 4 + nc + K*d, A), or (B, A, 4 + nc + K*d) for a transposed head; only read.
        head: how it is read.
    """
    found = _likely(np, values, head).reshape(-1).nonzero()[0]
    return _people(found // _num_anchors(values, head), values[:, 0, 0] == 0, _reading(values, head, found), head)


def people_of_batch(values: Any, head: Head) -> BatchPeople:
    """The people of a batch in the memory of a device: only candidates cross to the host, with all of their values.

    Args:
        values: NumPy, Torch or CuPy array (B, 4 + nc + K*d, A), or transposed as for `people_on_host`.
        head: how it is read.
    """
    from array_api_compat import array_namespace, device

    xp, where = array_namespace(values), device(values)
    num_frames, num_anchors = values.shape[0], _num_anchors(values, head)
    (found,) = xp.nonzero(xp.reshape(_likely(xp, values, head), (-1,)))
    # And the first anchor of every frame, for a value of it that no network that works leaves at zero.
    wanted = xp.concat([found, xp.arange(num_frames, device=where, dtype=found.dtype) * num_anchors])
    first, step = _columns(values, head, wanted)
    places = first[:, None] + xp.arange(head.num_values, device=where, dtype=first.dtype) * step
    picked = xp.take(xp.reshape(values, (-1,)), xp.reshape(places, (-1,)), axis=0)
    table = single_precision(to_host(picked).reshape(-1, head.num_values).T)
    candidates, firsts = table[:, :-num_frames], table[:, -num_frames:]
    frames = to_host(found) // num_anchors
    return _people(frames, firsts[0] == 0, lambda start, stop, which: candidates[start:stop, which], head)


def people_of_shortlist(picked: Shortlisted, num_anchors: int, head: Head) -> BatchPeople:
    """The people of a batch whose best anchors have been picked by its engine.

    Args:
        picked: P anchors of each frame, with all of their values.
        num_anchors: A. A frame of which all P are candidates may have more: the host looks at all of it.
        head: how they are read.
    """
    values, head = picked.values, replace(head, transposed=False)
    num_picked = _num_anchors(values, head)
    likely = _likely(np, values, head)
    crowded: np.ndarray = likely.all(axis=1) & (num_picked < num_anchors)
    frames, places = likely.nonzero()
    # As they lie in the tensor, so that equal scores come in the order in which they always come.
    order = (frames * num_anchors + picked.anchors[frames, places]).argsort()
    frames, places = frames[order], places[order]
    return _people(frames, values[:, 0, 0] == 0, _reading(values, head, frames * num_picked + places), head, crowded)


def to_host(array: Any) -> np.ndarray:
    """A NumPy array of one's own."""
    if hasattr(array, "get"):  # CuPy
        return np.asarray(array.get())
    if hasattr(array, "cpu"):  # Torch
        return np.array(array.cpu().numpy())
    return np.array(array)


def _num_anchors(values: Any, head: Head) -> int:
    return int(values.shape[1 if head.transposed else 2])


def _likely(xp: Any, values: Any, head: Head) -> Any:
    """bool (B, A): the anchors above the threshold, and those whose score is no number: the host shall tell of them."""
    classes = slice(4, 4 + head.num_classes)
    scores = values[:, :, classes] if head.transposed else values[:, classes, :]
    axis = 2 if head.transposed else 1
    best = xp.squeeze(scores, axis=axis) if head.num_classes == 1 else xp.max(scores, axis=axis)
    return ~(best <= head.conf_thres)


def _columns(values: Any, head: Head, anchors: Any) -> tuple[Any, int]:
    """Where the first value of each anchor lies in the flat tensor, and how far on its next one is.

    Args:
        anchors: numbers from 0 to B * A.
    """
    if head.transposed:
        return anchors * head.num_values, 1
    num_anchors = _num_anchors(values, head)
    return anchors + anchors // num_anchors * ((head.num_values - 1) * num_anchors), num_anchors


def _reading(values: np.ndarray, head: Head, anchors: np.ndarray) -> _Rows:
    """Gathers what is asked for of these anchors, out of a C-contiguous array."""
    first, step = _columns(values, head, anchors)
    flat = values.reshape(-1)

    def rows(start: int, stop: int, which: Any) -> np.ndarray:
        return single_precision(flat.take(np.arange(start, stop)[:, None] * step + first[which]))

    return rows


def _people(frames: np.ndarray, silent: np.ndarray, rows: _Rows, head: Head, crowded: np.ndarray | bool = False) -> BatchPeople:
    """NMS of all frames, and the keypoints of those who stay.

    Args:
        frames: (N,) each candidate's frame, in order.
        silent: bool (B,) whether a value is zero that should not be: only the host looks through all of the frame then.
        rows: reads the candidates.
        head: how they are read.
        crowded: bool (B,) whether there may be more candidates than those given.
    """
    counts = np.bincount(frames, minlength=len(silent))
    for_host: np.ndarray = ((counts == 0) & silent) | crowded
    boxes = corners(rows(0, 4, slice(None)))
    class_ids = np.zeros(len(frames), np.int64)
    if head.num_classes == 1:
        best = rows(4, 5, slice(None))[0]
    else:
        told = rows(4, 4 + head.num_classes, slice(None))
        best, class_ids = told.max(axis=0), told.argmax(axis=0).astype(np.int64)
    # The sum of squares is a number, and small, only if all values are: one cheap look in the normal case.
    square = head.reach * head.reach
    sizes = boxes[:, 2:] - boxes[:, :2]
    if len(frames) and not (np.vdot(boxes, boxes) <= square and sizes.min() >= 0 and best.max() <= _MAX_SCORE):
        sound = (np.abs(boxes) <= head.reach).all(axis=1) & (sizes >= 0).all(axis=1) & (best <= _MAX_SCORE)
        for_host[frames[~sound]] = True
    ends = zip(np.cumsum(counts).tolist(), counts.tolist(), for_host.tolist(), strict=True)
    places = [slice(end if out else end - count, end) for end, count, out in ends]
    of_class = None if head.num_classes == 1 else class_ids
    kept = nms_of_frames(boxes, best, places, head.iou_thres, class_ids=of_class, max_det=head.max_det)
    together = np.concatenate(kept)
    keypoints = rows(4 + head.num_classes, head.num_values, together)
    if not np.vdot(keypoints, keypoints) <= square:
        strange = ~(np.abs(keypoints) <= head.reach).all(axis=0)
        for_host[frames[together[strange]]] = True
    starts = [0, *np.cumsum([len(each) for each in kept]).tolist()]
    return BatchPeople(starts, boxes[together], best[together], class_ids[together], keypoints.T, for_host.tolist())
