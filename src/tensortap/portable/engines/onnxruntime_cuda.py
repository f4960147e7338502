"""ONNX Runtime on an NVIDIA GPU, through its CUDA provider."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import onnxruntime as ort

from tensortap.batches import Shortlist, Shortlisted, TensorBatch
from tensortap.errors import EngineError, MissingDependencyError
from tensortap.portable.engines.base import BatchAxis, InputFormat, first_line, read_only
from tensortap.portable.engines.fold import folded_onnx, in_half, with_shortlist
from tensortap.portable.engines.gpu import RECORDING, Gpu, find_gpu
from tensortap.portable.model import ModelInfo, image_input
from tensortap.portable.threads import Mode

_log = logging.getLogger(__name__)
_WATCHDOG_SECONDS = 60.0
_NUM_WORKERS = 2
"""While one batch computes, the other is copied."""
_NO_GRAPH = "-1"
_RUNS_TO_RECORD = 3
"""ONNX Runtime takes memory in the first run of a graph, records the second, and repeats it from the third on."""
_Result = tuple[dict[str, Any], "Shortlisted | None"]
"""Output name -> its `OrtValue`, and what was picked."""
_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    **{f"tensor({name})": getattr(np, name) for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": getattr(np, name) for name in ("uint8", "uint16", "uint32", "uint64")},
    "tensor(bool)": np.bool_,
}


class OnnxRuntimeCudaRequest:
    """One batch: pictures in pinned memory, an input on the device that is kept, and outputs that stay there until somebody
    looks at them.

    Outputs of a known size are kept as well, so that CUDA can record what one batch launches and repeat it for the others.
    """

    def __init__(self, engine: OnnxRuntimeCudaEngine, shape: tuple[int, ...]) -> None:
        self.images = engine.pinned(shape)
        self._engine = engine
        self._input = engine.on_device(shape, np.uint8)
        self._binding = engine.session.io_binding()
        self._binding.bind_ortvalue_input(engine.input_name, self._input)
        self._options = _options(_NO_GRAPH)
        for name, (size, dtype) in zip(engine.fetched, engine.sizes, strict=True):
            if engine.sized:
                self._binding.bind_ortvalue_output(name, engine.on_device(size, dtype))
        self._shortlist = engine.shortlist_copier()
        self._result: Future[_Result] | None = None
        self._num_frames = 0

    def repeat_as(self, number: int) -> None:
        """Record the next run under this number, and repeat it from then on."""
        self._options = _options(str(number))

    def start(self, num_frames: int) -> None:
        """Begin inference. A batch that is not full runs with whatever the rest of it holds: CUDA looks for the fastest
        convolutions anew for every other size."""
        self._num_frames = num_frames
        self._result = self._engine.workers.submit(self._run)

    def done(self) -> bool:
        """Whether the result is there, or an error."""
        return self._result is not None and self._result.done()

    def wait(self) -> Mapping[str, np.ndarray]:
        """The outputs, on the device until somebody looks at them.

        Raises:
            EngineError: inference failed, or gave nothing for a minute.
        """
        assert self._result is not None, "wait() without start()"
        try:
            values, picked = self._result.result(_WATCHDOG_SECONDS)
        except FutureTimeoutError as exc:
            raise EngineError(f"ONNX Runtime has given no result for {_WATCHDOG_SECONDS:.0f} s.") from exc
        except Exception as exc:  # ONNX Runtime's own exceptions have no common base
            raise EngineError(f"ONNX Runtime failed during inference: {first_line(exc)}") from exc
        return self._engine.split(values, picked, self._num_frames)

    def _run(self) -> _Result:
        with self._engine.using_gpu():
            return self._infer()

    def _infer(self) -> _Result:
        engine = self._engine
        self._input.update_inplace(self.images)
        if not engine.sized:
            self._binding.clear_binding_outputs()
            for name in engine.fetched:
                # From ONNX Runtime's arena, which keeps what it once had.
                self._binding.bind_output(name, engine.kind, engine.number)
        engine.run(self._binding, self._options)
        values = self._binding.get_outputs()
        picked = self._shortlist.copy(*values[-2:]) if self._shortlist else None
        return dict(zip(engine.output_names, values, strict=False)), picked


def _options(graph: str) -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph)
    return options


class _ShortlistCopier:
    """Brings what the model has picked to pinned memory of the host."""

    def __init__(self, gpu: Gpu, sizes: Sequence[tuple[Any, Any]]) -> None:
        self._gpu = gpu
        self._stream = gpu.stream()
        self._pinned = [gpu.pinned(tuple(size), dtype) for size, dtype in sizes]

    def copy(self, values: Any, anchors: Any) -> Shortlisted:
        """Waits for it."""
        self._gpu.make_current()
        for found, pinned in zip((values, anchors), self._pinned, strict=True):
            self._stream.download(self._gpu.view(found.data_ptr(), pinned.shape, pinned.dtype, found), pinned)
        self._stream.record().wait()
        picked, which = map(read_only, self._pinned)
        return Shortlisted(anchors=which, values=picked)


class OnnxRuntimeCudaEngine:
    """A model in ONNX Runtime's CUDA provider.

    Args:
        model: an ONNX file.
        input_format: folded into the model together with uint8 and NHWC, by prepended nodes.
        network_wh: width and height of the network input.
        batch_size: frames a request; must be the model's own where that is fixed.
        precision: `auto` is what the model's file says, f32 with TensorFloat-32; `f32` without it; `f16` converts f32.
        threads: no meaning here.
        mode: for `latency` one batch at a time.
        streams: batches that are copied or computed at the same time; `None` is 2, or 1 for latency.
        shortlist: what the model shall pick out of an output, if nodes for that can be added to it.

    Raises:
        MissingDependencyError: ONNX Runtime was installed without CUDA.
        EngineError: it cannot load the model, or not on the GPU.
    """

    name = "onnxruntime-cuda"
    provider = "CUDAExecutionProvider"
    kind = "cuda"
    """What ONNX Runtime calls the device's memory."""

    def __init__(
        self,
        model: ModelInfo,
        input_format: InputFormat,
        *,
        network_wh: tuple[int, int],
        batch_size: int = 1,
        precision: str = "auto",
        threads: int | None = None,
        mode: Mode = "throughput",
        streams: int | None = None,
        shortlist: Shortlist | None = None,
    ) -> None:
        del threads
        self.streams, self.threads = streams or (1 if mode == "latency" else _NUM_WORKERS), 0
        if self.provider not in ort.get_available_providers():
            raise MissingDependencyError(
                f"The engine {self.name!r} needs ONNX Runtime with CUDA; the one here, {ort.__version__}, has "
                f"{', '.join(ort.get_available_providers())}. Try: pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
            )
        if model.format != "onnx":
            raise EngineError(f"ONNX Runtime cannot load {model.path.name}, an OpenVINO model. Use its ONNX file.")
        wanted = image_input(model)
        if wanted.batch not in (None, batch_size):
            raise EngineError(
                f"--batch {batch_size}: the batch of {model.path.name} is fixed at {wanted.batch}. Export it as dynamic."
            )
        shape = (batch_size, network_wh[1], network_wh[0], 3)
        folded, in_file = folded_onnx(model, input_format, fixed_bhw=shape[:3])
        if precision not in ("auto", in_file) and (in_file, precision) != ("f32", "f16"):
            raise EngineError(
                f"--precision {precision}: ONNX Runtime computes in the types of the model, here {in_file}, and turns f32 into "
                "f16. Export the model in that precision, or use --engine tensorrt."
            )
        self.precision = in_file if precision == "auto" else precision
        if self.precision != in_file:
            folded = in_half(folded)
        with RECORDING.using():
            self._gpu = self._arrays()
        picking = with_shortlist(folded, shortlist) if shortlist and self._gpu else None
        self._shortlisted = shortlist.output if shortlist and picking else None
        """The output out of which the model picks."""
        folded = picking or folded
        self.number = self._gpu.number if self._gpu else 0
        """Of the GPU, as CUDA counts them."""
        self.device = self._gpu.name if self._gpu else "GPU 0"
        self.batch_size = batch_size
        self.output_names = [output.name for output in model.outputs]
        self.workers = ThreadPoolExecutor(self.streams, thread_name_prefix="tensortap-onnxruntime-cuda")
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="tensortap-onnxruntime-cuda-graphs")
        """Runs what CUDA repeats: ONNX Runtime keeps what is recorded for the thread that recorded it."""
        self.requests: Sequence[OnnxRuntimeCudaRequest] = []
        self.session: Any = None
        self._batch_axis: BatchAxis | None = None
        self._records = False
        """Whether this is what nobody else uses the GPU for."""
        try:
            self.outputs = self._started(folded, model, shape, exact=precision == "f32")
        except Exception as exc:
            self.close()
            if isinstance(exc, EngineError):
                raise
            raise EngineError(f"ONNX Runtime cannot use the GPU: {first_line(exc)}") from exc

    def close(self) -> None:
        """Wait for what is in flight and end the worker threads."""
        self.workers.shutdown(wait=True)
        self._runner.shutdown(wait=True)

    def run(self, binding: Any, options: Any) -> None:
        """Infer, and wait for it."""
        if self.repeats:
            self._runner.submit(self.session.run_with_iobinding, binding, options).result()
        else:
            self.session.run_with_iobinding(binding, options)

    def using_gpu(self) -> AbstractContextManager[object]:
        """What to be inside of while one uses the GPU: nobody else may while CUDA records."""
        return nullcontext() if self._records else RECORDING.using()

    def on_device(self, shape: Sequence[int], dtype: Any) -> Any:
        """An `OrtValue` in the memory of the GPU."""
        return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, self.kind, self.number)

    def pinned(self, shape: tuple[int, ...]) -> np.ndarray:
        """Memory of the host for pictures, which the device reads by itself where there are arrays for it; zeros."""
        images = self._gpu.pinned(shape, np.uint8) if self._gpu else np.empty(shape, np.uint8)
        images[...] = 0
        return images

    def shortlist_copier(self) -> _ShortlistCopier | None:
        """For one request; `None` where nothing is picked."""
        if self._gpu is None or self._shortlisted is None:
            return None
        # Batches are always full, whatever the model says of this axis.
        return _ShortlistCopier(self._gpu, [((self.batch_size, *size[1:]), dtype) for size, dtype in self.sizes[-2:]])

    def split(self, values: Mapping[str, Any], picked: Shortlisted | None, num_frames: int) -> Mapping[str, np.ndarray]:
        """The frames of a batch; on the device where there are arrays for it, else copied."""
        if self._batch_axis is None:
            self._batch_axis = BatchAxis({name: _Shaped(value) for name, value in values.items()}, self.batch_size)
        axis, gpu = self._batch_axis, self._gpu
        if gpu is None:
            with self.using_gpu():
                return axis.split({name: value.numpy() for name, value in values.items()}, num_frames)

        def copy(name: str) -> np.ndarray:
            with RECORDING.using():
                return axis.split({name: values[name].numpy()}, num_frames)[name]

        arrays = {
            name: axis.frames(name, gpu.view(value.data_ptr(), tuple(value.shape()), self._types[name], value), num_frames)
            for name, value in values.items()
        }
        shortlisted = {}
        if picked is not None and self._shortlisted is not None:
            shortlisted[self._shortlisted] = Shortlisted(picked.anchors[:num_frames], picked.values[:num_frames])
        return TensorBatch(arrays, copy, gpu.computing, shortlisted)

    def _started(self, folded: bytes, model: ModelInfo, shape: tuple[int, ...], *, exact: bool) -> dict[str, tuple[int, ...]]:
        """Load the model and run it, in the fastest way that does. Returns the shapes of its outputs.

        Raises:
            EngineError: it cannot be loaded or run, or ONNX Runtime would go on with the processor, as it does without CUDA.
        """
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # of NVIDIA's Python packages
        refused: EngineError | None = None
        for settings in self._settings(exact=exact):
            try:
                with RECORDING.using():
                    self.session = self._load(folded, model, settings)
                return self._warm_up(shape, repeats="enable_cuda_graph" in settings)
            except EngineError as exc:
                _log.info("%s does not run with %s: %s", model.path.name, settings, exc)
                refused = EngineError(str(exc))  # without what its traceback keeps on the GPU
            self.requests, self.session = [], None
        assert refused is not None
        raise refused

    def _settings(self, *, exact: bool) -> list[dict[str, str]]:
        """Of the provider, fastest first: not every build has the layout that convolutions like best, and of models with
        operators that are left to the processor CUDA records nothing."""
        if self.kind != "cuda":
            return [{}]
        always = {"use_tf32": "0" if exact else "1"}
        if self.number:  # ONNX Runtime 1.31 warns of the first one if it is named
            always["device_id"] = str(self.number)
        recorded = {**always, "enable_cuda_graph": "1"}
        return [{**recorded, "prefer_nhwc": "1"}, recorded, always]

    def _load(self, folded: bytes, model: ModelInfo, settings: Mapping[str, str]) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # By default the CPU comes last, for the few operators of shapes that CUDA has not.
        others = [] if self.provider == "CPUExecutionProvider" else ["CPUExecutionProvider"]
        try:
            session = ort.InferenceSession(folded, options, providers=[(self.provider, dict(settings)), *others])
        except Exception as exc:  # ONNX Runtime's own exceptions have no common base
            raise EngineError(f"ONNX Runtime {ort.__version__} cannot load {model.path.name}: {first_line(exc)}") from exc
        if session.get_providers()[0] != self.provider:
            raise EngineError(
                f"ONNX Runtime {ort.__version__} could not start CUDA and would have used the processor. CUDA and cuDNN must "
                'be of the versions that it was built for. Try: pip install "onnxruntime-gpu[cuda,cudnn]"'
            )
        return session

    @staticmethod
    def _arrays() -> Gpu | None:
        """For outputs that stay on the device; without CuPy and Torch they are copied."""
        try:
            return find_gpu()
        except (MissingDependencyError, EngineError):
            return None

    def _warm_up(self, shape: tuple[int, ...], *, repeats: bool) -> dict[str, tuple[int, ...]]:
        """Make the requests and run them."""
        self.input_name = self.session.get_inputs()[0].name
        outputs = self.session.get_outputs()
        self.fetched = [output.name for output in outputs]
        self.sizes = [(output.shape, _NUMPY_TYPES[output.type]) for output in outputs]
        """Shape and type of what is fetched; axes that only the picture decides have names instead of sizes."""
        self._types = {name: dtype for name, (_, dtype) in zip(self.output_names, self.sizes, strict=False)}
        # One of an unknown rank looks as if it had no axes.
        self.sized = all(size and all(isinstance(side, int) for side in size) for size, _ in self.sizes)
        self.repeats = repeats and self.sized
        self._batch_axis = None
        with RECORDING.using():
            self.requests = [OnnxRuntimeCudaRequest(self, shape) for _ in range(self.streams + 1)]
        # Once without: cuDNN looks for the fastest convolutions, which takes longest.
        for request in self.requests:
            request.start(self.batch_size)
            batch = request.wait()
        if self.repeats:
            with RECORDING.recording():
                self._record()
        arrays = batch.arrays if isinstance(batch, TensorBatch) else batch
        return {name: tuple(array.shape[1:]) for name, array in arrays.items()}

    def _record(self) -> None:
        """One after the other: what CUDA records must be all that it does meanwhile."""
        self._records = True
        try:
            for number, request in enumerate(self.requests):
                request.repeat_as(number)
                for _ in range(_RUNS_TO_RECORD):
                    request.start(self.batch_size)
                    request.wait()
        finally:
            self._records = False


class _Shaped:
    """An output's shape, for `BatchAxis`."""

    def __init__(self, value: Any) -> None:
        self.shape = tuple(value.shape())
