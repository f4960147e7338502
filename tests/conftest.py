"""Fixtures for all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models, videos and images that `TENSORTAP_TEST_ASSETS` names."""
    folder = os.environ.get("TENSORTAP_TEST_ASSETS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the shared test assets: set TENSORTAP_TEST_ASSETS to their folder")
    return Path(folder)


@pytest.fixture(autouse=True)
def _log_as_a_library() -> Iterator[None]:
    """The command line takes the log over; what runs after it in this process is a library again."""
    logger = logging.getLogger("tensortap")
    yield
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
