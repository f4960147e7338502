"""OpenCV's own threads, which would take the cores from the engine."""

from __future__ import annotations

import threading

import cv2


class _OpenCvThreads:
    """OpenCV's own threads, off while any pipeline runs.

    Pictures of network size are too small for them to help, and the cores belong to the engine. The setting is the process's,
    so the last pipeline to end restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = 0

    def hold(self) -> None:
        with self._lock:
            if not self._holders:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                cv2.setNumThreads(self._before)


OPENCV_THREADS = _OpenCvThreads()
"""Of this process."""
