"""What an nvinfer configuration file says, as settings of a run on any machine, and what is wrong with it."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensortap.errors import UsageError
from tensortap.nvinfer.keys import (
    BOOLEANS_THAT_ONLY_SET,
    DEEPSTREAM_ONLY,
    ELEMENT_NAMES,
    HONOURED,
    OTHER_THRESHOLDS,
    THRESHOLDS,
)
from tensortap.nvinfer.reader import ConfigFile, read_file

_FILTERS = {0: "nearest", 1: "bilinear", 5: "nearest", 6: "nearest"}
_PRECISIONS = {0: "f32", 1: "auto", 2: "auto", 3: "auto"}


@dataclass
class NvinferConfig:
    """One file, understood."""

    path: Path
    onnx_file: Path | None = None
    """Found from the folder of the file, as nvinfer does it."""
    engine_file: Path | None = None
    labels: tuple[str, ...] = ()
    batch_size: int = 1
    infer_dims: tuple[int, int, int] | None = None
    """Channels, height, width."""
    net_scale_factor: float = 1.0
    offsets: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the network's channel order."""
    color: str = "rgb"
    is_nhwc: bool = False
    maintain_aspect_ratio: bool = False
    symmetric_padding: bool = False
    scaling_filter: int = 6
    interval: int = 0
    network_mode: int = 0
    network_type: int = 0
    process_mode: int = 1
    unique_id: int = 15
    operate_on_gie_id: int = -1
    """With `process_mode` 2: whose objects; -1 for everybody's."""
    output_tensor_meta: bool = False
    thresholds: dict[str, float] = field(default_factory=dict)
    """`conf_thres`, `iou_thres`, `max_det`, as far as [class-attrs-all] says."""
    given: set[str] = field(default_factory=set)
    """Keys of [property] that the file has."""
    ignored: list[str] = field(default_factory=list)
    """Keys without meaning outside DeepStream."""
    warnings: list[str] = field(default_factory=list)
    """What would surprise."""

    @property
    def letterbox(self) -> str:
        """The policy of `tensortap.geometry` with nvinfer's arithmetic."""
        shape = "nvinfer-stretch"
        if self.maintain_aspect_ratio:
            shape = "nvinfer-symmetric" if self.symmetric_padding else "nvinfer"
        return shape + ("-bilinear" if _FILTERS.get(self.scaling_filter, "bilinear") == "bilinear" else "")

    def settings(self) -> dict[str, Any]:
        """As fields of `tensortap.config.Settings`.

        Raises:
            UsageError: the file asks for what only DeepStream has, or names no model that can be had here.
        """
        if self.process_mode != 1:
            raise UsageError(
                f"{self.path}: process-mode={self.process_mode} infers the objects of another network, which only DeepStream "
                "hands over. Use process-mode=1 for whole frames."
            )
        if "mean-file" in self.given:
            raise UsageError(f"{self.path}: mean-file is a picture that only DeepStream subtracts. Use offsets=R;G;B.")
        settings: dict[str, Any] = self.settings_on_device() | {
            "letterbox": self.letterbox,
            "color": self.color,
            "scale": self.net_scale_factor,
            "mean": self.offsets,
        }
        if "network-mode" in self.given:
            settings["precision"] = _PRECISIONS[self.network_mode]
        return settings

    def settings_on_device(self) -> dict[str, Any]:
        """The same where nvinfer itself does the rest: what the graph and the decoder need."""
        settings: dict[str, Any] = {"batch_size": self.batch_size, "interval": self.interval, **self.thresholds}
        if self.onnx_file:
            settings["model"] = str(self.onnx_file)
        if self.infer_dims:
            settings["imgsz"] = self.infer_dims[1:]
        return settings


def read_nvinfer(path: Path) -> NvinferConfig:
    """Read a file of nvinfer, INI or YAML.

    Raises:
        UsageError: it cannot be read, or a value cannot be meant; with file and line.
    """
    file = read_file(path)
    config = NvinferConfig(path)
    config.warnings += [f"{path}, {place}" for place in file.repeated]
    keys = _Keys(file, config)
    config.given = set(file.groups["property"])
    config.batch_size = keys.integer("batch-size", 1, 1024, default=1)
    config.interval = keys.integer("interval", 0, 2**31 - 1, default=0)
    config.network_mode = keys.integer("network-mode", 0, 3, default=0)
    config.network_type = keys.integer("network-type", 0, 100, default=0)
    config.process_mode = keys.integer("process-mode", 1, 2, default=1)
    config.unique_id = keys.integer("gie-unique-id", 1, 2**31 - 1, default=15)
    config.operate_on_gie_id = keys.integer("operate-on-gie-id", -1, 2**31 - 1, default=-1)
    config.scaling_filter = keys.integer("scaling-filter", 0, 6, default=6)
    config.net_scale_factor = keys.number("net-scale-factor", default=1.0)
    config.color = ("rgb", "bgr")[keys.integer("model-color-format", 0, 1, default=0, meaning="0 (RGB) or 1 (BGR)")]
    config.is_nhwc = keys.integer("network-input-order", 0, 1, default=0, meaning="0 (NCHW) or 1 (NHWC)") == 1
    config.maintain_aspect_ratio = keys.boolean("maintain-aspect-ratio")
    config.symmetric_padding = keys.boolean("symmetric-padding")
    config.output_tensor_meta = keys.boolean("output-tensor-meta")
    if offsets := keys.numbers("offsets"):
        if len(offsets) != 3:
            raise UsageError(f"{file.where('property', 'offsets')} has {len(offsets)} numbers; the network has 3 channels.")
        config.offsets = (offsets[0], offsets[1], offsets[2])
    if dims := keys.numbers("infer-dims"):
        if len(dims) != 3 or any(size != int(size) or size < 1 for size in dims) or dims[0] != 3:
            raise UsageError(f"{file.where('property', 'infer-dims')} should be channels;height;width, e.g. 3;640;640.")
        config.infer_dims = (int(dims[0]), int(dims[1]), int(dims[2]))
    config.onnx_file = keys.path("onnx-file")
    config.engine_file = keys.path("model-engine-file")
    config.labels = _labels(keys.path("labelfile-path"), config)
    _read_thresholds(file, config)
    _look_at_names(file, config)
    if config.scaling_filter in (2, 3, 4):
        place = f"{file.where('property', 'scaling-filter')}={config.scaling_filter}"
        config.warnings.append(f"{place} differs between GPU and VIC and is bilinear here; 1 (bilinear) is the same everywhere")
    if config.symmetric_padding and not config.maintain_aspect_ratio:
        config.warnings.append(f"{path}: symmetric-padding does nothing without maintain-aspect-ratio=1")
    return config


class _Keys:
    """The values of [property], each in its type."""

    def __init__(self, file: ConfigFile, config: NvinferConfig) -> None:
        self._file = file
        self._config = config
        self._group = file.groups["property"]

    def integer(self, key: str, low: int, high: int, *, default: int, meaning: str = "") -> int:
        if key not in self._group:
            return default
        try:
            value = int(self._group[key].value.rstrip(";"))
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise self._wrong(key, meaning or f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, *, default: float) -> float:
        found = self.numbers(key)
        if found is None:
            return default
        if len(found) != 1:
            raise self._wrong(key, "one number")
        return found[0]

    def numbers(self, key: str) -> list[float] | None:
        if key not in self._group:
            return None
        parts = [part.strip() for part in self._group[key].value.split(";")]
        try:
            found = [float(part) for part in parts if part]
        except ValueError:
            found = []
        if not found or not all(map(math.isfinite, found)):
            raise self._wrong(key, "numbers with ; between them")
        return found

    def boolean(self, key: str) -> bool:
        if key not in self._group:
            return False
        value = self._group[key].value.lower()
        if value not in ("0", "1", "true", "false"):
            raise self._wrong(key, "0 or 1")
        if value in ("0", "false") and not self._file.is_yaml and key in BOOLEANS_THAT_ONLY_SET:
            self._config.warnings.append(
                f"{self._file.where('property', key)}=0 does nothing in an INI file: nvinfer only ever turns it on, so that a "
                "property set on the element stays"
            )
        return value in ("1", "true")

    def path(self, key: str) -> Path | None:
        if key not in self._group or not (value := self._group[key].value):
            return None
        return self._file.path.parent / value

    def _wrong(self, key: str, meaning: str) -> UsageError:
        return UsageError(f"{self._file.where('property', key)}={self._group[key].value} should be {meaning}.")


def _labels(path: Path | None, config: NvinferConfig) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        config.warnings.append(f"labelfile-path: {path} cannot be read")
        return ()
    return tuple(label.strip() for label in text.replace(";", "\n").splitlines() if label.strip())


def _read_thresholds(file: ConfigFile, config: NvinferConfig) -> None:
    for key, entry in file.groups.get("class-attrs-all", {}).items():
        if key not in THRESHOLDS:
            if key in OTHER_THRESHOLDS:
                config.ignored.append(key)
            else:
                meant = _meant(key, OTHER_THRESHOLDS.union(THRESHOLDS))
                config.warnings.append(f"{file.where('class-attrs-all', key)} is no key of nvinfer's{meant}")
            continue
        try:
            value = float(entry.value)
        except ValueError:
            value = math.nan
        if key == "topk":
            if math.isnan(value) or value != round(value):
                raise UsageError(f"{file.where('class-attrs-all', key)}={entry.value} should be a whole number.")
            if value > 0:  # -1: as many as there are
                config.thresholds["max_det"] = int(value)
        elif 0 <= value <= 1:
            config.thresholds[THRESHOLDS[key]] = value
        else:
            raise UsageError(f"{file.where('class-attrs-all', key)}={entry.value} should be a number from 0 to 1.")


def _look_at_names(file: ConfigFile, config: NvinferConfig) -> None:
    """Which keys are for DeepStream only, and which are nobody's."""
    for key in file.groups["property"]:
        if key in HONOURED:
            continue
        if key in DEEPSTREAM_ONLY:
            config.ignored.append(key)
        elif key in ELEMENT_NAMES:
            config.warnings.append(
                f"{file.where('property', key)} is a property of the element; in the file it is called {ELEMENT_NAMES[key]}"
            )
        else:
            known = HONOURED | DEEPSTREAM_ONLY
            config.warnings.append(f"{file.where('property', key)} is no key of nvinfer's{_meant(key, known)}")
    config.ignored += [f"[{name}]" for name in file.groups if name not in ("property", "class-attrs-all")]


def _meant(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
