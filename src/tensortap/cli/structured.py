"""Structured logs: one JSON object a line."""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Mapping
from datetime import datetime, timezone

from rich.text import Text

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""What every record has; the rest was given as `extra`."""


class JsonFormatter(logging.Formatter):
    """A record as one line: `time` (UTC, RFC 3339), `level`, `logger`, `message`, and what it was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        said: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        # The standard library's, because it escapes whatever no terminal and no collector takes.
        return json.dumps(_without_infinities(said), default=str)


class RecordStream(io.TextIOBase):
    """A file for a console, of which every line becomes a record of the logger.

    Args:
        logger: gets the lines, as information.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._line = ""

    def write(self, text: str) -> int:
        """Take text; what ends with a line break is a record, unless it is empty."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if plain := Text.from_ansi(line).plain.strip():
                self._logger.info("%s", plain)
        return len(text)


def _without_infinities(value: object) -> object:
    """The same with `None` for infinities and NaN, which JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): _without_infinities(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
