"""nvtracker's configuration: the `[tracker]` group of deepstream-app, or the file of the tracker itself."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensortap.deepstream.graph import Value
from tensortap.errors import UsageError

LIBRARY = "/opt/nvidia/deepstream/deepstream/lib/libnvds_nvmultiobjecttracker.so"
"""The low-level tracker that every DeepStream since 6.0 brings."""
_ALWAYS = frozenset({"ll-lib-file", "ll-config-file", "tracker-width", "tracker-height", "gpu-id"})
"""Properties that every version has."""
_NUMBERS = frozenset(
    {
        "compute-hw",
        "display-tracking-id",
        "enable-batch-process",
        "enable-past-frame",
        "gpu-id",
        "input-tensor-meta",
        "sub-batch-err-recovery-trial-cnt",
        "tensor-meta-gie-id",
        "tracker-height",
        "tracker-width",
        "tracking-id-reset-mode",
        "tracking-surface-type",
        "user-meta-pool-size",
    }
)
_LOW_LEVEL = {"BaseConfig", "TargetManagement", "DataAssociator"}
"""Groups that only the low-level tracker's own files have."""


def read_tracker_file(path: Path) -> tuple[dict[str, Value], frozenset[str]]:
    """Properties of nvtracker, and those among them that some versions lack.

    Args:
        path: an INI or YAML file with a group `tracker`, as deepstream-app and the Python samples have them, or a YAML file of
            the low-level tracker such as `config_tracker_NvDCF_perf.yml`.

    Raises:
        UsageError: it cannot be read, holds no such group, switches the tracker off, or a value is no number.
    """
    if not path.is_file():
        raise UsageError(f"--tracker-config {path}: there is no such file.")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    is_yaml = path.suffix.lower() in {".yml", ".yaml"}
    group = _yaml_group(path, text) if is_yaml else _ini_group(path, text)
    if group is None:
        return {"ll-lib-file": LIBRARY, "ll-config-file": os.path.abspath(path)}, frozenset()
    properties: dict[str, Value] = {}
    for key, raw in group.items():
        name, value = key.replace("_", "-"), str(raw).strip()
        if name == "enable":
            if value in {"0", "False", "false"}:
                raise UsageError(f"{path}: enable={value} switches nvtracker off. Leave --tracker-config out instead.")
        elif name in {"ll-lib-file", "ll-config-file"}:
            properties[name] = ";".join(_found(part.strip(), path.parent) for part in value.split(";") if part.strip())
        elif name in _NUMBERS:
            properties[name] = _number(path, key, value)
        else:
            properties[name] = value
    properties.setdefault("ll-lib-file", LIBRARY)
    return properties, frozenset(properties) - _ALWAYS


def _ini_group(path: Path, text: str) -> Mapping[str, Any]:
    # Colons stay in values, and a key given twice keeps its last value, as in GKeyFile.
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as exc:
        raise UsageError(f"{path} is no configuration of nvtracker: {str(exc).splitlines()[0]}") from exc
    if not parser.has_section("tracker"):
        raise UsageError(f"{path} has no group [tracker]; it has {', '.join(parser.sections()) or 'none'}.")
    return dict(parser.items("tracker"))


def _yaml_group(path: Path, text: str) -> Mapping[str, Any] | None:
    """The group; `None` where the file is the low-level tracker's own."""
    import yaml

    try:
        # OpenCV's header "%YAML:1.0", which these files begin with, is no YAML.
        content = yaml.safe_load("\n".join(line for line in text.splitlines() if not line.startswith("%YAML")))
    except yaml.YAMLError as exc:
        raise UsageError(f"{path} is no YAML: {exc}") from exc
    if isinstance(content, dict) and isinstance(content.get("tracker"), dict):
        return dict(content["tracker"])
    if isinstance(content, dict) and _LOW_LEVEL & content.keys():
        return None
    groups = ", ".join(map(str, content)) if isinstance(content, dict) else "none"
    raise UsageError(f"{path} has no group tracker and is no file of nvtracker's library; it has {groups}.")


def _found(name: str, folder: Path) -> str:
    """A file named in the configuration: beside it, as deepstream-app takes it, or where the command runs, as samples do."""
    here, there = folder / name, Path(name)
    return os.path.abspath(there if there.exists() and not here.exists() else here)


def _number(path: Path, key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"{path}: {key}={value} should be a whole number.") from None
