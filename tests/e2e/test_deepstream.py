"""`--runtime deepstream` from the command line to the outputs, with NVIDIA's SDK played by the facts that are known of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from agreement import Agreement
from fakes import sdk
from fakes.simulation import Played
from squares import config, squares
from tensortap import Pipeline
from tensortap.cli.main import app
from tensortap.skeletons import skeleton_for
from tensortap.types import Poses, Result, TensorFrame

SKELETON = skeleton_for(17)

BINDINGS = ["pyds", "pyservicemaker"]
Play = Callable[..., Played]


def close(first: Poses, second: Poses, pixels: float = 0.6) -> None:
    """The same people; the order may differ where scores are equal."""
    assert len(first) == len(second)
    order = [np.lexsort(poses.boxes_xyxy.round().T) for poses in (first, second)]
    first, second = first.take(order[0]), second.take(order[1])
    np.testing.assert_allclose(first.scores, second.scores, atol=0.05)
    np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, atol=pixels)
    np.testing.assert_allclose(first.keypoints, second.keypoints, atol=pixels)


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"symmetric_padding": 0, "scaling_filter": 6},
        {"maintain_aspect_ratio": 0},
        {"model_color_format": 1, "offsets": "1;2;3"},
        {"interval": 2},
    ],
)
def test_one_file_and_one_video_give_the_same_people_in_both_runtimes(
    tmp_path: Path, play: Play, binding: str, keys: dict[str, int]
) -> None:
    play(binding)
    video, nvinfer = squares(tmp_path / "a.mp4"), config(tmp_path, **keys)
    portable = list(Pipeline(video, nvinfer_config=nvinfer, tracker=None))
    device = list(Pipeline(video, nvinfer_config=nvinfer, tracker=None, runtime="deepstream"))
    assert len(portable) == len(device) == 12
    assert sum(len(result.poses) for result in portable) >= 8
    for ours, theirs in zip(portable, device, strict=True):
        assert (ours.info.index, ours.info.source, ours.info.size_wh) == (
            theirs.info.index,
            theirs.info.source,
            theirs.info.size_wh,
        )
        assert abs(ours.info.pts_ns - theirs.info.pts_ns) < 1000
        assert ours.inferred == theirs.inferred
        close(ours.poses, theirs.poses)


@pytest.mark.parametrize("binding", BINDINGS)
def test_real_people(assets: Path, tmp_path: Path, play: Play, binding: str) -> None:
    """A real model and real video: the played SDK starts from BGR frames, the portable runtime from the planes."""
    play(binding)
    model = assets / "models" / "yolov8n-pose.onnx"
    nvinfer = config(tmp_path, onnx_file=model, infer_dims="3;640;640", batch_size=1)
    video = assets / "video" / "people.mp4"
    limited: dict[str, Any] = {"nvinfer_config": nvinfer, "tracker": None, "max_frames": 10}
    portable = list(Pipeline(video, engine="onnxruntime", **limited))
    device = list(Pipeline(video, runtime="deepstream", **limited))
    agreement = Agreement()
    for first, second in zip([*portable, *device], [*device, *portable], strict=True):
        # Whoever is well above the threshold is found by both.
        people = [
            {"box_xyxy": box.tolist(), "keypoints": keypoints.tolist()}
            for box, score, keypoints in zip(first.poses.boxes_xyxy, first.poses.scores, first.poses.keypoints, strict=True)
            if score > 0.35
        ]
        agreement.add(second.poses, people, second.info.size_wh)
    assert agreement.matched > 100
    assert agreement.missed <= 0.01 * agreement.matched
    assert np.mean(agreement.distances) < 0.5
    assert np.percentile(agreement.distances, 95) < 2.0


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_original_applications_command_line(tmp_path: Path, play: Play, binding: str) -> None:
    """Two videos of different sizes, its flags, nvtracker, RTSP out; and JSONL, which it lacked."""
    played = play(binding)
    videos = [squares(tmp_path / "a.mp4"), squares(tmp_path / "b.mp4", 8, (200, 120))]
    nvinfer = config(tmp_path)
    (tmp_path / "tracker.txt").write_text("[tracker]\ntracker-width=640\ntracker-height=384\nll-config-file=nvdcf.yml\n")
    line = ["run", "--runtime", "deepstream", "-i", *map(str, videos), "-config", str(nvinfer), "-c", "H265", "-b", "2000000"]
    line += ["-g", "nvinfer", "--conf-thres", "0.3", "--iou-thres", "0.5", "--tracker-config", str(tmp_path / "tracker.txt")]
    line += ["-o", "rtsp://:8554/ds-test", str(tmp_path / "out.jsonl"), "--json", "-q"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)
    assert [stream["frames"] for stream in outcome["streams"]] == [12, 8]
    assert (outcome["engine"], outcome["decoder"]) == ("nvinfer", "yolo-pose")
    graph = played.graphs[0]
    assert graph["rtsp-0-encoder"].factory == "nvv4l2h265enc"
    assert graph["rtsp-0-encoder"].properties["bitrate"] == 2_000_000
    assert graph["tracker"].properties["tracker-width"] == 640
    assert [(mount.port, mount.path, mount.encoding) for mount in graph.rtsp] == [(8554, "/ds-test", "H265")]
    lines = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    frames = [line for line in lines if "frame" in line or "people" in line]
    assert len(frames) == 20
    # nvtracker names nobody in the first frame, and then always the same people: two in each stream.
    ids: dict[Any, Counter[int]] = {}
    for frame in frames:
        counter = ids.setdefault(frame["source_id"], Counter())
        counter.update(person["track_id"] for person in frame["people"])
    assert set(ids) == {0, 1}
    for counter in ids.values():
        assert counter.pop(-1, 0) + counter.pop(None, 0) >= 1
        assert len(counter) == 2
        assert min(counter.values()) >= 6
    assert not set(ids[0]) & set(ids[1])
    # And the objects at the graph's end, which nvmsgconv and nvdsosd see, are those of the JSONL.
    assert {track_id & (1 << 63) - 1 for _, _, objects in played.objects for _, track_id, _ in objects} == {*ids[0], *ids[1]}
    assert max(lines for lines, _ in played.drawn) > 0


def tracked(tmp_path: Path, **settings: Any) -> list[Result]:
    (tmp_path / "tracker.txt").write_text("[tracker]\nll-config-file=nvdcf.yml\n")
    settings.setdefault("nvinfer_config", config(tmp_path) if "nvinfer_config" not in settings else None)
    told = {"tracker_config": str(tmp_path / "tracker.txt"), "runtime": "deepstream"}
    return list(Pipeline(squares(tmp_path / "a.mp4"), **(told | settings)))


@pytest.mark.parametrize("binding", BINDINGS)
def test_people_between_inferences_go_with_nvtracker(tmp_path: Path, play: Play, binding: str) -> None:
    play(binding)
    results = tracked(tmp_path, nvinfer_config=config(tmp_path, interval=1))
    assert [result.inferred for result in results] == [True, False] * 6
    for result in results[3:]:  # named from the second inferred frame on
        assert len(result.poses) == 2
        assert set(result.poses.track_ids) == set(results[3].poses.track_ids)
        assert np.isfinite(result.poses.keypoints).all()


def test_nvtracker_is_told_that_nobody_is_there(tmp_path: Path, play: Play) -> None:
    """A frame in which nobody was found is not one that nobody looked at: tracks end. Only pyds can say so."""
    played = play("pyds")
    (tmp_path / "tracker.txt").write_text("[tracker]\nll-config-file=nvdcf.yml\n")
    told = {"tracker_config": str(tmp_path / "tracker.txt"), "runtime": "deepstream", "nvinfer_config": config(tmp_path)}
    results = list(Pipeline(squares(tmp_path / "a.mp4", 6, num_black=6), **told))
    assert [len(result.poses) for result in results] == [2] * 6 + [0] * 6
    assert [len(objects) for _, _, objects in played.objects][6:] == [0] * 6


@pytest.mark.parametrize("binding", BINDINGS)
def test_our_tracker_names_the_objects_where_there_is_no_nvtracker(tmp_path: Path, play: Play, binding: str) -> None:
    played = play(binding)
    results = list(Pipeline(squares(tmp_path / "a.mp4"), nvinfer_config=config(tmp_path), runtime="deepstream"))
    for result, (_, _, objects) in zip(results, played.objects, strict=True):
        untracked = {sdk.UNTRACKED if track_id < 0 else track_id for track_id in result.poses.track_ids.tolist()}
        assert {track_id for _, track_id, _ in objects} == untracked
    assert {*results[-1].poses.track_ids} == {*results[4].poses.track_ids}


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_mux_scales_and_the_people_do_not_move(tmp_path: Path, play: Play, binding: str) -> None:
    """Objects are in pixels of the mux surface, results in those of the camera."""
    played = play(binding)
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "tracker": None, "runtime": "deepstream"}
    video = squares(tmp_path / "a.mp4")
    plain = list(Pipeline(video, **told))
    stretched = list(Pipeline(video, mux_size="320x240", **told))
    for first, second in zip(plain, stretched, strict=True):
        # The network sees a taller picture then; what it finds lies where the squares are all the same.
        assert len(second.poses) == 2
        for box in first.poses.boxes_xyxy:
            centers = (second.poses.boxes_xyxy[:, :2] + second.poses.boxes_xyxy[:, 2:]) / 2
            assert np.abs(centers - (box[:2] + box[2:]) / 2).max(axis=1).min() < 20
    for result, (_, _, objects) in zip(stretched, played.objects[12:], strict=True):
        on_surface = result.poses.boxes_xyxy * np.tile([320 / 160, 240 / 96], 2)
        expected = np.clip(on_surface, 0, [320, 240] * 2)
        np.testing.assert_allclose(sorted(box for _, _, box in objects), sorted(expected.tolist()), atol=0.01)


@pytest.mark.parametrize("binding", BINDINGS)
def test_tensors_of_objects(tmp_path: Path, play: Play, binding: str) -> None:
    """A detector on frames, nvtracker, and a network on each object: its crop, rounded to even pixels, is the ROI."""
    played = play(binding)
    config(tmp_path, "detector.txt", network_type=0, output_tensor_meta=0, gie_unique_id=1)
    nvinfer = config(tmp_path, process_mode=2, operate_on_gie_id=1, maintain_aspect_ratio=0)
    seen: list[TensorFrame] = []

    def middle(frame: TensorFrame) -> Poses:
        """The brightest cell of the crop, which is all bright."""
        assert frame.roi is not None
        assert frame.letterbox.network_wh == (64, 64)
        seen.append(frame)
        network = np.array([[0.0, 0.0], [64.0, 64.0]])
        corners = frame.letterbox.points_to_source(network)
        np.testing.assert_allclose(corners.ravel(), frame.roi, atol=1e-3)
        keypoints = np.concatenate([np.repeat(corners.mean(axis=0)[None], 17, axis=0), np.ones((17, 1))], axis=1)
        one = np.ones(1, np.float32)
        return Poses(
            np.array([frame.roi], np.float32), one, np.zeros(1, np.int64), keypoints[None].astype(np.float32), SKELETON
        )

    results = tracked(
        tmp_path, nvinfer_config=nvinfer, gie_configs=[str(tmp_path / "detector.txt")], decoder=middle, mux_size="160x96"
    )
    assert len(results) == 12
    graph = played.graphs[0]
    order = [element.name for element in graph.elements if element.factory in ("nvinfer", "nvtracker")]
    assert (order, graph.tap) == (["gie-0", "tracker", "gie-1"], "gie-1")
    for result in results[1:]:  # before, nvtracker has let nothing through
        assert len(result.poses) == 2
        assert (result.poses.track_ids >= 0).all()
    assert {*results[1].poses.track_ids} == {*results[-1].poses.track_ids}
    assert len(results[0].poses) == 0
    for frame in seen:
        left, top, right, bottom = frame.roi or (0, 0, 0, 0)
        assert left % 2 == top % 2 == right % 2 == bottom % 2 == 0
        assert frame.tensors["output0"].shape == (56, 64)
    # nvtracker's identities are left as they are, the highest bit included.
    assert {track_id for _, _, objects in played.objects for _, track_id, _ in objects} == {
        int(track_id) | 1 << 63 for track_id in results[1].poses.track_ids
    }
    # What is drawn at the object is what was found in it.
    assert all(text.startswith("person #") for _, _, objects in played.objects for text, _, _ in objects)


@pytest.mark.parametrize("binding", BINDINGS)
def test_pixels_on_demand(tmp_path: Path, play: Play, binding: str) -> None:
    play(binding)
    images: list[np.ndarray] = []

    def look(frame: TensorFrame) -> None:
        if frame.info.index == 3:
            assert frame.image is not None
            images.append(frame.image)

    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream", "pixels": True}
    with Pipeline(squares(tmp_path / "a.mp4"), mux_size="320x192", **told) as pipeline:
        pipeline.tap(look)
        results = list(pipeline)
    [image] = images
    assert image.shape == (96, 160, 3)  # of the camera, though the surface is larger
    assert image[40, 40].min() > 200
    assert image[5, 5].max() < 40
    assert results[3].frame.image is not None  # asked for in time, and kept
    assert results[4].frame.image is None  # not asked for, and gone: no surface is read behind the probe


def test_without_pixels_there_are_none(tmp_path: Path, play: Play) -> None:
    play()
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream"}
    assert {frame.image is None for frame in Pipeline(squares(tmp_path / "a.mp4"), **told).tensors()} == {True}


@pytest.mark.parametrize("binding", BINDINGS)
def test_tensors_are_lent_until_the_next_one(tmp_path: Path, play: Play, binding: str) -> None:
    play(binding)
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream"}
    sums = [float(frame.tensors["output0"].sum()) for frame in Pipeline(squares(tmp_path / "a.mp4"), **told).tensors()]
    portable: dict[str, Any] = {"nvinfer_config": config(tmp_path)}
    expected = [float(frame.tensors["output0"].sum()) for frame in Pipeline(squares(tmp_path / "a.mp4"), **portable).tensors()]
    np.testing.assert_allclose(sums, expected, rtol=1e-3)


@pytest.mark.parametrize("binding", BINDINGS)
def test_files_over_and_over_until_it_is_stopped(tmp_path: Path, play: Play, binding: str) -> None:
    played = play(binding)
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream", "file_loop": True}
    indices = []
    with Pipeline(squares(tmp_path / "a.mp4"), outputs=tmp_path / "out.jsonl", **told) as pipeline:
        for result in pipeline:
            indices.append((result.info.index, result.info.pts_ns))
            if len(indices) == 30:
                break
    assert [index for index, _ in indices] == list(range(30))
    assert indices == sorted(indices, key=lambda pair: pair[1])
    assert played.stopped
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) >= 30


def test_cameras_do_not_wait_for_a_slow_caller_and_what_is_lost_is_counted(tmp_path: Path, play: Play) -> None:
    played = play(cameras={"rtsp://10.0.0.7/door": squares(tmp_path / "door.mp4", 200)})
    indices: list[int] = []
    with Pipeline("rtsp://10.0.0.7/door", nvinfer_config=config(tmp_path), runtime="deepstream") as pipeline:
        for result in pipeline:
            if not indices:
                while played.passed < 200:  # nobody takes anything meanwhile
                    time.sleep(0.01)
            indices.append(result.info.index)
        [stream] = pipeline.numbers().streams
    assert indices == sorted(indices)
    assert indices[-1] == 199
    assert stream.status.dropped_behind == 200 - len(indices) > 100


def test_max_frames_end_the_run(tmp_path: Path, play: Play) -> None:
    play()
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream", "file_loop": True}
    videos = [squares(tmp_path / "a.mp4"), squares(tmp_path / "b.mp4", 7)]
    results = list(Pipeline(videos, max_frames=15, **told))
    assert Counter(result.info.source for result in results) == {"a.mp4": 15, "b.mp4": 15}


def test_a_recording_on_the_device_is_replayed_on_a_laptop(tmp_path: Path, play: Play) -> None:
    play()
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream", "tracker": None}
    device = list(Pipeline(squares(tmp_path / "a.mp4"), outputs=tmp_path / "a.tap", **told))
    replayed = list(Pipeline(tmp_path / "a.tap", tracker=None))
    for ours, theirs in zip(device, replayed, strict=True):
        np.testing.assert_array_equal(ours.poses.keypoints, theirs.poses.keypoints)


def test_a_model_that_is_an_engine_only_is_recognised_by_its_first_tensors(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    play()
    nvinfer = config(tmp_path)
    expected = list(Pipeline(squares(tmp_path / "a.mp4"), nvinfer_config=nvinfer, tracker=None, runtime="deepstream"))
    # What the runtime sees of the file: an engine and no ONNX file. The played nvinfer still has its network.
    from tensortap import assemble_deepstream
    from tensortap.nvinfer.config import read_nvinfer

    def engine_only(path: Path) -> Any:
        config = read_nvinfer(path)
        config.onnx_file, config.engine_file = None, path.parent / "squares.engine"
        config.engine_file.touch()
        return config

    monkeypatch.setattr(assemble_deepstream, "read_nvinfer", engine_only)
    monkeypatch.setattr("tensortap.config.read_nvinfer", engine_only)
    found = list(Pipeline(squares(tmp_path / "a.mp4"), nvinfer_config=nvinfer, tracker=None, runtime="deepstream"))
    for first, second in zip(expected, found, strict=True):
        close(first.poses, second.poses)
