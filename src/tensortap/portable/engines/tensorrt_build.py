"""TensorRT engines: built from ONNX, kept in the cache for one GPU and one version of TensorRT."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorrt as trt

from tensortap.batches import Shortlist
from tensortap.cache import cache_folder, keep
from tensortap.errors import EngineError
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.engines.fold import folded_onnx, in_half, with_shortlist
from tensortap.portable.model import ModelInfo, image_input

_log = logging.getLogger(__name__)
_PROFILE = (1, 12, 16)
"""Batches that an engine of a dynamic model takes: smallest, the one it is fastest at, largest."""
_WORKSPACE_BYTES = 2 << 30


class TensorRtLog(trt.ILogger):  # type: ignore[misc]
    """What TensorRT says, into the log; and the last error, which its functions do not return."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.last = ""

    def log(self, severity: Any, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.last = msg.strip()
        _log.debug("TensorRT: %s", msg.strip())


@dataclass(frozen=True)
class Built:
    """An engine, ready to be used."""

    engine: Any
    """`ICudaEngine`."""
    precision: str
    """What it computes in."""
    dynamic: bool
    """Whether it takes smaller batches, too."""


def engine_for(
    model: ModelInfo,
    input_format: InputFormat,
    *,
    network_wh: tuple[int, int],
    batch_size: int,
    precision: str,
    gpu_name: str,
    shortlist: Shortlist | None = None,
    log: TensorRtLog,
) -> Built:
    """The engine of a model, from the cache or built now, which takes minutes.

    Args:
        shortlist: what it shall pick out of an output, if that can be added to the model.

    Raises:
        EngineError: the model cannot be read, or TensorRT cannot build it so.
    """
    if model.format != "onnx":
        raise EngineError(f"TensorRT cannot load {model.path.name}, an OpenVINO model. Use its ONNX file.")
    wanted = image_input(model)
    if wanted.batch not in (None, batch_size):
        raise EngineError(
            f"--batch {batch_size}: the batch of {model.path.name} is fixed at {wanted.batch}. Export it as dynamic."
        )
    # TensorRT turns bytes into floats at the input and does nothing else with them: the transposition comes after that.
    width, height = network_wh
    folded, in_file = folded_onnx(model, input_format, cast_first=True, fixed_bhw=(None, height, width))
    chosen = _precision(precision, in_file, model)
    if chosen == "f16" and in_file == "f32" and not _by_flags():
        folded = in_half(folded)
    if shortlist is not None:
        folded = with_shortlist(folded, shortlist) or folded
    batches = _PROFILE if wanted.batch is None else (batch_size,) * 3
    if batch_size > batches[2]:
        batches = (1, batch_size, batch_size)
    path = _path(folded, model, network_wh, batches, chosen, gpu_name)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(path.read_bytes()) if path.is_file() else None
    if engine is None:
        if path.is_file():
            _log.warning("%s cannot be used (%s); it is built anew.", path, log.last)
        plan = _build(folded, model, network_wh, batches, chosen, log)
        try:
            keep(path, plan)
        except OSError as exc:
            _log.warning("The engine cannot be kept in %s and is built again next time: %s", path.parent, exc)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"TensorRT {trt.__version__} does not load the engine that it has built: {log.last}.")
    return Built(engine, chosen, dynamic=wanted.batch is None)


def _precision(asked: str, in_file: str, model: ModelInfo) -> str:
    """What the engine computes in."""
    if in_file == "int8":
        if asked not in ("auto", "f16"):
            raise EngineError(f"--precision {asked}: {model.path.name} is quantised; TensorRT runs it in int8 and f16.")
        return "int8+f16"
    if in_file == "f16" and asked not in ("auto", "f16"):
        raise EngineError(f"--precision {asked}: {model.path.name} is exported in f16. Export it in f32, or leave it out.")
    return "f16" if asked == "auto" else asked


def _path(
    folded: bytes, model: ModelInfo, network_wh: tuple[int, int], batches: tuple[int, int, int], precision: str, gpu_name: str
) -> Path:
    """Where it is kept: everything that makes it another engine is in the name."""
    digest = hashlib.sha256(folded).hexdigest()[:12]
    told = (model.path.stem, gpu_name, f"tensorrt-{trt.__version__}", precision, "x".join(map(str, batches)))
    size = f"{network_wh[1]}x{network_wh[0]}"
    name = "-".join(re.sub(r"[^A-Za-z0-9.+-]+", "_", each) for each in (*told, size, digest))
    return cache_folder() / "tensorrt" / f"{name}.engine"


def _build(
    folded: bytes,
    model: ModelInfo,
    network_wh: tuple[int, int],
    batches: tuple[int, int, int],
    precision: str,
    log: TensorRtLog,
) -> bytes:
    """The serialised engine."""
    _log.info("Building a TensorRT engine of %s in %s; this takes minutes, once.", model.path.name, precision)
    started = time.monotonic()
    builder = trt.Builder(log)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    _choose_precision(config, precision)
    network = builder.create_network()
    parser = trt.OnnxParser(network, log)
    if not parser.parse(folded):
        errors = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise EngineError(f"TensorRT {trt.__version__} cannot read {model.path.name}: {errors or log.last}")
    profile = builder.create_optimization_profile()
    shapes = [(batch, network_wh[1], network_wh[0], 3) for batch in batches]
    profile.set_shape(network.get_input(0).name, *shapes)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT {trt.__version__} cannot build {model.path.name} in {precision}: {log.last}")
    _log.info("Built in %.0f s.", time.monotonic() - started)
    return bytes(plan)


def _by_flags() -> bool:
    """Whether a precision is asked for by flags, as in TensorRT 10: 11 has none and computes in the types of the graph."""
    return hasattr(trt.BuilderFlag, "FP16")


def _choose_precision(config: Any, precision: str) -> None:
    flags = trt.BuilderFlag
    if precision == "f32":
        config.clear_flag(flags.TF32)  # which keeps 10 bits of 23
    elif _by_flags():
        for name in {"f16": ("FP16",), "bf16": ("BF16",), "int8+f16": ("INT8", "FP16")}[precision]:
            config.set_flag(getattr(flags, name))
    elif precision == "bf16":
        raise EngineError(f"--precision bf16: TensorRT {trt.__version__} computes in the types of the model. Use f16 or f32.")
