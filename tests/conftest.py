"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models, videos and images that `TENSORTAP_TEST_ASSETS` names."""
    folder = os.environ.get("TENSORTAP_TEST_ASSETS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the shared test assets: set TENSORTAP_TEST_ASSETS to their folder")
    return Path(folder)
