"""Pictures that threads write while results are looked at."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import pose_model
from nvidia import fake_nvidia
from tensortap import registry
from tensortap.errors import EngineError
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.engines.replay import ReplayEngine, ReplayRequest
from tensortap.portable.model import read_model
from tensortap.portable.pixels import BgrPixels
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.runtime import PortableRuntime
from tensortap.portable.threads import writing_threads
from tensortap.portable.writers import PictureWriters
from tensortap.types import Frame, FrameInfo, StreamInfo, TensorFrame

NETWORK_WH = (32, 32)
SIZES_WH = ((32, 32), (64, 32), (32, 64), (48, 40))


class Clip:
    """A source of a few pictures, each of another size and grey."""

    damaged = 0

    def __init__(self, source_id: int, num_frames: int) -> None:
        self.stream = StreamInfo(source_id, f"clip{source_id}")
        self._frames = (picture(source_id, index % 50) for index in range(num_frames))

    def read(self) -> Frame | None:
        return next(self._frames, None)

    def close(self) -> None:
        """Nothing to release."""


def picture(source_id: int, index: int) -> Frame:
    width, height = size_wh = SIZES_WH[(source_id + index) % len(SIZES_WH)]
    grey = np.full((height, width, 3), 20 + 4 * index + source_id, np.uint8)
    return Frame(FrameInfo(source_id, f"clip{source_id}", index, index, size_wh), BgrPixels(grey))


class Showing(ReplayEngine):
    """Gives the pictures back as tensors, as they were when the request was started."""

    def __init__(self, batch_size: int, num_requests: int = 3) -> None:
        super().__init__(
            {"seen": np.zeros((*NETWORK_WH, 3), np.uint8)},
            network_wh=NETWORK_WH,
            batch_size=batch_size,
            num_requests=num_requests,
        )
        self.requests = [ShowingRequest(self, request.images) for request in self.requests]


class ShowingRequest(ReplayRequest):
    seen: np.ndarray

    def start(self, num_frames: int) -> None:
        self.seen = self.images[:num_frames].copy()

    def wait(self) -> Mapping[str, np.ndarray]:
        return {"seen": self.seen}


def run(sources: Sequence[Any], engine: ReplayEngine, writers: int, **options: Any) -> PortableRuntime:
    return PortableRuntime(sources, engine, Preprocessor(NETWORK_WH, "ultralytics"), writing_threads=writers, **options)


def frames_of(runtime: PortableRuntime) -> list[TensorFrame]:
    return [item for item in runtime if isinstance(item, TensorFrame)]


@pytest.mark.parametrize("batch_size", [1, 3, 4])
@pytest.mark.parametrize("writers", [1, 3])
@pytest.mark.parametrize("interval", [0, 1])
def test_the_same_as_without(batch_size: int, writers: int, interval: int) -> None:
    found, expected = (
        frames_of(run([Clip(0, 17), Clip(1, 11)], Showing(batch_size), number, interval=interval)) for number in (writers, 0)
    )
    assert len(found) == 28
    key = lambda frame: (frame.info.source_id, frame.info.index)  # noqa: E731
    assert [key(frame) for frame in found if not frame.info.source_id] == [(0, index) for index in range(17)]
    for one, other in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert key(one) == key(other)
        assert one.letterbox is other.letterbox
        assert [*one.tensors] == [*other.tensors]
        for name in one.tensors:
            np.testing.assert_array_equal(one.tensors[name], other.tensors[name])


class Broken:
    """Pixels that nobody can read."""


def broken_clip(num_frames: int, *broken: int, pixels: Any) -> Clip:
    clip = Clip(0, 0)
    frames = [picture(0, index) for index in range(num_frames)]
    for index in broken:
        frames[index] = Frame(frames[index].info, pixels)
    clip._frames = iter(frames)
    return clip


NO_PICTURE = BgrPixels(np.zeros((32, 32, 3), np.int64))
"""Pixels that OpenCV refuses."""


@pytest.mark.parametrize("pixels", [Broken(), NO_PICTURE], ids=["none", "refused"])
def test_a_frame_that_cannot_be_written_costs_itself_only(caplog: pytest.LogCaptureFixture, pixels: Any) -> None:
    runtime = run([broken_clip(6, 1, 2, pixels=pixels)], Showing(4), 2)
    found = frames_of(runtime)
    assert [frame.info.index for frame in found] == [0, 3, 4, 5]
    assert runtime.damaged == {0: 2}
    assert caplog.text.count("is left out") == 1
    reference = frames_of(run([Clip(0, 6)], Showing(4), 0))
    for frame in found:
        np.testing.assert_array_equal(frame.tensors["seen"], reference[frame.info.index].tensors["seen"])


def test_the_next_frame_is_inferred_in_place_of_one_that_cannot_be_written() -> None:
    for writers, pixels in ((0, Broken()), (0, NO_PICTURE), (2, Broken())):
        found = frames_of(run([broken_clip(8, 0, pixels=pixels)], Showing(4), writers, interval=2))
        assert [frame.info.index for frame in found if frame.tensors] == [1, 4, 7]
    found = frames_of(run([broken_clip(30, 0, pixels=NO_PICTURE)], Showing(2), 2, interval=2))
    assert len(found) == 29
    assert 9 <= sum(bool(frame.tensors) for frame in found) <= 10


@pytest.mark.parametrize("writers", [0, 3])
@pytest.mark.parametrize("engine", ["showing", "onnxruntime", "openvino", "onnxruntime-cuda"])
def test_a_run_can_be_ended_by_another_thread(
    engine: str, writers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "onnxruntime-cuda":
        fake_nvidia(monkeypatch, tmp_path / "cache")
    elif engine != "showing":
        pytest.importorskip(engine)
    model = read_model(pose_model(tmp_path / "pose.onnx", size=None))
    for number in range(6):
        if engine == "showing":
            made: Any = Showing(2)
        else:
            made = registry.load("engine", registry.ENGINES, engine)(model, InputFormat(), network_wh=(64, 64), batch_size=2)
        preprocessor = Preprocessor(made.requests[0].images.shape[2:0:-1], "ultralytics")
        runtime = PortableRuntime([Clip(0, 10_000), Clip(1, 10_000)], made, preprocessor, writing_threads=writers)
        threading.Timer(0.01 + 0.004 * number, runtime.close).start()
        assert len(frames_of(runtime)) < 20_000


class Camera(Clip):
    """Live, so that the runtime looks whether a batch is done."""

    def __init__(self, num_frames: int) -> None:
        super().__init__(0, num_frames)
        self.stream = StreamInfo(0, "cam", is_live=True)


def test_a_start_that_fails_ends_a_live_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise EngineError("the GPU refused")

    monkeypatch.setattr(ShowingRequest, "start", fail)
    monkeypatch.setattr(ShowingRequest, "done", lambda self: False)
    with pytest.raises(EngineError, match="refused"):
        frames_of(run([Camera(9)], Showing(4), 2))


@pytest.mark.parametrize("error", [EngineError("the GPU refused"), KeyError("a bug")])
def test_what_goes_wrong_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    where: Any = ShowingRequest if isinstance(error, EngineError) else Preprocessor
    monkeypatch.setattr(where, "start" if where is ShowingRequest else "write", fail)
    with pytest.raises(type(error), match=str(error.args[0])):
        frames_of(run([Clip(0, 9)], Showing(4), 2))


def test_threads_end_with_the_run() -> None:
    before = set(threading.enumerate())
    runtime = run([Clip(0, 50)], Showing(4), 3)
    items = iter(runtime)
    next(items)
    assert any(thread.name.startswith("tensortap-writer") for thread in threading.enumerate())
    runtime.close()
    assert set(threading.enumerate()) <= before


def test_a_run_that_is_left_waits_for_what_is_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Showing(2)
    closed: list[bool] = []
    monkeypatch.setattr(engine, "close", lambda: closed.append(True))
    write = Preprocessor.write

    def slowly(self: Preprocessor, frame: Frame, slot: np.ndarray) -> Any:
        time.sleep(0.02)
        assert not closed, "a request was written to after its engine was gone"
        return write(self, frame, slot)

    monkeypatch.setattr(Preprocessor, "write", slowly)
    runtime = run([Clip(0, 50)], engine, 2)
    items = iter(runtime)
    next(items)
    runtime.close()
    assert closed


def test_python_switches_threads_more_often_meanwhile() -> None:
    before = sys.getswitchinterval()
    during = []
    for writers in (0, 2):
        for _ in run([Clip(0, 3)], Showing(2), writers):
            during.append(sys.getswitchinterval())
    assert during == [pytest.approx(before)] * 3 + [pytest.approx(0.0005)] * 3
    assert sys.getswitchinterval() == pytest.approx(before)


def test_batches_of_one_are_written_side_by_side() -> None:
    engine = Showing(1, num_requests=3)
    barrier = threading.Barrier(3, timeout=10)

    class Meeting(Preprocessor):
        def another(self) -> Preprocessor:
            return Meeting(self.network_wh, self.policy, self.color)

        def write(self, frame: Frame, slot: np.ndarray) -> Any:
            barrier.wait()
            return super().write(frame, slot)

    writers = PictureWriters(Meeting(NETWORK_WH, "ultralytics"), engine.requests, 3)
    futures = [writers.write(request, [picture(0, number)]) for number, request in enumerate(engine.requests)]
    assert [future.result(10).unfit for future in futures] == [{}, {}, {}]
    writers.close()


def test_who_has_threads_that_write() -> None:
    assert writing_threads("throughput", 0, cores=16) == 4
    assert writing_threads("throughput", 0, cores=4) == 2
    assert writing_threads("throughput", 0, cores=1) == 0
    assert writing_threads("throughput", 2, cores=16) == 0, "the engine needs the cores"
    assert writing_threads("throughput", None, cores=16) == 0, "nobody knows"
    assert writing_threads("latency", 0, cores=16) == 0
