"""The machine that a figure belongs to."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from tensortap.portable.engines.cpu import cpu_features, cpu_name
from tensortap.portable.engines.gpu import gpu_names

_PACKAGES = (
    "tensortap", "openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-cu12", "cupy-cuda12x", "torch", "numpy",
    "opencv-python-headless", "av",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores, system, versions and the time, for figures that outlive the machine."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "features": cpu_features(),
        "gpus": gpu_names(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def in_a_line(about: dict[str, Any]) -> str:
    """For people."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    gpus = "".join(f", {name}" for name in about.get("gpus", ()))
    return f"{about['cpu']}, {about['cores']} cores{gpus}, Python {about['python']}; {versions}; {about['measured']}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
