"""The machine that a figure belongs to."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from tensortap.portable.engines.cpu import cpu_features, cpu_name

_PACKAGES = ("tensortap", "openvino", "onnxruntime", "numpy", "opencv-python-headless", "av")


def machine() -> dict[str, Any]:
    """Processor, cores, system, versions and the time, for figures that outlive the machine."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "features": cpu_features(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def in_a_line(about: dict[str, Any]) -> str:
    """For people."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{about['cpu']}, {about['cores']} cores, Python {about['python']}; {versions}; {about['measured']}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
