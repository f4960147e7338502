"""Memory, streams and events of an NVIDIA GPU, by way of CuPy or Torch: whichever is installed."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import which
from typing import Any, Protocol

import numpy as np

from tensortap.errors import EngineError, MissingDependencyError

INSTALL_ARRAYS = "pip install cupy-cuda12x array-api-compat"
_Shape = tuple[int, ...]
_FIRST = -5
"""The highest priority of a stream; CUDA takes the nearest that the device has."""


class Event(Protocol):
    """A place in a stream's work."""

    def done(self) -> bool:
        """Whether the device has come so far. Raises RuntimeError where the work before it failed."""
        ...

    def wait(self) -> None:
        """Until it has. Cannot be interrupted. Raises as `done` does."""
        ...


class Stream(Protocol):
    """Work that the device does in order. Every method returns at once."""

    @property
    def handle(self) -> int:
        """`cudaStream_t`."""
        ...

    def upload(self, host: np.ndarray, device: Any) -> None:
        """Copy pinned memory to the device."""
        ...

    def download(self, device: Any, host: np.ndarray) -> None:
        """Copy from the device into pinned memory."""
        ...

    def record(self) -> Event:
        """An event after all that was asked for so far."""
        ...


class Gpu(Protocol):
    """One device, and arrays on it."""

    name: str
    """As its maker calls it."""
    number: int
    """As CUDA counts those that it may use."""

    def make_current(self) -> None:
        """In the calling thread, for what it does from now on: CUDA has a current device for each."""
        ...

    def pinned(self, shape: _Shape, dtype: Any) -> np.ndarray:
        """Page-locked memory of the host, which the device reads and writes while the program goes on."""
        ...

    def empty(self, shape: _Shape, dtype: Any) -> Any:
        """An array on the device."""
        ...

    def address(self, array: Any) -> int:
        """Where an array lies on the device."""
        ...

    def view(self, address: int, shape: _Shape, dtype: Any, owner: object) -> Any:
        """An array over memory of the device that belongs to `owner`."""
        ...

    def stream(self) -> Stream:
        """A new stream."""
        ...

    def computing(self) -> AbstractContextManager[object]:
        """Inside of it, arrays are computed apart from the inference that is under way, and before what waits of it."""
        ...


class _Recording:
    """One thread records what a GPU does, or any number use one.

    While CUDA records (`cudaStreamCaptureModeGlobal`, which ONNX Runtime asks for), it refuses to take memory and to wait, in
    every thread of the process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._records = False
        self._mine = threading.local()
        """Whether this thread is using it already."""

    @contextmanager
    def using(self) -> Iterator[None]:
        """Work on a GPU, of whichever engine."""
        if getattr(self._mine, "uses", False):  # to wait for the one who waits for it would last for ever
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._records)
            self._users += 1
        self._mine.uses = True
        try:
            yield
        finally:
            self._mine.uses = False
            with self._changed:
                self._users -= 1
                if not self._users:
                    self._changed.notify_all()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """The only work on a GPU, in this thread and in those that work for it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._records)
            self._records = True  # nobody else begins
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._users)
            yield
        finally:
            with self._changed:
                self._records = False
                self._changed.notify_all()


RECORDING = _Recording()
"""Of this process."""


def nvidia_gpu_here() -> bool:
    """Whether this machine has an NVIDIA GPU with a driver, as far as the system tells without loading CUDA."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/nvhost-gpu").exists() or which("nvidia-smi") is not None


def gpu_names() -> list[str]:
    """The NVIDIA GPUs of this machine as its driver calls them; empty where it does not tell."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(errors="replace").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return names


def find_gpu() -> Gpu:
    """The current CUDA device, through CuPy, else through Torch.

    Raises:
        MissingDependencyError: neither is installed.
        EngineError: no GPU can be used.
    """
    wrappers: Mapping[str, Callable[[], Gpu]] = {"cupy": CupyGpu, "torch": TorchGpu}
    for module, wrapper in wrappers.items():
        if importlib.util.find_spec(module) is not None:
            try:
                return wrapper()
            except Exception as exc:  # missing CUDA libraries, no driver, no device: each has its own
                raise EngineError(f"{module} cannot use a GPU here: {exc}. tensortap doctor says what is installed.") from exc
    raise MissingDependencyError(f"Arrays on the GPU need cupy or torch, and neither is installed. Try: {INSTALL_ARRAYS}")


class CupyGpu:
    """The device through CuPy."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self.number = int(cupy.cuda.runtime.getDevice())
        told = cupy.cuda.runtime.getDeviceProperties(self.number)["name"]
        self.name = told.decode() if isinstance(told, bytes) else str(told)
        self._ahead = cupy.cuda.Stream(non_blocking=True, priority=_FIRST)

    def make_current(self) -> None:
        self._cupy.cuda.runtime.setDevice(self.number)

    def pinned(self, shape: _Shape, dtype: Any) -> np.ndarray:
        size = int(np.prod(shape, dtype=np.int64))
        memory = self._cupy.cuda.alloc_pinned_memory(max(size * np.dtype(dtype).itemsize, 1))
        return np.frombuffer(memory, dtype, size).reshape(shape)

    def empty(self, shape: _Shape, dtype: Any) -> Any:
        return self._cupy.empty(shape, dtype)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def view(self, address: int, shape: _Shape, dtype: Any, owner: object) -> Any:
        cuda = self._cupy.cuda
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        memory = cuda.MemoryPointer(cuda.UnownedMemory(address, size, owner), 0)
        return self._cupy.ndarray(shape, dtype, memory)

    def stream(self) -> Stream:
        return _CupyStream(self._cupy)

    @contextmanager
    def computing(self) -> Iterator[None]:
        with RECORDING.using(), self._ahead:
            yield


class _CupyStream:
    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self.handle = int(self._stream.ptr)

    def upload(self, host: np.ndarray, device: Any) -> None:
        device.set(host, stream=self._stream)

    def download(self, device: Any, host: np.ndarray) -> None:
        device.get(stream=self._stream, out=host, blocking=False)

    def record(self) -> Event:
        event = self._cupy.cuda.Event(disable_timing=True)
        event.record(self._stream)
        return _CupyEvent(event)


class _CupyEvent:
    def __init__(self, event: Any) -> None:
        self._event = event

    def done(self) -> bool:
        return bool(self._event.done)

    def wait(self) -> None:
        self._event.synchronize()


class TorchGpu:
    """The device through Torch."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self.number = int(torch.cuda.current_device())
        self.name = str(torch.cuda.get_device_name(self.number))
        self._ahead = torch.cuda.Stream(priority=_FIRST)

    def make_current(self) -> None:
        self._torch.cuda.set_device(self.number)

    def pinned(self, shape: _Shape, dtype: Any) -> np.ndarray:
        array: np.ndarray = self._torch.empty(shape, dtype=self._type(dtype), pin_memory=True).numpy()
        return array

    def empty(self, shape: _Shape, dtype: Any) -> Any:
        return self._torch.empty(shape, dtype=self._type(dtype), device="cuda")

    def address(self, array: Any) -> int:
        return int(array.data_ptr())

    def view(self, address: int, shape: _Shape, dtype: Any, owner: object) -> Any:
        return self._torch.as_tensor(_CudaArray(address, shape, np.dtype(dtype), owner), device="cuda")

    def stream(self) -> Stream:
        return _TorchStream(self._torch)

    @contextmanager
    def computing(self) -> Iterator[None]:
        with RECORDING.using(), self._torch.cuda.stream(self._ahead):
            yield

    def _type(self, dtype: Any) -> Any:
        """Torch's name of a NumPy type."""
        return self._torch.from_numpy(np.empty(0, dtype)).dtype


class _TorchStream:
    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._stream = torch.cuda.Stream()
        self.handle = int(self._stream.cuda_stream)

    def upload(self, host: np.ndarray, device: Any) -> None:
        with self._torch.cuda.stream(self._stream):
            device.copy_(self._torch.from_numpy(host), non_blocking=True)

    def download(self, device: Any, host: np.ndarray) -> None:
        with self._torch.cuda.stream(self._stream):
            self._torch.from_numpy(host).copy_(device, non_blocking=True)

    def record(self) -> Event:
        event = self._torch.cuda.Event()
        event.record(self._stream)
        return _TorchEvent(event)


class _TorchEvent:
    def __init__(self, event: Any) -> None:
        self._event = event

    def done(self) -> bool:
        return bool(self._event.query())

    def wait(self) -> None:
        self._event.synchronize()


class _CudaArray:
    """Memory of the device as Numba's CUDA array interface, version 3, describes it."""

    def __init__(self, address: int, shape: _Shape, dtype: np.dtype[Any], owner: object) -> None:
        self._owner = owner
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (address, False),
            "strides": None,
            "version": 3,
        }
