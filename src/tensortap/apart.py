"""Questions answered by a process of their own: memory is its own, and a crash of a backend costs one answer."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tensortap.errors import TensortapError

_MARK = "tensortap-answer "
"""What the line with the answer begins with; libraries print what they like around it."""


class NoAnswerError(TensortapError):
    """The process failed, or died; the message says how."""


def ask(module: str, question: Any) -> Any:
    """Run a module whose `main` is `answer(...)`, and wait for it.

    Args:
        module: its full name.
        question: what JSON can hold.

    Raises:
        NoAnswerError: it raised a `TensortapError`, or died.
    """
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not lines:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NoAnswerError(f"The measuring process ended with code {done.returncode}: {said}")
    found = json.loads(lines[-1])
    if "failed" in found:
        raise NoAnswerError(found["failed"])
    return found["answer"]


def answer(function: Callable[[Any], Any]) -> None:
    """Read a question from the standard input, and print the function's answer, or its `TensortapError`."""
    logging.basicConfig(level=logging.WARNING)
    try:
        found: dict[str, Any] = {"answer": function(json.load(sys.stdin))}
    except TensortapError as exc:
        found = {"failed": str(exc)}
    print(f"\n{_MARK}{json.dumps(found)}", flush=True)
