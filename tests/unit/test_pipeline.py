"""The pipeline as a library: results, tensors, taps, decoders of one's own, and how it ends."""

from __future__ import annotations

import gc
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tensortap
from media import write_image
from models import pose_model
from scene import square_at, write_scene
from tensortap import DecodeError, Pipeline, Poses, SinkError, SourceError, TensorFrame, UsageError
from tensortap.outputs import Output
from tensortap.sinks.memory import MemorySink
from tensortap.skeletons import COCO_17
from tensortap.types import Frame


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pose_model(tmp_path_factory.mktemp("model") / "pose.onnx")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    def ours() -> list[str]:
        # What is imported ahead is nobody's to wait for.
        return [thread.name for thread in threading.enumerate() if thread.name != "tensortap-import"]

    before = len(ours())
    yield
    assert len(ours()) <= before, ours()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_people_are_where_the_square_is(tmp_path: Path, model: Path, batch_size: int) -> None:
    results = list(Pipeline(write_scene(tmp_path / "a.mp4"), model, batch_size=batch_size))
    assert [result.info.index for result in results] == list(range(20))
    for result in results:
        assert len(result.poses) == 1
        x, y = square_at(result.info.index / 20)
        left, top, right, bottom = result.poses.boxes_xyxy[0]
        assert abs((left + right) / 2 - x) < 17  # a cell is 16 pixels wide
        assert abs((top + bottom) / 2 - y) < 17
    assert {int(result.poses.track_ids[0]) for result in results} == {1}


def test_results_are_safe_to_keep(tmp_path: Path, model: Path) -> None:
    path = write_scene(tmp_path / "a.mp4")
    kept = list(Pipeline(path, model))
    once = [(result.poses.boxes_xyxy.copy(), result.image.sum()) for result in Pipeline(path, model)]
    for result, (boxes, brightness) in zip(kept, once, strict=True):
        np.testing.assert_array_equal(result.poses.boxes_xyxy, boxes)
        assert result.image.sum() == brightness


def test_raw_tensors(tmp_path: Path, model: Path) -> None:
    seen = 0
    for frame in Pipeline(write_scene(tmp_path / "a.mp4"), model).tensors():
        assert frame.tensors["output0"].shape == (56, 64)
        assert not frame.tensors["output0"].flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            frame.tensors["output0"][0] = 0
        seen += 1
    assert seen == 20


def test_the_same_frame_decoded_twice_gives_the_same(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4"), model)
    for frame in pipeline.tensors():
        first, second = pipeline.parts.decoder(frame), pipeline.parts.decoder(frame)
        np.testing.assert_array_equal(first.keypoints, second.keypoints)


def test_taps_see_every_inferred_frame(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4"), model, interval=1)
    seen = []

    @pipeline.tap
    def look(frame: TensorFrame) -> None:
        seen.append((frame.info.index, float(frame.tensors["output0"][4].max()), frame.image.shape))

    pipeline.run()
    assert [index for index, _, _ in seen] == list(range(0, 20, 2))
    assert all(score > 0.2 and shape == (128, 128, 3) for _, score, shape in seen)


def test_a_decoder_of_ones_own(tmp_path: Path, model: Path) -> None:
    def decode(frame: TensorFrame) -> Poses:
        best = int(frame.tensors["output0"][4].argmax())
        column = frame.tensors["output0"][:, best]
        box = np.array([[*column[:2] - 4, *column[:2] + 4]], np.float32)
        return Poses(
            boxes_xyxy=frame.letterbox.boxes_to_source(box),
            scores=column[4:5].copy(),
            class_ids=np.zeros(1, np.int64),
            keypoints=frame.letterbox.points_to_source(column[5:].reshape(1, 17, 3)),
            skeleton=COCO_17,
        )

    results = list(Pipeline(write_scene(tmp_path / "a.mp4"), model, decoder=decode, max_frames=5))
    assert [len(result.poses) for result in results] == [1] * 5


def test_interval_keeps_every_frame_and_predicts_people(tmp_path: Path, model: Path) -> None:
    path = write_scene(tmp_path / "a.mp4")
    tracked = list(Pipeline(path, model, interval=3))
    assert [result.info.index for result in tracked] == list(range(20))
    assert [result.inferred for result in tracked] == [index % 4 == 0 for index in range(20)]
    assert all(len(result.poses) == 1 for result in tracked)
    alone = list(Pipeline(path, model, interval=3, tracker=None))
    assert [len(result.poses) for result in alone] == [int(index % 4 == 0) for index in range(20)]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("interval", [0, 1, 4])
def test_several_streams_each_in_order(tmp_path: Path, model: Path, batch_size: int, interval: int) -> None:
    paths = [write_scene(tmp_path / f"{name}.mp4", count) for name, count in (("a", 20), ("b", 7), ("c", 1))]
    results = list(Pipeline(paths, model, batch_size=batch_size, interval=interval))
    assert Counter(result.info.source for result in results) == {"a.mp4": 20, "b.mp4": 7, "c.mp4": 1}
    for source_id, count in enumerate((20, 7, 1)):
        assert [result.info.index for result in results if result.info.source_id == source_id] == list(range(count))
    # Each stream counts its people for itself.
    assert {int(i) for result in results for i in result.poses.track_ids} == {1}


def test_still_images_are_not_tracked_unless_asked(tmp_path: Path, model: Path) -> None:
    from scene import pictures

    for number, image in enumerate(pictures(3)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    assert {int(i) for result in Pipeline(tmp_path, model) for i in result.poses.track_ids} == {-1}
    assert {int(i) for result in Pipeline(tmp_path, model, tracker="pose") for i in result.poses.track_ids} == {1}


def test_max_frames_is_for_each_stream(tmp_path: Path, model: Path) -> None:
    paths = [write_scene(tmp_path / "a.mp4"), write_scene(tmp_path / "b.mp4")]
    pipeline = Pipeline(paths, model, max_frames=3)
    assert pipeline.run().streams == {0: 3, 1: 3}


def test_leaving_the_loop_early_completes_the_outputs(tmp_path: Path, model: Path) -> None:
    with Pipeline(write_scene(tmp_path / "a.mp4"), model, outputs=tmp_path / "a.jsonl") as pipeline:
        for result in pipeline:
            if result.info.index == 4:
                break
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 5


def test_a_pipeline_runs_once(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4", 2), model)
    pipeline.run()
    with pytest.raises(UsageError, match="has run"):
        pipeline.run()


def test_a_pipeline_that_never_runs_releases_everything(tmp_path: Path, model: Path) -> None:
    Pipeline(write_scene(tmp_path / "a.mp4", 2), model, outputs=[tmp_path / "a.mkv"]).close()


class _Breaks:
    """A source that breaks after some frames."""

    damaged = 0

    def __init__(self, inner: Any, after: int, error: Exception) -> None:
        self._inner, self._left, self._error = inner, after, error
        self.stream = inner.stream

    def read(self) -> Frame | None:
        if not self._left:
            raise self._error
        self._left -= 1
        return self._inner.read()

    def close(self) -> None:
        self._inner.close()


def test_a_stream_that_breaks_does_not_stop_the_others(tmp_path: Path, model: Path) -> None:
    paths = [write_scene(tmp_path / "a.mp4"), write_scene(tmp_path / "b.mp4")]
    pipeline = Pipeline(paths, model, outputs=tmp_path / "all.jsonl")
    runtime: Any = pipeline.parts.runtime
    runtime.sources[0] = _Breaks(runtime.sources[0], 4, SourceError("a.mp4 broke off"))
    with pytest.raises(SourceError, match="broke off"):
        pipeline.run()
    sources = Counter(json.loads(line)["source"] for line in (tmp_path / "all.jsonl").read_text().splitlines())
    assert sources == {"a.mp4": 4, "b.mp4": 20}


def test_faults_in_a_reader_thread_surface_with_their_traceback(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4"), model)
    runtime: Any = pipeline.parts.runtime
    runtime.sources[0] = _Breaks(runtime.sources[0], 2, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.run()
    assert "read" in [entry.name for entry in caught.traceback]


def test_a_sink_that_fails_does_not_stop_the_others(tmp_path: Path, model: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4"), model, outputs=["jsonl:/dev/full", tmp_path / "a.jsonl"])
    with pytest.raises(SinkError, match="No space left"):
        pipeline.run()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 20
    assert [output.error is None for output in pipeline.parts.outputs] == [False, True]


def test_nothing_runs_on_when_every_output_has_failed(tmp_path: Path, model: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4"), model, outputs="jsonl:/dev/full")
    with pytest.raises(SinkError):
        pipeline.run()
    assert pipeline.summary.frames == 1


def test_what_was_opened_is_closed_when_assembling_fails(tmp_path: Path, model: Path) -> None:
    path = write_scene(tmp_path / "a.mp4")
    with pytest.raises(SinkError):
        Pipeline(path, model, outputs=[tmp_path / "a.mkv", tmp_path / "missing" / "b.mkv"])
    assert not (tmp_path / "a.mkv").exists()


def test_all_inputs_that_cannot_be_opened_are_named(tmp_path: Path, model: Path) -> None:
    (tmp_path / "b.mp4").write_text("text")
    (tmp_path / "c.mp4").touch()
    paths = [write_scene(tmp_path / "a.mp4"), tmp_path / "b.mp4", tmp_path / "c.mp4"]
    with pytest.raises(SourceError, match=r"(?s)b.mp4 is not a video.*c.mp4 is empty"):
        Pipeline(paths, model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conf_thres": 7}, "--conf-thres 7: should be less than or equal to 1"),
        ({"iou_thres": -1}, "--iou-thres -1"),
        ({"batch_size": 0}, "--batch-size 0"),
        (
            {"engine": "tensorflow"},
            "--engine tensorflow: choose one of auto, onnxruntime, onnxruntime-cuda, openvino, tensorrt",
        ),
        ({"tracker": "magic"}, "--tracker magic: choose one of"),
        ({"letterbox": "x"}, "--letterbox x"),
        ({"colour": "red"}, "There is no setting 'colour'"),
        ({"imgsz": 65}, "multiples of the model's stride|fixed at 64x64"),
        ({"outputs": ["a.jsonl", "./a.jsonl"]}, "two outputs would write"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, model: Path, settings: dict[str, Any], message: str) -> None:
    path = write_scene(tmp_path / "a.mp4", 1)
    with pytest.raises(UsageError, match=message):
        Pipeline(path, model, **settings)


def test_an_input_is_never_overwritten(tmp_path: Path, model: Path) -> None:
    path = write_scene(tmp_path / "a.mp4", 1)
    with pytest.raises(UsageError, match="it is an input"):
        Pipeline(path, model, outputs=path)
    assert path.stat().st_size > 0


def test_public_names() -> None:
    for name in tensortap.__all__:
        assert getattr(tensortap, name) is not None


def test_images_and_videos_together(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        write_image(folder / f"{number}.png", (64 + number, 48))
    pipeline = Pipeline(
        [folder, write_scene(tmp_path / "a.mp4", 5)], model, outputs=[tmp_path / "out.mp4", tmp_path / "out.jsonl"]
    )
    assert pipeline.run().streams == {0: 3, 1: 5}
    assert (tmp_path / "out-0.mp4").stat().st_size > 0
    assert (tmp_path / "out-1.mp4").stat().st_size > 0
    assert not (tmp_path / "out.mp4").exists()


def test_the_model_is_never_overwritten_nor_an_input_by_another_name(tmp_path: Path, model: Path) -> None:
    path = write_scene(tmp_path / "a.mp4", 1)
    (tmp_path / "b.mp4").hardlink_to(path)
    (tmp_path / "c.mp4").symlink_to(path)
    for output, message in (
        (f"jsonl:{model}", "it is the model"),
        (tmp_path / "b.mp4", "an input"),
        (tmp_path / "c.mp4", "an input"),
    ):
        with pytest.raises(UsageError, match=message):
            Pipeline(path, model, outputs=output)


def test_an_old_result_survives_a_run_that_does_not_start(tmp_path: Path, model: Path) -> None:
    old = tmp_path / "old.jsonl"
    old.write_text("precious")
    with pytest.raises(SinkError):
        Pipeline(write_scene(tmp_path / "a.mp4", 1), model, outputs=[old, tmp_path / "missing" / "b.mp4"])
    assert old.read_text() == "precious"


def test_a_decoder_that_gives_nothing_is_explained(tmp_path: Path, model: Path) -> None:
    with pytest.raises(DecodeError, match="gave NoneType, not Poses"):
        Pipeline(write_scene(tmp_path / "a.mp4", 1), model, decoder=lambda frame: None).run()


def test_a_closed_pipeline_does_not_look_like_an_empty_one(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4", 3), model)
    pipeline.close()
    with pytest.raises(UsageError, match="is closed"):
        list(pipeline)


def test_closing_from_within_the_loop_ends_it(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4"), model, outputs=tmp_path / "a.jsonl")
    for number, _ in enumerate(pipeline):
        assert number < 3
        if number == 2:
            pipeline.close()
    assert pipeline.errors == []
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3


def test_a_pipeline_that_is_dropped_leaves_nothing_behind(tmp_path: Path, model: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        Pipeline(write_scene(tmp_path / "a.mp4", 2), model, outputs=[tmp_path / "a.mkv", tmp_path / "a.jsonl"])
    gc.collect()
    assert threading.active_count() == before
    assert not (tmp_path / "a.mkv").exists()


def test_opencvs_threads_are_given_back(tmp_path: Path, model: Path) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        first, second = (iter(Pipeline(write_scene(tmp_path / "a.mp4", 5), model)) for _ in range(2))
        next(first), next(second)
        assert cv2.getNumThreads() == 1
        list(first)
        list(second)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_an_interrupt_while_closing_completes_the_outputs(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline(write_scene(tmp_path / "a.mp4"), model, outputs=[tmp_path / "a.mp4.jsonl", tmp_path / "a.mkv"])
    runtime: Any = pipeline.parts.runtime
    close, calls = runtime.close, []

    def interrupted_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        close()

    runtime.close = interrupted_once
    with pytest.raises(KeyboardInterrupt):
        pipeline.close()
    assert not [thread.name for thread in threading.enumerate() if "tensortap" in thread.name]


def test_a_file_is_removed_and_another_one_added_while_it_runs(tmp_path: Path, model: Path) -> None:
    a, b, c = (write_scene(tmp_path / f"{name}.mp4", 60) for name in "abc")
    events = []
    pipeline = Pipeline([a, b], model, outputs=[tmp_path / "out.jsonl", tmp_path / "out.mkv"])
    pipeline.on_event(events.append)
    added = None
    for result in pipeline:
        if result.info.source == "a.mp4" and added is None:
            added = pipeline.add(c)
            pipeline.remove(0)
    assert added is not None
    assert added.source_id == 2
    assert [(event.source, event.state.value, event.reason) for event in events] == [("a.mp4", "ended", "removed")]
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    counts = Counter(line["source"] for line in written if "index" in line)
    assert counts["b.mp4"] == counts["c.mp4"] == 60
    assert 1 <= counts["a.mp4"] < 60
    assert sorted(path.name for path in tmp_path.glob("*.mkv")) == ["out-0.mkv", "out-1.mkv", "out-2.mkv"]


def test_numbers_of_a_run(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline([write_scene(tmp_path / "a.mp4"), write_scene(tmp_path / "b.mp4", 5)], model, outputs="null")
    assert not pipeline.numbers().running
    pipeline.run()
    numbers = pipeline.numbers()
    assert [(stream.status.name, stream.frames, stream.people) for stream in numbers.streams] == [
        ("a.mp4", 20, 20),
        ("b.mp4", 5, 5),
    ]
    assert {stream.status.state.value for stream in numbers.streams} == {"ended"}
    assert numbers.engine.count == 25
    assert (numbers.outputs[0].frames, numbers.outputs[0].dropped) == (25, 0)
    assert all(stream.latency.count == 0 for stream in numbers.streams)  # a file has no age


def test_outputs_of_live_streams_are_closed_at_the_same_time(tmp_path: Path, model: Path) -> None:
    pipeline = Pipeline("scene://gym?people=1&size=64x64&fps=50&live=1", model, max_frames=3)
    all_there = threading.Barrier(3)

    class Meeting(MemorySink):
        handles_live = True

        def close(self) -> None:
            all_there.wait(10)  # broken, and an error, unless all three come

    pipeline.parts.outputs[:] = [Output(name, Meeting()) for name in "abc"]
    pipeline.close()
    assert pipeline.errors == []
    pipeline.parts.outputs.clear()


def test_a_fault_while_outputs_are_closed_is_raised(tmp_path: Path, model: Path) -> None:
    class Buggy(MemorySink):
        handles_live = True

        def close(self) -> None:
            raise ZeroDivisionError

    pipeline = Pipeline(write_scene(tmp_path / "a.mp4", 2), model)
    pipeline.parts.outputs[:] = [Output("a", Buggy())]
    with pytest.raises(ZeroDivisionError):
        pipeline.close()
    pipeline.parts.outputs.clear()


def test_drawn_people_in_real_time_are_online(model: Path) -> None:
    pipeline = Pipeline("scene://gym?people=1&size=64x64&fps=50&live=1", model, max_frames=20)
    states = {pipeline.numbers().streams[0].status.state.value for _ in pipeline}
    assert "connecting" not in states


def test_rect_leaves_out_what_all_streams_would_have_as_padding() -> None:
    scenes = ["scene://street?people=3&size=320x320&seconds=1", "scene://street?people=3&size=288x320&seconds=1"]
    found = {}
    for rect in (False, True):
        with Pipeline(scenes, "demo", rect=rect, precision="f32", max_frames=3) as pipeline:
            found[rect] = [frame.letterbox.network_wh for frame in pipeline.tensors()]
    assert set(found[False]) == {(800, 480)}
    assert set(found[True]) == {(480, 480)}


def test_rect_needs_to_know_the_pictures_and_a_free_input(tmp_path: Path, model: Path) -> None:
    scene = "scene://street?people=1&size=320x320&seconds=1"
    with pytest.raises(UsageError, match=r"--rect: the input of .* is fixed at height 64 and width 64\. Export the model with"):
        Pipeline(write_scene(tmp_path / "a.mp4", 1), model, rect=True)
    for letterbox in ("auto", "nvinfer"):
        with pytest.raises(UsageError, match=r"how large the pictures of cam .*If they are 16:9, say --imgsz 480x800"):
            Pipeline("cam=rtsp://127.0.0.1:9/x", "demo", rect=True, letterbox=letterbox)
    with pytest.raises(UsageError, match="how large"):
        Pipeline(write_image(tmp_path / "a.png", (64, 48)), "demo", rect=True)
    for inputs in ([], [scene]):
        with pytest.raises(UsageError, match="the pictures of later streams"):
            Pipeline(inputs, "demo", rect=True, keep_running=True)
    with pytest.raises(UsageError, match="nvinfer-stretch stretches pictures"):
        Pipeline(scene, "demo", rect=True, letterbox="nvinfer-stretch")
    with pytest.raises(UsageError, match="--imgsz 650x650: both must be multiples"):
        Pipeline(scene, "demo", rect=True, imgsz=650)
