"""Grids of anchors."""

from __future__ import annotations

import numpy as np
import pytest

from tensortap.decode.grids import cells, grids, place_of


@pytest.mark.parametrize("num_anchors", [1, 3])
@pytest.mark.parametrize("network_wh", [(640, 640), (320, 192)])
def test_cells_are_where_rows_are(num_anchors: int, network_wh: tuple[int, int]) -> None:
    found = grids(num_anchors, (8, 16, 32), network_wh)
    places, strides = cells(found)
    num_rows = sum(grid.num_rows for grid in found)
    assert places.shape == (num_rows, 2)
    assert strides.shape == (num_rows, 1)
    assert places.dtype == strides.dtype == np.float32
    for row in (0, 1, 40, num_rows // 2, num_rows - 1):
        grid, column, line = place_of(row, found) or pytest.fail("no place")
        assert (*places[row], strides[row, 0]) == (column, line, grid.stride)
    centers = (places + 0.5) * strides
    assert (centers > 0).all()
    assert (centers < network_wh).all()
    assert cells(found)[0] is places
    with pytest.raises(ValueError, match="read-only"):
        places[0] = 1


def test_no_grids_have_no_cells() -> None:
    assert [each.shape for each in cells(())] == [(0, 2), (0, 1)]
