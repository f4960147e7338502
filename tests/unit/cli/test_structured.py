"""One JSON object a line, whatever is said."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from tensortap.cli.structured import JsonFormatter, RecordStream


@pytest.fixture
def logger() -> logging.Logger:
    found = logging.Logger("tensortap.test", logging.INFO)
    handler = logging.StreamHandler(StringIO())
    handler.setFormatter(JsonFormatter())
    found.addHandler(handler)
    return found


def said(logger: logging.Logger) -> list[dict[str, object]]:
    [handler] = logger.handlers
    assert isinstance(handler, logging.StreamHandler)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in handler.stream.getvalue().splitlines()]


def test_a_record(logger: logging.Logger) -> None:
    logger.warning("%s is %s", "door", "offline\nfor long", extra={"stream": "door", "state": "offline", "times": 2})
    [line] = said(logger)
    moment = datetime.fromisoformat(str(line.pop("time")).replace("Z", "+00:00"))
    assert abs((datetime.now(moment.tzinfo) - moment).total_seconds()) < 60
    assert line == {
        "level": "warning",
        "logger": "tensortap.test",
        "message": "door is offline\nfor long",
        "stream": "door",
        "state": "offline",
        "times": 2,
    }


def test_what_json_does_not_know(logger: logging.Logger) -> None:
    logger.info("x", extra={"rates": [1.0, float("nan")], "deep": {"x": float("inf"), 3: object}})
    [line] = said(logger)
    assert line["rates"] == [1.0, None]
    assert line["deep"] == {"x": None, "3": str(object)}
    logger.info("a name that is no text: %s", "\udcff")
    assert said(logger)[1]["message"] == "a name that is no text: \udcff"


def test_a_traceback_is_part_of_its_record(logger: logging.Logger) -> None:
    try:
        raise ValueError("oh")
    except ValueError:
        logger.error("it failed", exc_info=sys.exc_info())
    [line] = said(logger)
    assert "ValueError: oh" in str(line["exception"])


def test_what_is_printed_for_people_is_a_record_too(logger: logging.Logger) -> None:
    console = Console(file=RecordStream(logger), force_terminal=True, width=300)
    console.print("[bold]done:[/] 20 frames")
    console.print("one\n\ntwo")
    table = Table("stage", "ms")
    table.add_row("decode", "3")
    console.print(table)
    messages = [str(line["message"]) for line in said(logger)]
    assert messages[:3] == ["done: 20 frames", "one", "two"]
    assert any("decode" in message and "3" in message for message in messages[3:])
    assert all("\x1b" not in message for message in messages)
