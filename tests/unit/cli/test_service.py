"""What systemd is told; its part is played by a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tensortap.cli.service import ServiceManager
from tensortap.metrics import Distribution, Numbers

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is Linux's")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        yield listener


def numbers(idle_seconds: float = 0.0) -> Numbers:
    return Numbers(seconds=3, running=True, idle_seconds=idle_seconds, streams=[], outputs=[], engine=Distribution())


def test_it_hears_of_beginning_and_end(manager: socket.socket) -> None:
    before = threading.active_count()
    with ServiceManager(numbers, {"NOTIFY_SOCKET": manager.getsockname()}):
        assert manager.recv(999) == b"READY=1"
        assert manager.recv(999) == b"STATUS=3 s: 0.0 frames/s; no streams"
    assert manager.recv(999) == b"STOPPING=1"
    assert threading.active_count() == before


@pytest.mark.parametrize(("idle_seconds", "alive"), [(0.0, True), (9.0, False)])
def test_a_run_that_hangs_is_not_said_to_be_alive(manager: socket.socket, idle_seconds: float, alive: bool) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "150000"}
    with ServiceManager(lambda: numbers(idle_seconds), environ):
        assert manager.recv(999) == b"READY=1"
        for _ in range(3):
            assert (b"WATCHDOG=1" in manager.recv(999)) is alive


def test_the_watchdog_of_another_process_is_not_ours(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "150000", "WATCHDOG_PID": "1"}
    with ServiceManager(numbers, environ):
        assert manager.recv(999) == b"READY=1"
        assert b"WATCHDOG" not in manager.recv(999)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the abstract namespace is Linux's")
def test_names_of_the_abstract_namespace() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0tensortap-test-notify")
        listener.settimeout(10)
        with ServiceManager(numbers, {"NOTIFY_SOCKET": "@tensortap-test-notify"}):
            assert listener.recv(999) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nobody/listens"}])
def test_nobody_wants_to_know(environ: dict[str, str]) -> None:
    before = threading.active_count()
    with ServiceManager(numbers, environ):
        pass
    assert threading.active_count() == before
