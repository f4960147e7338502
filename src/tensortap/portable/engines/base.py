"""The seam of the engines: uint8 pictures in, named tensors out, several requests in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from tensortap.batches import TensorBatch
from tensortap.errors import EngineError


@dataclass(frozen=True)
class InputFormat:
    """What the network expects of the uint8 pictures: y = scale * (x - mean), worked out inside the model."""

    color: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels. Whoever fills the pictures writes them in this order; no engine swaps."""
    scale: float | tuple[float, float, float] = 1 / 255
    """Factor of every channel (nvinfer's `net-scale-factor`), or one for each, in the network's channel order."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted first, in 0..255, in the network's channel order (nvinfer's `offsets`)."""


class Request(Protocol):
    """One batch on its way: fill `images`, `start()`, `wait()`, and only then fill it again."""

    @property
    def images(self) -> np.ndarray:
        """uint8 (B, H, W, 3): the network input, the engine's own memory where the backend allows it."""
        ...

    def start(self, num_frames: int) -> None:
        """Begin inference of the first `num_frames` pictures and return at once.

        Where the engine says that it computes with 0 threads, several write its pictures, and any of them may call it.
        """
        ...

    def done(self) -> bool:
        """Whether `wait()` would return at once."""
        ...

    def wait(self) -> Mapping[str, np.ndarray]:
        """Output name -> read-only (num_frames, ...), valid until this request starts again. Raises EngineError.

        A `TensorBatch` where they are still on a device.
        """
        ...


class Engine(Protocol):
    """A model, loaded."""

    name: str
    """Name in the registry."""
    precision: str
    """What it computes in, e.g. `bf16`, `f32`, `int8`."""
    device: str
    """What it runs on, e.g. the CPU's name."""
    batch_size: int
    """B, the most frames that a request takes."""
    outputs: Mapping[str, tuple[int, ...]]
    """Output name -> shape without batch axis."""
    requests: Sequence[Request]
    """As many as keep the backend busy, and one more that the caller fills or reads meanwhile."""
    streams: int
    """Batches that it works on at the same time."""
    threads: int
    """Threads that compute; 0 on a GPU."""

    def close(self) -> None:
        """Wait for what is in flight and release everything."""
        ...


class BatchAxis:
    """Takes the frames out of a model's outputs, told by a full batch which of them have the batch as their first axis.

    An output without it (rows of all people found, a count) belongs to the only frame of a batch of one.

    Args:
        outputs: of a full batch, as the backend gave them.
            Only their shapes are looked at.
        batch_size: B.

    Raises:
        EngineError: an output does not begin with the batch, and there are more frames than one.
    """

    def __init__(self, outputs: Mapping[str, Any], batch_size: int) -> None:
        self._batch_size = batch_size
        self._without = {name for name, output in outputs.items() if output.shape[:1] != (batch_size,)}
        if self._without and batch_size > 1:
            described = ", ".join(f"{name!r} {outputs[name].shape}" for name in sorted(self._without))
            raise EngineError(
                f"The first axis of {described} is not the batch of {batch_size}, so nobody can tell which frame a value "
                "belongs to. Use --batch 1."
            )

    def split(self, outputs: Mapping[str, np.ndarray], num_frames: int) -> dict[str, np.ndarray]:
        """Output name -> read-only (num_frames, ...).

        Raises:
            EngineError: an output has another number of rows than frames.
        """
        return {name: read_only(self.frames(name, output, num_frames)) for name, output in outputs.items()}

    def frames(self, name: str, output: Any, num_frames: int) -> Any:
        """(num_frames, ...) of one output, on whichever device it is. Raises EngineError as `split` does."""
        if name in self._without:
            return output[None]
        if output.shape[0] not in (num_frames, self._batch_size):
            raise EngineError(f"Output {name!r} is {output.shape} for {num_frames} frames: its first axis is not the batch.")
        return output[:num_frames]


def as_batch(outputs: Mapping[str, np.ndarray]) -> TensorBatch:
    """What `wait()` gave, frame by frame, for decoders that read all frames of a batch together."""
    return outputs if isinstance(outputs, TensorBatch) else TensorBatch(outputs, outputs.__getitem__)


def first_line(error: Exception) -> str:
    """What a backend says of an error, without the trace that may follow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view: np.ndarray = array.view()
    view.flags.writeable = False
    return view
