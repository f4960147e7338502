"""Sinks behind a queue: live results push out old ones, files wait, and nobody waits for a sink that hangs."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tensortap.errors import SinkError
from tensortap.portable.pixels import BgrPixels
from tensortap.sinks.background import BackgroundSink
from tensortap.skeletons import COCO_17
from tensortap.types import Frame, FrameInfo, Poses, Result, StreamEvent, StreamState

EVENT = StreamEvent(0, "door", StreamState.OFFLINE, "refused", 1, 1)


def result(index: int, *, live: bool = True) -> Result:
    info = FrameInfo(0, "door", index, index, (4, 4), is_live=live)
    return Result(Frame(info, BgrPixels(np.zeros((4, 4, 3), np.uint8))), Poses.empty(COCO_17))


class Gated:
    """A sink that takes nothing before it is let."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.taken: list[object] = []
        self.closed = False

    def write(self, taken: Result) -> None:
        self.gate.wait(10)
        assert taken.image is None  # what waits in a queue of thousands holds no pictures
        self.taken.append(taken.info.index)

    def write_event(self, event: StreamEvent) -> None:
        self.taken.append(event.state)

    def close(self) -> None:
        self.closed = True


def test_live_results_push_out_the_oldest() -> None:
    sink = Gated()
    background = BackgroundSink("out", sink, queue_size=3)
    for index in range(50):
        background.write(result(index))
    background.write_event(EVENT)
    sink.gate.set()
    background.close()
    assert sink.taken[-3:] == [48, 49, StreamState.OFFLINE]
    assert background.dropped == 51 - len(sink.taken)
    assert sink.closed


def test_results_of_files_wait() -> None:
    sink = Gated()
    background = BackgroundSink("out", sink, queue_size=3)
    threading.Timer(0.1, sink.gate.set).start()
    for index in range(50):
        background.write(result(index, live=False))
    background.close()
    assert sink.taken == list(range(50))
    assert background.dropped == 0


def test_a_sink_that_hangs_is_given_up_and_leaves_no_thread() -> None:
    sink = Gated()
    background = BackgroundSink("out", sink, queue_size=3, close_seconds=0.2)
    for index in range(9):
        background.write(result(index))
    for _ in range(2):
        with pytest.raises(SinkError, match="out does not take what is left for it within"):
            background.close()
    sink.gate.set()  # it comes back: the thread ends
    deadline = time.monotonic() + 5
    while not sink.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sink.closed


def test_what_it_raises_is_raised() -> None:
    class Broken(Gated):
        def write(self, taken: Result) -> None:
            raise SinkError("disk full")

    background = BackgroundSink("out", Broken())
    background.write(result(0))
    with pytest.raises(SinkError, match="disk full"):
        background.close()


def test_events_are_for_sinks_that_take_them() -> None:
    class Deaf:
        def write(self, taken: Result) -> None:
            """Take it."""

        def close(self) -> None:
            """Nothing to do."""

    background = BackgroundSink("out", Deaf())
    background.write_event(EVENT)
    background.close()
