"""Decoding at batch 12, on a mix of real outputs: frame by frame on the host, and as one batch where the tensors are.

The mix is 0, 1, 5 and 30 people in turn. The batch decoder runs with NumPy here, and with Torch and CuPy where they are
installed, on their GPU if they have one: what crosses to the host is candidates only, and its time is in the figures. Of what
an engine on a GPU has picked itself, only what is left to do is measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import assets, machine

from tensortap.batches import Shortlist, Shortlisted, TensorBatch
from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.geometry import letterbox
from tensortap.types import Frame, FrameInfo, TensorFrame

BATCH = 12
ASKED_FOR_MS = 0.04
MIX = (0, 1, 5, 30)
BOX = letterbox("ultralytics", (768, 432), (640, 640))
FRAME = Frame(FrameInfo(0, "stored", 0, 0, (768, 432)), None)
Synchronize = Callable[[], object]


def libraries() -> dict[str, tuple[Callable[[np.ndarray], Any], Synchronize]]:
    """Name -> how an array gets there, and how to wait for the device."""
    found: dict[str, tuple[Callable[[np.ndarray], Any], Synchronize]] = {"numpy": (np.copy, lambda: None)}
    if importlib.util.find_spec("torch"):
        torch = importlib.import_module("torch")
        found["torch, CPU"] = (torch.from_numpy, lambda: None)
        if torch.cuda.is_available():
            name = f"torch, {torch.cuda.get_device_name()}"
            found[name] = (lambda array: torch.from_numpy(array).cuda(), torch.cuda.synchronize)
    if importlib.util.find_spec("cupy"):
        cupy = importlib.import_module("cupy")
        found["cupy"] = (cupy.asarray, lambda: cupy.cuda.get_current_stream().synchronize())
    return found


def per_frame_ms(batch: Callable[[], list[TensorFrame]], decoder: YoloPoseDecoder, synchronize: Synchronize) -> list[float]:
    """Milliseconds a frame of many batches, after some to warm up."""
    times = []
    for number in range(320):
        frames = batch()
        synchronize()
        started = time.perf_counter()
        for frame in frames:
            decoder(frame)
        if number >= 20:
            times.append((time.perf_counter() - started) / BATCH * 1e3)
    return times


def report(name: str, times: list[float]) -> None:
    """One line."""
    low, high = np.percentile(times, (5, 95))
    print(f"  {name:<44} {statistics.median(times):.4f} ({low:.4f} to {high:.4f})")


def main() -> None:
    """Print medians beside what was asked for."""
    print(f"{machine()}\nbatch {BATCH} of {', '.join(map(str, MIX))} people in turn; ms a frame; asked for: {ASKED_FOR_MS}")
    with np.load(assets() / "tensors" / "real_outputs_56x8400.npz") as stored:
        values = np.stack([stored[f"n{MIX[slot % len(MIX)]}"] for slot in range(BATCH)])

    def on_host() -> list[TensorFrame]:
        return [TensorFrame(FRAME, {"output0": tensor}, BOX) for tensor in values]

    report("frame by frame, host", per_frame_ms(on_host, YoloPoseDecoder(), lambda: None))
    best = np.argsort(-values[:, 4], axis=1, kind="stable")[:, : Shortlist("output0", 1).size]
    picked = {"output0": Shortlisted(best, np.take_along_axis(values, best[:, None, :], axis=2))}

    def picked_before() -> list[TensorFrame]:
        batch = TensorBatch({"output0": values}, lambda name: values, shortlisted=picked)
        return [TensorFrame(FRAME, batch.frame(slot), BOX) for slot in range(BATCH)]

    report("one batch, picked by the engine", per_frame_ms(picked_before, YoloPoseDecoder(), lambda: None))
    for name, (move, synchronize) in libraries().items():
        array = move(values)

        def on_device(array: Any = array) -> list[TensorFrame]:
            batch = TensorBatch({"output0": array}, lambda name: values)
            return [TensorFrame(FRAME, batch.frame(slot), BOX) for slot in range(BATCH)]

        report(f"one batch, {name}", per_frame_ms(on_device, YoloPoseDecoder(), synchronize))


if __name__ == "__main__":
    main()
