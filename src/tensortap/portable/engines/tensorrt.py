"""TensorRT: NVIDIA's own, the fastest on its GPUs. Engines are built from ONNX for one GPU and one version, and kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorrt as trt

from tensortap.batches import Shortlist, Shortlisted, TensorBatch
from tensortap.errors import EngineError
from tensortap.portable.engines.base import InputFormat, read_only
from tensortap.portable.engines.fold import PICKED_ANCHORS, PICKED_VALUES, WIDENED
from tensortap.portable.engines.gpu import RECORDING, Event, Gpu, find_gpu
from tensortap.portable.engines.tensorrt_build import TensorRtLog, engine_for
from tensortap.portable.model import ModelInfo
from tensortap.portable.threads import Mode

_log = logging.getLogger(__name__)
_WATCHDOG_SECONDS = 60.0
_POLL_SECONDS = 0.0001
_NUM_STREAMS = 2
"""One batch that the GPU works on and one that waits for it, so that it never stands still."""
_WANTED_BATCHES = 8
"""An output that nobody has looked at on the host for so many batches stays on the device."""


class TensorRtRequest:
    """One batch: an execution context with a stream, and memory of its own on both sides.

    `images` and what is read of the outputs lie in pinned memory of the host, so that the GPU copies them by itself.
    """

    def __init__(self, engine: TensorRtEngine, context: Any, gpu: Gpu, shape: tuple[int, ...]) -> None:
        self.images = gpu.pinned(shape, np.uint8)
        self.images[...] = 0
        self._engine = engine
        self._context = context
        self._stream = gpu.stream()
        self._input = gpu.empty(shape, np.uint8)
        self._outputs: dict[str, Any] = {}
        self._pinned: dict[str, np.ndarray] = {}
        self._copied: set[str] = set()
        self._event: Event | None = None
        self._num_frames = self._shaped_for = 0
        self._set_address(engine.input_name, self._input)
        self._shape_for(engine.batch_size)
        for name, tensor in {**engine.output_names, **engine.picked_names}.items():
            # Of the largest batch, once: a smaller one uses the front of it.
            full, dtype = tuple(context.get_tensor_shape(tensor)), engine.type_of(tensor)
            if any(size < 0 for size in full):
                raise EngineError(
                    f"Output {name!r} has a size that only the picture decides, {full}; TensorRT gives such outputs no fixed "
                    "memory. Export the model without NMS, or use --engine onnxruntime-cuda."
                )
            self._outputs[name] = gpu.empty(full, dtype)
            self._pinned[name] = gpu.pinned(full, dtype)
            self._set_address(tensor, self._outputs[name])

    def start(self, num_frames: int) -> None:
        """Pictures to the device, inference, and what is read of its outputs back: asked for, none of it waited for.

        Raises:
            EngineError: TensorRT refuses.
        """
        self._num_frames = num_frames
        with RECORDING.using():
            self._launch(num_frames)

    def _launch(self, num_frames: int) -> None:
        try:
            self._engine.gpu.make_current()  # the caller may be a thread that writes pictures
            self._shape_for(num_frames if self._engine.dynamic else self._engine.batch_size)
            self._stream.upload(self.images, self._input)
            if not self._context.execute_async_v3(self._stream.handle):
                raise EngineError(f"TensorRT did not start: {self._engine.log.last or 'it does not say why'}.")
            self._copied = self._engine.wanted() | {*self._engine.picked_names}
            for name in self._copied:
                self._stream.download(self._outputs[name], self._pinned[name])
            self._event = self._stream.record()
        except RuntimeError as exc:
            raise EngineError(f"The GPU refused a batch: {exc}") from exc

    def done(self) -> bool:
        """Whether the result is there, or an error."""
        try:
            return self._event is not None and _done(self._event)
        except RuntimeError:
            return True  # wait() says what happened

    def wait(self) -> Mapping[str, np.ndarray]:
        """The outputs, on the device until somebody looks at them.

        Raises:
            EngineError: inference failed, or gave nothing for a minute.
        """
        assert self._event is not None, "wait() without start()"
        self._wait_for(self._event)
        arrays = {name: self._frames(self._outputs[name]) for name in self._engine.output_names}
        shortlisted = {}
        if self._engine.shortlisted is not None:
            values, anchors = (read_only(self._frames(self._pinned[name])) for name in self._engine.picked_names)
            shortlisted[self._engine.shortlisted] = Shortlisted(anchors, values)
        return TensorBatch(arrays, self._on_host, self._engine.gpu.computing, shortlisted)

    def finish(self) -> None:
        """Wait for a result that nobody wants any more."""
        if self._event is not None:
            try:
                self._wait_for(self._event)
            except EngineError as exc:
                _log.debug("the last inference failed: %s", exc)

    def _on_host(self, name: str) -> np.ndarray:
        self._engine.read(name)
        if name not in self._copied:
            try:
                with RECORDING.using():
                    self._stream.download(self._outputs[name], self._pinned[name])
                    event = self._stream.record()
                self._wait_for(event)
            except RuntimeError as exc:
                raise EngineError(f"Output {name!r} could not be copied from the GPU: {exc}") from exc
            self._copied.add(name)
        return read_only(self._frames(self._pinned[name]))

    def _frames(self, array: Any) -> Any:
        """(num_frames, ...) of a full batch, or of the only frame where the output has no batch axis."""
        return array[: self._num_frames] if self._engine.has_batch_axis(array) else array[None]

    def _shape_for(self, num_frames: int) -> None:
        if num_frames != self._shaped_for:
            shape = (num_frames, *self.images.shape[1:])
            if not self._context.set_input_shape(self._engine.input_name, shape):
                raise EngineError(f"TensorRT does not take an input of {shape}: {self._engine.log.last}.")
            self._shaped_for = num_frames

    def _set_address(self, name: str, array: Any) -> None:
        if not self._context.set_tensor_address(name, self._engine.gpu.address(array)):
            raise EngineError(f"TensorRT does not take the memory of {name!r}: {self._engine.log.last}.")

    @staticmethod
    def _wait_for(event: Event) -> None:
        deadline = time.monotonic() + _WATCHDOG_SECONDS
        try:
            while not _done(event):  # a wait inside CUDA could not be interrupted
                if time.monotonic() > deadline:
                    raise EngineError(f"TensorRT has given no result for {_WATCHDOG_SECONDS:.0f} s.")
                time.sleep(_POLL_SECONDS)
        except RuntimeError as exc:
            raise EngineError(f"TensorRT failed during inference: {exc}") from exc


def _done(event: Event) -> bool:
    with RECORDING.using():
        return event.done()


class TensorRtEngine:
    """A model in TensorRT, with one profile for batches of 1 to 16, built when it is first used and kept in the cache.

    Args:
        model: an ONNX file.
        input_format: folded into the model together with uint8 and NHWC, by prepended nodes.
        network_wh: width and height of the network input.
        batch_size: frames a request; must be the model's own where that is fixed.
        precision: `auto` is f16, or int8 with f16 for models that are quantised; else `f32`, `f16` or `bf16`.
        threads: no meaning here.
        mode: for `latency` one batch at a time.
        streams: batches that are on the GPU at the same time; `None` is 2, or 1 for latency.
        shortlist: what the model shall pick out of an output, if nodes for that can be added to it.

    Raises:
        MissingDependencyError: neither CuPy nor Torch is there for the memory.
        EngineError: TensorRT cannot load the model, or there is no GPU.
    """

    name = "tensorrt"

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
        self.streams, self.threads = streams or (1 if mode == "latency" else _NUM_STREAMS), 0
        self.requests: Sequence[TensorRtRequest] = []
        self.gpu = find_gpu()
        self.device = self.gpu.name
        self.batch_size = batch_size
        self.log = TensorRtLog()
        built = engine_for(
            model,
            input_format,
            network_wh=network_wh,
            batch_size=batch_size,
            precision=precision,
            gpu_name=self.gpu.name,
            shortlist=shortlist,
            log=self.log,
        )
        self.precision, self.dynamic = built.precision, built.dynamic
        self._engine = built.engine
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        [self.input_name] = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.output_names = {
            output.name: output.name if output.name in names else f"{WIDENED}{output.name}" for output in model.outputs
        }
        """Name in the model's file -> name in the engine, in the order of the file."""
        picks = PICKED_VALUES in names
        self.picked_names = {name: name for name in (PICKED_VALUES, PICKED_ANCHORS) if picks}
        self.shortlisted = shortlist.output if shortlist and picks else None
        """The output out of which the model picks."""
        self._unread = dict.fromkeys(self.output_names, _WANTED_BATCHES)
        """Output name -> batches since it was last read on the host."""
        shape = (batch_size, network_wh[1], network_wh[0], 3)
        with RECORDING.using():
            self.requests = [TensorRtRequest(self, self._context(), self.gpu, shape) for _ in range(self.streams + 1)]
        self.outputs = self._warm_up()

    def close(self) -> None:
        """Wait for what is in flight."""
        for request in self.requests:
            request.finish()

    def wanted(self) -> set[str]:
        """The outputs that have been read on the host lately: they are copied along with the next batch."""
        for name in self._unread:
            self._unread[name] += 1
        return {name for name, batches in self._unread.items() if batches <= _WANTED_BATCHES}

    def read(self, name: str) -> None:
        """Note that an output is being read on the host."""
        self._unread[name] = 0

    def type_of(self, tensor: str) -> np.dtype[Any]:
        """NumPy's type of an input or output."""
        dtype: np.dtype[Any] = np.dtype(trt.nptype(self._engine.get_tensor_dtype(tensor)))
        return dtype

    def has_batch_axis(self, array: Any) -> bool:
        """Whether an output's first axis is the batch: it is, or there is only one frame."""
        return bool(array.shape[:1] == (self.batch_size,))

    def _context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(f"TensorRT has no memory for another batch on {self.device}: {self.log.last}.")
        return context

    def _warm_up(self) -> dict[str, tuple[int, ...]]:
        for request in self.requests:
            request.start(self.batch_size)
        outputs: dict[str, tuple[int, ...]] = {}
        for request in self.requests:
            batch = request.wait()
            assert isinstance(batch, TensorBatch)
            outputs = {name: tuple(array.shape) for name, array in batch.arrays.items()}
        strange = {name: shape for name, shape in outputs.items() if shape[0] != self.batch_size}
        if strange:
            described = ", ".join(f"{name!r} {shape[1:]}" for name, shape in strange.items())
            raise EngineError(
                f"The first axis of {described} is not the batch of {self.batch_size}, so nobody can tell which frame a value "
                "belongs to. Use --batch 1."
            )
        return {name: shape[1:] for name, shape in outputs.items()}
