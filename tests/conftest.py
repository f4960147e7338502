"""Fixtures for all tests."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background with Ctrl-C ignored, and so would be the processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests compile, build and tune is not left in the user's cache, and what the user has tuned is not used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORTAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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
