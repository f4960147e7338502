"""The process of `gst_server.py`, as an object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tensortap.errors import MissingDependencyError, SinkError
from tensortap.sinks.stream.encoder import Packet
from tensortap.sinks.stream.gst_server import HEADER

_SCRIPT = Path(__file__).with_name("gst_server.py")
_START_SECONDS = 30.0
INSTALL = (
    "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad"
)


class GstServer:
    """Serves encoded pictures by RTSP from its making until `close()`. All methods may be called by any thread.

    Args:
        host: address of this machine to listen at.
        port: 0 takes a free one.
        codec: `h264` or `h265`.
        user: who may watch; empty for everybody.
        password: of the user.
        on_watch: called in a thread of its own with the number of a mount and how many watch it.

    Raises:
        MissingDependencyError: no Python here has gst-rtsp-server.
        SinkError: nobody can listen there.
    """

    def __init__(
        self, host: str, port: int, codec: str, user: str, password: str, on_watch: Callable[[int, int], object]
    ) -> None:
        self._on_watch = on_watch
        self._lock = threading.Lock()
        self._closed = False
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the server
        wanted = {"host": host, "port": port, "codec": codec, "user": user, "password": password}
        missing = "there is no Python"
        # PyGObject comes with the system's Python, as a rule; PyPI has no wheels of it.
        for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
            answer = self._start(python, wanted)
            if answer[:1] == ["ready"]:
                break
            self._stop()
            if answer[:1] == ["failed"]:
                self._noise.close()
                raise SinkError(" ".join(answer[1:]))
            missing = " ".join(answer[1:]) or self.why()
        else:
            self._noise.close()
            raise MissingDependencyError(
                f"gst-rtsp-server is needed to serve RTSP ({missing}). Try: {INSTALL}\n"
                "Without it, push to an RTSP or RTMP server that you have: -o rtsp+push://HOST:8554/PATH, -o rtmp://HOST/APP/KEY."
            )
        self.port = int(answer[1])
        """Where it listens."""
        self._listener = threading.Thread(target=self._listen, name="tensortap-rtsp", daemon=True)
        self._listener.start()

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended on its own."""
        return not self._closed and self._process.poll() is not None

    def why(self) -> str:
        """What it complained of last."""
        self._noise.seek(0)
        return self._noise.read().decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {self._process.poll()}"

    def mount(self, number: int, path: str) -> None:
        """Serve under a path from now on."""
        self._send(b"M", number, path.encode())

    def unmount(self, number: int) -> None:
        """Take no more viewers there."""
        self._send(b"U", number, b"")

    def push(self, number: int, packet: Packet) -> None:
        """A picture for everybody who watches a mount. Never waits for viewers, and drops silently when closed."""
        self._send(b"K" if packet.is_keyframe else b"P", number, packet.data)

    def close(self) -> None:
        """Stop serving. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._stop()
        self._listener.join(1.0)
        self._noise.close()

    def _start(self, python: str, wanted: dict[str, Any]) -> list[str]:
        """Start the process; the words of its first line."""
        # A session of its own: Ctrl-C is for us, who end it. Isolated: our paths are not those of another Python.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        try:
            self._process = subprocess.Popen(
                [python, "-I", str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._noise,
                env=environment,
                start_new_session=True,
            )
        except OSError as exc:
            return ["missing", str(exc)]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        patience = threading.Timer(_START_SECONDS, self._process.kill)
        patience.start()
        try:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()
            return self._process.stdout.readline().decode().split()
        except OSError:
            return self._process.stdout.readline().decode().split()  # it has not waited to be told
        finally:
            patience.cancel()

    def _stop(self) -> None:
        process = getattr(self, "_process", None)
        if process is None:
            return
        # Killed rather than asked: a message may be half written, and nothing of it is to be saved.
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            try:
                stream.close()
            except OSError:
                continue  # what was still to be sent

    def _send(self, kind: bytes, number: int, data: bytes) -> None:
        stream = self._process.stdin
        assert stream is not None
        try:
            with self._lock:
                if not self._closed:
                    stream.write(HEADER.pack(kind, number, len(data)) + data)
                    stream.flush()
        except (OSError, ValueError):
            return  # it is gone; whoever asks is told

    def _listen(self) -> None:
        """Body of the thread that hears who watches."""
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                word, *numbers = line.decode().split()
                if word == "watch":
                    self._on_watch(int(numbers[0]), int(numbers[1]))
        except ValueError:
            return  # closed meanwhile
