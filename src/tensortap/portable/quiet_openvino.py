"""OpenVINO, imported without its telemetry.

`import openvino` starts a thread that reports its use to Intel over the network. A camera in a closed network has no business
doing that, and nobody was asked. OpenVINO uses a stub of its own where the package `openvino_telemetry` cannot be imported,
so for the duration of the import it cannot.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def import_openvino(module: str = "openvino") -> Any:
    """The module `openvino`, one inside it, or `nncf`, which reports too. Raises ImportError where it is not installed."""
    hide = "openvino_telemetry" not in sys.modules
    if hide:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # documented: makes the import fail
    try:
        return importlib.import_module(module)
    finally:
        if hide:
            del sys.modules["openvino_telemetry"]
