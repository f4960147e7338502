"""What all benchmarks share: where the assets are, and how a figure is reported."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tensortap.portable.engines.cpu import cpu_features, cpu_name


def assets() -> Path:
    """The folder of models and videos named by TENSORTAP_TEST_ASSETS; without it there is nothing to measure."""
    folder = os.environ.get("TENSORTAP_TEST_ASSETS", "")
    if not Path(folder, "models").is_dir():
        sys.exit("Set TENSORTAP_TEST_ASSETS to the folder of models and videos to measure with.")
    return Path(folder)


def machine() -> str:
    """One line on the machine, for tables that outlive it."""
    return f"{cpu_name()}, {os.cpu_count()} cores, {', '.join(cpu_features())}, Python {sys.version.split()[0]}"


def median_ms(function: Callable[[], object], repetitions: int = 2000) -> float:
    """Median wall-clock time of a call in milliseconds, after a few to warm up."""
    for _ in range(20):
        function()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3
