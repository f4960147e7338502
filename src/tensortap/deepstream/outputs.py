"""Outputs that DeepStream's own graph draws and encodes."""

from __future__ import annotations

from tensortap.types import Result


class DrawnOutput:
    """Stands among a pipeline's outputs for one in the graph, so that it is named and counted like any other.

    Args:
        urls: where it can be watched.
    """

    handles_live = True

    def __init__(self, *urls: str) -> None:
        self.urls = urls

    def write(self, result: Result) -> None:
        """Nothing: the graph has drawn it."""

    def close(self) -> None:
        """Nothing: the graph completes it."""
