"""Cameras on loopback, real ones as far as a machine without cameras has any, and what happens when they are hurt."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from models import pose_model
from rtsp.clips import number_of, write_clip
from rtsp.server import RtspServer
from tensortap import Pipeline, Result, UsageError
from tensortap.types import StreamEvent, StreamState

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs POSIX signals")
PATIENCE = 30.0
QUICK = {"open_timeout": 1.5, "stall_timeout": 1.0, "retry_max": 0.3}
LOOP = 600
"""Pictures in a clip, which is played over and over."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pose_model(tmp_path_factory.mktemp("model") / "pose.onnx")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "small.clip", LOOP)


@pytest.fixture(scope="module")
def large_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "large.clip", LOOP, size_wh=(320, 240))


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


class LiveRun:
    """A pipeline that runs on a thread, and what has come out of it so far."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.events: list[StreamEvent] = []
        self.numbers: dict[str, list[int]] = {}
        """Source -> the numbers that its pictures show."""
        self.sizes: dict[str, list[tuple[int, int]]] = {}
        self.error: BaseException | None = None
        pipeline.on_event(self.events.append)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.pipeline.run(on_result=self._look)
        except BaseException as exc:
            self.error = exc

    def _look(self, result: Result) -> None:
        assert result.image is not None
        self.numbers.setdefault(result.info.source, []).append(number_of(result.image))
        self.sizes.setdefault(result.info.source, []).append(result.info.size_wh)

    def count(self, source: str) -> int:
        return len(self.numbers.get(source, ()))

    def states(self, source: str) -> list[StreamState]:
        return [event.state for event in self.events if event.source == source]

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something to become true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s; {self.events}, {self.pipeline.numbers()}"
            time.sleep(0.02)

    def until_frames(self, source: str, more: int) -> None:
        """Wait for so many more frames of a stream."""
        wanted = self.count(source) + more
        self.until(f"{more} frames of {source}", lambda: self.count(source) >= wanted)

    def close(self) -> None:
        self.pipeline.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def running(inputs: Sequence[str], model: Path, **settings: Any) -> Iterator[LiveRun]:
    """A run of cameras that is closed in the end."""
    run = LiveRun(Pipeline(inputs, model, **{**QUICK, **settings}))
    try:
        yield run
    finally:
        run.close()
    assert run.error is None


def lost(run: LiveRun, source: str) -> int:
    """Pictures between the first and the last that did not come out, less those that are accounted for as dropped."""
    numbers = run.numbers[source]
    missing = sum((after - before) % LOOP - 1 for before, after in pairwise(numbers))
    [stream] = [stream for stream in run.pipeline.numbers().streams if stream.status.name == source]
    return missing - stream.status.dropped_behind


def never_twice(numbers: Sequence[int]) -> bool:
    """Whether every picture is a newer one than that before it."""
    return all(0 < (after - before) % LOOP < LOOP // 2 for before, after in pairwise(numbers))


def test_cameras_are_served_alike_and_on_time(model: Path, clip: Path) -> None:
    with RtspServer({f"/{number}": {"clip": clip} for number in range(4)}) as server:
        inputs = [f"cam{number}={server.url(f'/{number}')}" for number in range(4)]
        with running(inputs, model, batch_size=2) as run:
            for number in range(4):
                run.until_frames(f"cam{number}", 20)
            numbers = run.pipeline.numbers()
            assert all(lost(run, f"cam{number}") <= 0 for number in range(4))
            assert all(never_twice(found) for found in run.numbers.values())
    for stream in numbers.streams:
        assert stream.status.state is StreamState.ONLINE
        assert stream.status.size_wh == (160, 96)
        assert stream.latency.count == stream.frames > 0
        assert 0 < stream.latency.p50 <= stream.latency.p95 <= stream.latency.p99
        assert stream.frame_rate > 5
    assert numbers.engine.count > 0


def test_a_server_is_killed_and_comes_back_with_another_shape(
    model: Path, clip: Path, large_clip: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / "out.jsonl", tmp_path / "out.mp4"]
    with RtspServer({"/b": {"clip": clip}}) as other, RtspServer({"/a": {"clip": clip}}) as server:
        inputs = [f"a={server.url('/a')}", f"b={other.url('/b')}"]
        with running(inputs, model, outputs=outputs) as run:
            run.until_frames("a", 5)
            run.until_frames("b", 5)
            server.kill()
            run.until("a is offline", lambda: run.states("a")[-1] is StreamState.OFFLINE)
            run.until_frames("b", 10)
            with RtspServer({"/a": {"clip": large_clip}}, port=server.port):
                run.until("a is back", lambda: run.states("a")[-1] is StreamState.ONLINE)
                run.until_frames("a", 5)
                run.until_frames("b", 5)
                assert set(run.sizes["a"]) == {(160, 96), (320, 240)}
                assert run.sizes["a"][-1] == (320, 240)
                [a, _] = run.pipeline.numbers().streams
                assert (a.status.reconnects, a.status.size_wh) == (1, (320, 240))
                assert lost(run, "b") <= 0
                assert never_twice(run.numbers["b"])
    assert run.states("b") == [StreamState.CONNECTING, StreamState.ONLINE]
    told = (tmp_path / "out.jsonl").read_text()
    assert told.count('"tensortap.event/1"') == len(run.events)
    assert (tmp_path / "out-0.mp4").stat().st_size > 0


def test_a_frozen_server_is_noticed_though_nothing_says_so(model: Path, clip: Path) -> None:
    with (
        RtspServer({"/b": {"clip": clip}}) as other,
        RtspServer({"/a": {"clip": clip}}) as server,
        running([f"a={server.url('/a')}", f"b={other.url('/b')}"], model) as run,
    ):
        run.until_frames("a", 5)
        run.until_frames("b", 5)
        server.freeze()
        run.until("a has stalled", lambda: StreamState.STALLED in run.states("a"))
        run.until("a gives no answer", lambda: run.states("a")[-1] is StreamState.OFFLINE)
        server.thaw()
        run.until("a is back", lambda: run.states("a")[-1] is StreamState.ONLINE)
        run.until_frames("a", 5)
        assert lost(run, "b") <= 0
        assert never_twice(run.numbers["a"])
        assert never_twice(run.numbers["b"])
    reasons = [event.reason for event in run.events if event.source == "a"]
    assert "no frame for 1 s" in reasons
    assert "it gave no answer within 1.5 s" in reasons


@contextmanager
def hostile(behave: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that does this with every client."""
    over = threading.Event()

    def serve(client: socket.socket) -> None:
        with client:
            client.settimeout(0.2)
            while not over.is_set():
                try:
                    behave(client)
                except TimeoutError:
                    continue
                except OSError:
                    return

    def accept() -> None:
        clients = []
        while not over.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            clients.append(threading.Thread(target=serve, args=(client,)))
            clients[-1].start()
        for each in clients:
            each.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        thread.join()


def mute(client: socket.socket) -> None:
    client.recv(4096)


def chatter(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(bytes(range(256)) * 200)


def drip(client: socket.socket) -> None:
    client.sendall(b"R")
    time.sleep(0.05)


def hang_up(client: socket.socket) -> None:
    client.recv(4096)
    raise OSError


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "live+http"])
def test_hostile_servers_cost_the_others_nothing(
    model: Path, clip: Path, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        hostile(mute) as mute_port,
        hostile(chatter) as chatter_port,
        hostile(drip) as drip_port,
        hostile(hang_up) as hang_up_port,
        RtspServer({"/b": {"clip": clip}}) as server,
        caplog.at_level(logging.DEBUG),
    ):
        ports = {"mute": mute_port, "chatter": chatter_port, "drip": drip_port, "hang-up": hang_up_port, "refusing": 9}
        inputs = [f"{name}={scheme}://nutzer:geheim@127.0.0.1:{port}/x?token=geheim" for name, port in ports.items()]
        with running([*inputs, f"b={server.url('/b')}"], model) as run:
            run.until_frames("b", 10)
            for name in ports:
                run.until(f"{name} is offline", lambda name=name: StreamState.OFFLINE in run.states(name))  # type: ignore[misc]
            run.until_frames("b", 10)
            assert lost(run, "b") <= 0
            assert never_twice(run.numbers["b"])
            assert set(run.numbers) == {"b"}
    assert "geheim" not in caplog.text
    assert "geheim" not in str(run.events)
    assert "Connection refused" in [event.reason for event in run.events if event.source == "refusing"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_packets_that_are_lost_cost_pictures_not_the_stream(model: Path, clip: Path, transport: str) -> None:
    mounts = {"/a": {"clip": clip, "drop": 0.05}, "/b": {"clip": clip}}
    with RtspServer(mounts) as server:
        inputs = [f"a={server.url('/a')}", f"b={server.url('/b')}"]
        with running(inputs, model, rtsp_transport=transport) as run:
            run.until_frames("a", 30)
            run.until_frames("b", 5)
            assert lost(run, "b") <= 0
            assert run.states("a") == [StreamState.CONNECTING, StreamState.ONLINE]
            assert never_twice(run.numbers["b"])


def test_streams_are_added_and_removed_while_it_runs(model: Path, clip: Path, large_clip: Path, tmp_path: Path) -> None:
    with RtspServer({"/a": {"clip": clip}, "/b": {"clip": large_clip}}) as server:
        with running([f"a={server.url('/a')}"], model, outputs=[tmp_path / "out.mp4", tmp_path / "out.jsonl"]) as run:
            run.until_frames("a", 5)
            b = run.pipeline.add(server.url("/b"), name="b")
            again = run.pipeline.add(server.url("/b"), name="b")
            assert (b.source_id, b.name, again.source_id, again.name) == (1, "b", 2, "b-2")
            run.until_frames("b", 5)
            run.until_frames("b-2", 5)
            run.pipeline.remove(0)
            run.until("a has ended", lambda: run.states("a")[-1] is StreamState.ENDED)
            count = run.count("a")
            run.until_frames("b", 5)
            assert run.count("a") == count
            assert [stream.name for stream in run.pipeline.streams] == ["b", "b-2"]
            with pytest.raises(UsageError, match="There is no stream 0"):
                run.pipeline.remove(0)
            assert lost(run, "b") <= 0
        with pytest.raises(UsageError, match="over"):
            run.pipeline.add(server.url("/b"))
    # Each stream has a video of its own; that of the removed one was completed when it ended.
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["out-1.mp4", "out-2.mp4", "out.mp4"]


def test_removing_the_last_stream_ends_the_run_unless_it_is_to_go_on(model: Path, clip: Path) -> None:
    with RtspServer({"/a": {"clip": clip}}) as server:
        pipeline = Pipeline(f"a={server.url('/a')}", model, **QUICK)
        counts: Counter[str] = Counter()
        for result in pipeline:
            counts[result.info.source] += 1
            if counts["a"] == 5:
                pipeline.remove(0)
        assert counts["a"] >= 5
        with running([], model, keep_running=True) as run:
            added = run.pipeline.add(f"a={server.url('/a')}")
            run.until_frames("a", 5)
            run.pipeline.remove(added.source_id)
            run.until("a has ended", lambda: run.states("a")[-1] is StreamState.ENDED)
            assert run.pipeline.numbers().running
            run.pipeline.add(f"a={server.url('/a')}")
            run.until_frames("a", 5)


def test_nothing_secret_is_told(model: Path, clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tensortap.web.prometheus import exposition

    with RtspServer({"/a": {"clip": clip}}) as server, caplog.at_level(logging.DEBUG):
        url = server.url("/a", credentials="nutzer:geheim@")
        with running([url, url.replace("/a", "/missing")], model, outputs=tmp_path / "out.jsonl") as run:
            run.until_frames(f"127.0.0.1:{server.port}/a", 5)
            run.until("the other is offline", lambda: StreamState.OFFLINE in [event.state for event in run.events])
            told = [caplog.text, str(run.events), str(run.pipeline.numbers()), exposition(run.pipeline.numbers()).decode()]
    assert "404" in str(run.events)
    assert not [text for text in [*told, (tmp_path / "out.jsonl").read_text()] if "geheim" in text or "nutzer" in text]
