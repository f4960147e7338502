"""The pages: what is served under which path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tensortap.metrics import Numbers
from tensortap.web.prometheus import CONTENT_TYPE, exposition

_STUCK_SECONDS = 30.0
"""A loop that has not turned for so long hangs in a tap, a sink or the caller."""


def create_app(numbers: Callable[[], Numbers]) -> Starlette:
    """The application.

    Args:
        numbers: gives the numbers of the run at this moment; called by any thread.
    """

    def metrics(request: Request) -> Response:
        return Response(exposition(numbers()), media_type=CONTENT_TYPE)

    def healthz(request: Request) -> Response:
        now = numbers()
        healthy = now.running and now.idle_seconds < _STUCK_SECONDS
        report = {
            "status": "ok" if healthy else "stuck" if now.running else "not running",
            "seconds": round(now.seconds, 1),
            # A camera that is down is no reason to restart the service.
            "streams": Counter(stream.status.state.value for stream in now.streams),
        }
        return JSONResponse(report, status_code=200 if healthy else 503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz)])
