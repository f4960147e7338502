"""What the numbers in a tensor are like: for people who meet a model for the first time, or a broken one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 16
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """One tensor, summarised. Range and mean are those of its finite values; NaN where there are none."""

    dtype: str
    """NumPy's name of the type."""
    shape: tuple[int, ...]
    """Without batch axis."""
    least: float
    mean: float
    greatest: float
    nans: int
    """Values that are no number."""
    infinities: int
    """Values that are infinite, of either sign."""
    zeros: int
    """Values that are exactly 0."""
    histogram: np.ndarray
    """int64 (16,): how many finite values lie in each sixteenth of the range."""

    @property
    def bars(self) -> str:
        """The histogram in 16 characters; every bar that is not empty is to be seen, so heights go by the logarithm."""
        counts = self.histogram
        if not counts.any():
            return ""
        heights = np.log1p(counts) / np.log1p(counts.max()) * (len(_BARS) - 2)
        return "".join(_BARS[0 if count == 0 else 1 + int(height)] for count, height in zip(counts, heights, strict=True))

    def as_dict(self) -> dict[str, object]:
        """For `--json`; what is no number becomes null."""

        def number(value: float) -> float | None:
            return value if np.isfinite(value) else None

        return {
            "dtype": self.dtype,
            "shape": list(self.shape),
            "min": number(self.least),
            "mean": number(self.mean),
            "max": number(self.greatest),
            "nans": self.nans,
            "infinities": self.infinities,
            "zeros": self.zeros,
            "histogram": self.histogram.tolist(),
        }


def statistics_of(tensor: np.ndarray) -> TensorStatistics:
    """Summarise a tensor of any type and rank; it is only read."""
    values = tensor.ravel()
    numbers = values if values.dtype.kind in "biu" else values[np.isfinite(values)]
    wide = numbers.astype(np.float64)  # half precision overflows in sums
    histogram = np.zeros(_BINS, np.int64)
    least = mean = greatest = float("nan")
    if wide.size:
        least, mean, greatest = float(wide.min()), float(wide.mean()), float(wide.max())
        span = greatest - least
        if span > 0 and np.isfinite(span):
            places = ((wide - least) / span * _BINS).astype(np.int64).clip(0, _BINS - 1)
            histogram = np.bincount(places, minlength=_BINS)
        else:
            histogram[0] = wide.size
    has_nans = values.dtype.kind == "f"
    return TensorStatistics(
        dtype=str(tensor.dtype),
        shape=tensor.shape,
        least=least,
        mean=mean,
        greatest=greatest,
        nans=int(np.isnan(values).sum()) if has_nans else 0,
        infinities=int(np.isinf(values).sum()) if has_nans else 0,
        zeros=int((values == 0).sum()),
        histogram=histogram,
    )
