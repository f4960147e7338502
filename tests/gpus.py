"""A GPU that is the processor: memory in NumPy, and streams whose work is done when somebody looks, never before."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np


class HostStream:
    """Work in order, put off until its event is asked for: what is read too early is not there yet."""

    all: ClassVar[dict[int, HostStream]] = {}

    def __init__(self) -> None:
        self.handle = len(self.all) + 1
        self.all[self.handle] = self
        self.work: list[Callable[[], object]] = []

    def upload(self, host: np.ndarray, device: np.ndarray) -> None:
        assert host.shape == device.shape
        assert host.dtype == device.dtype
        self.work.append(lambda: np.copyto(device, host))

    def download(self, device: np.ndarray, host: np.ndarray) -> None:
        assert host.shape == device.shape
        assert host.dtype == device.dtype
        self.work.append(lambda: np.copyto(host, device))

    def record(self) -> HostEvent:
        return HostEvent(self)

    def synchronize(self) -> None:
        while self.work:
            self.work.pop(0)()


class HostEvent:
    """Done at the second look, when the stream has worked."""

    def __init__(self, stream: HostStream) -> None:
        self._stream = stream
        self._looks = 0

    def done(self) -> bool:
        self._looks += 1
        if self._looks > 1:
            self._stream.synchronize()
        return self._looks > 1

    def wait(self) -> None:
        self._looks = 1
        self.done()


class HostGpu:
    """`Gpu` of portable/engines/gpu.py. Counts what is allocated."""

    name = "NVIDIA Fake 1"
    number = 0

    def __init__(self) -> None:
        self.allocations = 0

    def make_current(self) -> None:
        """There is only one."""

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self.empty(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.allocations += 1
        array = np.empty(shape, dtype)
        array.view(np.uint8)[...] = 0xA5  # whoever reads what was never written shall notice
        return array

    def address(self, array: np.ndarray) -> int:
        return int(array.__array_interface__["data"][0])

    def view(self, address: int, shape: tuple[int, ...], dtype: Any, owner: object) -> np.ndarray:
        array = at(address, shape, np.dtype(dtype))
        _OWNERS.append(owner)
        return array

    def stream(self) -> HostStream:
        return HostStream()

    def computing(self) -> AbstractContextManager[object]:
        return nullcontext()


_OWNERS: list[object] = []


def at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """The memory at an address."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)
