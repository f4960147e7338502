"""OpenVINO: the fastest engine on CPUs, and Intel's GPUs' own."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tensortap.cache import cache_folder
from tensortap.errors import EngineError
from tensortap.portable.engines.base import BatchAxis, InputFormat
from tensortap.portable.engines.cpu import cpu_name
from tensortap.portable.model import ModelInfo, image_input
from tensortap.portable.quiet_openvino import import_openvino
from tensortap.portable.threads import Mode

ov = import_openvino()

_log = logging.getLogger(__name__)
_WATCHDOG_SECONDS = 60.0
_PRECISIONS = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}


class OpenVinoRequest:
    """One inference request; `images` is the memory that OpenVINO reads."""

    def __init__(self, engine: OpenVinoEngine, request: Any, images: np.ndarray, output_names: list[str]) -> None:
        self.images = images
        self._engine = engine
        self._request = request
        self._output_names = output_names
        self._num_frames = 0
        self._running = False

    def start(self, num_frames: int) -> None:
        """Begin inference; a batch that is not full runs with whatever the rest of it holds."""
        self._num_frames = num_frames
        self._request.start_async()
        self._running = True

    def done(self) -> bool:
        """Whether the result is there, or an error."""
        try:
            return bool(self._request.wait_for(0))
        except RuntimeError:
            return True  # wait() says what happened

    def wait(self) -> Mapping[str, np.ndarray]:
        """The outputs, views of OpenVINO's memory.

        Raises:
            EngineError: inference failed, or gave nothing for a minute.
        """
        deadline = time.monotonic() + _WATCHDOG_SECONDS
        try:
            # In slices, so that Ctrl-C is served meanwhile.
            while not self._request.wait_for(200):
                if time.monotonic() > deadline:
                    raise EngineError(f"OpenVINO has given no result for {_WATCHDOG_SECONDS:.0f} s; its threads seem to hang.")
            self._running = False
        except RuntimeError as exc:
            self._running = False
            raise EngineError(f"OpenVINO failed during inference: {_first_line(exc)}") from exc
        outputs = {name: self._request.get_output_tensor(number).data for number, name in enumerate(self._output_names)}
        return self._engine.split(outputs, self._num_frames)

    def finish(self) -> None:
        """Wait for a result that nobody wants any more."""
        if not self._running:
            return
        self._running = False
        try:
            self._request.wait_for(int(_WATCHDOG_SECONDS * 1000))
        except RuntimeError as exc:
            _log.debug("the last inference failed: %s", _first_line(exc))


class OpenVinoEngine:
    """A model in OpenVINO's CPU plug-in, with static shapes and asynchronous requests.

    Args:
        model: an ONNX file or an OpenVINO IR.
        input_format: folded into the model together with uint8 and NHWC, by its PrePostProcessor.
        network_wh: width and height of the network input.
        batch_size: frames a request; must be the model's own where that is fixed.
        precision: `auto` is the plug-in's choice, bf16 on CPUs that have it; else `f32`, `bf16` or `f16`.
        threads: cores to use; `None` for all.
        mode: `latency` works on one batch with all cores, `throughput` on several.
        streams: on how many; `None` is the plug-in's choice for the mode.

    Raises:
        EngineError: OpenVINO cannot load the model, or the CPU lacks the precision.
    """

    name = "openvino"

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
        self.batch_size = batch_size
        self.device = cpu_name()
        core = ov.Core()
        config = self._config(core, precision, threads, mode, streams)
        try:
            network = core.read_model(model.path)
            _fix_shape(network, model, network_wh, batch_size)
            network = _fold_input(network, model, input_format)
            compiled = _compiled(core, network, config)
        except RuntimeError as exc:
            raise EngineError(f"OpenVINO {_version()} cannot load {model.path.name}: {_first_line(exc)}") from exc
        self.precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if any(node.get_type_name() == "FakeQuantize" for node in network.get_ops()):
            self.precision = f"int8+{self.precision}"
        self.streams = int(compiled.get_property("NUM_STREAMS"))
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        names = [output.name for output in model.outputs]
        self._batch_axis: BatchAxis | None = None
        num_requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
        self.requests = [self._create_request(compiled, network_wh, names) for _ in range(num_requests)]
        self.outputs = self._warm_up()

    def split(self, outputs: Mapping[str, np.ndarray], num_frames: int) -> Mapping[str, np.ndarray]:
        """The frames of a batch's outputs; the first batch, a full one, tells where they are."""
        if self._batch_axis is None:
            self._batch_axis = BatchAxis(outputs, self.batch_size)
        return self._batch_axis.split(outputs, num_frames)

    def close(self) -> None:
        """Wait for what is in flight."""
        for request in self.requests:
            request.finish()

    def _config(self, core: Any, precision: str, threads: int | None, mode: Mode, streams: int | None) -> dict[str, Any]:
        config: dict[str, Any] = {"PERFORMANCE_HINT": mode.upper()}
        if streams is not None:
            config["NUM_STREAMS"] = streams
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        if precision != "auto":
            capability = _PRECISIONS[precision]
            offered = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            if capability not in offered:
                can = ", ".join(name for name, needed in _PRECISIONS.items() if needed in offered)
                raise EngineError(f"--precision {precision}: OpenVINO on {self.device} computes in {can} only.")
            config["INFERENCE_PRECISION_HINT"] = precision
        return config

    def _create_request(self, compiled: Any, network_wh: tuple[int, int], names: list[str]) -> OpenVinoRequest:
        request = compiled.create_infer_request()
        images = request.get_input_tensor().data
        expected = (self.batch_size, network_wh[1], network_wh[0], 3)
        assert images.shape == expected, f"{images.shape} instead of {expected}"
        return OpenVinoRequest(self, request, images, names)

    def _warm_up(self) -> dict[str, tuple[int, ...]]:
        request = self.requests[0]
        request.images[...] = 0
        request.start(self.batch_size)
        outputs = request.wait()
        return {name: output.shape[1:] for name, output in outputs.items()}


def _fix_shape(network: Any, model: ModelInfo, network_wh: tuple[int, int], batch_size: int) -> None:
    """Make every axis of the input static: dynamic shapes cost speed, and have hung on some CPUs."""
    wanted = image_input(model)
    if wanted.batch not in (None, batch_size):
        raise EngineError(
            f"--batch {batch_size}: the batch of {model.path.name} is fixed at {wanted.batch}. Export it as dynamic."
        )
    width, height = network_wh
    shape = [batch_size, 3, height, width] if wanted.layout == "NCHW" else [batch_size, height, width, 3]
    network.reshape(shape)


def _fold_input(network: Any, model: ModelInfo, input_format: InputFormat) -> Any:
    """Prepend what turns uint8 NHWC pictures into the network's input, and widen outputs of bfloat16."""
    wanted = image_input(model)
    processor = ov.preprocess.PrePostProcessor(network)
    image = processor.input()
    image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    image.model().set_layout(ov.Layout(wanted.layout))
    if wanted.dtype != "uint8":
        # In float32 also for half-typed networks, whose input type is restored by the processor.
        steps = image.preprocess().convert_element_type(ov.Type.f32)
        if any(input_format.mean):
            steps = steps.mean(list(input_format.mean))
        # OpenVINO divides.
        scale = input_format.scale
        steps.scale([1 / each for each in scale] if isinstance(scale, tuple) else 1 / scale)
    for number, output in enumerate(network.outputs):
        if output.get_element_type() == ov.Type.bf16:  # which NumPy has not: it would be read as float16
            processor.output(number).tensor().set_element_type(ov.Type.f32)
    return processor.build()


def _compiled(core: Any, network: Any, config: dict[str, Any]) -> Any:
    """Compiled, or read from the cache, where OpenVINO keeps what it has compiled under the model's digest and the settings."""
    folder = str(cache_folder() / "openvino")
    try:
        return core.compile_model(network, "CPU", {**config, "CACHE_DIR": folder})
    except RuntimeError as exc:  # a cache that is full, broken or may not be written
        _log.debug("compiled without the cache in %s: %s", folder, _first_line(exc))
        return core.compile_model(network, "CPU", config)


def _version() -> str:
    return str(ov.__version__).split("-", maxsplit=1)[0]


def _first_line(error: Exception) -> str:
    """What OpenVINO means: the last line of its trace that is not a place in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '", "While validating"))]
    return (telling or lines or [type(error).__name__])[0]
