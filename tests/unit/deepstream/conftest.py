"""Fixtures for the DeepStream runtime."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes import pyds, servicemaker
from fakes.bindings import Binding, make


@pytest.fixture(params=["pyds", "pyservicemaker"])
def binding(request: pytest.FixtureRequest) -> Binding:
    """Each of the two bindings."""
    return make(request.param)


@pytest.fixture(autouse=True)
def _plain_machine() -> Iterator[None]:
    """What a test sets on the played machine ends with it."""
    yield
    pyds.machine.is_jetson = False
    servicemaker.settings.device = 1
