"""The seam of the engines: uint8 pictures in, named tensors out, several requests in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np


@dataclass(frozen=True)
class InputFormat:
    """What the network expects of the uint8 pictures: y = scale * (x - mean), worked out inside the model."""

    color: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels. Whoever fills the pictures writes them in this order; no engine swaps."""
    scale: float = 1 / 255
    """Factor of every channel (nvinfer's `net-scale-factor`)."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted first, in 0..255, in the network's channel order (nvinfer's `offsets`)."""


class Request(Protocol):
    """One batch on its way: fill `images`, `start()`, `wait()`, and only then fill it again."""

    @property
    def images(self) -> np.ndarray:
        """uint8 (B, H, W, 3): the network input, the engine's own memory where the backend allows it."""
        ...

    def start(self, num_frames: int) -> None:
        """Begin inference of the first `num_frames` pictures and return at once."""
        ...

    def done(self) -> bool:
        """Whether `wait()` would return at once."""
        ...

    def wait(self) -> Mapping[str, np.ndarray]:
        """Output name -> read-only (num_frames, ...), valid until this request starts again. Raises EngineError."""
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

    def close(self) -> None:
        """Wait for what is in flight and release everything."""
        ...


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view: np.ndarray = array.view()
    view.flags.writeable = False
    return view
