"""What tensortap uses of TensorRT's Python API, computed by ONNX Runtime: names, types and refusals as in TensorRT 10.

Written after NVIDIA's reference of the Python API. It is stricter than the real one where that helps to find mistakes: bytes
may only be cast, addresses must be set, shapes must lie within the profile, and nothing is computed before the stream is
waited for.
"""

from __future__ import annotations

import pickle
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from gpus import HostStream, at

_NUMPY = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT8: np.int8,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
    TensorProto.UINT8: np.uint8,
}


class DataType(Enum):
    FLOAT = TensorProto.FLOAT
    HALF = TensorProto.FLOAT16
    INT8 = TensorProto.INT8
    INT32 = TensorProto.INT32
    INT64 = TensorProto.INT64
    BOOL = TensorProto.BOOL
    UINT8 = TensorProto.UINT8


def nptype(kind: DataType) -> Any:
    return _NUMPY[kind.value]


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class MemoryPoolType(Enum):
    WORKSPACE = 0


class BuilderFlag(Enum):
    FP16 = 0
    INT8 = 1
    TF32 = 7
    BF16 = 14


class StrictBuilderFlag(Enum):
    """TensorRT 11's: the types of the graph decide."""

    TF32 = 7


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.made = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class OptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (tuple(min), tuple(opt), tuple(max))


class BuilderConfig:
    def __init__(self) -> None:
        self.flags: set[str] = {"TF32"}
        self.limits: dict[Any, int] = {}
        self.profiles: list[OptimizationProfile] = []

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.limits[pool] = size

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class NetworkInput:
    def __init__(self, name: str) -> None:
        self.name = name


class Network:
    def __init__(self) -> None:
        self.data = b""

    @property
    def num_inputs(self) -> int:
        return len(onnx.load_from_string(self.data).graph.input)

    def get_input(self, index: int) -> NetworkInput:
        return NetworkInput(onnx.load_from_string(self.data).graph.input[index].name)


class OnnxParser:
    """Refuses what the real one refuses of bytes: anything but a cast."""

    def __init__(self, network: Network, logger: ILogger) -> None:
        assert logger.made, "ILogger.__init__ was not called"
        self._network = network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> str:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        graph = onnx.load_from_string(model).graph
        for each in (*graph.input, *graph.output):
            if each.type.tensor_type.elem_type not in _NUMPY:
                self._errors.append(f"{each.name} has an unsupported type")
        bytes_of = {each.name for each in graph.input if each.type.tensor_type.elem_type == TensorProto.UINT8}
        for node in graph.node:
            if node.op_type == "NonMaxSuppression" and "refuse" in node.name:
                self._errors.append(f"No importer registered for {node.op_type}")
            if bytes_of & {*node.input} and node.op_type not in ("Cast", "Identity"):
                self._errors.append(f"{node.op_type} does not take UINT8")
        self._network.data = model
        return not self._errors


class Builder:
    builds = 0

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()

    def create_network(self, flags: int = 0) -> Network:
        return Network()

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytearray | None:
        type(self).builds += 1
        [profile] = config.profiles
        for name, (least, best, most) in profile.shapes.items():
            if not all(a <= b <= c for a, b, c in zip(least, best, most, strict=True)):
                self._logger.log(Severity.ERROR, f"the profile of {name} is out of order")
                return None
        plan = {"model": network.data, "profile": profile.shapes, "flags": sorted(config.flags)}
        return bytearray(b"plan" + pickle.dumps(plan))


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> CudaEngine | None:
        if not plan.startswith(b"plan"):
            self._logger.log(Severity.ERROR, "the magic number does not match")
            return None
        return CudaEngine(pickle.loads(plan[4:]), self._logger)


class CudaEngine:
    latest: CudaEngine

    def __init__(self, plan: dict[str, Any], logger: ILogger) -> None:
        CudaEngine.latest = self
        self.plan, self.logger = plan, logger
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self.session = ort.InferenceSession(plan["model"], options, providers=["CPUExecutionProvider"])
        graph = onnx.load_from_string(plan["model"]).graph
        self._modes = {each.name: TensorIOMode.INPUT for each in graph.input}
        # Not in the order of the file.
        self._modes |= {each.name: TensorIOMode.OUTPUT for each in reversed(graph.output)}
        self.axes = {each.name: [dim.dim_param for dim in each.type.tensor_type.shape.dim] for each in graph.output}
        self._types = {each.name: each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)}

    @property
    def num_io_tensors(self) -> int:
        return len(self._modes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._modes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._modes[name]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._types[name])

    def create_execution_context(self) -> ExecutionContext | None:
        return ExecutionContext(self)


class ExecutionContext:
    failing = False

    def __init__(self, engine: CudaEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self._shapes: dict[str, tuple[int, ...]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.plan["profile"][name]
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            self._engine.logger.log(Severity.ERROR, f"{shape} is not within the profile")
            return False
        self._shape = tuple(shape)
        outputs = self._engine.session.run(None, {name: np.zeros(shape, np.uint8)})
        names = [each.name for each in self._engine.session.get_outputs()]
        self._shapes = {each: array.shape for each, array in zip(names, outputs, strict=True)}
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if self._engine.get_tensor_mode(name) is TensorIOMode.INPUT:
            return self._shape
        axes = self._engine.axes[name]  # those called "people" are what the picture decides
        return tuple(-1 if axis == "people" else found for axis, found in zip(axes, self._shapes[name], strict=True))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self._engine
        missing = {engine.get_tensor_name(number) for number in range(engine.num_io_tensors)} - {*self._addresses}
        if missing or not self._shape or self.failing:
            engine.logger.log(Severity.ERROR, f"no address or shape for {sorted(missing)}" if missing else "out of memory")
            return False
        shape, shapes, addresses = self._shape, dict(self._shapes), dict(self._addresses)

        def work() -> None:
            [given] = engine.session.get_inputs()
            found = engine.session.run(None, {given.name: at(addresses[given.name], shape, np.dtype(np.uint8))})
            for each, array in zip(engine.session.get_outputs(), found, strict=True):
                at(addresses[each.name], shapes[each.name], array.dtype)[...] = array

        HostStream.all[stream_handle].work.append(work)
        return True


def module() -> ModuleType:
    """As `import tensorrt` gives it."""
    made = ModuleType("tensorrt")
    made.__spec__ = __spec__  # importlib.util.find_spec asks for one
    made.__version__ = "10.9.0.34"  # type: ignore[attr-defined]
    for each in (
        BuilderFlag,
        Builder,
        DataType,
        ILogger,
        MemoryPoolType,
        OnnxParser,
        Runtime,
        TensorIOMode,
        nptype,
    ):
        setattr(made, each.__name__, each)
    return made
