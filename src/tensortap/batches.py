"""The tensors of several frames that were inferred together, on the host or on the device that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

Copy = Callable[[str], np.ndarray]
"""Name of an output -> read-only (num_frames, ...) on the host."""


@dataclass(frozen=True)
class Shortlist:
    """What an engine shall pick out of an output where it lies, so that the rest of it need not be looked at."""

    output: str
    """Name of an output of anchors, (B, R, A) of which rows 4 to 4 + nc are scores."""
    num_classes: int
    transposed: bool = False
    """The output is (B, A, R)."""
    size: int = 1024
    """P: so many anchors of each frame, those with the best scores. A crowd of a hundred people has as many candidates."""


@dataclass(frozen=True, eq=False)
class Shortlisted:
    """What it has picked, on the host. Scores that are no numbers come first."""

    anchors: np.ndarray
    """int64 (B, P): which ones."""
    values: np.ndarray
    """(B, R, P): all of their values."""


class TensorBatch(Mapping[str, np.ndarray]):
    """The outputs of one batch. As a mapping it gives them on the host, copied when first asked for.

    Args:
        arrays: output name -> NumPy, Torch or CuPy array (num_frames, ...), valid until the engine's request starts again.
        copy: brings one of them to the host.
        computing: what to be inside of while one computes with the arrays on their device.
        shortlisted: output name -> what the engine has picked out of it.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        copy: Copy,
        computing: Callable[[], AbstractContextManager[object]] = nullcontext,
        shortlisted: Mapping[str, Shortlisted] = MappingProxyType({}),
    ) -> None:
        self.arrays = arrays
        self.computing = computing
        self.shortlisted = shortlisted
        self.notes: dict[object, Any] = {}
        """What a decoder has worked out for all frames of the batch, under the decoder itself."""
        self._copy = copy
        self._copied: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._copied:
            if name not in self.arrays:
                raise KeyError(name)
            self._copied[name] = self._copy(name)
        return self._copied[name]

    def __contains__(self, name: object) -> bool:  # Mapping's own would copy
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def frame(self, slot: int) -> BatchTensors:
        """The tensors of one frame."""
        return BatchTensors(self, slot)


class BatchTensors(Mapping[str, np.ndarray]):
    """`TensorFrame.tensors` of a frame of a batch: views of it, on the host as soon as one is looked at."""

    def __init__(self, batch: TensorBatch, slot: int) -> None:
        self.batch = batch
        """The frame's batch, with the arrays where they are."""
        self.slot = slot
        """Which frame of the batch it is."""

    def __getitem__(self, name: str) -> np.ndarray:
        # `...`, because a scalar for each frame is an array of no axes, not a number.
        return self.batch[name][self.slot, ...]

    def __contains__(self, name: object) -> bool:
        return name in self.batch

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch)

    def __len__(self) -> int:
        return len(self.batch)
