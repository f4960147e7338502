"""Tensors that stay on the device that made them, until somebody asks for them on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Copy = Callable[[str], np.ndarray]
"""Name of an output -> read-only (num_frames, ...) on the host."""


class DeviceBatch(Mapping[str, np.ndarray]):
    """The outputs of one batch on the device. As a mapping it gives them on the host, copied when first asked for.

    Args:
        on_device: output name -> Torch or CuPy array (num_frames, ...), valid until the engine's request starts again.
        copy: brings one of them to the host.
    """

    def __init__(self, on_device: Mapping[str, Any], copy: Copy) -> None:
        self.on_device = on_device
        self.notes: dict[object, Any] = {}
        """What a decoder has worked out for all frames of the batch, under the decoder itself."""
        self._copy = copy
        self._copied: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._copied:
            if name not in self.on_device:
                raise KeyError(name)
            self._copied[name] = self._copy(name)
        return self._copied[name]

    def __contains__(self, name: object) -> bool:  # Mapping's own would copy
        return name in self.on_device

    def __iter__(self) -> Iterator[str]:
        return iter(self.on_device)

    def __len__(self) -> int:
        return len(self.on_device)

    def frame(self, slot: int) -> DeviceTensors:
        """The tensors of one frame."""
        return DeviceTensors(self, slot)


class DeviceTensors(Mapping[str, np.ndarray]):
    """`TensorFrame.tensors` of a frame whose tensors are on the device: on the host as soon as one is looked at."""

    def __init__(self, batch: DeviceBatch, slot: int) -> None:
        self.batch = batch
        """The frame's batch, with the arrays on the device."""
        self.slot = slot
        """Which frame of the batch it is."""

    def __getitem__(self, name: str) -> np.ndarray:
        return self.batch[name][self.slot, ...]

    def __contains__(self, name: object) -> bool:
        return name in self.batch

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch)

    def __len__(self) -> int:
        return len(self.batch)
