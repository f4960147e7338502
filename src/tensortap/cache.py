"""Where what can be made again is kept: downloaded models, engines built for this machine, what was found out about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """`TENSORTAP_CACHE`, or what the platform has for caches with `tensortap` in it. It need not exist."""
    if environ.get("TENSORTAP_CACHE"):
        return Path(environ["TENSORTAP_CACHE"]).expanduser().absolute()
    if platform == "win32" and environ.get("LOCALAPPDATA"):
        return Path(environ["LOCALAPPDATA"], "tensortap", "Cache")
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tensortap"
    # The XDG base directory specification: a relative path is to be ignored.
    if os.path.isabs(environ.get("XDG_CACHE_HOME", "")):
        return Path(environ["XDG_CACHE_HOME"], "tensortap")
    return Path.home() / ".cache" / "tensortap"


def keep(path: Path, data: bytes) -> None:
    """Write a file of the cache, whole or not at all, whoever else writes it at the same time. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
