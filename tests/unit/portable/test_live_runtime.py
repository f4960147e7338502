"""The runtime with streams that come, go and misbehave."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tensortap.errors import SourceError, UsageError
from tensortap.portable.engines.replay import ReplayEngine, ReplayRequest
from tensortap.portable.pixels import BgrPixels
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.runtime import PortableRuntime
from tensortap.types import Frame, FrameInfo, StreamEvent, StreamInfo, StreamState, TensorFrame

OUTPUT = {"output0": np.zeros((56, 64), np.float32)}


class Camera:
    """A live source that shows what the test gives it."""

    damaged = 0
    reconnects = 0

    def __init__(self, source_id: int) -> None:
        self.stream = StreamInfo(source_id, f"cam{source_id}", is_live=True)
        self.queue: queue.Queue[Any] = queue.Queue()
        self._listener: Callable[[StreamEvent], object] = lambda event: None

    def watch(self, listener: Callable[[StreamEvent], object]) -> None:
        self._listener = listener

    def show(self, index: int, pixels: Any = None) -> None:
        info = FrameInfo(self.stream.source_id, self.stream.name, index, index, (8, 8), is_live=True)
        self.queue.put(Frame(info, pixels or BgrPixels(np.zeros((8, 8, 3), np.uint8))))

    def tell(self, state: StreamState, reason: str = "") -> None:
        self._listener(StreamEvent(self.stream.source_id, self.stream.name, state, reason, 1, 1))

    def read(self) -> Frame | None:
        item = self.queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.queue.put(None)


def runtime(*cameras: Camera, engine: Any = None, **options: Any) -> PortableRuntime:
    return PortableRuntime(
        cameras, engine or ReplayEngine(OUTPUT, network_wh=(64, 64)), Preprocessor((64, 64), "ultralytics"), **options
    )


def next_frame(items: Iterator[TensorFrame | StreamEvent]) -> TensorFrame:
    return next(item for item in items if isinstance(item, TensorFrame))


def test_events_come_without_any_frame() -> None:
    camera = Camera(0)
    with runtime(camera) as run:
        items = iter(run)
        threading.Timer(0.1, camera.tell, (StreamState.OFFLINE, "refused")).start()
        event = next(items)
        assert isinstance(event, StreamEvent)
        assert (event.state, event.reason) == (StreamState.OFFLINE, "refused")
        [status] = run.status()
        assert (status.state, status.reason, status.since_ns) == (StreamState.OFFLINE, "refused", 1)


def test_a_removed_stream_ends_after_its_last_frame() -> None:
    first, second = Camera(0), Camera(1)
    seen: list[object] = []
    with runtime(first, second) as run:
        for index in range(3):
            first.show(index)
        for item in run:
            seen.append(item)
            if len(seen) == 1:
                run.remove(0)
                first.show(9)
                second.show(0)
            elif isinstance(item, StreamEvent):
                assert [stream.source_id for stream in run.streams] == [1]
            elif item.info.source_id == 1:
                break
    kinds = [item.state if isinstance(item, StreamEvent) else item.info.source for item in seen]
    ended = kinds.index(StreamState.ENDED)
    assert "cam0" in kinds[:ended]
    assert "cam0" not in kinds[ended:]
    assert kinds[-1] == "cam1"


def test_a_stream_is_added_while_nothing_happens() -> None:
    first, second = Camera(0), Camera(1)
    with runtime(first) as run:
        items = iter(run)
        threading.Timer(0.1, run.add, (second,)).start()
        second.show(0)
        assert next_frame(items).info.source == "cam1"
    with pytest.raises(UsageError, match="over"):
        run.add(Camera(2))
    with pytest.raises(UsageError, match="There is no stream 7"):
        run.remove(7)


def test_the_run_ends_with_its_last_stream() -> None:
    camera = Camera(0)
    run = runtime(camera)
    camera.show(0)
    camera.queue.put(None)
    assert [item.info.index for item in run if isinstance(item, TensorFrame)] == [0]
    assert run.status()[0].state is StreamState.ENDED


def test_a_camera_that_was_given_up_is_an_error_in_the_end() -> None:
    first, second = Camera(0), Camera(1)
    run = runtime(first, second)
    first.queue.put(SourceError("cam0 was given up"))
    second.show(0)
    threading.Timer(0.2, second.queue.put, (None,)).start()
    with pytest.raises(SourceError, match="given up"):
        list(run)


def test_a_frame_that_cannot_be_placed_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def bgr(self) -> np.ndarray:
            raise AssertionError

    camera = Camera(0)
    with runtime(camera) as run:
        camera.show(0, Broken())
        camera.show(1, Broken())
        camera.show(2)
        assert next_frame(iter(run)).info.index == 2
        assert run.damaged == {0: 2}
    assert caplog.text.count("is left out") == 1


def test_interval_counts_the_frames_that_come() -> None:
    camera = Camera(0)
    with runtime(camera, interval=1) as run:
        items = iter(run)
        inferred = []
        for index in (1, 3, 5, 7):  # those between were dropped
            camera.show(index)
            inferred.append(next_frame(items).inferred)
    assert inferred == [True, False, True, False]


class _SlowRequest(ReplayRequest):
    """Is done when the test says so."""

    def __init__(self, engine: ReplayEngine, images: np.ndarray) -> None:
        super().__init__(engine, images)
        self.finished = threading.Event()
        self.started = threading.Event()

    def start(self, num_frames: int) -> None:
        super().start(num_frames)
        self.started.set()

    def done(self) -> bool:
        return self.finished.is_set()

    def wait(self) -> Any:
        assert self.finished.wait(10)
        return super().wait()


def test_a_live_frame_does_not_wait_for_the_result_of_another() -> None:
    engine = ReplayEngine(OUTPUT, network_wh=(64, 64))
    requests = [_SlowRequest(engine, request.images) for request in engine.requests]
    engine.requests = requests
    first, second = Camera(0), Camera(1)
    with runtime(first, second, engine=engine) as run:
        first.show(0)
        frames: list[str] = []
        reader = threading.Thread(target=lambda: frames.extend(next_frame(items).info.source for _ in range(2)))
        items = iter(run)
        reader.start()
        assert requests[0].started.wait(10)
        time.sleep(0.05)  # the loop waits for the first result
        second.show(0)
        assert requests[1].started.wait(10)  # not only when that has come
        assert frames == []
        for request in requests:
            request.finished.set()
        reader.join(10)
    assert frames == ["cam0", "cam1"]
    assert run.engine_seconds.distribution().count == 2


def test_for_latency_only_the_newest_frame_waits_and_the_engine_gets_one_at_a_time() -> None:
    engine = ReplayEngine(OUTPUT, network_wh=(64, 64))
    requests = [_SlowRequest(engine, request.images) for request in engine.requests]
    engine.requests = requests
    camera = Camera(0)
    with runtime(camera, engine=engine, mode="latency", batch_timeout_seconds=0.0) as run:
        items = iter(run)
        frames: list[int] = []
        reader = threading.Thread(target=lambda: frames.extend(next_frame(items).info.index for _ in range(2)))
        camera.show(0)
        reader.start()
        assert requests[0].started.wait(10)
        for index in range(1, 6):
            camera.show(index)
        deadline = time.monotonic() + 10
        while run.status()[0].dropped_behind < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        requests[0].finished.set()
        reader.join(10)
        assert frames == [0, 5]
        assert run.status()[0].dropped_behind == 4
        assert not requests[1].started.is_set()
