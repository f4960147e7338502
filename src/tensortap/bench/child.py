"""Each case in a process of its own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tensortap.apart import NoAnswerError, answer, ask
from tensortap.bench.case import Case, Failure, Row
from tensortap.bench.measure import Measurement


def measure_apart(case: Case) -> list[Row] | Failure:
    """Measure in a new process, and wait for it."""
    try:
        return [Row.from_dict(row) for row in ask("tensortap.bench.child", asdict(case))]
    except NoAnswerError as exc:
        return Failure(case, str(exc))


def _measure(given: dict[str, Any]) -> list[dict[str, Any]]:
    given["imgsz"] = tuple(given["imgsz"]) if given["imgsz"] else None
    given["streams"] = tuple(given["streams"])
    return [row.as_dict() for row in Measurement(Case(**given)).run()]


if __name__ == "__main__":
    answer(_measure)
