"""Connections of which there are only so many, and only as long as somebody asks something."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MOST_CONNECTIONS = 128
"""At the same time. Each takes a file descriptor, which cameras and outputs need, too."""
REQUEST_SECONDS = 10.0
"""A request that is not complete is cut off after so long, and before twice as long."""


class Connection(H11Protocol):
    """Uvicorn's, which by itself waits for ever for a request to be complete."""

    _seen: RequestResponseCycle | None = None
    """The request that there was when we last looked."""
    _next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._next_look = self.loop.call_later(REQUEST_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Either side has ended it."""
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        asked = self.cycle
        is_complete = asked is not None and not asked.more_body and not asked.response_complete
        if asked is self._seen and not is_complete:
            self.transport.abort()
            return
        self._seen = asked
        self._next_look = self.loop.call_later(REQUEST_SECONDS, self._look)
