"""Taps: people's own functions of `TensorFrame`, and what happens when one of them fails."""

from __future__ import annotations

import inspect
import logging
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from tensortap.errors import TapError
from tensortap.types import TensorFrame

_log = logging.getLogger(__name__)

Tap = Callable[[TensorFrame], object]
OnTapError = Literal["stop", "warn", "drop"]
Answer = TypeVar("Answer")


class Taps:
    """Calls functions with every frame, in the order in which they came.

    Args:
        functions: the first of them.
        on_error: `stop` raises a TapError, `warn` reports and goes on, `drop` does without the tap from then on.
    """

    def __init__(self, functions: Sequence[Tap] = (), on_error: OnTapError = "stop") -> None:
        self._functions = list(functions)
        self._on_error = on_error
        self.errors: Counter[str] = Counter()
        """Name of a tap -> how often it failed."""

    def __bool__(self) -> bool:
        return bool(self._functions)

    def add(self, function: Tap) -> None:
        """Call this one too, after the others."""
        self._functions.append(function)

    def __call__(self, frame: TensorFrame) -> None:
        """Hand the frame to every tap.

        Raises:
            TapError: one of them raised, and `on_error` is `stop`. Its cause is what was raised.
        """
        for function in tuple(self._functions):
            try:
                function(frame)
            except Exception as exc:
                self._failed(function, frame, exc)

    def _failed(self, function: Tap, frame: TensorFrame, exc: Exception) -> None:
        name = name_of(function)
        self.errors[name] += 1
        message = f"The tap {name} failed on {described_failure(frame, exc)}"
        if self._on_error == "stop":
            raise TapError(message) from exc
        if self._on_error == "drop":
            self._functions.remove(function)
            _log.warning("%s\nIt is called no more (--on-tap-error drop).", message)
        elif self.errors[name] == 1:
            _log.warning("%s\nFurther errors of it are counted (--on-tap-error warn).", message)
        else:
            _log.debug("%s", message)


class _Asked(NamedTuple):
    """A call that is to be made."""

    source_id: int
    function: Callable[[TensorFrame], Any]
    answer: Future[Any]


class Peeks:
    """Calls functions of other threads once, with a stream's next frame, where its tensors are: in the loop, or the probe.

    What such a function raises is for whoever asked; the run goes on. All of this may be used by any thread.
    """

    def __init__(self) -> None:
        self._asked: list[_Asked] = []
        self._lock = threading.Lock()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._asked)

    def ask(self, source_id: int, function: Callable[[TensorFrame], Answer]) -> Future[Answer]:
        """Cancelled, the future is forgotten. It is cancelled here when the stream or the run has ended."""
        answer: Future[Answer] = Future()
        with self._lock:
            if self._closed:
                answer.cancel()
            else:
                self._asked = [each for each in self._asked if not each.answer.cancelled()]
                self._asked.append(_Asked(source_id, function, answer))
        return answer

    def __call__(self, frame: TensorFrame) -> None:
        """Answer what was asked of this frame's stream."""
        for asked in self._taken(frame.info.source_id):
            if not asked.answer.set_running_or_notify_cancel():
                continue
            try:
                asked.answer.set_result(asked.function(frame))
            except BaseException as exc:
                asked.answer.set_exception(exc)
                if not isinstance(exc, Exception):  # Ctrl-C
                    raise

    def forget(self, source_id: int) -> None:
        """A stream has ended."""
        for asked in self._taken(source_id):
            asked.answer.cancel()

    def close(self) -> None:
        """The run has ended."""
        with self._lock:
            self._closed = True
            left, self._asked = self._asked, []
        for asked in left:
            asked.answer.cancel()

    def _taken(self, source_id: int) -> list[_Asked]:
        with self._lock:
            mine = [each for each in self._asked if each.source_id == source_id]
            self._asked = [each for each in self._asked if each.source_id != source_id and not each.answer.cancelled()]
        return mine


def described_failure(frame: TensorFrame, exc: Exception) -> str:
    """Stream, frame, error and traceback from people's own function on, for a message."""
    own = exc.__traceback__.tb_next if exc.__traceback__ else None  # without the call in our own file
    trace = "".join(traceback.format_exception(type(exc), exc, own or exc.__traceback__)).rstrip()
    info = frame.info
    return f"frame {info.index} of {info.source} (stream {info.source_id}): {type(exc).__name__}: {exc}\n{trace}"


def name_of(function: Callable[..., Any]) -> str:
    """`look (my.py:12)`, as far as it can be told."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        lines = inspect.unwrap(function) if hasattr(function, "__qualname__") else type(function)
        return f"{name} ({Path(inspect.getsourcefile(lines) or '').name}:{inspect.getsourcelines(lines)[1]})"
    except (OSError, TypeError, ValueError):
        return str(name)
