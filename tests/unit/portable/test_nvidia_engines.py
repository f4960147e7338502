"""TensorRT and ONNX Runtime's CUDA: what is built and kept, what crosses to the host, and what is refused.

Neither is here: `fake_tensorrt` and ONNX Runtime's CPU provider stand for them. What a GPU makes of it is not shown.
"""

from __future__ import annotations

import gc
import importlib
import logging
import threading
import time
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

import fake_tensorrt
from gpus import HostGpu
from media import write_video
from models import channel_means, pose_model, rtmo_model
from nvidia import fake_nvidia
from tensortap import Pipeline, registry
from tensortap.assemble_engine import create_engine
from tensortap.batches import TensorBatch
from tensortap.config import Settings
from tensortap.errors import EngineError, MissingDependencyError
from tensortap.portable.engines import gpu as gpus
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.model import read_model


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HostGpu:
    monkeypatch.setattr(fake_tensorrt.Builder, "builds", 0)
    return fake_nvidia(monkeypatch, tmp_path / "cache")


def make(path: Path, name: str = "tensorrt", **arguments: Any) -> Any:
    engine_class = registry.load("engine", registry.ENGINES, name)
    return engine_class(read_model(path), InputFormat(), **{"network_wh": (64, 64), **arguments})


def plan() -> dict[str, Any]:
    return fake_tensorrt.CudaEngine.latest.plan


@pytest.mark.usefixtures("gpu")
def test_an_engine_is_built_once_and_kept(tmp_path: Path) -> None:
    path = pose_model(tmp_path / "pose.onnx")
    make(path).close()
    [kept] = (tmp_path / "cache" / "tensorrt").iterdir()
    assert kept.name.startswith("pose-NVIDIA_Fake_1-tensorrt-10.9.0.34-f16-1x12x16-64x64-")
    make(path, batch_size=4).close()  # the same profile
    assert fake_tensorrt.Builder.builds == 1
    make(path, precision="f32").close()
    make(path, batch_size=20).close()
    (tmp_path / "other").mkdir()
    make(pose_model(tmp_path / "other" / "pose.onnx", num_keypoints=5)).close()  # of the same name
    assert fake_tensorrt.Builder.builds == 4


@pytest.mark.usefixtures("gpu")
def test_a_kept_engine_that_does_not_load_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = pose_model(tmp_path / "pose.onnx")
    make(path).close()
    [kept] = (tmp_path / "cache" / "tensorrt").iterdir()
    kept.write_bytes(b"of another version")
    with caplog.at_level(logging.WARNING):
        make(path).close()
    assert "the magic number does not match" in caplog.text
    assert fake_tensorrt.Builder.builds == 2
    assert kept.read_bytes().startswith(b"plan")


@pytest.mark.usefixtures("gpu")
def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        make(pose_model(tmp_path / "pose.onnx")).close()
    assert "cannot be kept" in caplog.text


@pytest.mark.usefixtures("gpu")
def test_profile_and_precision(tmp_path: Path) -> None:
    path = pose_model(tmp_path / "pose.onnx")
    engine = make(path, batch_size=4)
    [shapes] = plan()["profile"].values()
    assert [shape[0] for shape in shapes] == [1, 12, 16]
    assert engine.precision == "f16"
    assert plan()["flags"] == ["FP16", "TF32"]
    engine = make(path, batch_size=20, precision="bf16")
    [shapes] = plan()["profile"].values()
    assert [shape[0] for shape in shapes] == [1, 20, 20]
    assert "BF16" in plan()["flags"]
    assert make(path, precision="f32").precision == "f32"
    assert plan()["flags"] == [], "TF32 is no f32"
    make(pose_model(tmp_path / "fixed.onnx", batch=2), batch_size=2)
    [shapes] = plan()["profile"].values()
    assert [shape[0] for shape in shapes] == [2, 2, 2]


@pytest.mark.usefixtures("gpu")
def test_tensorrt_11_takes_the_precision_from_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = importlib.import_module("tensortap.portable.engines.tensorrt_build")
    monkeypatch.setattr(build.trt, "BuilderFlag", fake_tensorrt.StrictBuilderFlag)
    path = pose_model(tmp_path / "pose.onnx")
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, 16:24, 32:40] = 255
    found = {}
    for precision in ("f32", "f16"):
        engine = make(path, precision=precision)
        engine.requests[0].images[...] = image
        engine.requests[0].start(1)
        found[precision] = engine.requests[0].wait()["output0"].copy()
        types = {each.data_type for each in onnx_of(plan()).initializer if each.name in ("boxes", "keypoints")}
        assert types == {TensorProto.FLOAT16 if precision == "f16" else TensorProto.FLOAT}
    assert found["f16"].dtype == np.float32, "outputs keep their type"
    np.testing.assert_allclose(found["f16"], found["f32"], atol=0.2)
    with pytest.raises(EngineError, match="--precision bf16"):
        make(path, precision="bf16")


def onnx_of(built: dict[str, Any]) -> Any:
    import onnx

    return onnx.load_from_string(built["model"]).graph


@pytest.mark.parametrize("name", ["tensorrt", "onnxruntime-cuda"])
def test_only_people_cross_to_the_host(name: str, tmp_path: Path, gpu: HostGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("array_api_compat")
    copied: list[str] = []
    copy = TensorBatch.__getitem__
    monkeypatch.setattr(TensorBatch, "__getitem__", lambda self, key: copied.append(key) or copy(self, key))
    bright = [np.full((96, 160, 3), 60 + 20 * number, np.uint8) for number in range(10)]
    video = write_video(tmp_path / "a.mp4", images=bright)
    model = pose_model(tmp_path / "pose.onnx")
    arguments: dict[str, Any] = {"batch_size": 4, "precision": "f32", "conf_thres": 0.1, "tracker": None}
    with Pipeline(video, model, engine=name, **arguments) as pipeline:
        before = gpu.allocations
        found = list(pipeline)
    with Pipeline(video, model, engine="onnxruntime", **arguments) as pipeline:
        expected = list(pipeline)
    assert len(found) == len(expected) == 10
    assert sum(len(each.poses) for each in expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.poses.keypoints, other.poses.keypoints, atol=1e-3)
    assert gpu.allocations == before, "memory is taken once, when the engine is made"
    assert not copied


@pytest.mark.usefixtures("gpu")
def test_taps_see_the_tensors_on_the_host(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", num_frames=5)
    model = pose_model(tmp_path / "pose.onnx")
    seen: dict[str, list[np.ndarray]] = {}
    for name in ("tensorrt", "onnxruntime-cuda", "onnxruntime"):
        with Pipeline(video, model, engine=name, batch_size=2, precision="f32") as pipeline:
            seen[name] = [frame.tensors["output0"].copy() for frame in pipeline.tensors()]
    for name in ("tensorrt", "onnxruntime-cuda"):
        np.testing.assert_allclose(seen[name], seen["onnxruntime"], atol=1e-4)


@pytest.mark.usefixtures("gpu")
def test_what_is_read_is_copied_along_and_what_is_not_stays(tmp_path: Path) -> None:
    engine = make(channel_means(tmp_path / "a.onnx", num_outputs=2), network_wh=(48, 32))
    request = engine.requests[0]
    for _ in range(3):
        request.start(1)
        batch = request.wait()
        batch["mean"]
    assert engine.wanted() == {"mean"}
    for _ in range(9):
        request.start(1)
        request.wait()
    assert engine.wanted() == set()


@pytest.mark.usefixtures("gpu")
def test_outputs_of_a_size_that_the_picture_decides(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"'dets'.*only the picture decides.*onnxruntime-cuda"):
        make(rtmo_model(tmp_path / "rtmo.onnx"))
    engine = make(rtmo_model(tmp_path / "rtmo.onnx"), "onnxruntime-cuda")
    assert engine.outputs["keypoints"] == (1, 17, 3)
    engine.close()


@pytest.mark.usefixtures("gpu")
def test_refusals_tell_what_tensorrt_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make(pose_model(tmp_path / "pose.onnx"))
    monkeypatch.setattr(fake_tensorrt.ExecutionContext, "failing", True)
    with pytest.raises(EngineError, match="did not start: out of memory"):
        engine.requests[0].start(1)
    monkeypatch.setattr(fake_tensorrt.ExecutionContext, "failing", False)
    monkeypatch.setattr(fake_tensorrt.CudaEngine, "create_execution_context", lambda self: None)
    with pytest.raises(EngineError, match="no memory for another batch on NVIDIA Fake 1"):
        make(pose_model(tmp_path / "pose.onnx"))
    monkeypatch.setattr(fake_tensorrt.Builder, "build_serialized_network", lambda *arguments: None)
    with pytest.raises(EngineError, match="cannot build"):
        make(pose_model(tmp_path / "pose.onnx"), precision="f32")
    monkeypatch.setattr(fake_tensorrt.OnnxParser, "parse", lambda self, model: self._errors.append("no importer") is not None)
    with pytest.raises(EngineError, match=r"cannot read pose.onnx: no importer"):
        make(pose_model(tmp_path / "pose.onnx"), precision="bf16")


class Broken:
    """An event of a stream whose work failed."""

    def done(self) -> bool:
        raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")


@pytest.mark.usefixtures("gpu")
def test_a_failure_on_the_device_surfaces(tmp_path: Path) -> None:
    engine = make(pose_model(tmp_path / "pose.onnx"))
    request = engine.requests[0]
    request.start(1)
    request._event = Broken()
    assert request.done()
    with pytest.raises(EngineError, match="illegal memory access"):
        request.wait()
    engine.close()  # says nothing


class Hanging:
    def done(self) -> bool:
        return False


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_hangs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make(pose_model(tmp_path / "pose.onnx"))
    module = importlib.import_module("tensortap.portable.engines.tensorrt")
    monkeypatch.setattr(module, "_WATCHDOG_SECONDS", 0.01)
    engine.requests[0].start(1)
    engine.requests[0]._event = Hanging()
    with pytest.raises(EngineError, match="no result for"):
        engine.requests[0].wait()


@pytest.mark.usefixtures("gpu")
def test_without_arrays_for_the_gpu_outputs_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tensortap.portable.engines.onnxruntime_cuda")

    def missing() -> None:
        raise MissingDependencyError("neither")

    monkeypatch.setattr(module, "find_gpu", missing)
    engine = make(pose_model(tmp_path / "pose.onnx"), "onnxruntime-cuda")
    engine.requests[0].start(1)
    outputs = engine.requests[0].wait()
    assert not isinstance(outputs, TensorBatch)
    assert outputs["output0"].shape == (1, 56, 64)
    engine.close()


def cuda_engine() -> Any:
    return importlib.import_module("tensortap.portable.engines.onnxruntime_cuda").OnnxRuntimeCudaEngine


def test_onnxruntime_without_cuda_says_what_to_install(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it has CUDA")
    path = pose_model(tmp_path / "pose.onnx")
    with pytest.raises(MissingDependencyError, match=r"needs onnxruntime with CUDA.*pip install onnx onnxruntime-gpu"):
        make(path, "onnxruntime-cuda")
    with pytest.raises(MissingDependencyError, match=r"needs ONNX Runtime with CUDA.*pip install onnxruntime-gpu"):
        cuda_engine()(read_model(path), InputFormat(), network_wh=(64, 64))


def test_a_session_that_fell_back_to_the_processor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    path = pose_model(tmp_path / "pose.onnx")
    with pytest.raises(EngineError, match="would have used the processor"):
        cuda_engine()(read_model(path), InputFormat(), network_wh=(64, 64))


class Refusing:
    """ONNX Runtime of a build without something, or of a model that CUDA does not record; and who runs it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refused: str) -> None:
        self.tried: list[dict[str, str]] = []
        self.ran_in: list[str] = []
        made, run = onnxruntime.InferenceSession, onnxruntime.InferenceSession.run_with_iobinding

        def session(model: bytes, options: Any, providers: list[Any]) -> Any:
            [(_, settings), *_] = providers
            self.tried.append(settings)
            if any(name in settings for name in refused):
                raise ValueError(f"no {refused}")
            return made(model, options, providers=["CPUExecutionProvider"])

        def run_with_iobinding(of: Any, *arguments: Any) -> None:
            self.ran_in.append(threading.current_thread().name)
            run(of, *arguments)

        monkeypatch.setattr(made, "run_with_iobinding", run_with_iobinding)
        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        settings = cuda_engine()._settings
        monkeypatch.setattr(cuda_engine(), "_settings", lambda self, exact: settings(OnAGpu, exact=exact))


class OnAGpu:
    kind = "cuda"
    number = 0


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("refused", "repeats", "tries"), [((), True, 1), (("prefer_nhwc",), True, 2), (("enable_cuda_graph",), False, 3)]
)
def test_what_a_build_or_a_model_has_not_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...], repeats: bool, tries: int
) -> None:
    seen = Refusing(monkeypatch, *refused)
    engine = make(pose_model(tmp_path / "pose.onnx"), "onnxruntime-cuda")
    assert engine.repeats == repeats
    assert len(seen.tried) == tries
    assert {settings["use_tf32"] for settings in seen.tried} == {"1"}
    engine.requests[0].start(1)
    assert engine.requests[0].wait()["output0"].shape == (1, 56, 64)
    engine.close()
    make(pose_model(tmp_path / "pose.onnx"), "onnxruntime-cuda", precision="f32").close()
    assert seen.tried[-1]["use_tf32"] == "0"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("repeats", [True, False])
def test_what_is_repeated_runs_where_it_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeats: bool) -> None:
    seen = Refusing(monkeypatch, *([] if repeats else ["enable_cuda_graph"]))
    engine = make(pose_model(tmp_path / "pose.onnx"), "onnxruntime-cuda", streams=3)
    for _ in range(20):
        for request in engine.requests:
            request.start(1)
        for request in engine.requests:
            request.wait()
    engine.close()
    assert (len(set(seen.ran_in)) == 1) == repeats


@pytest.mark.usefixtures("gpu")
def test_nobody_else_uses_the_gpu_while_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tensortap.portable.engines.onnxruntime_cuda")
    Refusing(monkeypatch)
    path = pose_model(tmp_path / "pose.onnx")
    first = make(path, "onnxruntime-cuda")
    infer = module.OnnxRuntimeCudaRequest._infer
    at_work: set[Any] = set()
    met: list[set[Any]] = []

    def watched(self: Any) -> Any:
        at_work.add(self._engine)
        if self._engine.using_gpu().__class__ is nullcontext:
            met.append(set(at_work))
        try:
            return infer(self)
        finally:
            at_work.discard(self._engine)

    monkeypatch.setattr(module.OnnxRuntimeCudaRequest, "_infer", watched)
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            first.requests[0].start(1)
            first.requests[0].wait()["output0"]

    user = threading.Thread(target=use)
    user.start()
    others = [make(path, "onnxruntime-cuda") for _ in range(5)]
    stop.set()
    user.join(30)
    assert not user.is_alive()
    assert len(met) == sum(3 * len(other.requests) for other in others)
    assert all(len(engines) == 1 for engines in met)
    for engine in (first, *others):
        engine.close()


def test_recordings_and_uses_take_turns() -> None:
    recording = gpus._Recording()
    order: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def use(name: str) -> None:
        with recording.using():
            order.append(name)
            entered.set()
            leave.wait(10)

    def record() -> None:
        with recording.recording():
            order.append("recorded")

    first = threading.Thread(target=use, args=("first",))
    first.start()
    assert entered.wait(10)
    recorder = threading.Thread(target=record)
    recorder.start()
    while not recording._records:
        time.sleep(0.001)
    late = threading.Thread(target=use, args=("late",))
    late.start()
    time.sleep(0.02)
    assert order == ["first"]
    leave.set()
    for thread in (first, recorder, late):
        thread.join(10)
    assert order == ["first", "recorded", "late"]


def test_who_gives_up_waiting_to_record_lets_others_go_on() -> None:
    recording = gpus._Recording()

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with recording.using():
        recorder: Any = recording.recording()
        wait_for, recording._changed.wait_for = recording._changed.wait_for, lambda told: interrupted() if not told() else True  # type: ignore[method-assign]
        thread_free = gpus.threading.local()
        thread_free.uses = False
        recording._mine = thread_free  # as seen by another thread
        with pytest.raises(KeyboardInterrupt):
            recorder.__enter__()
        recording._changed.wait_for = wait_for  # type: ignore[method-assign]
    with recording.using():
        assert not recording._records


def test_who_uses_the_gpu_may_use_it_meanwhile() -> None:
    recording = gpus._Recording()
    recorder = threading.Thread(target=lambda: recording.recording().__enter__())
    with recording.using():
        recorder.start()
        while not recording._records:
            time.sleep(0.001)
        with recording.using():
            pass
        assert recording._users == 1
    recorder.join(10)
    assert not recorder.is_alive()


@pytest.mark.usefixtures("gpu")
def test_what_was_tried_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tensortap.portable.engines.onnxruntime_cuda")
    run = module.OnnxRuntimeCudaRequest._run
    sessions: list[Any] = []
    alive: list[int] = []

    def fail(self: Any) -> Any:
        if self._engine.session not in [each() for each in sessions]:
            sessions.append(weakref.ref(self._engine.session))
            alive.append(sum(each() is not None for each in sessions))
        if self._engine.repeats:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported")
        return run(self)

    monkeypatch.setattr(module.OnnxRuntimeCudaRequest, "_run", fail)
    Refusing(monkeypatch)
    gc.disable()
    try:
        make(pose_model(tmp_path / "pose.onnx"), "onnxruntime-cuda").close()
    finally:
        gc.enable()
    assert alive == [1, 1, 1]


@pytest.mark.usefixtures("gpu")
def test_a_recording_that_fails_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tensortap.portable.engines.onnxruntime_cuda")
    run = module.OnnxRuntimeCudaRequest._run
    sessions: list[Any] = []

    def fail(self: Any) -> Any:
        if self._engine.repeats:
            sessions.append(self._engine.session)
            raise RuntimeError("cudaErrorStreamCaptureUnsupported")
        assert self._engine.session not in sessions, "one in which a recording has failed"
        return run(self)

    monkeypatch.setattr(module.OnnxRuntimeCudaRequest, "_run", fail)
    seen = Refusing(monkeypatch)
    engine = make(pose_model(tmp_path / "pose.onnx"), "onnxruntime-cuda", batch_size=2)
    assert not engine.repeats
    assert len(seen.tried) == 3
    assert engine.outputs == {"output0": (56, 64)}
    engine.close()


@pytest.mark.usefixtures("gpu")
def test_an_output_of_which_not_even_the_rank_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Refusing(monkeypatch)
    engine = make(either_rank(tmp_path / "either.onnx"), "onnxruntime-cuda", network_wh=(48, 32))
    assert not engine.sized
    assert not engine.repeats
    engine.requests[0].start(1)
    assert engine.requests[0].wait()["loose"].shape == (1, 2, 3)
    engine.close()


def either_rank(path: Path) -> Path:
    """A model with an output of two or of three axes, as the picture decides."""
    from onnx import helper, save

    def branch(name: str, shape: list[int]) -> Any:
        value = helper.make_tensor(f"{name}_value", TensorProto.FLOAT, shape, [0.0] * 6)
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Constant", [], [name], value=value)], name, [], [output])

    nodes = [
        helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
        helper.make_node("Less", ["most", "limit"], ["is_dark"]),
        helper.make_node(
            "If", ["is_dark"], ["loose"], then_branch=branch("flat", [2, 3]), else_branch=branch("deep", [1, 2, 3])
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "either",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 48])],
        [helper.make_tensor_value_info("loose", TensorProto.FLOAT, None)],
        [helper.make_tensor("limit", TensorProto.FLOAT, [], [2.0])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.usefixtures("gpu")
def test_half_precision_on_request(tmp_path: Path) -> None:
    path = pose_model(tmp_path / "pose.onnx")
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    found = {}
    for precision in ("auto", "f16"):
        engine = make(path, "onnxruntime-cuda", precision=precision)
        assert engine.precision == {"auto": "f32"}.get(precision, precision)
        engine.requests[0].images[...] = images
        engine.requests[0].start(1)
        found[precision] = engine.requests[0].wait()["output0"].copy()
        engine.close()
    assert found["f16"].dtype == np.float32
    assert not np.array_equal(found["f16"], found["auto"])
    np.testing.assert_allclose(found["f16"], found["auto"], atol=0.5, rtol=0.01)
    with pytest.raises(EngineError, match=r"--precision bf16: ONNX Runtime.*here f32, and turns f32 into f16"):
        make(path, "onnxruntime-cuda", precision="bf16")


@pytest.mark.usefixtures("gpu")
def test_outputs_of_unknown_size_are_taken_as_they_come(tmp_path: Path) -> None:
    engine = make(rtmo_model(tmp_path / "rtmo.onnx"), "onnxruntime-cuda")
    engine.sized = engine.repeats = False
    for request in engine.requests:
        request.start(1)
    shapes = {name: array.shape for name, array in engine.requests[1].wait().items()}
    assert shapes["keypoints"] == (1, 1, 17, 3)
    engine.close()


def test_tensorrt_says_what_to_install(tmp_path: Path) -> None:
    if not registry.missing_modules(registry.ENGINES["tensorrt"]):
        pytest.skip("it is installed")
    with pytest.raises(MissingDependencyError, match=r'tensorrt.*pip install "tensortap\[tensorrt\]"'):
        make(pose_model(tmp_path / "pose.onnx"))


def test_neither_cupy_nor_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"cupy or torch.*pip install cupy"):
        gpus.find_gpu()


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("here", [True, False])
def test_auto_takes_the_gpu_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("tensortap.assemble_engine.nvidia_gpu_here", lambda: here)
    path = pose_model(tmp_path / "pose.onnx")
    engine, _ = create_engine(Settings.checked(inputs="a.mp4", model=path), read_model(path))
    assert (engine.name == "tensorrt") == here
    engine.close()
    rtmo = rtmo_model(tmp_path / "rtmo.onnx")
    engine, reason = create_engine(Settings.checked(inputs="a.mp4", model=rtmo, decoder="rtmo"), read_model(rtmo))
    assert (engine.name == "onnxruntime-cuda") == here
    assert not here or "tensorrt does not take this model" in reason
    engine.close()


@pytest.mark.usefixtures("gpu")
def test_half_models(tmp_path: Path) -> None:
    half = pose_model(tmp_path / "half.onnx", half=True)
    assert make(half).precision == "f16"
    with pytest.raises(EngineError, match=r"--precision f32.*exported in f16"):
        make(half, precision="f32")
