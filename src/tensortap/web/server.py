"""An HTTP server beside a run, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import uvicorn

from tensortap.web.access import Guard, check_token, is_loopback, new_token, with_token
from tensortap.web.address import listen, parse_address
from tensortap.web.app import create_app
from tensortap.web.connection import Connection
from tensortap.web.gallery import Gallery

if TYPE_CHECKING:
    from tensortap.control import Control

_STOP_SECONDS = 1.0
_LAST_WORDS_SECONDS = 0.2
"""So long may answers take that are under way when the server stops."""


class _Server(uvicorn.Server):
    """Stops in time, whoever does not read what it is sent."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cut = asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class WebServer:
    """Serves from its making until `close()`.

    Args:
        address: where to listen, e.g. `:8080`. On any address but this machine's own, a token is needed.
        control: the run, before it begins.
        token: what whoever asks must know; `None` makes one up where one is needed.

    Raises:
        UsageError: nobody can listen there, or the token is too short.
    """

    def __init__(self, address: str, control: Control, token: str | None = None) -> None:
        if token is not None:
            check_token(token)
        self._socket = listen(address)
        bound, port = self._socket.getsockname()[:2]
        host = _reachable(bound)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        """Where to find it."""
        made_up = new_token() if token is None and not is_loopback(bound) else None
        self.page_url = with_token(self.url, made_up) if made_up else f"{self.url}/"
        """Where to find the page, with the token if it was made up here."""
        self.needs_token = bool(token or made_up)
        """Whether whoever asks must know a token."""
        self._gallery = Gallery()
        control.on_result(self._gallery.put)
        control.on_event(self._gallery.tell)
        app = Guard(create_app(control, self._gallery), token or made_up, parse_address(address)[0], port)
        config = uvicorn.Config(
            app,
            http=Connection,
            log_config=None,  # its words go where all others go
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="tensortap-web", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Closing twice is fine."""
        self._server.should_exit = True
        self._gallery.close()
        self._thread.join(_STOP_SECONDS)
        self._server.force_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _reachable(bound: str) -> str:
    """An address that leads there: for all addresses of this machine, the one that others most likely see."""
    if bound not in ("0.0.0.0", "::"):
        return bound
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: it says which way it would go
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
