"""`-i` and `-o` with several values."""

from __future__ import annotations

from typing import Any

import pytest
from typer.core import TyperCommand

from tensortap.cli.several import SeveralValuesCommand
from tensortap.errors import UsageError


@pytest.fixture
def expand(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What Typer is given for the words on the command line."""
    monkeypatch.setattr(TyperCommand, "parse_args", lambda self, ctx, args: args)
    return lambda text: " ".join(SeveralValuesCommand("run").parse_args(None, text.split()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-i a b -m x -o c d -", "-i a -i b -m x -o c -o d -o -"),
        ("-i a -i b", "-i a -i b"),
        ("--input=a b --output=c", "--input a --input b --output c"),
        ("-m x --conf-thres 0.5 -i a", "-m x --conf-thres 0.5 -i a"),
        ("stray -i a", "stray -i a"),
        ("--help", "--help"),
        ("", ""),
    ],
)
def test_flags_are_repeated(expand: Any, text: str, expected: str) -> None:
    assert expand(text) == expected


@pytest.mark.parametrize("text", ["-i", "-i a -o", "-o -i a", "-i a --output -m x", "-i -m x"])
def test_flags_without_values_are_refused(expand: Any, text: str) -> None:
    with pytest.raises(UsageError, match="needs a value"):
        expand(text)
