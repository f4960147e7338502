"""A server, a cache of its own, and no waiting between tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import tensortap
from fileserver import FileServer, serve
from tensortap.zoo import download


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("TENSORTAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PYTHONPATH", str(Path(tensortap.__file__).parents[1]))  # absolute, for processes started elsewhere


@pytest.fixture
def start() -> Iterator[Callable[..., FileServer]]:
    """`start(body, cut_at=[10])`: a server that runs until the test ends."""
    with ExitStack() as running:

        def start_one(body: bytes, **behaviour: Any) -> FileServer:
            return running.enter_context(serve(FileServer(body, **behaviour)))

        yield start_one
