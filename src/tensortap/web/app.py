"""The pages: what is served under which path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tensortap.errors import SourceError, TensortapError, UsageError
from tensortap.text import redact
from tensortap.web.gallery import Gallery, width_for
from tensortap.web.messages import MEDIA_TYPE, frames_message, inspection_message, state_message
from tensortap.web.prometheus import CONTENT_TYPE, exposition

if TYPE_CHECKING:
    from tensortap.control import Control

_STATIC = Path(__file__).with_name("static")
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""Of the files that the page is made of."""
_STUCK_SECONDS = 30.0
"""A loop that has not turned for so long hangs in a tap, a sink or the caller."""
_WAIT_SECONDS = 1.0
"""A viewer gets an answer after so long, with pictures or without."""
_MOST_VIEWERS = 32
"""Who wait for pictures at the same time."""
_MOST_INSPECTIONS = 4
"""Tensors that are looked into at the same time: each keeps a thread, and a copy of them."""
_MOST_STREAMS = 256
_MOST_BYTES = 16_384
"""Of what is sent to us."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(control: Control, gallery: Gallery) -> Starlette:
    """The application, without a guard.

    Args:
        control: the run.
        gallery: is given its results.
    """
    pages = _Pages(control, gallery)
    return Starlette(
        routes=[
            Route("/", _page),
            Route("/static/{name}", _static),
            Route("/metrics", pages.metrics),
            Route("/healthz", pages.healthz),
            Route("/api/state", pages.state),
            Route("/api/frames", _told(pages.frames)),
            Route("/api/thresholds", _told(pages.thresholds), methods=["POST"]),
            Route("/api/streams", _told(pages.add), methods=["POST"]),
            Route("/api/streams/{source_id:int}/remove", _told(pages.remove), methods=["POST"]),
            Route("/api/streams/{source_id:int}/tensors", _told(pages.tensors)),
        ]
    )


class _RefusedError(Exception):
    """What was asked cannot be done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Pages:
    """Answers of one run."""

    def __init__(self, control: Control, gallery: Gallery) -> None:
        self._control = control
        self._gallery = gallery
        self._viewers = self._inspections = 0

    def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        numbers = self._control.numbers()
        sources = [stream.status.source_id for stream in numbers.streams]
        pictures = {source_id: self._gallery.counts(source_id) for source_id in sources}
        return Response(exposition(numbers, pictures), media_type=CONTENT_TYPE)

    def healthz(self, request: Request) -> Response:
        """For probes; more for those who may see more."""
        now = self._control.numbers()
        healthy = now.running and now.idle_seconds < _STUCK_SECONDS
        report: dict[str, Any] = {"status": "ok" if healthy else "stuck" if now.running else "not running"}
        if request.scope.get("knows_token"):
            report["seconds"] = round(now.seconds, 1)
            # A camera that is down is no reason to restart the service.
            report["streams"] = Counter(stream.status.state.value for stream in now.streams)
        return JSONResponse(report, status_code=200 if healthy else 503)

    def state(self, request: Request) -> Response:
        """How the run and its streams are."""
        return Response(state_message(self._control, self._gallery), media_type="application/json")

    async def frames(self, request: Request) -> Response:
        """Pictures with people that are newer than those that the viewer has; waits for them, and is asked again."""
        wanted = _wanted(request)
        if self._viewers >= _MOST_VIEWERS:
            raise _RefusedError(503, f"{_MOST_VIEWERS} viewers wait for pictures already. Try again later.")
        self._viewers += 1
        try:
            width = width_for(_number(request.query_params.get("width", "640"), "width"))
            found = await self._gallery.newer(wanted, width, _WAIT_SECONDS)
        finally:
            self._viewers -= 1
        return Response(frames_message(found), media_type=MEDIA_TYPE)

    async def thresholds(self, request: Request) -> Response:
        """Change them from the next frame on."""
        told = await _json(request)
        unknown = set(told) - {"conf_thres", "iou_thres"}
        if unknown or not told:
            raise _RefusedError(400, "Say conf_thres, iou_thres or both, as numbers.")
        for name, value in told.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise _RefusedError(400, f"{name} should be a number.")
        now = self._control.set_thresholds(**told)
        return JSONResponse({"conf_thres": now.conf_thres, "iou_thres": now.iou_thres})

    async def add(self, request: Request) -> Response:
        """Add a stream."""
        told = await _json(request)
        address, name = told.get("address"), told.get("name") or None
        if not isinstance(address, str) or not address.strip():
            raise _RefusedError(400, "Say the address of the stream: rtsp://..., /dev/video0, scene://street?live=1, a file.")
        if name is not None and not isinstance(name, str):
            raise _RefusedError(400, "The name should be a text.")
        if name is not None and not name.strip().isprintable():  # it stands in logs and on terminals
            raise _RefusedError(400, "The name should be one line of letters, digits and signs.")
        # In a thread of its own: a file on a network is opened here.
        try:
            stream = await anyio.to_thread.run_sync(self._control.add, address.strip(), name and name.strip()[:80])
        except (OSError, ValueError) as exc:  # no path that this system knows: a zero byte, too long a name
            raise _RefusedError(400, f"{address[:200]!r} is no address: {exc}.") from exc
        return JSONResponse({"source_id": stream.source_id, "name": redact(stream.name)}, 201)

    async def remove(self, request: Request) -> Response:
        """End a stream."""
        source_id = self._known(request)
        await anyio.to_thread.run_sync(self._control.remove, source_id)
        return JSONResponse({"source_id": source_id})

    async def tensors(self, request: Request) -> Response:
        """The stream's next frame, looked into."""
        source_id = self._known(request)
        if self._inspections >= _MOST_INSPECTIONS:
            raise _RefusedError(503, f"{_MOST_INSPECTIONS} others look into tensors just now. Try again.")
        self._inspections += 1
        try:
            message = await anyio.to_thread.run_sync(lambda: inspection_message(self._control.inspect(source_id)))
        except SourceError as exc:
            raise _RefusedError(504, str(exc)) from exc
        finally:
            self._inspections -= 1
        return Response(message, media_type=MEDIA_TYPE)

    def _known(self, request: Request) -> int:
        source_id = int(request.path_params["source_id"])
        if all(stream.status.source_id != source_id for stream in self._control.numbers().streams):
            raise _RefusedError(404, f"There is no stream {source_id}; it may have been removed.")
        return source_id


def _told(endpoint: Endpoint) -> Endpoint:
    """The same endpoint; what goes wrong is answered in JSON, without what must not be known."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except _RefusedError as exc:
            return JSONResponse({"error": redact(str(exc))}, exc.status)
        except TensortapError as exc:
            return JSONResponse({"error": redact(str(exc))}, 400 if isinstance(exc, (SourceError, UsageError)) else 500)

    return answer


async def _json(request: Request) -> dict[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise _RefusedError(413, f"At most {_MOST_BYTES} bytes are read.")
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise _RefusedError(400, f"This is no JSON: {exc}.") from exc
    if not isinstance(told, dict):
        raise _RefusedError(400, "A JSON object is expected.")
    return told


def _wanted(request: Request) -> dict[int, int]:
    """`?stream=0.120&stream=3.0`: streams, and the versions that the viewer has."""
    wanted = {}
    for text in request.query_params.getlist("stream")[:_MOST_STREAMS]:
        source_id, _, version = text.partition(".")
        wanted[_number(source_id, "stream")] = _number(version or "0", "stream")
    if not wanted:
        raise _RefusedError(400, "Say which streams: ?stream=0.0&stream=1.0, number and latest version of each.")
    return wanted


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise _RefusedError(400, f"{name}={text[:40]!r}: should be a whole number.")
    return int(text)


def _page(request: Request) -> Response:
    """The page, or the way in where the token is not known."""
    token_is = request.scope.get("token_is")
    text = (_STATIC / ("index.html" if token_is is None else "token.html")).read_bytes()
    if token_is == "wrong":
        text = text.replace(b" hidden>", b">")
    return Response(text, 200 if token_is is None else 401, media_type="text/html; charset=utf-8")


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if Path(name).suffix not in _KINDS or name not in {path.name for path in _STATIC.iterdir()}:
        return JSONResponse({"error": "There is no such file."}, 404)
    return Response((_STATIC / name).read_bytes(), media_type=_KINDS[Path(name).suffix], headers={"Cache-Control": "no-cache"})
