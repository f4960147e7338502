"""An HTTP server beside a run, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import uvicorn

from tensortap.metrics import Numbers
from tensortap.web.address import listen
from tensortap.web.app import create_app

_STOP_SECONDS = 1.0


class WebServer:
    """Serves from its making until `close()`.

    Args:
        address: where to listen, e.g. `:8080`.
        numbers: gives the numbers of the run at this moment; called by any thread.

    Raises:
        UsageError: nobody can listen there.
    """

    def __init__(self, address: str, numbers: Callable[[], Numbers]) -> None:
        self._socket = listen(address)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        """Where to find it."""
        config = uvicorn.Config(create_app(numbers), log_level="warning", access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="tensortap-web", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Closing twice is fine."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._server.force_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
