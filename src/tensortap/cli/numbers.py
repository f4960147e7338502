"""Lists of numbers on the command line."""

from __future__ import annotations

from tensortap.errors import UsageError


def numbers(flag: str, text: str) -> list[int]:
    """ "1,4,12" -> [1, 4, 12]."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as exc:
        raise UsageError(f"{flag} {text}: should be whole numbers with commas between them, e.g. 1,4,12.") from exc
    if min(numbers) < 1:
        raise UsageError(f"{flag} {text}: should be 1 or more.")
    return numbers
