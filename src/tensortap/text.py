"""Text that can be shown and stored wherever it came from."""

from __future__ import annotations

import os


def printable(text: str) -> str:
    """The same text as valid Unicode: file names may hold bytes that are none, which no JSON and no terminal takes."""
    return os.fsencode(text).decode("utf-8", "replace")
