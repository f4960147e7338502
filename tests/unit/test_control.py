"""What may be seen and changed of a run while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from heads import frame_of
from models import pose_model
from scene import write_scene
from tensortap import COCO_17, Pipeline, Poses, SourceError, TensorFrame, UsageError
from tensortap.control import Control, Thresholds
from tensortap.geometry import Letterbox
from tensortap.taps import Peeks


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(write_scene(tmp_path / "a.mp4"), pose_model(tmp_path / "pose.onnx")) as pipeline:
        yield pipeline


def meanwhile(pipeline: Pipeline, function: Callable[[], object]) -> object:
    """What a function gives that is called in another thread while the pipeline runs, frame by frame, as long as it takes."""
    found: list[object] = []

    def call() -> None:
        try:
            found.append(function())
        except Exception as exc:
            found.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    for _ in pipeline:
        thread.join(0.1)
    thread.join(30)
    return found[0]


def test_thresholds_change_what_is_found(pipeline: Pipeline) -> None:
    control = Control(pipeline)
    assert control.thresholds == Thresholds(0.25, 0.45)
    results = iter(pipeline)
    assert len(next(results).poses) == 1
    assert control.set_thresholds(conf_thres=0.999) == Thresholds(0.999, 0.45)
    later = [len(result.poses) for result in results]
    assert later[-1] == 0


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_thresholds_that_cannot_be_meant_change_nothing(pipeline: Pipeline, value: float) -> None:
    control = Control(pipeline)
    with pytest.raises(UsageError, match="within 0 and 1"):
        control.set_thresholds(conf_thres=0.5, iou_thres=value)
    assert control.thresholds == Thresholds(0.25, 0.45)


@pytest.mark.parametrize("value", [0, 0.0009])
def test_not_all_that_the_network_says_is_a_person(pipeline: Pipeline, value: float) -> None:
    control = Control(pipeline)
    with pytest.raises(UsageError, match=r"conf_thres .*should be within 0\.001 and 1"):
        control.set_thresholds(conf_thres=value, iou_thres=0.5)
    assert control.thresholds == Thresholds(0.25, 0.45)
    assert control.set_thresholds(conf_thres=0.001, iou_thres=0) == Thresholds(0.001, 0.0)


def test_a_decoder_without_thresholds(tmp_path: Path) -> None:
    def nobody(frame: TensorFrame) -> Poses:
        return Poses.empty(COCO_17)

    with Pipeline(write_scene(tmp_path / "a.mp4"), pose_model(tmp_path / "pose.onnx"), decoder=nobody) as pipeline:
        control = Control(pipeline)
        assert control.thresholds == Thresholds(None, None)
        with pytest.raises(UsageError, match="has no conf_thres"):
            control.set_thresholds(conf_thres=0.5)
        found = meanwhile(pipeline, lambda: control.inspect(0))
        assert list(found.tensors) == ["output0"]
        assert found.scores == []


def test_a_frame_looked_into(pipeline: Pipeline) -> None:
    seen = {}

    @pipeline.tap
    def keep(frame: TensorFrame) -> None:
        seen[frame.info.index] = float(frame.tensors["output0"].max())

    found = meanwhile(pipeline, lambda: Control(pipeline).inspect(0))
    assert found.has_picture
    assert found.tensors["output0"].shape == (56, 64)
    assert found.tensors["output0"].greatest == seen[found.info.index]
    assert found.verdict.startswith("64 rows: ")


def test_no_frame_comes(pipeline: Pipeline) -> None:
    control = Control(pipeline)
    with pytest.raises(UsageError, match="no stream 7"):
        control.inspect(7)
    with pytest.raises(SourceError, match=r"a\.mp4 gave no frame within 0\.01 s, though it is online"):
        control.inspect(0, 0.01)
    assert len(list(pipeline)) == 20  # what was asked for in vain harms nobody


def test_peeks_are_answered_once_and_their_errors_are_theirs(pipeline: Pipeline) -> None:
    frames: list[int] = []
    asked = pipeline.peek(0, lambda frame: frames.append(frame.info.index))
    broken = pipeline.peek(0, lambda frame: frame.tensors["gone"])
    elsewhere = pipeline.peek(3, lambda frame: frame)
    given_up = pipeline.peek(0, lambda frame: frames.append(-1))
    given_up.cancel()
    assert len(list(pipeline)) == 20
    assert asked.result(0) is None
    assert frames == [0]
    assert isinstance(broken.exception(0), KeyError)
    assert elsewhere.cancelled()  # the run is over
    assert pipeline.peek(0, lambda frame: frame).cancelled()
    with pytest.raises(SourceError, match="removed, or the run is over"):
        Control(pipeline).inspect(0)


def test_who_peeks_into_a_stream_that_is_removed_does_not_wait() -> None:
    nobody_there = "rtsp://127.0.0.1:9/stream1"
    with Pipeline(["scene://street?people=1&size=320x240&fps=20&live=1", nobody_there], "demo", imgsz="256x320") as pipeline:
        results = iter(pipeline)
        next(results)
        gone, other = (pipeline.peek(source_id, lambda frame: frame) for source_id in (1, 7))
        pipeline.remove(1)
        while not gone.cancelled():
            assert next(results).info.index < 200
        assert not other.done()


def test_peeks_are_answered_where_only_tensors_are_taken(pipeline: Pipeline) -> None:
    asked = pipeline.peek(0, lambda frame: frame.info.index)
    next(pipeline.tensors())
    assert asked.result(0) == 0


def test_peeks_that_were_given_up_are_not_kept_where_no_frame_comes() -> None:
    peeks = Peeks()
    for _ in range(100):
        peeks.ask(0, lambda frame: frame).cancel()
    assert len(peeks._asked) == 1
    peeks.forget(7)
    assert not peeks


def test_a_function_that_peeks_once_more() -> None:
    """As the loop calls it: with nothing held that asking needs."""
    peeks, box = Peeks(), Letterbox((64, 64), (64, 64), (64, 64), (0, 0), (0, 0, 64, 64), 0, "bilinear")
    frame = frame_of({"output0": np.zeros((56, 64), np.float32)}, box)
    again: list[Future[int]] = []
    peeks.ask(0, lambda frame: again.append(peeks.ask(0, lambda later: later.info.index)))
    peeks(frame)
    assert not again[0].done()
    peeks(frame)
    assert again[0].result(0) == frame.info.index


def test_results_are_told_after_the_outputs(tmp_path: Path) -> None:
    video, model, out = write_scene(tmp_path / "a.mp4", 5), pose_model(tmp_path / "pose.onnx"), tmp_path / "out.jsonl"
    lines: list[int] = []
    with Pipeline(video, model, outputs=out) as pipeline:

        @pipeline.on_result
        def look(result: object) -> None:
            lines.append(pipeline.parts.outputs[0].num_frames)

        pipeline.run()
    np.testing.assert_array_equal(lines, [1, 2, 3, 4, 5])
