"""A small HTTP server that misbehaves as told, for tests of downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves one file, and notes what it was asked for and what it sent."""

    body: bytes
    etag: str | None = '"one"'
    """`None`: the server names no version."""
    ranges: bool = True
    """Whether it can send the rest of a file."""
    length: bool = True
    """Whether it says how long the file is."""
    content_type: str = "application/octet-stream"
    cut_at: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of the body; one entry an answer, then whole answers."""
    status: list[int] = field(default_factory=list)
    """Answer with these instead, one an answer."""
    stall: bool = False
    """Send half, then nothing, until `released` is set."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Path -> where it leads."""
    first_byte: int | None = None
    """Of a range: what it starts with instead of what was asked for."""
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, Range and If-Range of every request."""
    sent: list[int] = field(default_factory=list)
    """Bytes of the body, one entry an answer."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        self.requests.append((handler.path, wanted, condition))
        if handler.path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[handler.path])
            handler.end_headers()
            return
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        start = 0
        if wanted and self.ranges and condition in (None, self.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.body):
                handler.send_error(416)
                return
            start = start if self.first_byte is None else self.first_byte
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Type", self.content_type)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        if self.length:
            handler.send_header("Content-Length", str(len(self.body) - start))
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        data = self.body[start:]
        if self.cut_at:
            data = data[: self.cut_at.pop(0)]
        if self.stall:
            data = data[: len(data) // 2]
        self.sent.append(len(data))  # first: the client may be done with it before this thread goes on
        handler.wfile.write(data)
        handler.wfile.flush()
        if self.stall:
            self.released.wait(30)


@contextmanager
def serve(server: FileServer) -> Iterator[FileServer]:
    """Run it on a free port of this machine; its address is `server.url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/model.bin"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        thread.join()
        http.server_close()
