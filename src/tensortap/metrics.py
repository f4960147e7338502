"""Numbers of a run while it runs: counted by the thread that does the work, read by any other."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tensortap.types import FrameInfo, StreamInfo, StreamState

_RATE_SECONDS = 5.0
"""Frame rates are those of the last so many seconds."""
_RECENT = 1024
"""Quantiles are those of the last so many values."""
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram's buckets in seconds."""


@dataclass(frozen=True)
class Distribution:
    """Durations in seconds, summarised."""

    count: int = 0
    """Of all values."""
    sum_seconds: float = 0.0
    """Of all values."""
    p50: float | None = None
    """Median of the latest 1024 values; `None` where there are none."""
    p95: float | None = None
    p99: float | None = None
    buckets: tuple[tuple[float, int], ...] = ()
    """(upper bound in seconds, how many values are at most that), of all values; the last bound is infinite."""


class Durations:
    """Collects durations. One thread adds, any may read."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, seconds: float) -> None:
        """One more value."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds
        self._recent.append(seconds)

    def distribution(self) -> Distribution:
        """What was collected so far."""
        recent = sorted(self._recent.copy())  # one operation of the interpreter's, so that nothing is added meanwhile
        counts = self._counts.copy()
        buckets, total = [], 0
        for bound, count in zip((*_BOUNDS, math.inf), counts, strict=True):
            total += count
            buckets.append((bound, total))
        return Distribution(
            count=total,
            sum_seconds=self._sum,
            p50=_quantile(recent, 0.50),
            p95=_quantile(recent, 0.95),
            p99=_quantile(recent, 0.99),
            buckets=tuple(buckets),
        )


class StreamMeter:
    """Counts what comes out of one stream. One thread counts, any may read.

    Args:
        now: a clock in seconds.
        wall_ns: the wall clock in nanoseconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self.frames = self.inferred = self.people = self.people_now = 0
        self.latency = Durations()
        self._now = now
        self._wall_ns = wall_ns
        self._times: deque[float] = deque(maxlen=4096)

    def count(self, info: FrameInfo, people: int, inferred: bool) -> None:
        """A frame's result is there."""
        self.frames += 1
        self.inferred += inferred
        self.people += people
        self.people_now = people
        now = self._now()
        self._times.append(now)
        while self._times[0] <= now - _RATE_SECONDS:
            self._times.popleft()
        if info.is_live and info.capture_ns:
            self.latency.add(max(0, self._wall_ns() - info.capture_ns) / 1e9)

    @property
    def frame_rate(self) -> float:
        """Frames a second over the last five seconds; 0 where none came."""
        now = self._now()
        times = [moment for moment in self._times.copy() if moment > now - _RATE_SECONDS]
        if len(times) < 2:
            return len(times) / _RATE_SECONDS
        span = times[-1] - times[0]
        usual_gap = span / (len(times) - 1)
        # A stream that stops slows down as soon as the next frame is overdue.
        return (len(times) - 1) / max(span, now - times[0] - usual_gap, 1e-9)


@dataclass(frozen=True)
class StreamStatus:
    """What a runtime knows of one stream at this moment."""

    source_id: int
    name: str
    is_live: bool
    state: StreamState
    reason: str
    """Why it is in this state; may be empty."""
    since_ns: int
    """Since when, wall-clock nanoseconds since 1970."""
    size_wh: tuple[int, int] | None = None
    """Of the frames, as far as they are known."""
    queued: int = 0
    """Frames that wait for the engine."""
    dropped_behind: int = 0
    """Live frames that were dropped because the engine, or with DeepStream the sinks, were behind."""
    dropped_late: int = 0
    """Live frames that were dropped because they were older than `--max-latency`."""
    damaged: int = 0
    """Packets or files that could not be decoded."""
    reconnects: int = 0
    """How often it has come back."""

    @classmethod
    def of(cls, stream: StreamInfo, damaged: int, dropped_behind: int = 0) -> StreamStatus:
        """A stream of which nothing more is known than that it runs."""
        return cls(
            stream.source_id,
            stream.name,
            stream.is_live,
            StreamState.ONLINE,
            "",
            0,
            size_wh=stream.size_wh,
            dropped_behind=dropped_behind,
            damaged=damaged,
        )


@dataclass(frozen=True)
class StreamNumbers:
    """One stream at this moment: its state, what came out of it, how fast and how late."""

    status: StreamStatus
    frames: int = 0
    """Frames with a result, predicted ones included."""
    inferred: int = 0
    """Frames that the model saw."""
    people: int = 0
    """People found so far, over all frames."""
    people_now: int = 0
    """People in the latest frame."""
    frame_rate: float = 0.0
    """Results a second over the last five seconds."""
    latency: Distribution = field(default_factory=Distribution)
    """From capture to result; live streams only."""

    @classmethod
    def of(cls, status: StreamStatus, meter: StreamMeter | None) -> StreamNumbers:
        """Both halves; `None` where no result has come yet."""
        if meter is None:
            return cls(status)
        return cls(
            status,
            frames=meter.frames,
            inferred=meter.inferred,
            people=meter.people,
            people_now=meter.people_now,
            frame_rate=meter.frame_rate,
            latency=meter.latency.distribution(),
        )


@dataclass(frozen=True)
class OutputNumbers:
    """One output at this moment."""

    name: str
    frames: int
    """Results that it was given."""
    dropped: int
    """Of these, results that it lost because it was too slow for a live stream."""
    error: str | None
    """Why it stopped."""


@dataclass(frozen=True)
class Numbers:
    """A run at this moment."""

    seconds: float
    """Wall-clock time since its start."""
    running: bool
    """Between the first frame asked for and the last."""
    idle_seconds: float
    """Since the loop last turned. Far above a second: a tap, a sink or the caller keeps it."""
    streams: Sequence[StreamNumbers]
    """In the order of their numbers; removed ones are not there any more."""
    outputs: Sequence[OutputNumbers]
    engine: Distribution
    """From the start of a batch to its tensors; its count is that of the batches."""

    @property
    def frame_rate(self) -> float:
        """Of all streams together."""
        return sum(stream.frame_rate for stream in self.streams)


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all values does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
