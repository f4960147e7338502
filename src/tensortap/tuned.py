"""What `tensortap tune` found to be the fastest, remembered for each machine, model, size and mode in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from tensortap.cache import cache_folder, keep
from tensortap.portable.engines.cpu import cpu_name
from tensortap.portable.engines.gpu import gpu_names
from tensortap.portable.threads import Mode, usable_cores

_log = logging.getLogger(__name__)
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-cu12", "tensorrt-cu13")
_HEAD = 1 << 20
"""Bytes of a model's begin and end that tell it from others; reading all of a large one would be felt at each start."""


@dataclass(frozen=True)
class Choice:
    """How to run a model."""

    engine: str
    """Name in the registry."""
    precision: str = "auto"
    """As for `--precision`."""
    batch_size: int = 1
    """Frames a batch."""
    engine_streams: int | None = None
    """As for `--engine-streams`."""

    def __str__(self) -> str:
        streams = "" if self.engine_streams is None else f", {self.engine_streams} engine streams"
        return f"{self.engine} {self.precision}, batch {self.batch_size}{streams}"


@dataclass(frozen=True)
class Tuned:
    """A choice, with what it is based on."""

    choice: Choice
    images_per_second: float
    """What it reached when it was measured, copy, engine and decoder together."""
    lost: float
    """Of the agreement with the reference, 0..1."""
    when: str
    """Date and time, ISO 8601."""


def recall(model: Path, mode: Mode, imgsz: tuple[int, int]) -> Tuned | None:
    """What was found for this model on this machine; `None` if nothing was, or with other versions of the engines."""
    path = _path(model, mode, imgsz)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["versions"] != versions():
            _log.info("%s was tuned with other versions of the engines; tensortap tune finds out what is best now.", model.name)
            return None
        return Tuned(Choice(**found["choice"]), found["images_per_second"], found["lost"], found["when"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        _log.warning("%s cannot be used and is left out: %s", path, exc)
        return None


def remember(model: Path, mode: Mode, imgsz: tuple[int, int], found: Tuned, trials: list[dict[str, Any]]) -> Path:
    """Keep it for later runs with `--engine auto`.

    Args:
        trials: all that was measured, for people who look at the file.

    Raises:
        OSError: the cache cannot be written.
    """
    path = _path(model, mode, imgsz)
    data = {"model": model.name, "machine": _machine(), "mode": mode, "imgsz": imgsz, "versions": versions()}
    data |= {**asdict(found), "trials": trials}
    keep(path, json.dumps(data, indent=2).encode())
    return path


def now() -> str:
    """Date and time, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Installed packages that engines come from."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, Any]:
    return {"cpu": cpu_name(), "cores": usable_cores(), "gpus": gpu_names()}


def _path(model: Path, mode: Mode, imgsz: tuple[int, int]) -> Path:
    digest = hashlib.sha256(json.dumps(_machine(), sort_keys=True).encode())
    for part in (model, model.with_suffix(".bin")) if model.suffix == ".xml" else (model,):
        with part.open("rb") as file:
            digest.update(str(size := file.seek(0, 2)).encode())
            for place in (0, max(0, size - _HEAD)):
                file.seek(place)
                digest.update(file.read(_HEAD))
    return cache_folder() / "tuned" / f"{model.stem}-{mode}-{imgsz[0]}x{imgsz[1]}-{digest.hexdigest()[:16]}.json"
