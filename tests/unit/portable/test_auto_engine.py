"""`--engine auto`: which engine it is, and why."""

from __future__ import annotations

import numpy as np
import pytest

from tensortap.errors import EngineError, MissingDependencyError
from tensortap.portable.engines.auto import first_that_loads
from tensortap.portable.engines.replay import ReplayEngine


def loads() -> ReplayEngine:
    return ReplayEngine({"output0": np.zeros((56, 4), np.float32)}, network_wh=(32, 32))


def missing() -> ReplayEngine:
    raise MissingDependencyError("pip install fast")


def refuses() -> ReplayEngine:
    raise EngineError("unknown operator")


def test_the_first_that_loads() -> None:
    assert first_that_loads([("fast", loads), ("slow", missing)])[1] == "the fastest engine installed"
    assert first_that_loads([("fast", missing), ("slow", loads)])[1] == "as fast is not installed"
    assert "fast does not take this model (unknown operator)" in first_that_loads([("fast", refuses), ("slow", loads)])[1]


def test_none_loads() -> None:
    with pytest.raises(EngineError, match=r"fast does not take this model .* slow is not installed"):
        first_that_loads([("fast", refuses), ("slow", missing)])
    with pytest.raises(MissingDependencyError, match="pip install openvino onnxruntime"):
        first_that_loads([("fast", missing), ("slow", missing)])
