"""`tensortap.toml`: everything that can be said about a run, for an installation that stands."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tensortap.config import Settings, explain, what_is_wrong
from tensortap.errors import UsageError
from tensortap.text import redact

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "tensortap.toml"
"""Looked for in the working folder by a run that names no input."""
_VARIABLE = re.compile(r"\$(?:(\$)|\{([^}]*)\})")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STREAM_NAME = re.compile(r"[\w. -]+")
_STREAMS = "streams"


class ServiceOptions(BaseModel):
    """What a run shows of itself while it goes on; beside the `Settings` that say what it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stats: float | None = Field(default=None, ge=0.1, allow_inf_nan=False)
    """Seconds between lines with every stream's rate."""
    web: str | None = None
    """Where to serve the browser page, /metrics and /healthz, e.g. `:8080`."""
    web_token: str | None = None
    """What those who ask there must know; `None` makes one up where others can reach it."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line."""

    @classmethod
    def checked(cls, **values: Any) -> ServiceOptions:
        """Options from values of any origin.

        Raises:
            UsageError: a value cannot be meant.
        """
        try:
            return cls(**values)
        except ValidationError as exc:
            raise UsageError("\n".join(explain(error) for error in exc.errors())) from exc


@dataclass(frozen=True)
class ConfigFile:
    """What a file says, with environment variables put in. Only what it says: nothing is set to a default."""

    path: Path
    settings: dict[str, Any]
    """Fields of `Settings`; the streams are among its `inputs`."""
    options: dict[str, Any]
    """Fields of `ServiceOptions`."""


def read_config(path: Path, environ: Mapping[str, str] = os.environ) -> ConfigFile:
    """Read and check a file. Hyphens and underscores in keys are the same.

    Args:
        path: TOML, UTF-8.
        environ: variables for `${NAME}` in any text; `$$` is a dollar sign.

    Raises:
        UsageError: it cannot be read, is no TOML, or says what cannot be meant; every fault is named with its line. Values that
            come from the environment are not shown.
    """
    try:
        text = path.read_text(encoding="utf-8")
        told = tomllib.loads(text)
    except OSError as exc:
        raise UsageError(f"--config {path}: it cannot be read: {exc.strerror or exc}.") from exc
    except ValueError as exc:  # no TOML, or no UTF-8
        raise UsageError(f"{path} is no TOML: {exc}.") from exc
    reading = _Reading(path, text, environ)
    settings, options = reading.take(told)
    if reading.faults:
        raise UsageError("\n".join(reading.faults))
    return ConfigFile(path, settings, options)


class _Reading:
    """One file on its way to settings; collects its faults."""

    def __init__(self, path: Path, text: str, environ: Mapping[str, str]) -> None:
        self.faults: list[str] = []
        self._path = path
        self._lines = text.splitlines()
        self._environ = environ

    def take(self, told: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of `Settings`, and of `ServiceOptions`."""
        known = {*Settings.model_fields, *ServiceOptions.model_fields, _STREAMS}
        given: dict[str, Any] = {}
        for key, value in told.items():
            name = key.replace("-", "_")
            if name not in known:
                self._fault(key, f"there is no key {key!r}. {_nearest(name, known)}")
            elif name in given:
                self._fault(key, f"{name} is there twice, with a hyphen and with an underscore")
            else:
                given[name] = value
        streams = self._streams(given.pop(_STREAMS, {}))
        filled = {name: self._filled(name, value) for name, value in given.items()}
        settings = {name: value for name, value in filled.items() if name in Settings.model_fields}
        options = {name: value for name, value in filled.items() if name in ServiceOptions.model_fields}
        self._check(ServiceOptions, options, given)
        # Without inputs too: they may come from the command line.
        self._check(Settings, {**settings, "inputs": settings.get("inputs") or ["later"]}, given)
        if streams:
            inputs = settings.get("inputs", [])
            settings["inputs"] = [*streams, *([inputs] if isinstance(inputs, str) else inputs)]
        return settings, options

    def _streams(self, table: Any) -> list[str]:
        """`door = "rtsp://..."` -> `door=rtsp://...`, as `-i` takes it."""
        if not isinstance(table, dict):
            self._fault(_STREAMS, 'it is a table: [streams], and in it lines such as door = "rtsp://10.0.0.7/stream1"')
            return []
        inputs = []
        known = {*Settings.model_fields, *ServiceOptions.model_fields}
        for name, location in table.items():
            if not _STREAM_NAME.fullmatch(name):
                self._fault(name, f"the name {name!r} may hold letters, digits, spaces, '.', '_' and '-' only")
            elif name.replace("-", "_") in known and "://" not in str(location):
                self._fault(name, f"{name} stands below [streams] and would be a stream; settings stand above it")
            elif not isinstance(location, str) or not location:
                self._fault(name, 'a stream\'s address is a text, e.g. "rtsp://10.0.0.7/stream1"')
            else:
                inputs.append(f"{name}={self._filled(name, location)}")
        return inputs

    def _filled(self, key: str, value: Any) -> Any:
        """The value with environment variables in its texts."""
        if isinstance(value, list):
            return [self._filled(key, item) for item in value]
        return _VARIABLE.sub(lambda found: self._variable(key, found), value) if isinstance(value, str) else value

    def _variable(self, key: str, found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name = found[2]
        if not _VARIABLE_NAME.fullmatch(name):
            self._fault(key, f"${{{name}}} is no name of an environment variable; a dollar sign is written $$")
        elif name not in self._environ:
            self._fault(key, f"the environment variable {name} is not set")
        return self._environ.get(name, "")

    def _check(self, model: type[BaseModel], values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        try:
            model(**values)
        except ValidationError as exc:
            for error in exc.errors():
                if not error["loc"]:  # of several keys together; the first that is named does not fit
                    message = _as_keys(what_is_wrong(error))
                    self._fault(message.partition(" ")[0], message)
                    continue
                key = str(error["loc"][0])
                # As it stands in the file: what came out of the environment may be a secret.
                shown = redact(str(given.get(key, "")))
                self._fault(key, f"{key} = {shown}: {what_is_wrong(error)}")

    def _fault(self, key: str, message: str) -> None:
        fault = f"{self._path}{self._place(key)}: {message}{'' if message.endswith('?') else '.'}"
        if fault not in self.faults:
            self.faults.append(fault)

    def _place(self, key: str) -> str:
        """`, line 7`: where a key stands; nothing where that cannot be told."""
        spelled = "|".join({re.escape(key), re.escape(key.replace("_", "-"))})
        pattern = re.compile(rf"\s*(?:\[+\s*)?[\"']?(?:{spelled})[\"']?\s*[=.\]]")
        number = next((number for number, line in enumerate(self._lines, 1) if pattern.match(line)), None)
        return f", line {number}" if number else ""


def _as_keys(message: str) -> str:
    """A sentence about flags, about keys: `--tracker-config` -> `tracker_config`."""
    message = re.sub(r"--runtime (\w+)", r'runtime = "\1"', message)
    return re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), message)


def _nearest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}"
