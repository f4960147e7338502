"""Times of files and of cameras, by tables."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tensortap.portable.sources.clock import FileClock, LiveClock

MS = 1_000_000
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("own_ms", "expected_ms"),
    [
        ([500, 540, 580], [0, 40, 80]),
        ([None, None, None], [0, 40, 80]),
        ([0, 40, 40, 120], [0, 40, 40, 120]),  # given twice: rises by a nanosecond
        ([0, 5000, 0, 40], [0, 5000, 5040, 5080]),  # another recording begins
    ],
)
def test_times_of_a_file(own_ms: list[int | None], expected_ms: list[int]) -> None:
    clock = FileClock()
    times = [clock.time(None if own is None else own * MS, 40 * MS) for own in own_ms]
    assert [round(time / MS) for time in times] == expected_ms
    assert all(after > before for before, after in pairwise(times))


def run(clock: LiveClock, frames: list[tuple[float | None, float]]) -> list[tuple[int, int]]:
    """(own time, arrival) in milliseconds -> (pts, lateness) in milliseconds; pts always rise."""
    times = [clock.time(None if own is None else round(own * MS), round(arrival * MS)) for own, arrival in frames]
    assert all(after[0] > before[0] for before, after in pairwise(times))
    return [(round(pts / MS), round(late / MS)) for pts, late in times]


def test_a_camera_is_as_even_as_its_own_times() -> None:
    jitter = [0, 9, 3, 12, 0, 7]
    frames = [(9000 + 40 * number, 500 + 40 * number + late) for number, late in enumerate(jitter)]
    assert run(LiveClock(), frames) == [(40 * number, late) for number, late in enumerate(jitter)]


def test_without_times_of_its_own_arrival_counts() -> None:
    assert run(LiveClock(), [(None, 500), (None, 541), (None, 541), (None, 620)]) == [(0, 0), (41, 0), (41, 0), (120, 0)]


def test_what_a_network_held_back_is_late() -> None:
    smooth = [(40.0 * number, 40.0 * number) for number in range(25)]
    held_back = [(1000.0 + 40 * number, 3000.0 + number) for number in range(50)]  # two seconds arrive at once
    after = [(3000.0 + 40 * number, 3000.0 + 40 * number + 1) for number in range(2, 10)]
    times = run(LiveClock(), smooth + held_back + after)
    assert times[25][1] == 2000
    assert times[25 + 49][1] == pytest.approx(89, abs=2)
    assert times[-1][1] <= 2


def test_a_server_that_paused_is_not_late_for_ever() -> None:
    frames = [(40.0 * number, 40.0 * number) for number in range(100)]
    frames += [(4000.0 + 40 * number, 7000.0 + 40 * number) for number in range(400)]  # its clock stood still for 3 s
    times = run(LiveClock(), frames)
    assert times[100][1] == 3000
    assert times[-1][1] == 0
    assert times[-1][0] == pytest.approx(frames[-1][1], abs=3010)


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_is_set_does_not_move_the_stream(jump_ms: int) -> None:
    frames = [(40.0 * number, 40.0 * number) for number in range(50)]
    frames += [(2000.0 + jump_ms + 40 * number, 2000.0 + 40 * number) for number in range(50)]
    assert [pts for pts, _ in run(LiveClock(), frames)] == [40 * number for number in range(100)]


def test_time_goes_on_after_a_reconnect() -> None:
    clock = LiveClock()
    run(clock, [(90_000, 100), (90_040, 140)])
    clock.reconnect()
    assert run(clock, [(0, 10_100), (40, 10_140)]) == [(10_000, 0), (10_040, 0)]


@pytest.mark.parametrize("drift", [0.9998, 1.0002])
def test_a_clock_that_runs_wrong_is_followed(drift: float) -> None:
    hour = 3600 * 25
    clock = LiveClock()
    last = 0
    for number in range(hour):
        last, late = clock.time(round(number * 40 * MS * drift), number * 40 * MS)
        assert late < 10 * MS
    assert last / MS == pytest.approx((hour - 1) * 40, abs=20)  # unfollowed, it would be 720 ms
