"""`null`: takes everything, writes nothing; for measuring and for taps."""

from __future__ import annotations

from pathlib import Path

from tensortap.errors import SinkError
from tensortap.types import Result


class NullSink:
    """Accepts results and forgets them.

    Args:
        path: not used; there so that all sinks are made alike.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._closed = False

    def write(self, result: Result) -> None:
        """Forget one result."""
        if self._closed:
            raise SinkError("The null output is closed.")

    def close(self) -> None:
        """Take no more."""
        self._closed = True
