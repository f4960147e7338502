"""`push`: the tiled picture to an RTSP or RTMP server that one already has."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from tensortap.errors import SinkError, UsageError
from tensortap.sinks.names import shown
from tensortap.sinks.stream.channel import Channel, Send
from tensortap.sinks.stream.encoder import Encoder, Encoding, Packet
from tensortap.sinks.stream.pusher import HEADER
from tensortap.sinks.stream.views import TiledView
from tensortap.sinks.stream.wall import Wall
from tensortap.types import Result, StreamEvent, StreamInfo

_log = logging.getLogger(__name__)
_SCRIPT = Path(__file__).parent / "stream" / "pusher.py"
_FAREWELL_SECONDS = 0.5
"""How long the server may take to be told that the stream ends."""
_PAUSES = (0.5, 10.0)
"""Shortest and longest pause in seconds before the server is tried again; they double in between."""


class PushSink:
    """Sends all streams, tiled, to a server, in a thread of its own. A server that is down is tried again for ever.

    Args:
        address: `rtsp+push://HOST:8554/PATH`, over TCP, or `rtmp://HOST/APP/KEY`.
        encoding: of the picture.

    Raises:
        UsageError: it is no address, or the server's protocol cannot carry the codec.
    """

    handles_live = True

    def __init__(self, address: str, encoding: Encoding | None = None) -> None:
        encoding = encoding or Encoding()
        self._name = shown(address)
        parts = urlsplit(address)
        if not parts.hostname or not parts.path.strip("/"):
            raise UsageError(
                f"-o {self._name}: say which server and which path there: rtsp+push://HOST:8554/PATH, rtmp://HOST/APP/KEY."
            )
        if parts.scheme != "rtsp+push" and encoding.codec != "h264":
            raise UsageError(f"-o {self._name}: RTMP servers take H.264. Leave out --codec {encoding.codec}, or push by RTSP.")
        self._location = address.replace("rtsp+push://", "rtsp://", 1)
        self._encoding = encoding
        self._wall = Wall()
        self._closing = threading.Event()
        self._pusher: _Pusher | None = None
        self._channel = Channel(
            "tensortap-push",
            self._wall,
            partial(TiledView, encoding.size_wh),
            self._sending,
            frame_rate=encoding.frame_rate,
        )
        self._begun = False

    @property
    def dropped(self) -> int:
        """Results that were not shown because encoding or the server was too slow."""
        return self._channel.dropped

    def add_stream(self, stream: StreamInfo) -> None:
        """Show a stream from now on, whether it has pictures or not."""
        self._wall.add(stream.source_id, stream.name)

    def write(self, result: Result) -> None:
        """Show a result; never waits. Raises SinkError."""
        if self._closing.is_set():
            raise SinkError(f"{self._name} is closed; nothing more can be sent there.")
        if self._channel.error is not None:
            raise SinkError(f"{self._name} cannot be encoded: {self._channel.error}.") from self._channel.error
        self._wall.put(result)
        self._begin()

    def write_event(self, event: StreamEvent) -> None:
        """A stream comes or goes."""
        self._wall.tell(event)
        self._begin()

    def close(self) -> None:
        """End the stream at the server; one that does not answer is not waited for."""
        self._closing.set()
        if not self._channel.close(2 * _FAREWELL_SECONDS) and (pusher := self._pusher) is not None:
            pusher.kill()  # the channel hangs in a pipe that nobody reads
            self._channel.close()

    def _begin(self) -> None:
        if not self._begun and not self._closing.is_set():
            self._begun = True
            self._channel.watch(True)

    @contextmanager
    def _sending(self) -> Iterator[Send]:
        pause, is_up, try_again = _PAUSES[0], None, 0.0
        encoder: Encoder | None = None

        def send(picture: np.ndarray, seconds: float, keyframe: bool) -> None:
            nonlocal pause, is_up, try_again, encoder
            if seconds < try_again:
                return
            is_new = self._pusher is None
            if self._pusher is None:
                self._pusher = _Pusher(self._location, self._encoding.codec)
            encoder = encoder or Encoder(self._encoding, (picture.shape[1], picture.shape[0]))
            try:
                for packet in encoder.encode(picture, seconds, keyframe or is_new):
                    is_taken = self._pusher.send(packet, seconds)
            except OSError:
                reason, self._pusher = self._pusher.end(), None
                if not self._closing.is_set():
                    log = _log.warning if is_up is not False else _log.debug
                    log("%s does not take the picture: %s. It is tried again.", self._name, reason)
                is_up = False
                try_again = seconds + pause * random.uniform(0.5, 1.0)
                pause = min(2 * pause, _PAUSES[1])
            else:
                if is_taken and not is_up:
                    _log.info("%s takes the picture", self._name)
                    is_up, pause = True, _PAUSES[0]

        try:
            yield send
        finally:
            if self._pusher is not None:
                self._pusher.end()


class _Pusher:
    """The process of `stream/pusher.py`, as an object; used by one thread, but for `kill`."""

    def __init__(self, location: str, codec: str) -> None:
        # A session of its own: Ctrl-C is for us, who end it.
        self._process = subprocess.Popen(
            [sys.executable, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipe, self._answers = self._process.stdin, self._process.stdout
        os.set_blocking(self._answers.fileno(), False)
        self._said = b""
        self._greeting = json.dumps({"location": location, "codec": codec}).encode() + b"\n"

    def send(self, packet: Packet, seconds: float) -> bool:
        """Send a picture; raises OSError when the process has ended.

        Returns:
            Whether the server has taken pictures.
        """
        header = HEADER.pack(packet.is_keyframe, seconds, len(packet.data))
        greeting, self._greeting = self._greeting, b""
        self._pipe.write(greeting + header + packet.data)
        self._pipe.flush()
        self._said += self._answers.read() or b""
        return self._said.startswith(b"up")

    def end(self) -> str:
        """End it, in peace if it can; why it ended, if it did on its own."""
        with suppress(OSError):  # what was still to be sent
            self._pipe.close()
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said += self._answers.read() or b""
        self._answers.close()
        return self._said.decode(errors="replace").removeprefix("up\n").strip() or "the connection broke"

    def kill(self) -> None:
        """End it at once; by any thread."""
        self._process.kill()
