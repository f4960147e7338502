"""Cameras on loopback, real ones as far as a machine without cameras has any, and what happens when they are hurt."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from cameras import http_camera, rtmp_camera
from liverun import LOOP, PATIENCE, QUICK, lost, never_twice, no_thread_is_left, running
from models import pose_model
from rtsp.clips import write_clip
from rtsp.server import RtspServer
from tensortap import Pipeline, UsageError
from tensortap.types import StreamState

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs POSIX signals")


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
def _threads() -> Iterator[None]:
    with no_thread_is_left():
        yield


def test_cameras_are_served_alike_and_on_time(model: Path, clip: Path) -> None:
    with RtspServer({f"/{number}": {"clip": clip} for number in range(4)}) as server:
        inputs = [f"cam{number}={server.url(f'/{number}')}" for number in range(4)]
        with running(inputs, model, batch_size=2) as run:
            run.until("20 frames of each", lambda: min(run.count(f"cam{number}") for number in range(4)) >= 20)
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


def test_motion_jpeg_over_http(model: Path) -> None:
    with http_camera() as camera, running([f"a={camera.url}/mjpeg"], model) as run:
        run.until_frames("a", 10)
        assert never_twice(run.numbers["a"])
        [stream] = run.pipeline.numbers().streams
        assert stream.status.is_live  # found out, the URL does not say so
        camera.broken.set()
        run.until("a is offline", lambda: run.states("a")[-1] is StreamState.OFFLINE)
        camera.broken.clear()
        run.until_frames("a", 5)
        assert never_twice(run.numbers["a"])


def test_hls_at_its_pace_and_no_segment_twice(model: Path) -> None:
    with http_camera() as camera, running([f"a={camera.url}/live.m3u8"], model) as run:
        run.until_frames("a", 10)
        camera.broken.set()
        run.until("a is down", lambda: run.states("a")[-1] is not StreamState.ONLINE)
        camera.broken.clear()
        # The playlist still offers what was shown already.
        run.until_frames("a", 15)
        assert never_twice(run.numbers["a"])
        [stream] = run.pipeline.numbers().streams
        assert stream.status.dropped_behind < 5  # half a second of pictures comes at once, but is shown one by one


def test_hls_with_an_end_is_a_recording(model: Path) -> None:
    with http_camera() as camera:
        results = list(Pipeline(f"{camera.url}/whole.m3u8", model))
    assert [result.info.index for result in results] == list(range(20))
    assert not results[0].info.is_live


def test_rtmp(model: Path) -> None:
    with rtmp_camera() as camera, running([f"a={camera.url}"], model) as run:
        run.until_frames("a", 20)
        assert never_twice(run.numbers["a"])


def test_an_output_that_nobody_reads_delays_nothing(model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # holds it open, reads nothing: it takes 64 KiB
    try:
        outputs = [f"jsonl:{pipe}", tmp_path / "out.jsonl"]
        pipeline = Pipeline("scene://gym?people=1&size=128x128&fps=200&live=1", model, outputs=outputs)
        sink: Any = pipeline.parts.outputs[0].sink
        sink._worker._queue.maxsize = 20
        for _ in pipeline:
            if sink.dropped > 20:
                pipeline.close()
    finally:
        os.close(reader)
    [error] = pipeline.errors
    assert "does not take what is left for it within 1 s" in str(error)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == pipeline.summary.frames
    assert pipeline.numbers().outputs[0].dropped > 20


def frames_of(path: Path, source: str) -> int:
    """Lines of a stream's frames, events left out."""
    return path.read_text().count(f'"source":"{source}","index"') if path.exists() else 0


def command(model: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tensortap", "run", "-m", str(model), *arguments]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_ends_at_once_whatever_its_cameras_do(model: Path, clip: Path, tmp_path: Path, number: signal.Signals) -> None:
    with hostile(mute) as mute_port, RtspServer({"/a": {"clip": clip}}) as server, RtspServer({"/b": {"clip": clip}}) as frozen:
        inputs = [f"a={server.url('/a')}", f"b={frozen.url('/b')}", f"c=rtsp://127.0.0.1:{mute_port}/x"]
        arguments = command(model, "-i", *inputs, "-o", "out.mp4", "out.jsonl", "--stats", "0.5", "--web", ":0")
        process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        out = tmp_path / "out.jsonl"
        wait_until(lambda: min(frames_of(out, "a"), frames_of(out, "b")) > 3)
        frozen.freeze()
        time.sleep(0.5)
        process.send_signal(number)
        stopped = time.monotonic()
        _, stderr = process.communicate(timeout=30)
        assert time.monotonic() - stopped < 6  # 3 s are asked for; a busy machine may take longer
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert re.search(r"frames/s; a \d+\.\d .*b \d+\.\d .*c (connecting|offline)", stderr), stderr
    assert "stopped:" in stderr
    for stream, source in enumerate("ab"):
        with av.open(str(tmp_path / f"out-{stream}.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == frames_of(out, source)


def test_a_killed_run_leaves_what_it_has_written(model: Path, clip: Path, tmp_path: Path) -> None:
    with RtspServer({"/a": {"clip": clip}}) as server:
        arguments = command(model, "-i", server.url("/a"), "-o", "out.mp4", "out.jsonl", "-q")
        process = subprocess.Popen(arguments, cwd=tmp_path)
        out = tmp_path / "out.jsonl"
        wait_until(lambda: out.exists() and len(out.read_text().splitlines()) > 40)
        process.kill()
        process.wait()
    assert len([json.loads(line) for line in out.read_text().splitlines()]) > 40
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
