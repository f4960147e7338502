"""Who may see the page and change the run."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from starlette.datastructures import URL
from starlette.requests import Request

from pages import FakeControl, Page
from tensortap.errors import UsageError
from tensortap.metrics import Distribution, Numbers
from tensortap.web import access
from tensortap.web.access import is_loopback, new_token
from tensortap.web.server import WebServer

TOKEN = "correct horse battery".replace(" ", "-")
PATHS = ("/", "/metrics", "/api/state", "/api/frames?stream=0.0", "/api/streams/0/tensors", "/nothing")
CHANGES = ("/api/thresholds", "/api/streams", "/api/streams/0/remove")


def numbers() -> Numbers:
    return Numbers(1.0, True, 0.0, [], [], Distribution())


@pytest.fixture
def own() -> Iterator[Page]:
    """A page for this machine only."""
    with WebServer(":0", FakeControl(numbers)) as server:
        assert not server.needs_token
        yield Page(server.url)


@pytest.fixture
def exposed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page that others can reach, asked from here."""
    monkeypatch.setattr(access, "_WRONG_TOKEN_SECONDS", 0.0)
    with WebServer("0.0.0.0:0", FakeControl(numbers), TOKEN) as server:
        yield Page(f"http://127.0.0.1:{server.url.rpartition(':')[2]}")


def test_a_token_is_made_up_where_others_reach_it() -> None:
    with WebServer("0.0.0.0:0", FakeControl(numbers)) as server, WebServer("0.0.0.0:0", FakeControl(numbers)) as other:
        address, _, token = server.page_url.partition("/?token=")
        assert server.needs_token
        assert address == server.url
        assert "0.0.0.0" not in address  # nobody gets there
        assert len(token) >= 16
        assert token not in other.page_url
    assert new_token() != new_token()


def test_one_that_was_set_is_not_printed() -> None:
    with WebServer("0.0.0.0:0", FakeControl(numbers), TOKEN) as server:
        assert TOKEN not in server.page_url
        assert server.needs_token


@pytest.mark.parametrize("token", ["short", "with a space in it", "umläute-everywhere", ""])
def test_tokens_that_cannot_be_meant(token: str) -> None:
    with pytest.raises(UsageError, match="8 characters or more"):
        WebServer(":0", FakeControl(numbers), token)


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_there_is_nothing(exposed: Page, path: str) -> None:
    assert exposed.get(path).status == 401
    assert exposed.get(path, Authorization="Bearer wrong").status == 401
    assert exposed.get(path, Authorization=f"Basic {TOKEN}").status == 401
    assert exposed.get(path, Cookie=f"tensortap-{exposed.url.rpartition(':')[2]}={TOKEN}").status == 401


@pytest.mark.parametrize("host", ["x/static/y?", "x/healthz?", "x/?", "x/healthz#"])
def test_a_host_that_looks_like_an_open_path(exposed: Page, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Starlette before 1.0 puts the request's URL together with whatever is said to be the host."""
    monkeypatch.setattr(Request, "url", property(lambda request: URL(f"http://{host}{request.scope['path']}")))
    for path in PATHS[1:]:
        assert exposed.get(path, Host=host).status == 401
    for path in CHANGES:
        assert exposed.post(path, {}, Host=host).status == 401


def test_whoever_tries_tokens_has_to_wait(exposed: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_WRONG_TOKEN_SECONDS", 0.3)
    cookie = f"tensortap-{exposed.url.rpartition(':')[2]}="
    for path, headers in (
        ("/?token=wrong-but-long", {}),
        ("/api/state", {"Authorization": "Bearer wrong-but-long"}),
        ("/api/state", {"Cookie": f"{cookie}0123"}),  # which anybody can work out of a token
    ):
        started = time.monotonic()
        assert exposed.get(path, **headers).status == 401
        assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("path", CHANGES)
def test_without_the_token_nothing_is_changed(exposed: Page, path: str) -> None:
    assert exposed.post(path, {}).status == 401
    assert exposed.post(f"{path}?token={TOKEN}", {}).status == 401  # only to get in


def test_in_by_the_address_and_on_by_the_cookie(exposed: Page) -> None:
    wrong = exposed.get("/?token=wrong-but-long")
    assert (wrong.status, "set-cookie" in wrong.headers) == (401, False)
    assert b"That token is wrong" in wrong.body
    right = exposed.get(f"/?token={TOKEN}")
    assert right.status == 200
    cookie = right.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    kept = cookie.partition(";")[0]
    assert exposed.get("/", Cookie=kept).status == 200
    assert exposed.get("/api/state", Cookie=kept).status == 200
    assert exposed.get("/api/state", Cookie=kept[:-1] + "x").status == 401


def test_the_bearer(exposed: Page) -> None:
    for path in ("/", "/metrics", "/api/state"):
        assert exposed.get(path, Authorization=f"Bearer {TOKEN}").status == 200


def test_probes_need_no_token_and_learn_no_more_than_they_must(exposed: Page) -> None:
    assert exposed.get("/healthz").json == {"status": "ok"}
    assert set(exposed.get("/healthz", Authorization=f"Bearer {TOKEN}").json) == {"status", "seconds", "streams"}


def test_the_files_of_the_page_are_open_and_no_others(exposed: Page) -> None:
    assert exposed.get("/static/style.css").headers["content-type"].startswith("text/css")
    assert exposed.get("/static/main.js").headers["content-type"].startswith("text/javascript")
    for name in ("index.html", "nothing.js", "..%2Fapp.py", "%2e%2e/app.py"):
        assert exposed.get(f"/static/{name}").status in (401, 404)


def test_nothing_comes_from_elsewhere(own: Page) -> None:
    headers = own.get("/").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    for name in ("main.js", "api.js", "style.css", "icon.svg"):
        body = own.get(f"/static/{name}").body.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"http://" not in body
        assert b"https://" not in body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "192.0.2.7",
        "localhost.evil.example",
        "127.0.0.1.evil",
        "0.0.0.0",
        "[2001:db8::1]:8080",
        "[::1].evil.example",
        "localhost:8080@evil.example",
        "localhost:evil.example",
        "localhost/@evil.example",
        "",
    ],
)
def test_names_that_were_made_to_lead_here(own: Page, host: str) -> None:
    for path in PATHS:
        assert own.get(path, Host=host).status == 403
    assert own.post("/api/thresholds", {"conf_thres": 0.5}, Host=host, Origin=f"http://{host}").status == 403


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.8.8.8:1", "[::1]:8080", "[::1]", "localhost.:8080", "box.localhost"],
)
def test_names_of_this_machine(own: Page, host: str) -> None:
    assert own.get("/api/state", Host=host).status == 200


def test_with_a_token_any_name_will_do(exposed: Page) -> None:
    assert exposed.get("/api/state", Host="cameras.example", Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("path", CHANGES)
def test_pages_of_other_sites_change_nothing(own: Page, path: str) -> None:
    assert own.post(path, {}, Origin="http://evil.example").status == 403
    assert own.post(path, {}, Origin="null").status == 403
    port = int(own.url.rpartition(":")[2])
    assert own.post(path, {}, Origin=f"http://127.0.0.1:{port + 1}").status == 403  # another port is another site
    assert own.post(path, {}, Sec_Fetch_Site="cross-site").status == 403
    assert own.post(path, {}, Content_Type="text/plain").status == 415  # what a form can send
    assert own.post(path, {}, Content_Type="application/x-www-form-urlencoded").status == 415
    assert own.get(path).status in (404, 405)


def test_pages_of_other_sites_see_nothing(own: Page) -> None:
    for site in ("cross-site", "same-site"):
        assert own.get("/api/state", Sec_Fetch_Site=site).status == 403
    assert own.get("/", Sec_Fetch_Site="cross-site").status == 200  # somebody followed a link


def test_ipv6_loopback_needs_no_token() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with WebServer("[::1]:0", FakeControl(numbers)) as server:
        assert not server.needs_token
        assert Page(server.url).get("/api/state").status == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
