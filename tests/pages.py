"""A run that goes on and its browser page, and requests to it as a browser makes them."""

from __future__ import annotations

import http.client
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tensortap import Pipeline
from tensortap.control import About, Control, Thresholds
from tensortap.metrics import Numbers
from tensortap.skeletons import COCO_17
from tensortap.web.server import WebServer

PATIENCE = 60.0
STREET = "street=scene://street?people=3&size=320x240&fps=10&live=1"
GATE = "gate=rtsp://user:secret@127.0.0.1:9/stream1"
"""Nobody listens there."""


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])

    @property
    def packed(self) -> tuple[dict[str, Any], bytes]:
        """The JSON, and what is behind it."""
        (size,) = struct.unpack(">I", self.body[:4])
        return json.loads(self.body[4 : 4 + size]), self.body[4 + size :]


@dataclass
class Page:
    """A server that is asked."""

    url: str

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, told: object, **headers: str) -> Answer:
        """As the page itself does."""
        own = {"Content-Type": "application/json", "Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        return self.ask("POST", path, json.dumps(told).encode(), **{**own, **headers})

    def streams(self) -> dict[str, dict[str, Any]]:
        """Name -> what the page is told of a stream."""
        return {stream["name"]: stream for stream in self.get("/api/state").json["streams"]}


class FakeControl:
    """A run that does nothing, as `Control`, for pages of which only the numbers matter."""

    about = About("pose.onnx", "fake (f32)", "yolo-pose", COCO_17, True, True, False)
    thresholds = Thresholds(0.25, 0.45)

    def __init__(self, numbers: Callable[[], Numbers]) -> None:
        self.numbers = numbers

    def on_result(self, function: Any) -> None:
        """Nothing comes."""

    def on_event(self, function: Any) -> None:
        """Nothing happens."""


class Shown(Page):
    """The page of a run that goes on."""

    def __init__(self, pipeline: Pipeline, server: WebServer) -> None:
        super().__init__(server.url)
        self.pipeline = pipeline
        self.server = server


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Wait for something to become true, and give it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.05)
    return found


@contextmanager
def shown(inputs: Sequence[str], model: str = "demo", *, token: str | None = None, **settings: Any) -> Iterator[Shown]:
    """A run on a thread, with its page, closed in the end."""
    settings = {"keep_running": True, "retry_max": 0.3, **settings}
    pipeline = Pipeline(inputs, model, **settings)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            pipeline.run()
        except BaseException as exc:
            errors.append(exc)

    with WebServer(":0", Control(pipeline), token) as server:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Shown(pipeline, server)
        finally:
            pipeline.close()
            thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not errors, errors
