"""Who has which cores: FFmpeg, the engine and OpenCV share them, and each is told how many threads it may start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from tensortap.types import StreamInfo

Mode = Literal["latency", "throughput"]
"""What a run is after: every frame soon, or many frames."""

_MOST_DECODING = 8
"""Threads of FFmpeg for one file: more hold frames in memory and bring little."""
_MOST_WRITING = 4
"""Threads that write pictures: with more, they wait for Python's lock rather than for memory."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mode_for(streams: Sequence[StreamInfo], *, hold_open: bool = False) -> Mode:
    """Latency for one camera alone; throughput for files, and for many streams, which fill each other's waiting."""
    alone = len(streams) == 1 and streams[0].is_live and not hold_open
    return "latency" if alone else "throughput"


def batches_at_once(mode: Mode, cores: int) -> int:
    """Batches that an engine without a choice of its own works on at the same time: each on one core, or one on all."""
    return 1 if mode == "latency" else cores


def decoding_threads(num_inputs: int, cores: int | None = None) -> int:
    """FFmpeg's threads for each file; with many files, each has its reader's thread already. Cameras have one always."""
    return max(1, min(_MOST_DECODING, (cores or usable_cores()) // max(1, num_inputs)))


def writing_threads(mode: Mode, engine_threads: int | None, cores: int | None = None) -> int:
    """Threads that make network inputs beside the one that looks at results: none where the engine needs the cores itself, or
    where there is one picture at a time, which would only be handed about.

    Args:
        engine_threads: those that the engine computes with, 0 on a GPU, `None` where it does not say.
    """
    if mode == "latency" or engine_threads != 0:
        return 0
    return min(_MOST_WRITING, (cores or usable_cores()) // 2)
