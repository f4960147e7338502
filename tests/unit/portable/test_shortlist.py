"""Anchors that the model picks itself: the nodes that are added, and that the same people are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from gpus import HostGpu
from media import write_video
from models import pose_model
from nvidia import fake_nvidia
from tensortap import Pipeline, registry
from tensortap.batches import Shortlist, Shortlisted, TensorBatch
from tensortap.config import Settings
from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.geometry import letterbox
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.engines.fold import PICKED_ANCHORS, PICKED_VALUES, folded_onnx, in_half, with_shortlist
from tensortap.portable.model import read_model
from tensortap.reading import shortlist_for
from tensortap.types import Frame, FrameInfo, Poses, TensorFrame

BOX = letterbox("ultralytics", (1280, 720), (640, 640))
NUM_ANCHORS = 200


def passing_through(
    path: Path,
    *,
    num_rows: int = 56,
    transposed: bool = False,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    anchors: Any = NUM_ANCHORS,
) -> bytes:
    """A model whose output is its input: what is picked can be compared with what was there."""
    shape = ["batch", anchors, num_rows] if transposed else ["batch", num_rows, anchors]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["values"], ["output0"])],
        path.stem,
        [helper.make_tensor_value_info("values", dtype, shape)],
        [helper.make_tensor_value_info("output0", dtype, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def crowd(num_frames: int, num_classes: int = 1, seed: int = 0) -> np.ndarray:
    """float32 (B, 4 + nc + 51, A)."""
    random = np.random.default_rng(seed)
    values = random.uniform(1, 600, (num_frames, 4 + num_classes + 51, NUM_ANCHORS)).astype(np.float32)
    values[:, 2:4] = random.uniform(60, 160, (num_frames, 2, NUM_ANCHORS))
    # Few different scores: those that are equal have to come in their order.
    values[:, 4 : 4 + num_classes] = np.round(random.uniform(0, 1, (num_frames, num_classes, NUM_ANCHORS)) ** 4, 1)
    return values


def picked(model: bytes, values: np.ndarray, shortlist: Shortlist) -> TensorBatch:
    """What an engine on a device would give: the tensor there, and what was picked of it here."""
    added = with_shortlist(model, shortlist)
    assert added is not None
    onnx.checker.check_model(onnx.load_from_string(added), full_check=True)
    session = onnxruntime.InferenceSession(added, providers=["CPUExecutionProvider"])
    whole, chosen, anchors = session.run(["output0", PICKED_VALUES, PICKED_ANCHORS], {"values": values})
    np.testing.assert_array_equal(whole, values)
    return TensorBatch({"output0": OnDevice(whole)}, lambda name: whole, shortlisted={"output0": Shortlisted(anchors, chosen)})


class OnDevice:
    """An array that must not be looked at: only its shape is known."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape = array.shape


def decoded(decoder: YoloPoseDecoder, tensors: Any) -> Poses:
    return decoder(TensorFrame(Frame(FrameInfo(0, "a.mp4", 0, 0, BOX.source_wh), None), tensors, BOX))


def assert_same_people(decoder: YoloPoseDecoder, reference: YoloPoseDecoder, batch: TensorBatch, values: np.ndarray) -> int:
    """Returns how many."""
    people = 0
    for slot, tensor in enumerate(values):
        found, expected = decoded(decoder, batch.frame(slot)), decoded(reference, {"output0": tensor})
        for name in ("scores", "class_ids", "boxes_xyxy", "keypoints"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        people += len(expected)
    assert decoder.rejected == reference.rejected
    return people


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("opset", [13, 17, 18])
def test_the_same_people_are_found(tmp_path: Path, num_classes: int, transposed: bool, opset: int) -> None:
    values = crowd(4, num_classes)
    values[1, 4 : 4 + num_classes] *= 0.2  # nobody
    if transposed:
        values = np.ascontiguousarray(values.swapaxes(1, 2))
    model = passing_through(tmp_path / "a.onnx", num_rows=55 + num_classes, transposed=transposed, opset=opset)
    batch = picked(model, values, Shortlist("output0", num_classes, transposed, size=190))
    arguments: dict[str, Any] = {"num_classes": num_classes, "transposed": transposed}
    assert assert_same_people(YoloPoseDecoder(**arguments), YoloPoseDecoder(**arguments), batch, values) > 10


def test_of_a_crowd_that_is_larger_all_is_looked_at(tmp_path: Path) -> None:
    values = crowd(3)
    values[1, 4] = 0.9
    copies: list[str] = []
    batch = picked(passing_through(tmp_path / "a.onnx"), values, Shortlist("output0", 1, size=100))
    batch._copy = lambda name: copies.append(name) or values
    assert assert_same_people(YoloPoseDecoder(), YoloPoseDecoder(), batch, values) > 10
    assert copies == ["output0"]


def test_all_anchors_are_no_crowd(tmp_path: Path) -> None:
    values = crowd(2)
    values[:, 4] = 0.9
    batch = picked(passing_through(tmp_path / "a.onnx"), values, Shortlist("output0", 1))
    batch._copy = lambda name: pytest.fail("all of it had been picked")
    assert_same_people(YoloPoseDecoder(), YoloPoseDecoder(), batch, values)


@pytest.mark.parametrize(("row", "value"), [(0, np.nan), (2, -5), (3, np.inf), (4, np.nan), (4, 7), (9, np.nan)], ids=str)
def test_what_is_broken_is_told(tmp_path: Path, row: int, value: float) -> None:
    values = crowd(3)
    values[2, row, int(values[2, 4].argmax())] = value
    batch = picked(passing_through(tmp_path / "a.onnx"), values, Shortlist("output0", 1, size=150))
    decoder, reference = YoloPoseDecoder(), YoloPoseDecoder()
    assert_same_people(decoder, reference, batch, values)
    assert sum(decoder.rejected[0].values()) == 1


@pytest.mark.parametrize("num_class", [0, 1, 2])
@pytest.mark.parametrize("opset", [13, 18])
def test_no_number_in_any_class_is_told(tmp_path: Path, num_class: int, opset: int) -> None:
    values = crowd(2, 3)
    values[1, 4 + num_class, int(values[1, 4:7].max(axis=0).argmin())] = np.nan
    model = passing_through(tmp_path / "a.onnx", num_rows=58, opset=opset)
    decoder, reference = YoloPoseDecoder(num_classes=3), YoloPoseDecoder(num_classes=3)
    assert_same_people(decoder, reference, picked(model, values, Shortlist("output0", 3, size=100)), values)
    assert sum(decoder.rejected[0].values()) == 1


def test_nothing_but_zeros_is_told(tmp_path: Path) -> None:
    values = np.zeros((2, 56, NUM_ANCHORS), np.float32)
    batch = picked(passing_through(tmp_path / "a.onnx"), values, Shortlist("output0", 1, size=100))
    decoder = YoloPoseDecoder()
    assert_same_people(decoder, YoloPoseDecoder(), batch, values)
    assert decoder.rejected[0]["outputs that are zero throughout"] == 2


def test_half_precision(tmp_path: Path) -> None:
    values = crowd(2).astype(np.float16)
    model = passing_through(tmp_path / "a.onnx", dtype=TensorProto.FLOAT16)
    batch = picked(model, values, Shortlist("output0", 1, size=150))
    assert assert_same_people(YoloPoseDecoder(), YoloPoseDecoder(), batch, values) > 5


@pytest.mark.parametrize(
    "changes", [{"opset": 12}, {"anchors": "anchors"}, {"dtype": TensorProto.DOUBLE}], ids=["old", "unknown size", "double"]
)
def test_where_nodes_cannot_be_added(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert with_shortlist(passing_through(tmp_path / "a.onnx", **changes), Shortlist("output0", 1)) is None


def test_an_output_that_is_not_there(tmp_path: Path) -> None:
    assert with_shortlist(passing_through(tmp_path / "a.onnx"), Shortlist("other", 1)) is None


def test_who_gets_one(tmp_path: Path) -> None:
    path = pose_model(tmp_path / "pose.onnx")
    model = read_model(path)
    assert shortlist_for(Settings.checked(inputs="a.mp4", model=path), model) == Shortlist("output0", 1, transposed=False)
    assert shortlist_for(Settings.checked(inputs="a.mp4", model=path, decoder="rtmo"), model) is None


@pytest.mark.parametrize("half", [False, True])
def test_added_to_a_model_that_is_fixed_and_halved(tmp_path: Path, half: bool) -> None:
    folded, _ = folded_onnx(read_model(pose_model(tmp_path / "pose.onnx")), InputFormat(), fixed_bhw=(4, 64, 64))
    added = with_shortlist(in_half(folded) if half else folded, Shortlist("output0", 1, size=20))
    assert added is not None
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    session = onnxruntime.InferenceSession(added, providers=["CPUExecutionProvider"])
    assert [each.shape for each in session.get_outputs()] == [[4, 56, 64], [4, 56, 20], [4, 20]]
    whole, values, anchors = session.run(None, {"tensortap_input": images})
    np.testing.assert_array_equal(values, np.take_along_axis(whole, anchors[:, None, :], axis=2))
    assert (np.diff(values[:, 4], axis=1) <= 0).all()


def test_a_batch_that_only_the_picture_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the file says: a reshape hides how many frames come out."""
    fake_nvidia(monkeypatch, tmp_path / "cache")
    path = pose_model(tmp_path / "pose.onnx")
    proto = onnx.load(path)
    output = proto.graph.output[0]
    for node in proto.graph.node:
        node.output[:] = ["own_whole" if each == "output0" else each for each in node.output]
    proto.graph.node.extend(
        [
            helper.make_node("Shape", ["own_whole"], ["own_sizes"]),
            helper.make_node("ReduceMax", ["own_whole"], ["own_most"], keepdims=0),
            helper.make_node("Mul", ["own_most", "own_zero"], ["own_nothing"]),
            helper.make_node("Cast", ["own_nothing"], ["own_nothing_whole"], to=TensorProto.INT64),
            helper.make_node("Add", ["own_sizes", "own_nothing_whole"], ["own_same_sizes"]),
            helper.make_node("Reshape", ["own_whole", "own_same_sizes"], ["output0"]),
        ]
    )
    proto.graph.initializer.append(helper.make_tensor("own_zero", TensorProto.FLOAT, [], [0.0]))
    del output.type.tensor_type.shape.dim[:]
    for size in ("batch", 56, 64):
        dim = output.type.tensor_type.shape.dim.add()
        dim.dim_param, dim.dim_value = (size, 0) if isinstance(size, str) else ("", size)
        if isinstance(size, str):
            dim.dim_param = size
    onnx.save(proto, path)
    engine_class = registry.load("engine", registry.ENGINES, "onnxruntime-cuda")
    engine = engine_class(
        read_model(path), InputFormat(), network_wh=(64, 64), batch_size=2, shortlist=Shortlist("output0", 1, size=20)
    )
    assert not engine.sized
    engine.requests[0].start(2)
    batch = engine.requests[0].wait()
    np.testing.assert_array_equal(
        batch.shortlisted["output0"].values,
        np.take_along_axis(batch["output0"], batch.shortlisted["output0"].anchors[:, None], axis=2),
    )
    engine.close()


@pytest.mark.parametrize("name", ["tensorrt", "onnxruntime-cuda"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_engines_pick_and_the_tensor_stays(name: str, batch_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu: HostGpu = fake_nvidia(monkeypatch, tmp_path / "cache")
    batches: list[TensorBatch] = []
    made = TensorBatch.__init__

    def remember(self: TensorBatch, *arguments: Any, **more: Any) -> None:
        made(self, *arguments, **more)
        batches.append(self)

    monkeypatch.setattr(TensorBatch, "__init__", remember)
    monkeypatch.setattr(TensorBatch, "__getitem__", lambda self, key: pytest.fail(f"{key} was copied"))
    bright = [np.full((96, 160, 3), 60 + 20 * number, np.uint8) for number in range(9)]
    video = write_video(tmp_path / "a.mp4", images=bright)
    model = pose_model(tmp_path / "pose.onnx")
    arguments: dict[str, Any] = {"batch_size": batch_size, "precision": "f32", "conf_thres": 0.1, "tracker": None}
    with Pipeline(video, model, engine=name, **arguments) as pipeline:
        before = gpu.allocations
        found = list(pipeline)
        assert list(pipeline.parts.engine.outputs) == ["output0"]
    monkeypatch.undo()
    with Pipeline(video, model, engine="onnxruntime", **arguments) as pipeline:
        expected = list(pipeline)
    assert gpu.allocations == before
    assert all([*batch.shortlisted] == ["output0"] for batch in batches)
    assert sum(len(each.poses) for each in expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.poses.keypoints, other.poses.keypoints, atol=1e-3)


@pytest.mark.parametrize("name", ["tensorrt", "onnxruntime-cuda"])
def test_the_same_people_where_threads_write_the_pictures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("tensortap.portable.threads.usable_cores", lambda: 8)
    bright = [np.full((96, 160, 3), 60 + 8 * number, np.uint8) for number in range(22)]
    videos = [write_video(tmp_path / f"{each}.mp4", images=bright) for each in "ab"]
    model = pose_model(tmp_path / "pose.onnx")
    arguments: dict[str, Any] = {"batch_size": 4, "precision": "f32", "conf_thres": 0.1}
    found: dict[str, list[Any]] = {}
    for engine in (name, "onnxruntime"):
        with Pipeline(videos, model, engine=engine, **arguments) as pipeline:
            runtime: Any = pipeline.parts.runtime
            assert (runtime.writers is not None) == (engine == name)
            found[engine] = sorted(pipeline, key=lambda result: (result.info.source_id, result.info.index))
    assert len(found[name]) == 44
    for one, other in zip(found[name], found["onnxruntime"], strict=True):
        np.testing.assert_allclose(one.poses.keypoints, other.poses.keypoints, atol=1e-3)


def test_nothing_is_picked_for_a_decoder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia(monkeypatch, tmp_path / "cache")
    video = write_video(tmp_path / "a.mp4", num_frames=2)
    for decoder in ("none", lambda frame: Poses.empty()):
        arguments = {"decoder": decoder} if callable(decoder) else {"decoder": "none"}
        with Pipeline(video, pose_model(tmp_path / "pose.onnx"), engine="onnxruntime-cuda", **arguments) as pipeline:
            request = pipeline.parts.engine.requests[0]
            request.start(1)
            assert not request.wait().shortlisted
