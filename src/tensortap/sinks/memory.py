"""A sink that keeps results in a list, for tests and notebooks."""

from __future__ import annotations

from tensortap.errors import SinkError
from tensortap.types import Result


class MemorySink:
    """Keeps every result. Each one holds its decoded frame, so this is for short runs."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        """What was written, in order."""
        self.closed = False

    def write(self, result: Result) -> None:
        """Keep one result."""
        if self.closed:
            raise SinkError("The output in memory is closed.")
        self.results.append(result)

    def close(self) -> None:
        """Take no more; what is there stays."""
        self.closed = True
