"""Summaries of tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tensortap.statistics import statistics_of


def test_a_summary() -> None:
    found = statistics_of(np.array([[0, 1, 2, 15]], np.float32))
    assert (found.dtype, found.shape) == ("float32", (1, 4))
    assert (found.least, found.mean, found.greatest) == (0, 4.5, 15)
    assert (found.nans, found.infinities, found.zeros) == (0, 0, 1)
    assert found.histogram.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert len(found.bars) == 16
    assert found.bars[3] == " "


def test_what_is_no_number_is_counted_and_left_out() -> None:
    found = statistics_of(np.array([np.nan, np.inf, -np.inf, 3, 5], np.float16))
    assert (found.nans, found.infinities) == (1, 2)
    assert (found.least, found.mean, found.greatest) == (3, 4, 5)
    nothing = statistics_of(np.full(3, np.nan, np.float32))
    assert np.isnan(nothing.mean)
    assert nothing.as_dict()["mean"] is None
    assert nothing.bars == ""


def test_half_precision_is_summed_exactly() -> None:
    assert statistics_of(np.full(100_000, 8.0, np.float16)).mean == 8.0


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
def test_whole_numbers(dtype: type) -> None:
    found = statistics_of(np.array([0, 1, 1], dtype))
    assert (found.least, found.greatest, found.zeros) == (0, 1, 1)


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int32, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
    )
)
def test_any_tensor_can_be_summarised(tensor: np.ndarray) -> None:
    found = statistics_of(tensor)
    assert found.histogram.sum() + found.nans + found.infinities == tensor.size
    assert len(found.bars) in (0, 16)
