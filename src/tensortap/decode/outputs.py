"""A model's outputs as they look from outside, and what can be said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tensortap.decode.grids import grids

Shape = Sequence[int | None]


@dataclass(frozen=True)
class Feeding:
    """How a network's authors feed it."""

    letterbox: str = "ultralytics"
    """How frames are placed in the network input."""
    color: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels."""
    scale: float | tuple[float, float, float] = 1 / 255
    """Factor of every channel, or one for each, after the mean has been subtracted."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted first, in 0..255, in the order of the channels."""


@dataclass(frozen=True)
class Head:
    """What was recognised."""

    decoder: str
    """Name of the decoder in the registry."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the decoder's constructor is told."""
    reason: str = ""
    """Why, in a sentence for people."""
    feeding: Feeding = Feeding()
    """How the network wants its pictures."""


class Keypoints(NamedTuple):
    """How many keypoints there are, and how many values each has."""

    num: int
    dims: int
    source: str
    """Who says so, for messages."""
    is_told: bool
    """Whether anybody says so."""

    @property
    def num_values(self) -> int:
        """K * d."""
        return self.num * self.dims


@dataclass(frozen=True)
class Outputs:
    """A model's outputs, with what is known of it."""

    shapes: Mapping[str, Shape]
    """Name -> shape without batch axis; `None` where an axis is not known."""
    metadata: Mapping[str, Any]
    keypoints: Keypoints
    network_wh: tuple[int, int] | None

    def only(self, num_axes: int) -> tuple[str, Shape] | None:
        """Name and shape of the output, if there is one alone and it has so many axes."""
        [(name, shape), *others] = self.shapes.items() or [("", ())]
        return (name, shape) if name and not others and len(shape) == num_axes else None

    @property
    def rows(self) -> tuple[str, int | None, int | None] | None:
        """Name and both axes, if there is one output of two axes."""
        found = self.only(2)
        return found and (found[0], found[1][0], found[1][1])

    @property
    def is_ultralytics(self) -> bool:
        """Whether Ultralytics' exporter has written metadata."""
        return any(key in self.metadata for key in ("task", "kpt_shape", "names", "end2end"))

    @property
    def num_names(self) -> int | None:
        """How many classes the metadata name."""
        names = self.metadata.get("names")
        return len(names) if isinstance(names, (dict, list)) and names else None

    def fits(self, num_keypoints: int | None, dims: int = 3) -> bool:
        """Whether a shape's number of keypoints contradicts nobody."""
        told = self.keypoints
        return (
            num_keypoints is not None
            and num_keypoints > 0
            and (not told.is_told or (told.num, told.dims) == (num_keypoints, dims))
        )

    def are_three_a_cell(self, num_rows: int | None) -> bool | None:
        """Whether so many rows are three for each cell of the strides 8 to 64; `None` where that cannot be told."""
        if num_rows is None:
            return None
        if self.network_wh is None:
            # Any input is a multiple of 64, and its rows of those of one cell there.
            return False if num_rows % (3 * (64 + 16 + 4 + 1)) else None
        return sum(grid.num_rows for grid in grids(3, (8, 16, 32, 64), self.network_wh)) == num_rows


class Match(NamedTuple):
    """A head that fits."""

    head: Head
    doubt: str = ""
    """What would have to be true, where nothing says so; empty where it is sure."""


@dataclass(frozen=True)
class Layout:
    """How a head is recognised."""

    match: Callable[[Outputs], Match | None]
    expects: Callable[[Keypoints], str]
    """What its outputs are, in words."""


def text_of(shape: Shape) -> str:
    """A shape for people: `(56, ?)`."""
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"
