"""Who may see the page and change the run: a token where others reach it, and no other site's page in any case."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tensortap.errors import UsageError

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.%]+)\]|(?P<name>[^:/?#@\[\]\s]+))(?::[0-9]*)?")
_OPEN = ("/healthz", "/static/")
"""For everybody: a probe needs no token, and the page's own files hold nothing."""
_LEAST_TOKEN = 8
_WRONG_TOKEN_SECONDS = 0.5
"""Whoever tries tokens has to wait."""
_YEAR = 365 * 24 * 3600
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def new_token() -> str:
    """One that nobody guesses."""
    return secrets.token_urlsafe(16)


def check_token(token: str) -> str:
    """The same token.

    Raises:
        UsageError: it is too short, or cannot stand in a header.
    """
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"--web-token: it should have {_LEAST_TOKEN} characters or more, and no spaces. Leave it out for a random one."
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether this name or address is this machine's own, which nobody else can reach."""
    name = host.partition("%")[0].strip("[]").lower().rstrip(".")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


class Guard:
    """Lets requests through to the application that may be made.

    Args:
        app: what is guarded. The scope says whether somebody `knows_token`, and at `/` that `token_is` missing or wrong.
        token: what they must know; `None` where only this machine can ask.
        own_host: the name that was given to listen at; counts as this machine's where there is no token.
        port: part of the cookie's name, because browsers keep cookies for all ports together.
    """

    def __init__(self, app: ASGIApp, token: str | None, own_host: str, port: int) -> None:
        self._app = app
        self._token = token
        self._own_host = own_host.lower()
        self._cookie = f"tensortap-{port}"
        # The browser keeps something that comes of the token, not the token.
        self._key = hmac.new((token or "").encode(), b"tensortap cookie", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        request = Request(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                for cookie in cookies:
                    headers.append("Set-Cookie", cookie)
            await send(message)

        cookies: list[str] = []
        answer = await self._refusal(request, cookies)
        await (answer or self._app)(scope, receive, send_with_headers)

    async def _refusal(self, request: Request, cookies: list[str]) -> Response | None:
        """What to answer instead, if the request may not be made; `cookies` are to be set."""
        path: str = request.scope["path"]  # what is routed by; `request.url` is put together with what the Host header says
        knows = request.scope["knows_token"] = self._knows(request)
        if path.startswith(_OPEN):
            return None
        host = _host_of(request.headers.get("host", ""))
        if self._token is None and not (is_loopback(host) or host == self._own_host):
            # A site whose name was made to lead here (DNS rebinding), or a proxy.
            return _refused(403, f"This page is for this machine only, not for {host!r}. For other names: --web-token.")
        return _cross_site(request) if knows else await self._without_token(request, cookies)

    def _knows(self, request: Request) -> bool:
        if self._token is None:
            return True
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(bearer.strip(), self._token):
            return True
        return _equal(request.cookies.get(self._cookie, ""), self._key)

    async def _without_token(self, request: Request, cookies: list[str]) -> Response | None:
        """In with a token in the address, or a word on what is missing."""
        assert self._token is not None
        path = request.scope["path"]
        given = request.query_params.get("token") if request.method == "GET" and path == "/" else None
        if given is not None and _equal(given.strip(), self._token):
            # The page itself, which takes the token out of the address bar: after a redirect, a browser that followed a link
            # from elsewhere would not send the cookie.
            cookies.append(f"{self._cookie}={self._key}; Max-Age={_YEAR}; Path=/; HttpOnly; SameSite=Strict")
            return None
        if given is not None or "authorization" in request.headers or self._cookie in request.cookies:
            await asyncio.sleep(_WRONG_TOKEN_SECONDS)
        if path == "/":
            request.scope["token_is"] = "missing" if given is None else "wrong"
            return None
        return JSONResponse(
            {"error": "The token is missing or wrong. It is part of the address that tensortap printed at its start."},
            401,
            {"WWW-Authenticate": "Bearer"},
        )


def _cross_site(request: Request) -> Response | None:
    """Refuses what another site's page asks in the name of whoever looks at it."""
    changes = request.method not in ("GET", "HEAD")
    if (changes or request.scope["path"].startswith("/api/")) and request.headers.get("sec-fetch-site", "none") not in (
        "same-origin",
        "none",
    ):
        return _refused(403, "Another site's page may not ask this.")
    if not changes:
        return None
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower():
        return _refused(403, "Another site's page may not change this run.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _refused(415, "Say it in JSON, with Content-Type: application/json.")
    return None


def _refused(status: int, error: str) -> Response:
    return JSONResponse({"error": error}, status)


def _host_of(header: str) -> str:
    """`localhost:8080` -> `localhost`, `[::1]:8080` -> `::1`; what is no name or address and port stays as it is."""
    found = _HOST.fullmatch(header.lower())
    return (found["v6"] or found["name"]) if found else header


def _equal(given: str, expected: str) -> bool:
    """Whether they are the same, in a time that does not tell how much of it is."""
    return hmac.compare_digest(given.encode(), expected.encode())


def with_token(url: str, token: str) -> str:
    """The address that lets in whoever follows it."""
    return f"{url}/?token={quote(token, safe='')}"
