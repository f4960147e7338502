"""What the page asks of a run that goes on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from pages import GATE, STREET, Page, Shown, shown, until
from tensortap import Pipeline
from tensortap.control import Control
from tensortap.web import app
from tensortap.web.server import WebServer


@pytest.fixture(scope="module")
def page() -> Iterator[Shown]:
    """A drawn street that is online, and a camera that is not."""
    with shown([STREET, GATE], imgsz="256x320") as page:
        until("people", lambda: page.streams()["street"]["people"] > 0)
        until("the camera is offline", lambda: page.streams()["gate"]["state"] == "offline")
        yield page


def frame_of(page: Page, source_id: int = 0, version: int = 0) -> tuple[dict, bytes]:
    """The next frame, and its picture."""

    def ask() -> tuple[dict, bytes] | None:
        message, blobs = page.get(f"/api/frames?width=320&stream={source_id}.{version}").packed
        return (message["frames"][0], blobs) if message["frames"] else None

    return until("a frame", ask)


def test_the_state_of_run_and_streams(page: Shown) -> None:
    state = page.get("/api/state").json
    assert state["model"] == "demo-pose.onnx"
    assert state["decoder"] == "yolo-pose"
    assert state["keypoints"][0] == "nose"
    assert state["takes_streams"]
    assert not state["ends_with_last_stream"]
    street, gate = page.streams()["street"], page.streams()["gate"]
    assert street["state"] == "online"
    assert street["frame_rate"] > 0
    assert 0 < street["p50_ms"] <= street["p95_ms"]
    assert (gate["state"], gate["reason"]) == ("offline", "Connection refused")
    assert gate["since_ms"] > 1e12


def test_picture_and_people_are_of_one_frame(page: Shown) -> None:
    frame, jpeg = frame_of(page)
    assert frame["size_wh"] == [320, 240]
    assert frame["bytes"] == len(jpeg)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)
    later, _ = frame_of(page, version=frame["version"])
    assert later["version"] > frame["version"]
    assert later["index"] > frame["index"]

    def person() -> dict | None:
        people = frame_of(page)[0]["people"]
        return people[0] if people else None

    found = until("a person", person)
    assert len(found["keypoints"]) == 17
    assert found["track_id"] != 0
    assert 0.25 < found["score"] <= 1


@pytest.mark.parametrize(
    "query", ["", "?stream=x.1", "?stream=-1.0", "?stream=0.0&width=wide", "?stream=0.1e9", "?stream=%C2%B2"]
)
def test_frames_that_cannot_be_meant(page: Shown, query: str) -> None:
    answer = page.get(f"/api/frames{query}")
    assert answer.status == 400
    assert answer.error


def test_frames_of_streams_that_are_not_there(page: Shown) -> None:
    assert page.get("/api/frames?stream=99.0").packed == ({"frames": []}, b"")


def test_thresholds_act_on_the_next_frame(page: Shown) -> None:
    before = page.get("/api/state").json["thresholds"]
    try:
        assert page.post("/api/thresholds", {"conf_thres": 0.999}).json["conf_thres"] == 0.999
        until("nobody", lambda: page.streams()["street"]["people"] == 0)
        assert page.get("/api/state").json["thresholds"] == {**before, "conf_thres": 0.999}
    finally:
        page.post("/api/thresholds", before)
    until("people again", lambda: page.streams()["street"]["people"] > 0)


@pytest.mark.parametrize(
    "told",
    [
        {"conf_thres": 1.5},
        {"conf_thres": -0.1},
        {"conf_thres": 0},
        {"iou_thres": 7},
        {"conf_thres": "0.5"},
        {"conf_thres": True},
        {"conf_thres": None},
        {"max_det": 1},
        {"conf_thres": 0.3, "rtsp_transport": "udp"},
        {},
        [],
        "0.5",
    ],
)
def test_thresholds_that_cannot_be_meant(page: Shown, told: object) -> None:
    before = page.get("/api/state").json["thresholds"]
    answer = page.post("/api/thresholds", told)
    assert answer.status == 400
    assert answer.error
    assert page.get("/api/state").json["thresholds"] == before


def test_bodies_that_are_none(page: Shown) -> None:
    headers = {"Content_Type": "application/json"}
    assert "no JSON" in page.ask("POST", "/api/thresholds", b'{"conf_thres": NaN}', **headers).error
    assert "no JSON" in page.ask("POST", "/api/thresholds", b"", **headers).error
    assert page.ask("POST", "/api/thresholds", b" " * 100_000, **headers).status == 413


def test_streams_come_and_go(page: Shown) -> None:
    told = {"address": "scene://room?people=2&size=320x240&fps=5&live=1", "name": "  den  "}
    added = page.post("/api/streams", told)
    assert (added.status, added.json["name"]) == (201, "den")
    source_id = added.json["source_id"]
    frame_of(page, source_id)
    assert page.post(f"/api/streams/{source_id}/remove", {}).json == {"source_id": source_id}
    until("it is gone", lambda: "den" not in page.streams())
    again = page.post(f"/api/streams/{source_id}/remove", {})
    assert (again.status, again.error) == (404, f"There is no stream {source_id}; it may have been removed.")
    until("its picture is gone", lambda: not page.get(f"/api/frames?stream={source_id}.0").packed[0]["frames"])


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"address": ""},
        {"address": "  "},
        {"address": 5},
        {"address": "/nowhere/at/all.mp4"},
        {"address": "scene://nowhere?live=1"},
        {"address": "a\0b.mp4"},
        {"address": "x" * 5000 + ".mp4"},
        {"address": "scene://street?live=1", "name": 5},
        {"address": "scene://street?live=1", "name": "two\nlines"},
        {"address": "scene://street?live=1", "name": "\x1b[2J"},
        {"address": "*.nothing"},
    ],
)
def test_streams_that_cannot_be_added(page: Shown, told: dict) -> None:
    before = set(page.streams())
    answer = page.post("/api/streams", told)
    assert answer.status == 400
    assert answer.error
    assert set(page.streams()) == before


def test_passwords_are_not_told(page: Shown) -> None:
    told = {"address": "rtsp://admin:topsecret@127.0.0.1:9/a?token=topsecret", "name": "rtsp://admin:topsecret@10.0.0.7/a"}
    added = page.post("/api/streams", told)
    without_name = page.post("/api/streams", {"address": told["address"]})
    refused = page.post("/api/streams", {"address": "http://admin:topsecret@127.0.0.1:9/a.mp4?key=topsecret"})
    assert [added.status, without_name.status, refused.status] == [201, 201, 400]
    until("why it is offline", lambda: [each for each in page.streams().values() if each["reason"]])
    inspected = page.get(f"/api/streams/{added.json['source_id']}/tensors")
    for answer in (added, without_name, refused, inspected, page.get("/api/state"), page.get("/metrics")):
        assert b"topsecret" not in answer.body
        assert b"admin" not in answer.body
    for each in (added, without_name):
        page.post(f"/api/streams/{each.json['source_id']}/remove", {})


def test_the_tensors_of_the_next_frame(page: Shown) -> None:
    message, blobs = page.get("/api/streams/0/tensors").packed
    [tensor] = message["tensors"]
    assert tensor["name"] == "output0"
    assert tensor["dtype"] == "float32"
    assert tensor["shape"] == [56, 1680]
    assert tensor["min"] < tensor["mean"] < tensor["max"]
    assert (tensor["nans"], len(tensor["histogram"])) == (0, 16)
    assert message["network_wh"] == [320, 256]
    assert message["verdict"].startswith("1680 rows: ")
    assert [each["name"] for each in message["scores"]] == ["stride 8", "stride 16", "stride 32"]
    assert sum(each["bytes"] for each in message["scores"]) == len(blobs)
    picture = cv2.imdecode(np.frombuffer(blobs[: message["scores"][0]["bytes"]], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (600, 800, 3)


def test_tensors_of_a_stream_that_is_offline(page: Shown) -> None:
    answer = page.get("/api/streams/1/tensors")
    assert answer.status == 504
    assert answer.error == "gate gave no frame within 3 s: it is offline: Connection refused. Try again when it is online."
    assert page.get("/api/streams/77/tensors").status == 404


def test_tensors_are_looked_into_by_few_at_a_time(page: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_MOST_INSPECTIONS", 1)
    until("nobody else waits", lambda: not page.pipeline._peeks)
    waiting = threading.Thread(target=page.get, args=("/api/streams/1/tensors",))  # of a stream that is offline: 3 s
    waiting.start()
    until("it waits", lambda: page.pipeline._peeks)
    until("others are refused", lambda: page.get("/api/streams/0/tensors").status == 503 or not waiting.is_alive())
    assert waiting.is_alive()
    waiting.join()
    assert page.get("/api/streams/0/tensors").status == 200


def test_who_never_reads_keeps_nobody_waiting(page: Shown) -> None:
    where = urlsplit(page.url)
    request = f"GET /api/frames?width=960&stream=0.0 HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()
    clients = [socket.create_connection((where.hostname, where.port)) for _ in range(20)]
    try:
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.sendall(request * 50)
        frames = page.streams()["street"]["frames"]
        until("more frames", lambda: page.streams()["street"]["frames"] > frames + 10)
        frame_of(page, version=frame_of(page)[0]["version"])  # others are served
    finally:
        for client in clients:
            client.close()


def test_nothing_is_encoded_while_nobody_watches(page: Shown) -> None:
    frame_of(page)
    made = page.streams()["street"]["pictures_shown"]
    frames = page.streams()["street"]["frames"]
    until("more frames", lambda: page.streams()["street"]["frames"] > frames + 5)
    assert page.streams()["street"]["pictures_shown"] == made


def test_a_recording_has_tensors_and_no_pictures(tmp_path: Path) -> None:
    tape = tmp_path / "a.tap"
    Pipeline("scene://street?people=2&size=320x240&seconds=1", "demo", outputs=tape, imgsz="256x320").run()
    pipeline = Pipeline(tape, realtime=True)
    with WebServer(":0", Control(pipeline)) as server:
        page, results = Page(server.url), iter(pipeline)
        next(results)
        state = page.get("/api/state").json
        assert not state["takes_streams"]
        assert not state["gives_streams"]
        frame, jpeg = frame_of(page)
        assert (frame["bytes"], jpeg) == (0, b"")
        assert frame["size_wh"] == [320, 240]
        refused = page.post("/api/streams", {"address": "scene://street"})
        assert (refused.status, "takes no more streams" in refused.error) == (400, True)
        assert "cannot be removed" in page.post("/api/streams/0/remove", {}).error
        asked = pipeline.peek(0, lambda frame: frame.image)
        for _ in results:
            pass
        assert asked.result(0) is None


@pytest.mark.parametrize("stream", [99, 0])
def test_the_server_ends_with_its_viewers(stream: int, caplog: pytest.LogCaptureFixture) -> None:
    """Those who wait for a picture, and those who read none of theirs."""
    with shown([STREET], imgsz="256x320") as page:
        frame_of(page)
        where = urlsplit(page.url)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect((where.hostname, where.port))
            request = f"GET /api/frames?width=960&stream={stream}.0 HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n"
            client.sendall(request.encode() * 1000)
            frames = page.streams()["street"]["frames"]
            until("it has had its fill", lambda: page.streams()["street"]["frames"] > frames + 10)
            started = time.monotonic()
            page.server.close()
            assert time.monotonic() - started < 10
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
