"""`push`: the tiled picture to an RTSP or RTMP server that one already has."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import av
import av.error
import numpy as np

from tensortap.errors import SinkError, UsageError
from tensortap.sinks.names import shown
from tensortap.sinks.stream.channel import Channel, Send
from tensortap.sinks.stream.encoder import Encoding, Frames, encoder_name, set_up
from tensortap.sinks.stream.views import TiledView
from tensortap.sinks.stream.wall import Wall
from tensortap.types import Result, StreamEvent, StreamInfo

_log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 5.0
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
        self._is_rtsp = parts.scheme == "rtsp+push"
        if not self._is_rtsp and encoding.codec != "h264":
            raise UsageError(f"-o {self._name}: RTMP servers take H.264. Leave out --codec {encoding.codec}, or push by RTSP.")
        self._location = address.replace("rtsp+push://", "rtsp://", 1)
        self._encoding = encoding
        self._wall = Wall()
        self._closing = threading.Event()
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
        self._channel.close()

    def _begin(self) -> None:
        if not self._begun and not self._closing.is_set():
            self._begun = True
            self._channel.watch(True)

    @contextmanager
    def _sending(self) -> Iterator[Send]:
        connection = _Connection(self._location, self._is_rtsp, self._encoding)
        pause, is_up = _PAUSES[0], None
        try_again = 0.0

        def send(picture: np.ndarray, seconds: float, keyframe: bool) -> None:
            nonlocal pause, is_up, try_again
            if seconds < try_again:
                return
            try:
                connection.send(picture, seconds, keyframe)
            except (av.error.FFmpegError, OSError) as exc:
                connection.close()
                log = _log.warning if is_up is not False else _log.debug
                log("%s does not take the picture: %s. It is tried again.", self._name, exc.strerror or type(exc).__name__)
                is_up = False
                try_again = seconds + pause * random.uniform(0.5, 1.0)
                pause = min(2 * pause, _PAUSES[1])
            else:
                if not is_up:
                    _log.info("%s takes the picture", self._name)
                is_up, pause = True, _PAUSES[0]

        try:
            yield send
        finally:
            connection.close()


class _Connection:
    """One server, connected with the first picture."""

    def __init__(self, location: str, is_rtsp: bool, encoding: Encoding) -> None:
        self._location = location
        self._is_rtsp = is_rtsp
        self._encoding = encoding
        self._container: Any = None
        self._stream: Any = None
        self._frames = Frames(encoding)
        self._began = 0.0

    def send(self, picture: np.ndarray, seconds: float, keyframe: bool) -> None:
        """Encode and send a picture; raises what FFmpeg raises."""
        if self._container is None:
            self._open((picture.shape[1], picture.shape[0]))
            self._began = seconds
        for packet in self._stream.encode(self._frames.make(picture, seconds - self._began, keyframe)):
            self._container.mux(packet)

    def close(self) -> None:
        """Hang up; what fails then does not matter."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            container.close()
        except (av.error.FFmpegError, OSError) as exc:
            _log.debug("hanging up: %s", exc)

    def _open(self, size_wh: tuple[int, int]) -> None:
        options = {"rtsp_transport": "tcp"} if self._is_rtsp else {"flvflags": "no_duration_filesize"}
        timeout = str(round(_TIMEOUT_SECONDS * 1_000_000))
        options |= {"timeout": timeout} if self._is_rtsp else {"rw_timeout": timeout}
        self._frames = Frames(self._encoding)
        container = av.open(
            self._location, "w", format="rtsp" if self._is_rtsp else "flv", options=options, timeout=_TIMEOUT_SECONDS
        )
        stream: Any = container.add_stream(encoder_name(self._encoding), rate=round(self._encoding.frame_rate))
        set_up(stream.codec_context, self._encoding, size_wh)
        self._container, self._stream = container, stream
