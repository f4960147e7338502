"""A trace of a run, frame by frame and thread by thread, for chrome://tracing and ui.perfetto.dev.

Format: the JSON array of "Trace Event Format" (Google, 2016). One trace at a time in a process; without one, each place that
could tell something costs a look at a global.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensortap.sinks.files import GrowingFile
from tensortap.timing import StageClock
from tensortap.types import FrameInfo

_FLUSH_EVENTS = 2000


class Trace:
    """Collects events of all threads and writes them; the file is whole JSON after every write.

    Times are those of `time.perf_counter()`, in seconds.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path, tail=b"\n]\n")
        self._began = time.perf_counter()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": self._pid, "tid": 0, "args": {"name": "tensortap"}}
        ]
        self._threads: set[int] = set()
        self._written = False

    def span(self, name: str, start: float, end: float, about: FrameInfo | None = None) -> None:
        """Something that this thread did."""
        event = {"ph": "X", "name": name, "ts": self._microseconds(start), "dur": round((end - start) * 1e6, 1)}
        self._add(event | ({"args": {"source": about.source, "index": about.index}} if about else {}))

    def begin(self, name: str, about: FrameInfo) -> None:
        """A frame enters a stage, a queue or the engine, which other threads work on meanwhile."""
        self._add(self._of_frame("b", name, about))

    def end(self, name: str, about: FrameInfo) -> None:
        """It leaves it."""
        self._add(self._of_frame("e", name, about))

    def close(self) -> None:
        """Write what is left. Closing twice is fine."""
        with self._lock:
            self._flush()
        self._file.close()

    def _of_frame(self, phase: str, name: str, about: FrameInfo) -> dict[str, Any]:
        number = f"{about.source_id}:{about.index}"
        return {"ph": phase, "cat": "frame", "id": number, "name": name, "ts": self._microseconds(time.perf_counter())}

    def _microseconds(self, moment: float) -> float:
        return round((moment - self._began) * 1e6, 1)

    def _add(self, event: dict[str, Any]) -> None:
        thread = threading.get_ident()
        with self._lock:
            if thread not in self._threads:
                self._threads.add(thread)
                args = {"name": threading.current_thread().name}
                self._events.append({"ph": "M", "name": "thread_name", "pid": self._pid, "tid": thread, "args": args})
            self._events.append({**event, "pid": self._pid, "tid": thread})
            if len(self._events) >= _FLUSH_EVENTS:
                self._flush()

    def _flush(self) -> None:
        if not self._events:
            return
        text = ",\n".join(json.dumps(event) for event in self._events)
        self._events.clear()
        self._file.append((",\n" if self._written else "[\n").encode() + text.encode())
        self._written = True


_active: Trace | None = None


def active() -> Trace | None:
    """The trace that is being made, if any."""
    return _active


@contextmanager
def traced(path: Path | None, clock: StageClock) -> Iterator[None]:
    """Trace what happens meanwhile into a file, laps of a clock included; with `None`, nothing.

    Raises:
        SinkError: the file cannot be written.
    """
    global _active  # noqa: PLW0603  # threads everywhere look at it
    if path is None:
        yield
        return
    trace = _active = Trace(path)
    clock.on_lap = trace.span
    try:
        yield
    finally:
        _active, clock.on_lap = None, None
        trace.close()
