"""Flags that take several values."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from tensortap.errors import UsageError

_INPUT_FLAGS = {"-i", "--input"}
_TAKES_SEVERAL = _INPUT_FLAGS | {"-o", "--output"}


class SeveralValuesCommand(TyperCommand):
    """Lets `-i` and `-o` take several values: `-i a.mp4 b.mp4 photos/`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the flag before every further value, as Typer wants it."""
        expanded: list[str] = []
        flag, num_values = "", 0
        # The original DeepStream application spells it so.
        for arg in ["--nvinfer-config" if arg in ("-config", "--config-file") else arg for arg in [*args, "--"]]:
            name, equals, value = arg.partition("=")
            if arg.startswith("-") and arg != "-":
                if flag and not num_values:
                    raise UsageError(f"{flag} needs a value, e.g. {'-i street.mp4' if flag in _INPUT_FLAGS else '-o out.mp4'}.")
                flag, num_values = (name, int(bool(equals))) if name in _TAKES_SEVERAL else ("", 0)
                expanded += [name, value] if flag and equals else [] if flag else [arg]
            else:
                expanded += [flag, arg] if flag else [arg]
                num_values += 1
        return super().parse_args(ctx, expanded[:-1])
