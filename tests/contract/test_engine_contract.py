"""What every engine promises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from models import channel_means, pose_model, ranked_outputs, two_inputs, typed_outputs
from nvidia import FAKED, fake_nvidia
from tensortap import registry
from tensortap.errors import EngineError, ModelError
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.engines.gpu import nvidia_gpu_here
from tensortap.portable.model import read_model

Make = Callable[..., Any]


ON_GPU = "-on-a-gpu"
"""After the names of NVIDIA's engines where they are themselves."""


def skipped(name: str) -> str:
    """Why an engine cannot be tested here; empty where it can."""
    entry = registry.ENGINES[name.removesuffix(ON_GPU)]
    if name.endswith(ON_GPU) and not nvidia_gpu_here():
        return "no GPU"
    return f"not installed: {entry.install}" if name not in FAKED and registry.missing_modules(entry) else ""


NAMES = [*registry.ENGINES, *(f"{name}{ON_GPU}" for name in FAKED)]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.skipif(bool(skipped(name)), reason=skipped(name))) for name in NAMES]
)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    """Makes an engine for a model file and closes it after the test. NVIDIA's work on the CPU, and on a GPU if there is one."""
    engines = []
    name = request.param.removesuffix(ON_GPU)
    if request.param in FAKED:
        fake_nvidia(monkeypatch, tmp_path / "cache")

    def create(path: Path, network_wh: tuple[int, int] = (64, 64), **arguments: Any) -> Any:
        engine_class = registry.load("engine", registry.ENGINES, name)
        engine = engine_class(
            read_model(path), arguments.pop("input_format", InputFormat()), network_wh=network_wh, **arguments
        )
        engines.append(engine)
        return engine

    before = set(threading.enumerate())
    yield create
    for engine in engines:
        engine.close()
    assert set(threading.enumerate()) <= before, "an engine left a thread behind"


def pictures(count: int, size_wh: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, size_wh[1], size_wh[0], 3), np.uint8)


def infer(engine: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """One batch, copied out."""
    request = engine.requests[0]
    request.images[: len(images)] = images
    request.start(len(images))
    return {name: array.copy() for name, array in request.wait().items()}


def test_same_as_a_plain_session(make: Make, tmp_path: Path) -> None:
    path = pose_model(tmp_path / "pose.onnx")
    images = pictures(1)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [expected] = session.run(None, {"images": images.transpose(0, 3, 1, 2).astype(np.float32) / 255})
    engine = make(path, precision="f32")
    found = infer(engine, images)
    assert engine.outputs == {"output0": (56, 64)}
    np.testing.assert_allclose(found["output0"], expected, atol=1e-3)


def test_a_request_says_when_it_is_done(make: Make, tmp_path: Path) -> None:
    request = make(pose_model(tmp_path / "pose.onnx")).requests[0]
    request.start(1)
    deadline = time.monotonic() + 30
    while not request.done():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert request.wait()["output0"].shape == (1, 56, 64)


def test_every_slot_of_a_batch_gives_the_same(make: Make, tmp_path: Path) -> None:
    engine = make(pose_model(tmp_path / "pose.onnx"), batch_size=4, precision="f32")
    outputs = infer(engine, np.repeat(pictures(1), 4, axis=0))["output0"]
    assert outputs.shape == (4, 56, 64)
    assert np.abs(outputs - outputs[0]).max() < 1e-4


def test_batches_that_are_not_full(make: Make, tmp_path: Path) -> None:
    images = pictures(3)
    for batch in (None, 4):
        engine = make(pose_model(tmp_path / f"pose{batch}.onnx", batch=batch), batch_size=4, precision="f32")
        whole = infer(engine, images)["output0"]
        assert whole.shape == (3, 56, 64)
        for number in range(3):
            np.testing.assert_allclose(infer(engine, images[number : number + 1])["output0"][0], whole[number], atol=1e-4)


def test_dynamic_height_and_width_take_the_size_asked_for(make: Make, tmp_path: Path) -> None:
    engine = make(pose_model(tmp_path / "pose.onnx", size=None))
    assert engine.requests[0].images.shape == (1, 64, 64, 3)
    assert engine.outputs["output0"] == (56, 64)


def test_results_belong_to_their_requests(make: Make, tmp_path: Path) -> None:
    engine = make(channel_means(tmp_path / "means.onnx"), (48, 32), input_format=InputFormat(scale=1.0), precision="f32")
    assert len(engine.requests) >= 2
    for round_number in range(5):
        for number, request in enumerate(engine.requests):
            request.images[...] = round_number * 20 + number
            request.start(1)
        kept = [request.wait()["mean"] for request in engine.requests]
        for number, mean in enumerate(kept):
            np.testing.assert_allclose(mean, round_number * 20 + number, atol=1e-3)


def test_outputs_are_read_only_and_stay_until_the_request_starts_again(make: Make, tmp_path: Path) -> None:
    engine = make(channel_means(tmp_path / "means.onnx"), (48, 32), input_format=InputFormat(scale=1.0), precision="f32")
    first, second = engine.requests[:2]
    first.images[...], second.images[...] = 10, 200
    first.start(1)
    mean = first.wait()["mean"]
    second.start(1)
    second.wait()
    np.testing.assert_allclose(mean, 10, atol=1e-3)
    with pytest.raises(ValueError, match="read-only"):
        mean[0] = 1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_scale_and_mean_are_folded_in(make: Make, tmp_path: Path, layout: str) -> None:
    input_format = InputFormat(scale=0.5, mean=(10.0, 20.0, 30.0))
    engine = make(channel_means(tmp_path / "a.onnx", layout=layout), (48, 32), input_format=input_format, precision="f32")
    images = np.zeros((1, 32, 48, 3), np.uint8)
    images[...] = (50, 100, 150)
    np.testing.assert_allclose(infer(engine, images)["mean"], [[20, 40, 60]], atol=1e-2)
    input_format = InputFormat(scale=(0.5, 0.1, 0.25), mean=(10.0, 20.0, 30.0))
    engine = make(channel_means(tmp_path / "a.onnx", layout=layout), (48, 32), input_format=input_format, precision="f32")
    np.testing.assert_allclose(infer(engine, images)["mean"], [[20, 8, 30]], atol=1e-2)


def test_uint8_inputs_are_handed_through(make: Make, tmp_path: Path) -> None:
    path = channel_means(tmp_path / "a.onnx", dtype=TensorProto.UINT8, layout="NHWC")
    images = np.zeros((1, 32, 48, 3), np.uint8)
    images[...] = (50, 100, 150)
    np.testing.assert_allclose(infer(make(path, (48, 32)), images)["mean"], [[50, 100, 150]], rtol=5e-3)


def test_several_outputs(make: Make, tmp_path: Path) -> None:
    engine = make(channel_means(tmp_path / "a.onnx", num_outputs=2), (48, 32), precision="f32")
    outputs = infer(engine, pictures(1, (48, 32)))
    assert list(outputs) == ["mean", "double"]
    np.testing.assert_allclose(outputs["double"], 2 * outputs["mean"], rtol=1e-4)


def test_half_typed_models(make: Make, tmp_path: Path) -> None:
    engine = make(pose_model(tmp_path / "half.onnx", half=True))
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, 16:24, 32:40] = 255
    outputs = infer(engine, image)
    assert outputs["output0"].dtype == np.float16
    assert outputs["output0"][0, 4].argmax() == 2 * 8 + 4


def test_a_fixed_batch_is_not_changed(make: Make, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="fixed at 2"):
        make(pose_model(tmp_path / "pose.onnx", batch=2), batch_size=4)


def test_a_precision_is_used_or_refused(make: Make, tmp_path: Path) -> None:
    refusal = ""
    try:
        assert make(pose_model(tmp_path / "pose.onnx"), precision="f16").precision == "f16"  # some CPUs can
    except EngineError as exc:
        refusal = str(exc)
    assert not refusal or "--precision f16" in refusal


def test_two_inputs_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"2 inputs \(images float32.*mask"):
        make(two_inputs(tmp_path / "two.onnx"))


def test_a_request_can_start_again_and_again(make: Make, tmp_path: Path) -> None:
    engine = make(pose_model(tmp_path / "pose.onnx"))
    outputs = [infer(engine, pictures(1))["output0"] for _ in range(3)]
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_closing_with_requests_in_flight(make: Make, tmp_path: Path) -> None:
    engine = make(pose_model(tmp_path / "pose.onnx"))
    for request in engine.requests:
        request.start(1)
    engine.close()
    engine.close()


def test_real_model(make: Make, assets: Path) -> None:
    engine = make(assets / "models" / "yolov8n-pose.onnx", (640, 640), batch_size=2, precision="f32")
    images = np.repeat(pictures(1, (640, 640)), 2, axis=0)
    outputs = infer(engine, images)["output0"]
    assert outputs.shape == (2, 56, 8400)
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-3


TYPES = [
    "FLOAT",
    "FLOAT16",
    "DOUBLE",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "BOOL",
    "BFLOAT16",
]
TENSORRT_HAS_NOT = {"DOUBLE", "INT16", "UINT16", "UINT32", "UINT64"}


def test_outputs_of_every_type(make: Make, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    is_tensorrt = request.node.callspec.params["make"].removesuffix(ON_GPU) == "tensorrt"
    types = [name for name in TYPES if not is_tensorrt or name not in TENSORRT_HAS_NOT]
    path = typed_outputs(tmp_path / "typed.onnx", {name.lower(): getattr(TensorProto, name) for name in types})
    engine = make(path, (48, 32), batch_size=2, precision="f32", input_format=InputFormat(scale=1.0))
    images = np.zeros((2, 32, 48, 3), np.uint8)
    images[0], images[1] = (3, 100, 120), (4, 80, 0)
    outputs = infer(engine, images)
    assert list(outputs) == [name.lower() for name in types]
    widened = {"float": "float32", "double": "float64", "bfloat16": "float32"}  # NumPy has no bfloat16
    for name, array in outputs.items():
        assert array.dtype == widened.get(name, name)
        expected = np.array([[3, 100, 120], [4, 80, 0]])
        np.testing.assert_array_equal(array, expected > 127 if name == "bool" else expected, err_msg=name)


def test_outputs_of_any_rank_and_without_batch(make: Make, tmp_path: Path) -> None:
    path = ranked_outputs(tmp_path / "ranks.onnx")
    engine = make(path, (48, 32), precision="f32")
    assert engine.outputs == {"rank1": (), "rank2": (3,), "rank5": (1, 3, 1, 1), "loose": (7, 3)}
    outputs = infer(engine, pictures(1, (48, 32)))
    assert outputs["rank1"].shape == (1,)
    np.testing.assert_array_equal(outputs["loose"][0], np.arange(21).reshape(7, 3))
    with pytest.raises(EngineError, match=r"'loose' \(7, 3\) is not the batch of 2.*--batch 1"):
        make(path, (48, 32), batch_size=2)
