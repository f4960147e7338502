"""Batches decoded where their tensors are give the people that the host finds."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensortap.batches import TensorBatch
from tensortap.decode.batch import Head, people_of_batch, people_on_host, to_host
from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.errors import DecodeError
from tensortap.geometry import letterbox
from tensortap.types import Frame, FrameInfo, Poses, TensorFrame

pytest.importorskip("array_api_compat")
To = Callable[[np.ndarray], Any]
BOX = letterbox("ultralytics", (1280, 720), (640, 640))


@pytest.fixture(params=["numpy", "torch", "torch-cuda", "cupy"])
def to_device(request: pytest.FixtureRequest) -> To:
    """Brings an array to the library, and its GPU if it has one."""
    library, _, cuda = request.param.partition("-")
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    module = importlib.import_module(library)
    if library == "torch":
        if cuda and not module.cuda.is_available():
            pytest.skip("no GPU")
        return lambda array: module.from_numpy(array.copy()).to("cuda" if cuda else "cpu")
    if library == "cupy":
        return module.asarray  # type: ignore[no-any-return]
    return lambda array: array.copy()


class Counting:
    """Counts copies to the host."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.copies = 0

    def __call__(self, name: str) -> np.ndarray:
        self.copies += 1
        return to_host(self.array)


def frames_of(array: Any, copy: Counting | None = None) -> list[TensorFrame]:
    batch = TensorBatch({"output0": array}, copy or Counting(array))
    info = FrameInfo(0, "a.mp4", 0, 0, BOX.source_wh)
    return [TensorFrame(Frame(info, None), batch.frame(slot), BOX) for slot in range(len(array))]


def on_host(decoder: YoloPoseDecoder, tensor: np.ndarray) -> Poses:
    return decoder(TensorFrame(Frame(FrameInfo(0, "a.mp4", 0, 0, BOX.source_wh), None), {"output0": tensor}, BOX))


def assert_same(found: Poses, expected: Poses) -> None:
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def crowd(num_frames: int, *, num_classes: int = 1, anchors: int = 600, seed: int = 0) -> np.ndarray:
    """float32 (B, 4 + nc + 51, A): people in clusters that overlap in chains, a frame with nobody among them."""
    random = np.random.default_rng(seed)
    values = random.uniform(1, 600, (num_frames, 4 + num_classes + 51, anchors)).astype(np.float32)
    centers = random.uniform(100, 500, (num_frames, 2, 12))[:, :, random.integers(0, 12, anchors)]
    values[:, :2] = centers + random.normal(0, 12, centers.shape)
    values[:, 2:4] = random.uniform(40, 120, (num_frames, 2, anchors))
    values[:, 4 : 4 + num_classes] = random.uniform(0, 1, (num_frames, num_classes, anchors)) ** 4
    if num_frames > 2:
        values[1, 4 : 4 + num_classes] *= 0.2
    return values


@pytest.mark.parametrize("num_frames", [1, 4, 12])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_same_people_as_on_the_host(to_device: To, num_frames: int, num_classes: int) -> None:
    values = crowd(num_frames, num_classes=num_classes)
    array = to_device(values)
    copy = Counting(array)
    decoder = YoloPoseDecoder(num_classes=num_classes)
    frames = frames_of(array, copy)
    people = 0
    for frame, tensor in zip(frames, values, strict=True):
        expected = on_host(YoloPoseDecoder(num_classes=num_classes), tensor)
        assert_same(decoder(frame), expected)
        people += len(expected)
    assert people > 5 * (num_frames - 1)
    assert isinstance(array, np.ndarray) or copy.copies == 0, "a whole tensor crossed to the host"
    np.testing.assert_array_equal(to_host(array), values, "the tensors were written to")


def test_settings_are_obeyed(to_device: To) -> None:
    values = crowd(3)
    arguments: dict[str, Any] = {"conf_thres": 0.5, "iou_thres": 0.2, "max_det": 4, "clip": True}
    for frame, tensor in zip(frames_of(to_device(values)), values, strict=True):
        assert_same(YoloPoseDecoder(**arguments)(frame), on_host(YoloPoseDecoder(**arguments), tensor))


def test_equal_scores_keep_their_order(to_device: To) -> None:
    values = crowd(2)
    values[:, 4] = np.where(values[:, 4] > 0.3, np.float32(0.5), np.float32(0))
    for frame, tensor in zip(frames_of(to_device(values)), values, strict=True):
        assert_same(YoloPoseDecoder()(frame), on_host(YoloPoseDecoder(), tensor))


def test_transposed_and_half(to_device: To) -> None:
    values = crowd(2)
    values[:, :5] = values[:, :5].astype(np.float16)
    turned = np.ascontiguousarray(values.swapaxes(1, 2))
    for frame, tensor in zip(frames_of(to_device(turned)), values, strict=True):
        assert_same(YoloPoseDecoder(transposed=True)(frame), on_host(YoloPoseDecoder(), tensor))
    half = values.astype(np.float16)
    for frame, tensor in zip(frames_of(to_device(half)), half, strict=True):
        assert_same(YoloPoseDecoder()(frame), on_host(YoloPoseDecoder(), tensor))


def test_two_keypoint_values(to_device: To) -> None:
    values = crowd(2)[:, : 5 + 34]
    decoder = YoloPoseDecoder(keypoint_dims=2)
    for frame, tensor in zip(frames_of(to_device(values)), values, strict=True):
        assert_same(decoder(frame), on_host(YoloPoseDecoder(keypoint_dims=2), tensor))


@pytest.mark.parametrize(
    ("row", "value"), [(0, np.nan), (2, -5), (3, np.inf), (4, np.nan), (4, 7), (9, np.nan), (20, 1e9)], ids=str
)
def test_broken_rows_are_told_as_on_the_host(to_device: To, row: int, value: float) -> None:
    values = crowd(3)
    best = int(values[2, 4].argmax())
    values[2, row, best] = value
    array = to_device(values)
    copy = Counting(array)
    decoder, reference = YoloPoseDecoder(), YoloPoseDecoder()
    for frame, tensor in zip(frames_of(array, copy), values, strict=True):
        assert_same(decoder(frame), on_host(reference, tensor))
    assert decoder.rejected == reference.rejected
    assert sum(decoder.rejected[0].values()) == 1
    assert copy.copies == 1, "only the batch with the broken frame has to cross"


def test_outputs_of_nothing_but_zeros_are_told(to_device: To) -> None:
    values = np.zeros((2, 56, 100), np.float32)
    decoder = YoloPoseDecoder()
    assert [len(decoder(frame)) for frame in frames_of(to_device(values))] == [0, 0]
    assert decoder.rejected[0]["outputs that are zero throughout"] == 2


def test_every_anchor_is_a_candidate(to_device: To) -> None:
    values = crowd(2, anchors=1500)
    values[1, 4] = np.maximum(values[1, 4], 0.3)
    for frame, tensor in zip(frames_of(to_device(values)), values, strict=True):
        assert_same(YoloPoseDecoder()(frame), on_host(YoloPoseDecoder(), tensor))


def test_what_a_batch_computes_is_computed_inside_of_what_its_engine_says(to_device: To) -> None:
    values = crowd(2)
    entered: list[str] = []

    @contextmanager
    def computing() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    array = to_device(values)
    batch = TensorBatch({"output0": array}, lambda name: values, computing)
    frame, decoder = Frame(FrameInfo(0, "a.mp4", 0, 0, BOX.source_wh), None), YoloPoseDecoder()
    for slot in range(2):
        decoder(TensorFrame(frame, batch.frame(slot), BOX))
    assert entered == ([] if isinstance(array, np.ndarray) else ["in", "out"])


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_both_ways_to_decode_a_batch_are_the_same(num_classes: int, transposed: bool) -> None:
    values = crowd(4, num_classes=num_classes)
    if transposed:
        values = np.ascontiguousarray(values.swapaxes(1, 2))
    head = Head(num_classes, 4 + num_classes + 51, 0.25, 0.45, 300, 64000.0, transposed)
    one, other = people_of_batch(values, head), people_on_host(values, head)
    assert one.starts == other.starts
    assert one.for_host == other.for_host == [False] * 4
    for name in ("boxes_xyxy", "scores", "class_ids", "keypoints"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_frames_of_different_sizes_share_a_batch(to_device: To) -> None:
    values = crowd(2)
    batch = TensorBatch({"output0": to_device(values)}, lambda name: values)
    other = letterbox("ultralytics", (320, 640), (640, 640))
    decoder = YoloPoseDecoder()
    for slot, box in enumerate((BOX, other)):
        frame = Frame(FrameInfo(0, "a.mp4", 0, 0, box.source_wh), None)
        found = decoder(TensorFrame(frame, batch.frame(slot), box))
        assert_same(found, YoloPoseDecoder()(TensorFrame(frame, {"output0": values[slot]}, box)))


def test_the_same_frame_twice_gives_the_same(to_device: To) -> None:
    frame = frames_of(to_device(crowd(2)))[0]
    decoder = YoloPoseDecoder()
    assert_same(decoder(frame), decoder(frame))


def test_a_wrong_shape_is_an_error(to_device: To) -> None:
    with pytest.raises(DecodeError, match=r"\(40, 100\).*expects 56 rows"):
        YoloPoseDecoder()(frames_of(to_device(np.ones((1, 40, 100), np.float32)))[0])


def test_real_outputs(to_device: To, assets: Path) -> None:
    with np.load(assets / "tensors" / "real_outputs_56x8400.npz") as stored:
        values = np.stack([stored[f"n{people}"] for people in (0, 1, 5, 30, 5, 1)])
    for frame, tensor in zip(frames_of(to_device(values)), values, strict=True):
        assert_same(YoloPoseDecoder()(frame), on_host(YoloPoseDecoder(), tensor))
