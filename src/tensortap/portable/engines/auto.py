"""`--engine auto`: the fastest engine that is installed and loads the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tensortap.errors import EngineError, MissingDependencyError
from tensortap.portable.engines.base import Engine


def first_that_loads(candidates: Sequence[tuple[str, Callable[[], Engine]]]) -> tuple[Engine, str]:
    """The first engine that can be made, and a sentence for people on why it is this one.

    Args:
        candidates: names and constructors, fastest first.

    Raises:
        MissingDependencyError: none is installed.
        EngineError: those that are installed cannot load the model; says why for each.
    """
    passed_over: list[str] = []
    refused = False
    for name, create in candidates:
        try:
            engine = create()
        except MissingDependencyError:
            passed_over.append(f"{name} is not installed")
        except EngineError as exc:
            refused = True
            passed_over.append(f"{name} does not take this model ({exc})")
        else:
            why = f"as {' and '.join(passed_over)}" if passed_over else "the fastest engine installed"
            return engine, why
    if refused:
        raise EngineError(f"No engine takes this model: {'; '.join(passed_over)}.")
    raise MissingDependencyError(
        f"No inference engine is installed ({'; '.join(passed_over)}). Try: pip install openvino onnxruntime onnx"
    )
