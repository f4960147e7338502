"""Settings of the whole process that a run changes, and that are put back when the last run ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import cv2

_Value = TypeVar("_Value")


class ProcessSetting(Generic[_Value]):
    """One setting, held at a value while anybody holds it.

    Args:
        read: what it is now.
        write: change it.
        value: what it is to be.
    """

    def __init__(self, read: Callable[[], _Value], write: Callable[[_Value], object], value: _Value) -> None:
        self._read = read
        self._write = write
        self._value = value
        self._lock = threading.Lock()
        self._holders = 0
        self._before: _Value | None = None

    def hold(self) -> None:
        """From now on. Every `hold` needs its `release`."""
        with self._lock:
            if not self._holders:
                self._before = self._read()
                self._write(self._value)
            self._holders += 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """For as long as one is inside."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """The last one puts back what was before the first `hold`."""
        with self._lock:
            self._holders -= 1
            if not self._holders and self._before is not None:
                self._write(self._before)


OPENCV_THREADS = ProcessSetting(cv2.getNumThreads, cv2.setNumThreads, 1)
"""Off while any pipeline runs: pictures of network size are too small for them to help, and the cores belong to the engine."""
SWITCH_INTERVAL = ProcessSetting(sys.getswitchinterval, sys.setswitchinterval, 0.0005)
"""How long a thread keeps Python's lock from others that wait, in seconds. Where several write pictures, the one that looks at
results would wait for 5 ms at a time."""
