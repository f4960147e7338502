"""Where to listen: `:8080`, `0.0.0.0:8080`, `[::]:8080`."""

from __future__ import annotations

import re
import socket

from tensortap.errors import UsageError

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Host and port. Without a host it is this machine only; port 0 takes a free one.

    Raises:
        UsageError: it is no address.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or int(found["port"]) > 65535:
        raise UsageError(f"--web {text}: say where to listen: :8080 (this machine only), 0.0.0.0:8080 (everybody), [::]:8080.")
    return found["v6"] or found["host"] or "127.0.0.1", int(found["port"])


def listen(text: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        UsageError: it is no address, not one of this machine, or taken.
    """
    host, port = parse_address(text)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        raise UsageError(f"--web {text}: cannot listen there: {exc.strerror or exc}. Choose another port or address.") from exc
