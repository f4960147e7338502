"""Memory, streams and events of a real GPU, by CuPy and Torch. Skipped without one."""

from __future__ import annotations

import importlib
import importlib.util
import time
from typing import Any

import numpy as np
import pytest

from tensortap.decode.batch import to_host
from tensortap.portable.engines.gpu import CupyGpu, Gpu, TorchGpu, find_gpu, gpu_names, nvidia_gpu_here


@pytest.fixture(params=["cupy", "torch"])
def gpu(request: pytest.FixtureRequest) -> Gpu:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    module = importlib.import_module(request.param)
    here = module.cuda.is_available() if request.param == "torch" else module.cuda.runtime.getDeviceCount() > 0
    if not here:
        pytest.skip("no GPU")
    return CupyGpu() if request.param == "cupy" else TorchGpu()


def wait(event: Any) -> None:
    deadline = time.monotonic() + 30
    while not event.done():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.int64, np.bool_])
def test_there_and_back(gpu: Gpu, dtype: Any) -> None:
    shape = (4, 100, 300)
    host, back = gpu.pinned(shape, dtype), gpu.pinned(shape, dtype)
    host[...] = np.random.default_rng(0).integers(0, 2 if dtype is np.bool_ else 100, shape)
    back[...] = 0
    device = gpu.empty(shape, dtype)
    stream = gpu.stream()
    stream.upload(host, device)
    stream.download(device, back)
    wait(stream.record())
    np.testing.assert_array_equal(back, host)
    found = to_host(device)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, host)


def test_views_share_memory(gpu: Gpu) -> None:
    host = gpu.pinned((2, 5), np.float32)
    host[...] = np.arange(10).reshape(2, 5)
    device = gpu.empty((2, 5), np.float32)
    view = gpu.view(gpu.address(device), (10,), np.float32, device)
    stream = gpu.stream()
    stream.upload(host, device)
    wait(stream.record())
    np.testing.assert_array_equal(to_host(view), np.arange(10))


def test_streams_are_apart_and_work_goes_on_meanwhile(gpu: Gpu) -> None:
    first, second = gpu.stream(), gpu.stream()
    assert first.handle != second.handle
    large = gpu.pinned((256, 1 << 20), np.uint8)
    device = gpu.empty(large.shape, np.uint8)
    first.upload(large, device)
    event = first.record()
    assert not event.done(), "a quarter of a gigabyte was copied before the call came back"
    wait(event)


def test_names(gpu: Gpu) -> None:
    assert gpu.name
    assert nvidia_gpu_here()
    assert find_gpu().name == gpu.name
    assert all(isinstance(name, str) for name in gpu_names())
