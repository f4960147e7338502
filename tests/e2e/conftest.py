"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes.simulation import Played, machine_finder
from tensortap.deepstream import machine


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Played]:
    """Makes this machine one with a played SDK."""

    def play(binding: str = "pyds", **driver: Any) -> Played:
        played = Played()
        monkeypatch.setattr(machine, "find_machine", machine_finder(binding, played, **driver))
        return played

    return play
