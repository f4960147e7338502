"""`rtsp`: the pictures with people drawn in, for whoever comes to watch: all streams tiled, and each alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from tensortap.errors import SinkError, UsageError
from tensortap.sinks.names import shown
from tensortap.sinks.stream.channel import Channel, Send
from tensortap.sinks.stream.encoder import Encoder, Encoding
from tensortap.sinks.stream.gst import GstServer
from tensortap.sinks.stream.views import SingleView, TiledView, View
from tensortap.sinks.stream.wall import Wall
from tensortap.types import Result, StreamEvent, StreamInfo

_ADDRESS = re.compile(
    r"rtsp://(?:(?P<user>[^:@/]+):(?P<password>[^@/]*)@)?(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^:/@\[\]]*))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[\w./~-]*[\w~-])/?"
)
_TILED = 0
"""Number of the mount that shows all streams."""


class RtspAddress(NamedTuple):
    """Where to serve, and for whom."""

    host: str
    port: int
    path: str
    """Begins with a slash and ends without one."""
    user: str
    """Empty: everybody may watch."""
    password: str


def parse_rtsp_address(text: str) -> RtspAddress:
    """`rtsp://:8554/ds-test`. Without a host it is this machine only; without a port 8554; port 0 takes a free one.

    Raises:
        UsageError: it is no address.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or int(found["port"] or 0) > 65535:
        raise UsageError(
            f"-o {shown(text)}: say where to serve: rtsp://:8554/ds-test (this machine only), rtsp://0.0.0.0:8554/ds-test "
            "(everybody), rtsp://[::]:8554/ds-test, rtsp://USER:PASSWORD@0.0.0.0:8554/ds-test."
        )
    return RtspAddress(
        host=found["v6"] or found["host"] or "127.0.0.1",
        port=int(found["port"] or 8554),
        path=found["path"],
        user=unquote(found["user"] or ""),
        password=unquote(found["password"] or ""),
    )


class RtspSink:
    """Serves RTSP from its making until `close()`. Nothing is drawn or encoded that nobody watches, and nothing twice.

    Args:
        address: `rtsp://:8554/ds-test` for all streams tiled; each alone is at `/ds-test/NAME`.
        encoding: of all pictures.

    Raises:
        UsageError: it is no address.
        MissingDependencyError: gst-rtsp-server is not installed; says the install line.
        SinkError: nobody can listen there.
    """

    handles_live = True

    def __init__(self, address: str, encoding: Encoding | None = None) -> None:
        self._encoding = encoding or Encoding()
        self._wall = Wall()
        self._channels: dict[int, Channel] = {}
        self._mounts: dict[int, int] = {}
        """`source_id` -> number of its mount."""
        self._paths: dict[int, str] = {}
        """Number of a mount -> its path."""
        self._next_mount = _TILED
        self._closed = False
        self._lock = threading.Lock()
        where = parse_rtsp_address(address)
        self._name = shown(address)
        try:
            self._server = GstServer(
                where.host, where.port, self._encoding.codec, where.user, where.password, on_watch=self._watch
            )
        except SinkError as exc:
            raise SinkError(
                f"-o {self._name}: cannot serve there: {exc}. Choose another port, or an address of this machine."
            ) from exc
        host = f"[{where.host}]" if ":" in where.host else where.host
        self._base = f"rtsp://{host}:{self._server.port}"
        self._mount(where.path, partial(TiledView, self._encoding.size_wh))

    @property
    def url(self) -> str:
        """Where all streams are seen."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """All addresses, the tiled picture's first, without user and password."""
        with self._lock:
            return [self._base + path for path in self._paths.values()]

    @property
    def dropped(self) -> int:
        """Results that were not shown to those who watched because encoding was too slow."""
        return sum(channel.dropped for channel in list(self._channels.values()))

    def add_stream(self, stream: StreamInfo) -> None:
        """Show a stream from now on, whether it has pictures or not."""
        self._show(stream.source_id, stream.name)

    def write(self, result: Result) -> None:
        """Show a result; never waits. Raises SinkError."""
        if self._closed:
            raise SinkError(f"{self._name} is closed; nothing more can be shown there.")
        self._raise_error()
        if result.info.source_id not in self._mounts:
            self._show(result.info.source_id, result.info.source)
        self._wall.put(result)

    def write_event(self, event: StreamEvent) -> None:
        """A stream comes or goes."""
        self._wall.tell(event)
        if event.state.value == "ended" and (number := self._mounts.pop(event.source_id, None)) is not None:
            self._server.unmount(number)
            with self._lock:
                self._paths.pop(number, None)
                channel = self._channels.pop(number, None)
            if channel:
                channel.close()

    def close(self) -> None:
        """Stop serving."""
        self._closed = True
        self._server.close()  # first: a channel may be waiting for it
        for channel in list(self._channels.values()):
            channel.close()

    def _show(self, source_id: int, name: str) -> None:
        self._wall.add(source_id, name)
        path = f"{self._paths[_TILED]}/{re.sub(r'[^A-Za-z0-9._~-]+', '-', name).strip('-') or source_id}"
        if path in self._paths.values():
            path = f"{path}-{source_id}"
        self._mounts[source_id] = self._mount(path, partial(SingleView, source_id, self._encoding.size_wh))

    def _mount(self, path: str, make_view: Callable[[], View]) -> int:
        with self._lock:
            number, self._next_mount = self._next_mount, self._next_mount + 1
            self._paths[number] = path
            self._channels[number] = Channel(
                f"tensortap-rtsp-{number}",
                self._wall,
                make_view,
                partial(self._sending, number),
                frame_rate=self._encoding.frame_rate,
            )
        self._server.mount(number, path)
        return number

    def _watch(self, number: int, viewers: int) -> None:
        """Somebody comes or goes."""
        channel = self._channels.get(number)
        if channel is not None:
            channel.watch(viewers > 0)

    @contextmanager
    def _sending(self, number: int) -> Iterator[Send]:
        """Encode once for everybody who watches."""
        encoder: Encoder | None = None

        def send(picture: np.ndarray, seconds: float, keyframe: bool) -> None:
            nonlocal encoder
            if encoder is None:
                encoder = Encoder(self._encoding, (picture.shape[1], picture.shape[0]))
            for packet in encoder.encode(picture, seconds, keyframe):
                self._server.push(number, packet)

        yield send

    def _raise_error(self) -> None:
        if self._server.is_gone:
            raise SinkError(f"{self._name}: the RTSP server has ended: {self._server.why()}.")
        for channel in list(self._channels.values()):
            if channel.error is not None:
                raise SinkError(f"{self._name} cannot be encoded: {channel.error}.") from channel.error
