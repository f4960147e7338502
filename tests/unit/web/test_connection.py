"""Clients that do not finish what they say."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from pages import FakeControl, Page, until
from tensortap.metrics import Distribution, Numbers
from tensortap.web import connection
from tensortap.web.server import WebServer

HEAD = b"POST /api/thresholds HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.4)
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 8)
    with WebServer(":0", FakeControl(lambda: Numbers(1.0, True, 0.0, [], [], Distribution()))) as server:
        yield Page(server.url)


def connected(page: Page) -> socket.socket:
    where = urlsplit(page.url)
    return socket.create_connection((where.hostname, where.port), timeout=30)


def read(client: socket.socket) -> bytes:
    """All that comes until the server ends it."""
    found = b""
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("said", [b"", b"GET / HT", HEAD, HEAD + b"\r\n{"])
def test_a_request_that_is_never_complete_is_cut_off(page: Page, said: bytes) -> None:
    with connected(page) as client:
        client.sendall(said)
        assert b"200 OK" not in read(client)


def test_a_request_that_trickles_is_cut_off(page: Page) -> None:
    with connected(page) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")

        def is_cut_off() -> bool:
            try:
                client.sendall(b"X-More: y\r\n")
                return False
            except OSError:
                return True

        until("it is cut off", is_cut_off)


def test_an_answer_may_take_its_time(page: Page) -> None:
    """Longer than a request may: a viewer waits for a second."""
    started = time.monotonic()
    assert page.get("/api/frames?stream=0.0").status == 200
    assert time.monotonic() - started > 0.9


def test_there_are_only_so_many(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 60.0)
    idle = [connected(page) for _ in range(8)]
    try:
        with connected(page) as one_more:
            assert read(one_more) == b""
    finally:
        for client in idle:
            client.close()

    def is_served() -> bool:
        try:
            return page.get("/healthz").status == 200
        except OSError:
            return False

    until("others are served", is_served)
