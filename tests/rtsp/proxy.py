"""A network between a camera and its client that can be hurt: it cuts, freezes, garbles, throttles and refuses."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 4096
FAULTS = ("cut", "refuse", "silent", "noise", "flipped", "slow")
"""
`cut`: connections are closed at once, again and again; `refuse`: and nobody listens; `silent`: they stay open, nothing comes;
`noise`: what comes is random; `flipped`: one byte of two hundred is; `slow`: a tenth of what is sent gets through in time.
"""


class Proxy:
    """Forwards TCP from a port of its own to another one on loopback, as faithfully as its `fault` lets it."""

    def __init__(self, target: int) -> None:
        self.fault: str = ""
        self._target = target
        self._over = threading.Event()
        self._random = random.Random(7)
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._listening = self._begin(self._listen)

    def hurt(self, fault: str) -> None:
        """From now on, until `heal()`."""
        self.fault = fault
        if fault == "refuse" and self._listener is not None:
            self._listening.join()
            self._listener.close()
            self._listener = None

    def heal(self) -> None:
        """Be a good network again."""
        if self.fault == "refuse":
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.fault = ""
            self._listening = self._begin(self._listen)
        self.fault = ""

    def close(self) -> None:
        """End all connections and threads."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._listener is not None:
            self._listener.close()

    def _begin(self, work: object, *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _listen(self) -> None:
        listener = self._listener
        assert listener is not None
        listener.settimeout(0.05)
        while not self._over.is_set() and self.fault != "refuse":
            with suppress(TimeoutError):
                client, _ = listener.accept()
                self._begin(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            for each in (client, server):
                each.settimeout(0.05)
            back = self._begin(self._forward, client, server, False)
            self._forward(server, client, True)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join()

    def _forward(self, source: socket.socket, target: socket.socket, to_client: bool) -> None:
        with suppress(OSError):
            while not self._over.is_set() and self.fault not in ("cut", "refuse"):
                if self.fault == "silent":
                    time.sleep(0.02)
                    continue
                try:
                    data = source.recv(_PIECE if self.fault != "slow" else 200)
                except TimeoutError:
                    continue
                if not data:
                    break
                if to_client:
                    data = self._spoiled(data)
                while data and not self._over.is_set():
                    try:
                        data = data[target.send(data) :]
                    except TimeoutError:
                        continue
            target.shutdown(socket.SHUT_RDWR)

    def _spoiled(self, data: bytes) -> bytes:
        if self.fault == "noise":
            return self._random.randbytes(len(data))
        if self.fault == "flipped":
            spoiled = bytearray(data)
            for _ in range(max(1, len(data) // 200)):
                spoiled[self._random.randrange(len(data))] = self._random.randrange(256)
            return bytes(spoiled)
        if self.fault == "slow":
            time.sleep(0.2)
        return data


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A network to this port of the machine's, closed in the end."""
    found = Proxy(target)
    try:
        yield found
    finally:
        found.close()
