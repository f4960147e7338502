"""Cameras that speak HTTP and RTMP, made of the standard library: motion JPEG, HLS, RTMP."""

from __future__ import annotations

import http.server
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import cv2

from rtsp.clips import encode, numbered_picture

SIZE_WH = (160, 96)
RATE = 10


class _Handler(http.server.BaseHTTPRequestHandler):
    """Motion JPEG under /mjpeg, HLS under /live.m3u8 (a window of three segments) and /whole.m3u8 (a recording)."""

    protocol_version = "HTTP/1.0"
    server: HttpCamera

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        try:
            if self.server.broken.is_set():
                self.send_error(503)
            elif path == "/mjpeg":
                self._motion_jpeg()
            elif path.endswith(".m3u8"):
                self._send("application/vnd.apple.mpegurl", self.server.playlist(path).encode())
            elif path.endswith(".ts"):
                number = int(path.strip("/").removesuffix(".ts"))
                self._send("video/mp2t", self.server.segments[number % len(self.server.segments)])
            else:
                self.send_error(404)
        except OSError:
            pass  # the client has gone

    def _send(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _motion_jpeg(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while not self.server.over.is_set() and not self.server.broken.is_set():
            number = int((time.monotonic() - self.server.started) * RATE)
            _, jpeg = cv2.imencode(".jpg", numbered_picture(number, SIZE_WH))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {jpeg.size}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
            self.server.over.wait(1 / RATE)


class HttpCamera(http.server.ThreadingHTTPServer):
    """On loopback, at a free port, from its making on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.over = threading.Event()
        self.broken = threading.Event()
        self.started = time.monotonic()
        self.segments = _segments(60)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def playlist(self, path: str) -> str:
        """The segments that can be had now, half a second each."""
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1"]
        if path == "/whole.m3u8":
            numbers, end = range(4), ["#EXT-X-ENDLIST"]
        else:
            newest = min(3 + int((time.monotonic() - self.started) * 2), len(self.segments))
            numbers, end = range(newest - 3, newest), []
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{numbers[0]}")
        for number in numbers:
            lines += ["#EXTINF:0.5,", f"{number}.ts"]
        return "\n".join([*lines, *end]) + "\n"


def _segments(count: int) -> list[bytes]:
    """MPEG-TS segments of five numbered pictures each, whose time goes on from one to the next."""
    packets = encode(5 * count, SIZE_WH, RATE, keyframe_every=5)
    segments = []
    for first in range(0, len(packets), 5):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mpegts", options={"mpegts_copyts": "1"}) as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
            for number in range(first, first + 5):
                packet = av.Packet(packets[number])
                packet.stream, packet.time_base = stream, Fraction(1, 90_000)
                packet.pts = packet.dts = number * 90_000 // RATE
                packet.is_keyframe = number == first
                container.mux(packet)
        segments.append(buffer.getvalue())
    return segments


@contextmanager
def http_camera() -> Iterator[HttpCamera]:
    """A server that is stopped in the end."""
    with HttpCamera() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


class RtmpCamera(threading.Thread):
    """As much of an RTMP server as FFmpeg needs to play from it (Adobe's RTMP specification 1.0): one client after another."""

    def __init__(self) -> None:
        super().__init__()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.url = f"rtmp://127.0.0.1:{self.listener.getsockname()[1]}/live/door"
        self.over = threading.Event()
        self._tags = _flv_tags()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(5)
                try:
                    self._serve(client)
                except OSError:
                    continue
        self.listener.close()

    def _serve(self, client: socket.socket) -> None:
        hello = _receive(client, 1 + 1536)
        client.sendall(b"\3" + bytes(1536) + hello[1:])
        _receive(client, 1536)
        client.sendall(_message(5, struct.pack(">I", 5_000_000)) + _message(1, struct.pack(">I", 1 << 20)))
        self._answer(client, b"connect", lambda number: _amf("_result", number, {}, {"code": "NetConnection.Connect.Success"}))
        self._answer(client, b"createStream", lambda number: _amf("_result", number, None, 1.0))
        self._answer(
            client, b"play", lambda number: _amf("onStatus", 0.0, None, {"level": "status", "code": "NetStream.Play.Start"})
        )
        started = time.monotonic()
        for kind, milliseconds, body in self._tags:
            if self.over.wait(max(0.0, started + milliseconds / 1e3 - time.monotonic())):
                return
            client.sendall(_message(kind, body, milliseconds, stream=1))

    def _answer(self, client: socket.socket, command: bytes, answer: Callable[[float], bytes]) -> None:
        """Wait for a command and answer it with its own number."""
        heard = b""
        marker = b"\2" + struct.pack(">H", len(command)) + command + b"\0"
        while marker not in heard or len(heard) < heard.index(marker) + len(marker) + 8:
            heard += client.recv(4096) or _gone()
        start = heard.index(marker) + len(marker)
        client.sendall(_message(20, answer(struct.unpack(">d", heard[start : start + 8])[0])))


def _gone() -> bytes:
    raise OSError("the client has gone")


def _receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += client.recv(size - len(data)) or _gone()
    return data


def _message(kind: int, body: bytes, milliseconds: int = 0, stream: int = 0) -> bytes:
    """One message in one chunk, with a full header."""
    return (
        b"\3"
        + milliseconds.to_bytes(3, "big")
        + len(body).to_bytes(3, "big")
        + bytes([kind])
        + stream.to_bytes(4, "little")
        + body
    )


def _amf(*values: object) -> bytes:
    """Values in AMF0."""
    parts = []
    for value in values:
        if isinstance(value, float):
            parts.append(b"\0" + struct.pack(">d", value))
        elif isinstance(value, str):
            parts.append(b"\2" + struct.pack(">H", len(value)) + value.encode())
        elif isinstance(value, dict):
            fields = b"".join(struct.pack(">H", len(key)) + key.encode() + _amf(field) for key, field in value.items())
            parts.append(b"\3" + fields + b"\0\0\t")
        else:
            parts.append(b"\5")
    return b"".join(parts)


def _flv_tags() -> list[tuple[int, int, bytes]]:
    """Numbered pictures as the tags of an FLV file: type, time in milliseconds, body."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flv") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"tune": "zerolatency", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        for number in range(200):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, SIZE_WH), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data, position, tags = buffer.getvalue(), 9 + 4, []
    while position < len(data):
        size = int.from_bytes(data[position + 1 : position + 4], "big")
        milliseconds = int.from_bytes(data[position + 4 : position + 7], "big")
        tags.append((data[position], milliseconds, data[position + 11 : position + 11 + size]))
        position += 11 + size + 4
    return tags


@contextmanager
def rtmp_camera() -> Iterator[RtmpCamera]:
    """A server that is stopped in the end."""
    server = RtmpCamera()
    server.start()
    yield server
    server.over.set()
    server.join()
