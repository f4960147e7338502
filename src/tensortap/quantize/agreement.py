"""How well two models agree on the same pictures, where nobody has annotated any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensortap.geometry import oks_matrix
from tensortap.pipeline import Decoder
from tensortap.portable.engines.base import Engine
from tensortap.quantize.calibration import Picture
from tensortap.types import Frame, Poses, TensorFrame

AGREEMENT_TOLERANCE = 0.15
"""An INT8 yolov8n-pose that lost nothing of its AP agrees to 0.89 in a crowd, where small people come and go."""
_SAME = 0.5
"""People of an OKS above it are the same."""


@dataclass(frozen=True)
class Agreement:
    """Two models on the same pictures."""

    people_before: int
    people_after: int
    matched: int
    """People whom both found: OKS above 0.5."""
    mean_distance: float
    """Of keypoints of matched people, in pixels of the frame."""
    p95_distance: float
    similarity: float
    """Mean OKS over all people whom either found, 0 for those whom the other did not: 1 is the same."""


def find(engine: Engine, decoder: Decoder, pictures: Sequence[Picture]) -> list[Poses]:
    """The people of each picture."""
    found = []
    request = engine.requests[0]
    for picture in pictures:
        request.images[0] = picture.image
        request.start(1)
        tensors = {name: output[0] for name, output in request.wait().items()}
        found.append(decoder(TensorFrame(Frame(picture.info, None), tensors, picture.letterbox)))
    return found


def agreement(before: Sequence[Poses], after: Sequence[Poses]) -> Agreement:
    """Of two models, picture by picture."""
    distances: list[np.ndarray] = []
    similarities: list[float] = []
    matched = alone = 0
    for ours, theirs in zip(before, after, strict=True):
        pairs = _pairs(ours, theirs)
        for row, column, oks in pairs:
            matched += 1
            similarities.append(oks)
            away = ours.keypoints[row, :, :2] - theirs.keypoints[column, :, :2]
            distances.append(np.hypot(away[:, 0], away[:, 1]))
        alone += len(ours) + len(theirs) - 2 * len(pairs)
    flat = np.concatenate(distances) if distances else np.zeros(0)
    return Agreement(
        people_before=sum(map(len, before)),
        people_after=sum(map(len, after)),
        matched=matched,
        mean_distance=float(flat.mean()) if len(flat) else 0.0,
        p95_distance=float(np.percentile(flat, 95)) if len(flat) else 0.0,
        similarity=sum(similarities) / max(1, matched + alone),
    )


def _pairs(ours: Poses, theirs: Poses) -> list[tuple[int, int, float]]:
    """The best pairs first, each person once."""
    if not len(ours) or not len(theirs):
        return []
    sides = ours.boxes_xyxy[:, 2:] - ours.boxes_xyxy[:, :2]
    areas = 0.53 * sides[:, :1] * sides[:, 1:]  # of the box, the person's share, as pycocotools' users have it
    oks = oks_matrix(ours.keypoints, theirs.keypoints, areas, ours.skeleton.sigmas, min_score=-1.0)
    pairs: list[tuple[int, int, float]] = []
    for place in np.argsort(-oks, axis=None, kind="stable"):
        row, column = divmod(int(place), oks.shape[1])
        if oks[row, column] <= _SAME:
            break
        if all(row != other and column != another for other, another, _ in pairs):
            pairs.append((row, column, float(oks[row, column])))
    return pairs
