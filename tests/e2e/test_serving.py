"""The served picture, watched by real clients: FFmpeg's and GStreamer's, several at once, and some that misbehave."""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import av
import av.error
import numpy as np
import pytest

from models import pose_model
from people import result
from rtsp.clips import number_of, numbered_picture
from rtsp.server import INSTALL, python_with_gi
from tensortap.errors import SinkError
from tensortap.sinks.push import PushSink
from tensortap.sinks.rtsp import RtspSink
from tensortap.sinks.stream import gst_server
from tensortap.sinks.stream.encoder import Encoding
from tensortap.types import Frame, StreamEvent, StreamInfo, StreamState

if python_with_gi() is None:
    pytest.skip(f"needs gst-rtsp-server: {INSTALL}", allow_module_level=True)

SIZE = (160, 96)
WATCH = Path(__file__).parents[1] / "rtsp" / "watch.py"
PATIENCE = 30.0
ENCODING = Encoding(bitrate=500_000, size_wh=(320, 192))
LOOP = 1024


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Numbered:
    """Pixels that show a number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def bgr(self) -> np.ndarray:
        return numbered_picture(self._number, SIZE)


@contextmanager
def fed(sink: RtspSink | PushSink, rate: float = 25.0) -> Iterator[None]:
    """Numbered pictures for one stream, `door`, beside one, `gate`, that is down."""
    sink.add_stream(StreamInfo(0, "door", is_live=True))
    sink.add_stream(StreamInfo(1, "gate", is_live=True))
    sink.write_event(StreamEvent(1, "gate", StreamState.OFFLINE, "Connection refused", time.time_ns(), 1))
    over, errors = threading.Event(), []

    def feed() -> None:
        number = 0
        blank = result(0, None, source="door")
        while not over.wait(1 / rate):
            info = replace(blank.info, index=number, is_live=True)
            try:
                sink.write(replace(blank, frame=Frame(info, Numbered(number % LOOP)), poses=blank.poses.take(np.zeros(0, int))))
            except SinkError as exc:
                errors.append(exc)
                return
            number += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        until(lambda: any(slot.result for slot in sink._wall.slots()))
        yield
    finally:
        over.set()
        thread.join()
        sink.close()


@pytest.fixture
def served() -> Iterator[RtspSink]:
    sink = RtspSink("rtsp://:0/ds-test", ENCODING)
    with fed(sink):
        until(lambda: len(sink.urls) == 3)
        yield sink


def watch(url: str, number: int, transport: str = "tcp") -> list[np.ndarray]:
    """So many pictures, as FFmpeg's client gets them; damage is an error."""
    options = {"rtsp_transport": transport, "err_detect": "explode", "analyzeduration": "500000"}
    pictures: list[np.ndarray] = []
    with av.open(url, options=options, timeout=(15, 10)) as container:
        container.streams.video[0].thread_count = 1
        for packet in container.demux(video=0):
            for frame in packet.decode():
                assert not frame.is_corrupt
                pictures.append(frame.to_ndarray(format="bgr24"))
                if len(pictures) == number:
                    return pictures
    raise AssertionError(f"{url} ended after {len(pictures)} pictures")


def rising(pictures: list[np.ndarray]) -> bool:
    """Whether each picture is the one before it or a newer one, and most are newer."""
    steps = np.diff([number_of(picture) for picture in pictures]) % LOOP
    return bool((steps < LOOP // 2).all() and (steps > 0).mean() > 0.5)


def watch_with_gstreamer(url: str, number: int, protocol: str = "tcp", codec: str = "h264") -> list[np.ndarray]:
    """The same by GStreamer's client; its byte stream is decoded here."""
    command = [str(python_with_gi()), str(WATCH), url, str(number), protocol, codec]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    pictures = []
    with av.open(io.BytesIO(done.stdout), format=codec.replace("h265", "hevc"), options={"err_detect": "explode"}) as container:
        for frame in container.decode(video=0):
            assert not frame.is_corrupt
            pictures.append(frame.to_ndarray(format="bgr24"))
    return pictures


def test_one_alone_is_whole_for_both_clients_at_once(served: RtspSink) -> None:
    door = served.urls[1]
    assert door.endswith("/ds-test/door")
    found: dict[str, list[np.ndarray]] = {}
    clients = [
        threading.Thread(target=lambda: found.update(ffmpeg=watch(door, 100))),
        threading.Thread(target=lambda: found.update(udp=watch(door, 50, "udp"))),
        threading.Thread(target=lambda: found.update(gstreamer=watch_with_gstreamer(door, 60))),
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert set(found) == {"ffmpeg", "udp", "gstreamer"}
    for pictures in found.values():
        assert pictures[0].shape == (96, 160, 3)
        assert rising(pictures)
    # FFmpeg and GStreamer saw the very same pictures: encoded once.
    last = {number_of(picture): picture for picture in found["ffmpeg"]}
    both = [(last[number_of(picture)], picture) for picture in found["gstreamer"] if number_of(picture) in last]
    assert len(both) > 10
    assert all((one == other).all() for one, other in both[-5:])
    until(lambda: all(channel._thread is None for channel in served._channels.values()))


def test_all_streams_with_a_sign_for_the_one_that_is_down(served: RtspSink) -> None:
    [*_, picture] = watch(served.url, 20)
    assert picture.shape == (192, 320, 3)
    left, right = picture[:, :160], picture[:, 160:]
    assert number_of(left[48:144]) > 0  # in the middle of its tile, as large as in the source
    amber = (right[..., 2] > 150) & (right[..., 0] < 120)
    assert amber.sum() > 50
    assert right[:20].max() < 60
    [*_, alone] = watch(served.urls[2], 5)
    assert alone.shape == (192, 320, 3)
    assert (alone[..., 2] > 150).sum() > 50


def test_h265() -> None:
    sink = RtspSink("rtsp://:0/ds-test", replace(ENCODING, codec="h265"))
    with fed(sink):
        assert rising(watch(sink.urls[1], 30))
        assert rising(watch_with_gstreamer(sink.urls[1], 30, codec="h265"))


def test_a_client_that_stops_reading_harms_nobody(served: RtspSink) -> None:
    port = int(served.url.split(":")[2].split("/")[0])
    door = served.urls[1]
    with socket.create_connection(("127.0.0.1", port)) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        session = ask_to_play(stuck, door)
        stuck.sendall(f"PLAY {door} RTSP/1.0\r\nCSeq: 3\r\n{session}\r\n\r\n".encode())
        with socket.create_connection(("127.0.0.1", port)):  # and one that never asks
            pictures = watch(door, 80)
    assert rising(pictures)
    numbers = [number_of(picture) for picture in pictures]
    assert numbers[-1] - numbers[0] < 160


def test_who_pauses_goes_on_with_what_is_now(served: RtspSink) -> None:
    door = served.urls[1]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    with (
        socket.create_connection(("127.0.0.1", int(door.split(":")[2].split("/")[0]))) as client,
        client.makefile("rb") as lines,
    ):
        session = ask_to_play(client, door)
        for pause_seconds in (0.0, 3.0):
            time.sleep(pause_seconds)
            client.sendall(f"PLAY {door} RTSP/1.0\r\nCSeq: 3\r\n{session}\r\n\r\n".encode())
            seen = [frame for _ in range(40) for frame in decoder.decode(av.Packet(next_picture(lines)))]
            newest = next(slot.result for slot in served._wall.slots() if slot.result)
            assert newest.info.index - number_of(seen[-1].to_ndarray(format="bgr24")) < 25  # a second
            client.sendall(f"PAUSE {door} RTSP/1.0\r\nCSeq: 4\r\n{session}\r\n\r\n".encode())


def next_picture(lines: BinaryIO) -> bytes:
    """The next H.264 access unit of interleaved RTP (RFC 6184), over answers and reports."""
    unit = b""
    while True:
        first = lines.read(1)
        assert first, "the server has closed the connection"
        if first != b"$":  # an answer, up to its empty line
            while lines.readline().strip():
                pass
            continue
        channel, size = struct.unpack(">BH", lines.read(3))
        packet = lines.read(size)
        if channel:
            continue
        payload, kind = packet[12:], packet[12] & 31
        if kind == 28:  # a part of a NAL unit; the first one says what it is
            unit += b"\0\0\0\1" + bytes([payload[0] & 0xE0 | payload[1] & 31]) if payload[1] & 0x80 else b""
            unit += payload[2:]
        elif kind == 24:  # several, each with its size in front
            position = 1
            while position < len(payload):
                (length,) = struct.unpack_from(">H", payload, position)
                unit += b"\0\0\0\1" + payload[position + 2 : position + 2 + length]
                position += 2 + length
        else:
            unit += b"\0\0\0\1" + payload
        if packet[1] & 0x80:  # the last one of this picture
            return unit


WITHOUT_BASE_TIME = """
import importlib.util, sys
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
spec = importlib.util.spec_from_file_location("gst_server", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.Gst = Gst
pipeline = Gst.parse_launch("appsrc name=pictures is-live=true format=time ! appsink name=seen")
source = pipeline.get_by_name("pictures")
viewer = module.Viewer(source)
pipeline.set_state(Gst.State.PAUSED)
source.set_clock(Gst.SystemClock.obtain())
viewer.push(b"begins without a keyframe", False)
viewer.push(b"one", True)
viewer.push(b"two", False)
pipeline.set_state(Gst.State.PLAYING)
for _ in range(2):
    buffer = pipeline.get_by_name("seen").emit("try-pull-sample", 10 * Gst.SECOND).get_buffer()
    print(buffer.extract_dup(0, buffer.get_size()).decode(), buffer.pts / Gst.SECOND)
"""


def test_pictures_that_come_before_the_pipeline_runs_are_due_at_once() -> None:
    command = [str(python_with_gi()), "-c", WITHOUT_BASE_TIME, gst_server.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (one, at_first), (two, then) = (line.split() for line in done.stdout.splitlines())
    assert (one, two) == ("one", "two")
    assert 0 <= float(at_first) < float(then) < PATIENCE  # never the uptime of the machine


def ask_to_play(connection: socket.socket, url: str) -> str:
    """All but PLAY, over this connection; the header that names the session."""
    ask(connection, f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n")
    transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
    answer = ask(connection, f"SETUP {url}/stream=0 RTSP/1.0\r\nCSeq: 2\r\n{transport}\r\n\r\n")
    return next(line for line in answer.splitlines() if line.startswith("Session:")).partition(";")[0]


def ask(connection: socket.socket, request: str) -> str:
    connection.settimeout(PATIENCE)
    connection.sendall(request.encode())
    answer = connection.recv(8192).decode(errors="replace")
    assert answer.startswith("RTSP/1.0 200"), answer
    return answer


def test_only_who_knows_the_password_may_watch() -> None:
    sink = RtspSink("rtsp://me:se%3Acret@:0/ds-test", ENCODING)
    with fed(sink):
        assert "cret" not in "".join(sink.urls)
        with pytest.raises(av.error.HTTPUnauthorizedError):
            watch(sink.urls[1], 1)
        with pytest.raises(av.error.HTTPUnauthorizedError):
            watch(sink.urls[1].replace("//", "//me:wrong@"), 1)
        assert rising(watch(sink.urls[1].replace("//", "//me:se%3Acret@"), 20))
        with pytest.raises(av.error.HTTPUnauthorizedError):
            watch(sink.url, 1)
        assert watch(sink.url.replace("//", "//me:se%3Acret@"), 2)


def test_what_is_not_there(served: RtspSink) -> None:
    with pytest.raises(av.error.HTTPNotFoundError):
        watch(served.url + "/nobody", 1)


def test_streams_come_and_go(served: RtspSink) -> None:
    served.write_event(StreamEvent(7, "yard", StreamState.CONNECTING, "", time.time_ns(), 1))
    served.add_stream(StreamInfo(7, "yard", is_live=True))
    yard = served.urls[-1]
    assert watch(yard, 3)
    served.add_stream(StreamInfo(8, "yard", is_live=True))
    assert served.urls[-1].endswith("/ds-test/yard-8")
    served.write_event(StreamEvent(7, "yard", StreamState.ENDED, "removed", time.time_ns(), 1))
    assert yard not in served.urls
    with pytest.raises(av.error.HTTPNotFoundError):
        watch(yard, 1)
    assert watch(served.url, 3)


def test_a_port_that_is_taken(served: RtspSink) -> None:
    port = served.url.split(":")[2].split("/")[0]
    with pytest.raises(SinkError, match=r"cannot serve there: .*in use.*Choose another port"):
        RtspSink(f"rtsp://:{port}/ds-test", ENCODING)
    with pytest.raises(SinkError, match="cannot serve there"):
        RtspSink("rtsp://192.0.2.1:0/ds-test", ENCODING)


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    sink = RtspSink("rtsp://[::1]:0/ds-test", ENCODING)
    with fed(sink):
        assert rising(watch(sink.urls[1], 10))


def test_a_server_that_dies_is_an_error_of_the_output() -> None:
    sink = RtspSink("rtsp://:0/ds-test", ENCODING)
    sink._server._process.kill()
    with pytest.raises(SinkError, match="the RTSP server has ended"):
        until(lambda: sink.write(result(0)) is not None)
    sink.close()


@pytest.mark.parametrize("frozen", [False, True])
def test_closing_while_somebody_watches(frozen: bool) -> None:
    before = threading.active_count()
    sink = RtspSink("rtsp://:0/ds-test", ENCODING)
    with fed(sink, rate=200):
        client = av.open(sink.urls[1], options={"rtsp_transport": "tcp"}, timeout=(15, 5))
        if frozen:
            sink._server._process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
    assert threading.active_count() == before
    client.close()


LAUNCH = "import sys; sys.argv[0] = 'tensortap'; from tensortap.cli.entry import main; main()"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_whole_run(tmp_path: Path, how: signal.Signals) -> None:
    model_file = pose_model(tmp_path / "pose.onnx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scene = "a=scene://street?people=3&seed=1&size=320x192&fps=15&live=1"
    command = [sys.executable, "-c", LAUNCH, "run", "-i", scene, "b=rtsp://127.0.0.1:9/x", "-m", str(model_file)]
    command += ["-o", f"rtsp://:{port}/ds-test", "--tiled-size", "640x192"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("serving") and line.strip().endswith("/ds-test/b"):
            break
    else:
        raise AssertionError("".join(lines))
    [*_, picture] = watch(f"rtsp://127.0.0.1:{port}/ds-test", 20)
    assert picture.shape == (192, 640, 3)
    assert picture[:, :320].std() > 20
    assert picture[:20, 320:].max() < 60
    process.send_signal(how)
    _, rest = process.communicate(timeout=PATIENCE)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert f"showed rtsp://:{port}/ds-test" in rest
    # The server goes with the run, however that ends.
    until(lambda: is_free(port))


def is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


class Listener:
    """FFmpeg as the server that pictures are pushed to."""

    def __init__(self, url: str, options: dict[str, str]) -> None:
        self.pictures: list[np.ndarray] = []
        self._url, self._options = url, options
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with av.open(self._url, options=self._options) as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                self.pictures.append(frame.to_ndarray(format="bgr24"))
                if len(self.pictures) == 20:
                    return

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.mark.parametrize(
    ("scheme", "path", "options"),
    [("rtmp", "/live/key", {"listen": "1"}), ("rtsp+push", "/live", {"rtsp_flags": "listen", "listen_timeout": "20"})],
)
def test_pushing_to_a_server_that_is_down_at_first_and_comes_back(scheme: str, path: str, options: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = threading.active_count()
    sink = PushSink(f"{scheme}://127.0.0.1:{port}{path}", ENCODING)
    with fed(sink):
        time.sleep(0.5)
        for _ in range(2):
            listener = Listener(f"{scheme.partition('+')[0]}://127.0.0.1:{port}{path}", options)
            listener.join()
            assert len(listener.pictures) == 20
            assert listener.pictures[-1].shape == (192, 320, 3)
            assert rising([picture[48:144, :160] for picture in listener.pictures])
    until(lambda: threading.active_count() == before)
