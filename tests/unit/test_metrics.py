"""The numbers of a run."""

from __future__ import annotations

import math

import pytest

from tensortap.metrics import Durations, StreamMeter
from tensortap.types import FrameInfo


def test_quantiles_and_buckets() -> None:
    durations = Durations()
    for milliseconds in range(1, 101):
        durations.add(milliseconds / 1e3)
    found = durations.distribution()
    assert (found.count, found.sum_seconds) == (100, pytest.approx(5.05))
    assert (found.p50, found.p95, found.p99) == (0.050, 0.095, 0.099)
    buckets = dict(found.buckets)
    assert buckets[0.05] == 50  # a bound belongs to its bucket
    assert buckets[0.1] == buckets[math.inf] == 100


def test_quantiles_are_those_of_late() -> None:
    durations = Durations()
    for seconds in [9.0] * 2000 + [0.1] * 1024:
        durations.add(seconds)
    assert durations.distribution().p99 == 0.1
    assert durations.distribution().count == 3024


def test_nothing_is_no_number() -> None:
    found = Durations().distribution()
    assert (found.count, found.p50, found.p99) == (0, None, None)


class Clock:
    seconds = 0.0

    def now(self) -> float:
        return self.seconds


def test_frame_rates_are_those_of_the_last_seconds() -> None:
    clock = Clock()
    meter = StreamMeter(now=clock.now)
    assert meter.frame_rate == 0
    info = FrameInfo(0, "a", 0, 0, (4, 4))
    for number in range(100):
        clock.seconds = number / 20
        meter.count(info, 2, True)
    assert meter.frame_rate == pytest.approx(20, rel=0.01)
    clock.seconds += 1.0  # it stands still
    assert 14 < meter.frame_rate < 18
    clock.seconds += 10.0
    assert meter.frame_rate == 0
    assert (meter.frames, meter.inferred, meter.people, meter.people_now) == (100, 100, 200, 2)


def test_latency_is_from_capture_and_never_negative() -> None:
    meter = StreamMeter(wall_ns=lambda: 5_000_000_000)
    meter.count(FrameInfo(0, "a", 0, 0, (4, 4), is_live=True, capture_ns=4_900_000_000), 0, True)
    meter.count(FrameInfo(0, "a", 1, 1, (4, 4), is_live=True, capture_ns=5_100_000_000), 0, True)  # somebody set the clock
    meter.count(FrameInfo(0, "a", 2, 2, (4, 4)), 0, True)  # a file
    meter.count(FrameInfo(0, "a", 3, 3, (4, 4), capture_ns=1_000_000_000), 0, True)  # a replay of a live stream
    assert meter.latency.distribution().count == 2
    assert meter.latency.distribution().p99 == pytest.approx(0.1)
