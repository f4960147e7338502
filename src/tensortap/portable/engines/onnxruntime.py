"""ONNX Runtime on the CPU: loads nearly every ONNX model, on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import numpy as np
import onnxruntime as ort

from tensortap.errors import EngineError
from tensortap.portable.engines.base import BatchAxis, InputFormat, first_line
from tensortap.portable.engines.cpu import cpu_name
from tensortap.portable.engines.fold import folded_onnx
from tensortap.portable.model import ModelInfo, image_input
from tensortap.portable.threads import Mode, batches_at_once, usable_cores

_WATCHDOG_SECONDS = 60.0


class OnnxRuntimeRequest:
    """One batch, run by the engine's worker threads."""

    def __init__(self, engine: OnnxRuntimeEngine, images: np.ndarray) -> None:
        self.images = images
        self._engine = engine
        self._result: Future[list[np.ndarray]] | None = None
        self._num_frames = 0

    def start(self, num_frames: int) -> None:
        """Begin inference. A model with a fixed batch gets all pictures, one with a dynamic batch these only."""
        self._num_frames = num_frames
        images = self.images if self._engine.fixed_batch else self.images[:num_frames]
        self._result = self._engine.submit(images)

    def done(self) -> bool:
        """Whether the result is there, or an error."""
        return self._result is not None and self._result.done()

    def wait(self) -> Mapping[str, np.ndarray]:
        """The outputs.

        Raises:
            EngineError: inference failed, or gave nothing for a minute.
        """
        assert self._result is not None, "wait() without start()"
        try:
            arrays = self._result.result(_WATCHDOG_SECONDS)
        except FutureTimeoutError as exc:
            raise EngineError(f"ONNX Runtime has given no result for {_WATCHDOG_SECONDS:.0f} s.") from exc
        except Exception as exc:  # ONNX Runtime's own exceptions have no common base
            raise EngineError(f"ONNX Runtime failed during inference: {first_line(exc)}") from exc
        return self._engine.split(dict(zip(self._engine.output_names, arrays, strict=True)), self._num_frames)


class OnnxRuntimeEngine:
    """A model in ONNX Runtime's CPU provider: one session, run by several threads at a time.

    For throughput each thread runs a batch of its own on one core: without a barrier after every layer, two threads on two
    cores do more than one run that uses both. For latency one run uses them all.

    Args:
        model: an ONNX file.
        input_format: folded into the model together with uint8 and NHWC, by prepended nodes.
        network_wh: width and height of the network input.
        batch_size: frames a request; must be the model's own where that is fixed.
        precision: `auto`, or what the model's file says anyway: ONNX Runtime computes in the types of the graph.
        threads: cores to use; `None` for all.
        mode: `latency` works on one batch with all cores, `throughput` on one with each.
        streams: on how many; `None` is what the mode says.

    Raises:
        EngineError: ONNX Runtime cannot load the model, or not in that precision.
    """

    name = "onnxruntime"

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
    ) -> None:
        if model.format != "onnx":
            raise EngineError(f"ONNX Runtime cannot load {model.path.name}, an OpenVINO model. Use --engine openvino.")
        wanted = image_input(model)
        if wanted.batch not in (None, batch_size):
            raise EngineError(
                f"--batch {batch_size}: the batch of {model.path.name} is fixed at {wanted.batch}. Export it as dynamic."
            )
        folded, self.precision = folded_onnx(model, input_format)
        if precision not in ("auto", self.precision):
            raise EngineError(
                f"--precision {precision}: ONNX Runtime computes in the types of the model, here {self.precision}. "
                "Export the model in that precision, or use --engine openvino."
            )
        self.batch_size = batch_size
        self.fixed_batch = wanted.batch is not None
        self.device = cpu_name()
        self.output_names = [output.name for output in model.outputs]
        cores = threads or usable_cores()
        self.streams = streams or batches_at_once(mode, cores)
        each = max(1, cores // self.streams)
        self.threads = self.streams * each
        options = ort.SessionOptions()
        options.intra_op_num_threads = each
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(folded, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # ONNX Runtime's own exceptions have no common base
            raise EngineError(f"ONNX Runtime {ort.__version__} cannot load {model.path.name}: {first_line(exc)}") from exc
        self._fetched = [output.name for output in self._session.get_outputs()]
        self._input_name = self._session.get_inputs()[0].name
        self._batch_axis: BatchAxis | None = None
        self._workers = ThreadPoolExecutor(self.streams, thread_name_prefix="tensortap-onnxruntime")
        shape = (batch_size, network_wh[1], network_wh[0], 3)
        self.requests = [OnnxRuntimeRequest(self, np.zeros(shape, np.uint8)) for _ in range(self.streams + 1)]
        try:
            self.outputs = self._warm_up()
        except EngineError:
            self.close()
            raise

    def split(self, outputs: Mapping[str, np.ndarray], num_frames: int) -> Mapping[str, np.ndarray]:
        """The frames of a batch's outputs; the first batch, a full one, tells where they are."""
        if self._batch_axis is None:
            self._batch_axis = BatchAxis(outputs, self.batch_size)
        return self._batch_axis.split(outputs, num_frames)

    def submit(self, images: np.ndarray) -> Future[list[np.ndarray]]:
        """Run the session on these pictures in a worker thread."""
        return self._workers.submit(self._run, images)

    def close(self) -> None:
        """Wait for what is in flight and end the worker threads."""
        self._workers.shutdown(wait=True)

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        outputs: list[Any] = self._session.run(self._fetched, {self._input_name: images})
        return outputs

    def _warm_up(self) -> dict[str, tuple[int, ...]]:
        request = self.requests[0]
        request.start(self.batch_size)
        outputs = request.wait()
        return {name: output.shape[1:] for name, output in outputs.items()}
