"""Grids of anchors: where in the picture the rows of a head look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# The heads that there are: YOLOv8 and later, with P6 or P2, and YOLOv7-w6, which has three anchors in a cell.
_KNOWN = ((1, (8, 16, 32)), (1, (8, 16, 32, 64)), (3, (8, 16, 32, 64)), (1, (4, 8, 16, 32)))


class Grid(NamedTuple):
    """The rows of one stride: for each anchor h lines of w cells."""

    stride: int
    num_anchors: int
    height: int
    width: int

    @property
    def num_rows(self) -> int:
        """How many rows lie on it."""
        return self.num_anchors * self.height * self.width


class ScoreMap(NamedTuple):
    """How sure a network is in every place of its input."""

    name: str
    """For people: `stride 8`."""
    scores: np.ndarray
    """float32 (h, w), over the whole network input."""


def grids(num_anchors: int, strides: Sequence[int], network_wh: tuple[int, int]) -> tuple[Grid, ...]:
    """Grids over a network input, finest first."""
    width, height = network_wh
    return tuple(Grid(stride, num_anchors, height // stride, width // stride) for stride in strides)


@lru_cache(maxsize=64)
def cells(found: tuple[Grid, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which cell each row of such grids belongs to.

    A row's cell begins at `columns_lines * strides` in the network input, and its centre is half a stride further on.

    Returns:
        columns_lines: float32 (A, 2), read-only.
        strides: float32 (A, 1), read-only.
    """
    places, strides = [], []
    for grid in found:
        lines, columns = np.divmod(np.arange(grid.height * grid.width, dtype=np.float32), grid.width)
        places.append(np.tile(np.stack((columns, lines), axis=1), (grid.num_anchors, 1)))
        strides.append(np.full((grid.num_rows, 1), grid.stride, np.float32))
    both = np.concatenate(places or [np.empty((0, 2), np.float32)]), np.concatenate(strides or [np.empty((0, 1), np.float32)])
    for each in both:
        each.flags.writeable = False
    return both


def grids_of(num_rows: int, network_wh: tuple[int, int]) -> tuple[Grid, ...]:
    """The grids on which so many rows lie, in their order; empty if they fit none that is known."""
    for num_anchors, strides in _KNOWN:
        found = grids(num_anchors, strides, network_wh)
        if sum(grid.num_rows for grid in found) == num_rows and not any(side % strides[-1] for side in network_wh):
            return found
    return ()


def place_of(row: int, found: Sequence[Grid]) -> tuple[Grid, int, int] | None:
    """The grid of a row, and its column and line there; `None` beyond the last."""
    for grid in found:
        if row < grid.num_rows:
            line, column = divmod(row % (grid.height * grid.width), grid.width)
            return grid, column, line
        row -= grid.num_rows
    return None


def score_maps(rows: np.ndarray, scores: np.ndarray, network_wh: tuple[int, int]) -> list[ScoreMap]:
    """A map for each stride, of the best anchor in each cell; empty if the rows lie on no grid that is known.

    Args:
        rows: intp (M,): numbers of the rows, all of them.
        scores: float32 (M,): theirs.
        network_wh: width and height of the network input.
    """
    maps = []
    start = 0
    everywhere = np.full(len(rows), np.nan, np.float32)
    everywhere[rows] = scores
    for grid in grids_of(len(rows), network_wh):
        cells = everywhere[start : start + grid.num_rows].reshape(grid.num_anchors, grid.height, grid.width)
        maps.append(ScoreMap(f"stride {grid.stride}", np.fmax.reduce(cells, axis=0)))
        start += grid.num_rows
    return maps
