"""What a service manager wants to know: systemd's protocol of notifications, sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping

from tensortap.cli.progress import stats_line
from tensortap.metrics import Numbers

_log = logging.getLogger(__name__)
_STATUS_SECONDS = 10.0


class ServiceManager:
    """Tells systemd that the run has begun, how it goes, and that it ends; nothing where nobody wants to know.

    Where the unit has a `WatchdogSec=`, it is told that the run is alive as long as its loop turns: one that hangs, in a tap
    or a driver, is started anew. A camera that is down is no reason for that.

    Args:
        numbers: gives the numbers of the run at this moment.
        environ: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` as systemd sets them.
    """

    def __init__(self, numbers: Callable[[], Numbers], environ: Mapping[str, str] = os.environ) -> None:
        self._numbers = numbers
        self._address = environ.get("NOTIFY_SOCKET", "") if hasattr(socket, "AF_UNIX") else ""
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_seconds = int(microseconds) / 1e6 if microseconds.isdigit() and is_meant else 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="tensortap-service", daemon=True)

    def __enter__(self) -> ServiceManager:
        if self._address:
            self._tell("READY=1")
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._address:
            self._over.set()
            self._thread.join()
            self._tell("STOPPING=1")

    def _go_on(self) -> None:
        """Body of the thread."""
        every = min(_STATUS_SECONDS, self._watchdog_seconds / 3 or _STATUS_SECONDS)
        while True:
            numbers = self._numbers()
            alive = self._watchdog_seconds and numbers.idle_seconds < self._watchdog_seconds
            self._tell(f"STATUS={stats_line(numbers)}\n{'WATCHDOG=1' if alive else ''}")
            if self._over.wait(every):
                return

    def _tell(self, state: str) -> None:
        # A name that begins with @ is of Linux's abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.connect(address)
                manager.send(state.strip().encode())
        except OSError as exc:
            _log.debug("the service manager cannot be told %s: %s", state.partition("=")[0], exc)
