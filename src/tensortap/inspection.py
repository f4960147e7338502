"""One frame of a run that goes on, looked into: its tensors in numbers, and what the network sees as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from tensortap.decode.base import PoseDecoder
from tensortap.decode.explain import explain
from tensortap.plot import caption, draw_scores
from tensortap.statistics import TensorStatistics, statistics_of
from tensortap.types import Frame, FrameInfo, Poses, TensorFrame


@dataclass(frozen=True, eq=False)
class ScorePicture:
    """The scores of one stride over the frame."""

    name: str
    """For people: `stride 8`."""
    caption: str
    """Name, cells, the highest score, how many are above the threshold."""
    picture: np.ndarray
    """uint8 (h, w, 3) BGR."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What there is to say about one frame's tensors."""

    info: FrameInfo
    network_wh: tuple[int, int]
    """Width and height of the network input."""
    tensors: Mapping[str, TensorStatistics]
    """Output name -> its numbers."""
    verdict: str
    """What became of the head's rows, `8400 rows: 5 kept, 31 suppressed, ...`; empty for decoders that do not tell."""
    scores: Sequence[ScorePicture]
    """Finest stride first; empty for heads whose rows lie on no grid."""
    has_picture: bool
    """Whether the frame's own pixels are to be had; if not, scores are drawn over nothing."""


def copied(frame: TensorFrame) -> tuple[TensorFrame, np.ndarray | None]:
    """The same frame to keep, and its picture: for `Pipeline.peek`, because tensors and pixels may be gone afterwards."""
    tensors = {name: np.array(tensor) for name, tensor in frame.tensors.items()}
    return replace(frame, frame=Frame(frame.info, None), tensors=tensors), frame.image


def inspect_frame(frame: TensorFrame, image: np.ndarray | None, decoder: Callable[[TensorFrame], Poses]) -> Inspection:
    """Look into a frame.

    Args:
        frame: is only read.
        image: uint8 (H, W, 3) BGR, the frame's picture; `None` where it is not to be had.
        decoder: of the run; one of ours tells about rows and scores.

    Raises:
        DecodeError: a tensor is missing or has another shape.
    """
    verdict, scores = "", []
    if isinstance(decoder, PoseDecoder):
        decoder = copy(decoder)  # with its thresholds of this moment, which somebody may be moving
        verdict = explain(decoder, frame, max_rows=1).summary
        width, height = frame.info.size_wh
        below = np.zeros((height, width, 3), np.uint8) if image is None else image
        scores = [
            ScorePicture(each.name, caption(each, decoder.conf_thres), draw_scores(below, frame.letterbox, each))
            for each in decoder.score_maps(frame)
        ]
    return Inspection(
        info=frame.info,
        network_wh=frame.letterbox.network_wh,
        tensors={name: statistics_of(tensor) for name, tensor in frame.tensors.items()},
        verdict=verdict,
        scores=scores,
        has_picture=image is not None,
    )
