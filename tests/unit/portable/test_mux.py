"""The mux by tables: who comes when, what waits, what ends."""

from __future__ import annotations

import threading
import time

import pytest

from tensortap.portable.mux import Mux
from tensortap.types import Frame, FrameInfo


def frame(stream: int, index: int) -> Frame:
    return Frame(FrameInfo(stream, f"s{stream}", index, 0, (4, 4)), None)


def filled(counts: list[int], *, ended: bool = True, queue_size: int = 8) -> Mux:
    mux = Mux(len(counts), queue_size)
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
    mux = Mux(1, queue_size=2)
    written = threading.Thread(target=lambda: ([mux.put(0, frame(0, index)) for index in range(50)], mux.finish(0)))
    written.start()
    indices = []
    while frames := mux.collect(3):
        assert len(frames) <= 3
        indices += [each.info.index for each in frames]
    written.join(5)
    assert indices == list(range(50))


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
