"""Tensors of other libraries as NumPy arrays, through DLPack: memory of the host as a view, memory of the GPU as a copy.

NumPy's own `from_dlpack` refuses memory of the GPU, and torch, which takes it, is in no DeepStream image. The structures are
those of dlpack.h, version 0.8, which every unversioned capsule holds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tensortap.errors import EngineError

# DLDeviceType: the memory that the CPU reads as it is.
_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13
_TYPES = {0: "i", 1: "u", 2: "f", 6: "b"}
"""DLDataTypeCode -> NumPy's letter."""
_DEVICE_TO_HOST = 2

CopyToHost = Callable[[int, int, int], None]
"""Host address, device address, number of bytes."""


class _Device(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def as_array(tensor: Any, name: str, copy_to_host: CopyToHost | None = None) -> np.ndarray:
    """A read-only array of a tensor that has `__dlpack__`: a view where the CPU can read it, else a copy.

    The view holds the tensor, which need not own its memory.

    Args:
        name: what the tensor is called, for messages.
        copy_to_host: copies from the GPU; by default the CUDA runtime's `cudaMemcpy`.

    Raises:
        EngineError: its type or its device is unknown, or the copy failed.
    """
    try:
        capsule = tensor.__dlpack__()
    except TypeError:
        capsule = tensor.__dlpack__(None)  # older bindings want the stream
    address = _get_pointer(capsule, b"dltensor")
    described = _Tensor.from_address(address)  # the first member of DLManagedTensor
    kind, bits, lanes = _TYPES.get(described.dtype.code), described.dtype.bits, described.dtype.lanes
    if kind is None or bits % 8 or lanes != 1:
        raise EngineError(
            f"Model output {name!r} has a data type that NumPy lacks: DLPack's code {described.dtype.code} with {bits} bits."
        )
    dtype = np.dtype(f"{kind}{bits // 8}")
    shape = tuple(described.shape[axis] for axis in range(described.ndim))
    strides = tuple(described.strides[axis] for axis in range(described.ndim)) if described.strides else None
    size = _size(shape, strides) * dtype.itemsize
    device = described.device.device_type
    data = (described.data or 0) + described.byte_offset
    memory: Any
    if device in (_CPU, _CUDA_HOST, _CUDA_MANAGED):
        memory = (ctypes.c_uint8 * size).from_address(data) if size else b""
    elif device == _CUDA:
        memory = (ctypes.c_uint8 * size)()
        (copy_to_host or _cuda_copy())(ctypes.addressof(memory), data, size)
    else:
        raise EngineError(f"Model output {name!r} lies on a device that is neither CPU nor CUDA: DLPack's type {device}.")
    if size:
        memory.held = capsule, tensor  # whose end would release what they describe
    flat: np.ndarray = np.frombuffer(memory, dtype)
    if strides is None or not size:
        array = flat.reshape(shape)
    else:
        array = np.lib.stride_tricks.as_strided(flat, shape, [step * dtype.itemsize for step in strides])
    array.flags.writeable = False
    return array


def _size(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> int:
    """Elements from the first to the last."""
    if math.prod(shape) == 0:
        return 0
    if strides is None:
        return math.prod(shape)
    return 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))


@cache
def _cuda_copy() -> CopyToHost:
    for name in ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", ctypes.util.find_library("cudart")):
        try:
            runtime = ctypes.CDLL(name) if name else None
        except OSError:
            continue
        if runtime is not None:
            break
    else:
        raise EngineError("Tensors lie on the GPU, and the CUDA runtime (libcudart.so) that copies them is not found.")
    runtime.cudaMemcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    runtime.cudaMemcpy.restype = ctypes.c_int

    def copy(host: int, device: int, size: int) -> None:
        code = runtime.cudaMemcpy(host, device, size, _DEVICE_TO_HOST)
        if code:
            raise EngineError(f"Copying a tensor from the GPU failed: cudaMemcpy gave {code}.")

    return copy
