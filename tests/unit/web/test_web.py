"""Metrics and health over HTTP."""

from __future__ import annotations

import json
import math
import socket
import urllib.error
import urllib.request

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from pages import FakeControl
from tensortap.errors import UsageError
from tensortap.metrics import Durations, Numbers, OutputNumbers, StreamMeter, StreamNumbers, StreamStatus
from tensortap.types import FrameInfo, StreamState
from tensortap.web.address import parse_address
from tensortap.web.prometheus import exposition
from tensortap.web.server import WebServer


def numbers(*, running: bool = True, idle_seconds: float = 0.1) -> Numbers:
    meter = StreamMeter(wall_ns=lambda: 1_300_000_000)
    for index in range(4):
        meter.count(FrameInfo(0, "door", index, index, (4, 4), is_live=True, capture_ns=1_000_000_000), 2, index > 0)
    online = StreamStatus(0, 'the "door"\\', True, StreamState.ONLINE, "", 5_000_000_000, (4, 4), 3, 7, 1, 2, 9)
    offline = StreamStatus(3, "gate", True, StreamState.OFFLINE, "Connection refused", 6_000_000_000)
    engine = Durations()
    engine.add(0.02)
    return Numbers(
        seconds=12.0,
        running=running,
        idle_seconds=idle_seconds,
        streams=[StreamNumbers.of(online, meter), StreamNumbers.of(offline, None)],
        outputs=[OutputNumbers("out.jsonl", 4, 1, None), OutputNumbers("b.mp4", 2, 0, "disk full")],
        engine=engine.distribution(),
    )


def get(url: str) -> tuple[int, bytes]:
    """Status and body, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


def sampled(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, read by Prometheus's own parser."""
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            samples[sample.name, frozenset(sample.labels.items())] = sample.value
    return samples


def test_metrics_are_what_prometheus_reads() -> None:
    samples = sampled(exposition(numbers(), {0: (12, 5)}).decode())

    def value(name: str, **labels: str) -> float:
        return samples[f"tensortap_{name}", frozenset(labels.items())]

    door = {"source_id": "0", "source": 'the "door"\\'}
    assert value("frames_total", **door) == 4
    assert value("inferred_frames_total", **door) == 3
    assert value("people_total", **door) == 8
    assert value("dropped_frames_total", **door, reason="behind") == 7
    assert value("dropped_frames_total", **door, reason="late") == 1
    assert value("damaged_packets_total", **door) == 2
    assert value("reconnects_total", **door) == 9
    assert value("queued_frames", **door) == 3
    assert value("latency_seconds_count", **door) == 4
    assert value("latency_seconds_sum", **door) == pytest.approx(1.2)
    assert value("latency_seconds_bucket", **door, le="0.25") == 0
    assert value("latency_seconds_bucket", **door, le="0.5") == value("latency_seconds_bucket", **door, le="+Inf") == 4
    assert value("page_pictures_total", **door) == 12
    assert value("page_passed_over_total", **door) == 5
    gate = {"source_id": "3", "source": "gate"}
    states = {state: value("stream_state", **gate, state=state.value) for state in StreamState}
    assert [state for state, on in states.items() if on] == [StreamState.OFFLINE]
    assert value("engine_seconds_count") == 1
    assert value("output_frames_total", output="out.jsonl") == 4
    assert value("output_failed", output="b.mp4") == value("running") == 1
    assert not [key for key, each in samples.items() if math.isnan(each)]


@pytest.mark.parametrize(
    ("running", "idle_seconds", "status", "code"),
    [(True, 0.1, "ok", 200), (True, 60.0, "stuck", 503), (False, 0.1, "not running", 503)],
)
def test_health_is_that_of_the_loop(running: bool, idle_seconds: float, status: str, code: int) -> None:
    with WebServer(":0", FakeControl(lambda: numbers(running=running, idle_seconds=idle_seconds))) as server:
        found, body = get(f"{server.url}/healthz")
        assert (found, json.loads(body)["status"]) == (code, status)
        assert json.loads(body)["streams"] == {"online": 1, "offline": 1}
        assert get(f"{server.url}/nothing")[0] == 404


def test_a_server_that_comes_and_goes() -> None:
    with WebServer("127.0.0.1:0", FakeControl(numbers)) as server:
        status, body = get(f"{server.url}/metrics")
        assert status == 200
        assert b"tensortap_frames_total" in body
        port = server.url.rpartition(":")[2]
        with pytest.raises(UsageError, match="cannot listen there: Address already in use"):
            WebServer(f"127.0.0.1:{port}", FakeControl(numbers))
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.url}/metrics", timeout=10)


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with WebServer("[::1]:0", FakeControl(numbers)) as server:
        assert get(f"{server.url}/healthz")[0] == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("box.local:9", ("box.local", 9)),
        ("[::]:8080", ("::", 8080)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "8080", "host", ":99999", "::1:80", "http://x:80", ":x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="say where to listen"):
        parse_address(text)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UsageError, match="cannot listen there"):
        WebServer("192.0.2.1:80", FakeControl(numbers))
