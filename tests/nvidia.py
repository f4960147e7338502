"""The engines of NVIDIA's GPUs on a machine without one: TensorRT from `fake_tensorrt`, the CPU's provider for CUDA's."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

import fake_tensorrt
from gpus import HostGpu
from tensortap import registry

FAKED = ("onnxruntime-cuda", "tensorrt")
_TENSORRT = ("tensortap.portable.engines.tensorrt", "tensortap.portable.engines.tensorrt_build")


def fake_nvidia(monkeypatch: pytest.MonkeyPatch, cache: Path) -> HostGpu:
    """Both engines can be loaded from the registry from now on. Returns the GPU that they share."""
    gpu = HostGpu()
    monkeypatch.setenv("TENSORTAP_CACHE", str(cache))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
    for name in _TENSORRT:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(registry, "missing_modules", lambda entry: [])
    # By name: `from package import module` would give the one that was loaded with another fake.
    onnxruntime_cuda = importlib.import_module("tensortap.portable.engines.onnxruntime_cuda")
    tensorrt_engine = importlib.import_module(_TENSORRT[0])

    def find() -> Any:
        return gpu

    monkeypatch.setattr(tensorrt_engine, "find_gpu", find)
    monkeypatch.setattr(onnxruntime_cuda, "find_gpu", find)
    monkeypatch.setattr(onnxruntime_cuda.OnnxRuntimeCudaEngine, "provider", "CPUExecutionProvider")
    monkeypatch.setattr(onnxruntime_cuda.OnnxRuntimeCudaEngine, "kind", "cpu")
    return gpu
