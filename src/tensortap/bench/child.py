"""Each case in a process of its own: memory is its own, and a crash of a backend costs one case."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import asdict

from tensortap.bench.case import Case, Failure, Row
from tensortap.bench.measure import Measurement
from tensortap.errors import TensortapError

_MARK = "tensortap-bench "
"""What the line with the outcome begins with; libraries print what they like around it."""


def measure_apart(case: Case) -> list[Row] | Failure:
    """Measure in a new process, and wait for it."""
    command = [sys.executable, "-m", "tensortap.bench.child"]
    done = subprocess.run(
        command, input=json.dumps(asdict(case)), capture_output=True, text=True, errors="replace", check=False
    )
    outcome = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not outcome:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Failure(case, f"The measuring process ended with code {done.returncode}: {said}")
    found = json.loads(outcome[-1])
    if "message" in found:
        return Failure(case, found["message"])
    return [Row.from_dict(row) for row in found["rows"]]


def main() -> None:
    """Case on the standard input, rows or a message on the standard output."""
    logging.basicConfig(level=logging.WARNING)
    given = json.load(sys.stdin)
    given["imgsz"] = tuple(given["imgsz"]) if given["imgsz"] else None
    given["streams"] = tuple(given["streams"])
    try:
        outcome: dict[str, object] = {"rows": [row.as_dict() for row in Measurement(Case(**given)).run()]}
    except TensortapError as exc:
        outcome = {"message": str(exc)}
    print(f"\n{_MARK}{json.dumps(outcome)}", flush=True)


if __name__ == "__main__":
    main()
