"""What all commands share: messages on the standard error, for people or as JSON, exit codes, `--debug`, `--json`."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import IO, Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap.cli.structured import JsonFormatter, RecordStream

console = Console(stderr=True, highlight=False)
"""For people; the standard output is for data."""


def print_table(table: Table, to: Console = console, min_width: int = 130) -> None:
    """A table with columns that must not be cut: on a narrow terminal its lines wrap instead."""
    before, to.width = to.width, max(to.width, min_width)
    try:
        to.print(table)
    finally:
        to.width = before


EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""What a shell gives for a program whose reader went away, as in `... -o - | head`."""


class Debug:
    """Whether errors show where they come from."""

    enabled = False


def _set_debug(value: bool) -> None:
    Debug.enabled = Debug.enabled or value
    if value:
        logging.getLogger("tensortap").setLevel(logging.DEBUG)


DebugOption = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show tracebacks and debug messages.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on the standard output.")]


_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}


class _ConsoleHandler(logging.Handler):
    """Log records as lines that do not tear the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        style = _STYLES.get(record.levelno, "dim")
        console.print(f"[{style}]{record.levelname.lower()}:[/] {escape(self.format(record))}", soft_wrap=True)


def set_up_logging() -> None:
    """Show what tensortap has to say; called once by the command line."""
    logger = logging.getLogger("tensortap")
    logger.handlers[:] = [_ConsoleHandler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


LogFormat = Literal["text", "json"]
_log = logging.getLogger("tensortap.cli")


def is_structured() -> bool:
    """Whether the standard error is for machines."""
    return isinstance(console.file, RecordStream)


def set_log_format(log_format: LogFormat) -> None:
    """From now on, lines for people, or one JSON object a line. Then what is printed for people becomes such objects, too."""
    if (log_format == "json") is is_structured():
        return
    ours, others = logging.getLogger("tensortap"), logging.getLogger()
    logging.captureWarnings(log_format == "json")
    if log_format == "text":
        console.file = sys.stderr
        ours.handlers[:], others.handlers[:] = [_ConsoleHandler()], []
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    ours.handlers[:], others.handlers[:] = [handler], [handler]  # the others': what libraries warn of
    console.file = cast("IO[str]", RecordStream(_log))


def print_error(error: BaseException | str) -> None:
    """One error for a person, without a traceback."""
    if is_structured():
        _log.error("%s", error)
    else:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)


def print_traceback(error: BaseException) -> None:
    """Where an error comes from, for `--debug`."""
    if is_structured():
        _log.error("%s", error, exc_info=error)
    else:
        console.print_exception()


def print_at_once(text: str) -> None:
    """A line from within a signal handler, where nothing may be used that may be in use just then."""
    if is_structured():
        text = JsonFormatter().format(logging.makeLogRecord({"name": _log.name, "levelname": "WARNING", "msg": text}))
    os.write(2, f"{text}\n".encode())


def print_json(data: Any) -> None:
    """Data for machines, on the standard output."""
    # The standard library's, because it escapes the bytes of file names that are no text.
    print(json.dumps(data, indent=2, default=str), flush=True)
