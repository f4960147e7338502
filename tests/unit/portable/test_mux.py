"""The mux by tables: who comes when, what waits, what ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest

from tensortap.portable.mux import Mux
from tensortap.types import Frame, FrameInfo


def frame(stream: int, index: int, capture_ns: int = 0) -> Frame:
    return Frame(FrameInfo(stream, f"s{stream}", index, 0, (4, 4), capture_ns=capture_ns), None)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def wall_ns(self) -> int:
        return round((self.seconds + 1e9) * 1e9)


def filled(counts: list[int], *, ended: bool = True, queue_size: int = 8) -> Mux:
    mux = Mux(queue_size)
    for stream in range(len(counts)):
        mux.add(stream)
    for stream, count in enumerate(counts):
        for index in range(count):
            mux.put(stream, frame(stream, index))
        if ended:
            mux.finish(stream)
    return mux


def taken(frames: list[Frame]) -> list[tuple[int, int]]:
    return [(each.info.source_id, each.info.index) for each in frames]


@pytest.mark.parametrize(
    ("counts", "batch", "expected"),
    [
        ([3], 2, [[(0, 0), (0, 1)], [(0, 2)]]),
        ([2, 2], 2, [[(0, 0), (1, 0)], [(0, 1), (1, 1)]]),
        ([2, 2], 3, [[(0, 0), (1, 0), (0, 1)], [(1, 1)]]),
        # A stream without frames is passed over; the next batch goes on where the last one stopped.
        ([0, 3, 1], 2, [[(1, 0), (2, 0)], [(1, 1), (1, 2)]]),
        ([4, 1], 1, [[(0, 0)], [(1, 0)], [(0, 1)], [(0, 2)], [(0, 3)]]),
        ([0, 0], 4, []),
    ],
)
def test_batches_are_fair(counts: list[int], batch: int, expected: list[list[tuple[int, int]]]) -> None:
    mux = filled(counts)
    batches = []
    while frames := mux.collect(batch):
        batches.append(taken(frames))
    assert batches == expected
    assert mux.finished


def test_a_busy_stream_does_not_crowd_out_a_slow_one() -> None:
    mux = filled([8, 1], ended=False)
    assert (1, 0) in taken(mux.collect(2, timeout_seconds=0))


def test_timeout_gives_what_there_is() -> None:
    mux = filled([1], ended=False)
    assert taken(mux.collect(4, timeout_seconds=0.01)) == [(0, 0)]
    assert mux.collect(4, timeout_seconds=0.01) == []


def test_only_full_is_all_or_nothing_until_the_end() -> None:
    mux = filled([2, 1], ended=False)
    assert mux.collect(4, timeout_seconds=0, only_full=True) == []
    mux.finish(0)
    mux.finish(1)
    assert len(mux.collect(4, timeout_seconds=0, only_full=True)) == 3


def test_full_queues_are_enough_for_a_batch_larger_than_they() -> None:
    mux = filled([2], ended=False, queue_size=2)
    assert len(mux.collect(10)) == 2


def test_put_waits_for_room_and_loses_nothing() -> None:
    mux = Mux(queue_size=2)
    mux.add(0)
    written = threading.Thread(target=lambda: ([mux.put(0, frame(0, index)) for index in range(50)], mux.finish(0)))
    written.start()
    indices = []
    while frames := mux.collect(3):
        assert len(frames) <= 3
        indices += [each.info.index for each in frames]
    written.join(5)
    assert indices == list(range(50))


def test_a_batch_waits_for_a_reader_that_sleeps_beside_its_nearly_full_queue() -> None:
    mux = Mux(queue_size=4)
    mux.add(0)
    reader = threading.Thread(target=lambda: [mux.put(0, frame(0, index)) for index in range(8)], daemon=True)
    reader.start()
    indices = [each.info.index for size in (4, 1, 3) for each in mux.collect(size, timeout_seconds=10)]
    assert indices == list(range(8))
    reader.join(5)
    assert not reader.is_alive()


def test_close_lets_waiting_readers_go() -> None:
    mux = filled([2], ended=False, queue_size=2)
    answers: list[bool] = []
    reader = threading.Thread(target=lambda: answers.append(mux.put(0, frame(0, 9))))
    reader.start()
    time.sleep(0.05)
    mux.close()
    reader.join(5)
    assert answers == [False]
    assert mux.finished
    assert not mux.wait_for_any()


def live(num_streams: int, clock: Clock, **options: Any) -> Mux:
    mux = Mux(now=clock.now, wall_ns=clock.wall_ns, **options)
    for stream in range(num_streams):
        mux.add(stream, live=True)
    return mux


def test_a_live_stream_never_waits_and_loses_its_oldest_frames() -> None:
    mux = live(1, Clock(), queue_size=3)
    for index in range(10):
        assert mux.put(0, frame(0, index))
    assert mux.dropped(0) == (7, 0)
    assert mux.queued(0) == 3
    assert taken(mux.collect(10, timeout_seconds=0)) == [(0, 7), (0, 8), (0, 9)]


def test_a_live_frame_that_has_waited_goes_when_a_newer_one_is_there() -> None:
    clock = Clock()
    mux = live(1, clock, queue_size=8)
    mux.put(0, frame(0, 0))
    mux.put(0, frame(0, 1))
    clock.seconds += 0.5
    # Old, but the newest there is.
    assert taken(mux.collect(1, timeout_seconds=0)) == [(0, 1)]
    mux.put(0, frame(0, 2))
    clock.seconds += 0.5
    mux.put(0, frame(0, 3))
    mux.put(0, frame(0, 4))
    assert taken(mux.collect(8, timeout_seconds=0)) == [(0, 3), (0, 4)]
    assert mux.dropped(0) == (2, 0)


def test_max_latency_bounds_the_age_of_frames() -> None:
    clock = Clock()
    mux = live(1, clock, max_latency_seconds=1.0)
    mux.put(0, frame(0, 0, clock.wall_ns() - 2_000_000_000))  # came late
    mux.put(0, frame(0, 1, clock.wall_ns() - 100_000_000))
    assert taken(mux.collect(8, timeout_seconds=0)) == [(0, 1)]
    mux.put(0, frame(0, 2, clock.wall_ns()))
    clock.seconds += 1.5  # the engine was busy
    assert mux.collect(8, timeout_seconds=0) == []
    assert mux.dropped(0) == (0, 2)


def test_files_are_complete_whatever_their_age() -> None:
    clock = Clock()
    mux = Mux(max_latency_seconds=0.1, now=clock.now, wall_ns=clock.wall_ns)
    mux.add(0)
    for index in range(3):
        mux.put(0, frame(0, index))
    clock.seconds += 60
    assert len(mux.collect(8, timeout_seconds=0)) == 3
    assert mux.dropped(0) == (0, 0)


def test_a_batch_of_live_streams_waits_for_those_that_are_up() -> None:
    mux = live(3, Clock())
    mux.put(0, frame(0, 0))
    # Streams 1 and 2 have shown nothing yet: nobody waits for them, whatever the time-out.
    assert taken(mux.collect(3)) == [(0, 0)]
    mux.put(1, frame(1, 0))
    # Stream 0 is up and will show something soon.
    assert mux.collect(3, timeout_seconds=0, only_full=True) == []
    mux.put(0, frame(0, 1))
    assert sorted(taken(mux.collect(3))) == [(0, 1), (1, 0)]
    mux.pause(1)
    mux.put(0, frame(0, 2))
    assert taken(mux.collect(3)) == [(0, 2)]


def test_overloaded_live_streams_are_served_alike() -> None:
    clock = Clock()
    mux = live(5, clock)
    served: Counter[int] = Counter()
    for index in range(400):
        for stream in range(5):  # stream 0 has three times the frame rate of the others
            for part in range(3 if stream == 0 else 1):
                mux.put(stream, frame(stream, 3 * index + part))
        clock.seconds += 0.1
        served.update(stream for stream, _ in taken(mux.collect(2, timeout_seconds=0)))
    assert max(served.values()) - min(served.values()) <= 1


def test_streams_come_and_go() -> None:
    mux = filled([1], ended=False)
    mux.add(7)
    mux.put(7, frame(7, 0))
    assert sorted(taken(mux.collect(2))) == [(0, 0), (7, 0)]
    mux.put(7, frame(7, 1))
    mux.remove(7)
    mux.remove(7)
    assert not mux.put(7, frame(7, 2))
    assert mux.collect(4, timeout_seconds=0) == []
    assert mux.queued(7) == 0
    assert not mux.finished
    mux.finish(0)
    assert mux.finished


def test_removing_a_stream_lets_its_reader_go() -> None:
    mux = filled([2], ended=False, queue_size=2)
    answers: list[bool] = []
    reader = threading.Thread(target=lambda: answers.append(mux.put(0, frame(0, 9))))
    reader.start()
    time.sleep(0.05)
    mux.remove(0)
    reader.join(5)
    assert answers == [False]


def test_held_open_it_waits_for_streams_to_come() -> None:
    mux = Mux(hold_open=True)
    assert not mux.finished
    assert not mux.wait_for_any(0.01)
    mux.add(3)
    mux.put(3, frame(3, 0))
    assert mux.wait_for_any()
    mux.close()
    assert mux.finished


def test_wake_ends_one_wait() -> None:
    mux = filled([0], ended=False)
    threading.Timer(0.05, mux.wake).start()
    assert not mux.wait_for_any(30)  # without the call, half a minute
    assert not mux.wait_for_any(0.01)
