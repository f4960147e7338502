"""One connection to a camera: opened, read packet by packet, and closed, all on one thread."""

from __future__ import annotations

import logging
import sys
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

import av
import av.container
import av.error

from tensortap.errors import SourceError, UsageError
from tensortap.portable.sources.ffmpeg import own_time_ns, picture_stream, why

_log = logging.getLogger(__name__)
_SECOND_NS = 1_000_000_000
_MOST_PIXELS = 64_000_000
"""A camera that claims to have more is broken, or wants our memory."""
_WITHOUT_TIMES = frozenset({"mjpeg", "mpjpeg"})
"""Formats that have no timestamps: FFmpeg makes them up."""
_HELD_BACK = frozenset({"mpegts", "rtp", "rtsp", "sdp"})
"""Formats in which FFmpeg knows the end of an H.264 or H.265 picture only when the next one begins."""
_WEBCAM_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True)
class LiveSettings:
    """How patient to be with cameras."""

    open_timeout_seconds: float = 10.0
    """Until a connection is open, and from then to the first frame."""
    stall_timeout_seconds: float = 5.0
    """Without a frame, whatever else comes."""
    retry_min_seconds: float = 0.25
    """First pause before the next attempt; each is twice the one before."""
    retry_max_seconds: float = 10.0
    """Longest pause."""
    retries: int | None = None
    """Failed attempts in a row after which the stream is given up; `None` never does."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture as the connection gives it."""

    frame: av.VideoFrame
    own_ns: int | None
    """The camera's timestamp; `None` where there is none to be trusted."""
    arrival_ns: int
    """When it had come, by `time.monotonic_ns()`."""


class RefusedError(SourceError):
    """The camera does not let us in: asking again soon may lock us out."""


class Connection(Protocol):
    """An open connection, used and closed by one thread."""

    frame_rate: float | None
    """Nominal frames a second, where the camera says."""
    damaged: int
    """Packets that could not be decoded."""

    def pictures(self) -> Iterator[Picture | None]:
        """Pictures as they come, and `None` now and then where none came, so that the caller can look around.

        Ends when the camera ends the stream; raises SourceError when the connection breaks.
        """
        ...

    def close(self) -> None:
        """Release it."""
        ...


class Seen:
    """The packets of the last minutes of a stream, so that none counts as new when a server gives them again."""

    def __init__(self, size: int = 5000) -> None:
        self._order: deque[tuple[int | None, int]] = deque()
        self._known: set[tuple[int | None, int]] = set()
        self._size = size

    def add(self, pts: int | None, data: memoryview | bytes) -> bool:
        """Note a packet; True if it was known."""
        key = pts, zlib.crc32(data)
        if key in self._known:
            return True
        self._known.add(key)
        self._order.append(key)
        if len(self._order) > self._size:
            self._known.discard(self._order.popleft())
        return False


class FfmpegConnection:
    """A connection through FFmpeg: RTSP, RTMP, HLS, MJPEG and MPEG-TS over anything, webcams.

    Args:
        location: a URL, or `webcam:NUMBER`.
        settings: time-outs and transport.
        seen: packets of earlier connections to the same stream.

    Raises:
        SourceError: it cannot be opened; the message is a reason without the address.
    """

    def __init__(self, location: str, settings: LiveSettings, seen: Seen) -> None:
        self.damaged = 0
        self._seen = seen
        address, file_format, options = _how_to_open(location, settings)
        # Reading may take longer than a stall: the watchdog decides, this only ends a read that was given up.
        timeouts = settings.open_timeout_seconds, settings.stall_timeout_seconds + 1.0
        began = time.monotonic()
        try:
            self._container = av.open(address, format=file_format, options=options, timeout=timeouts)
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError) as exc:
            raise RefusedError(why(exc)) from exc
        except (av.error.FFmpegError, OSError, ValueError) as exc:
            # FFmpeg gives a time-out of RTSP for bad data.
            if time.monotonic() - began >= settings.open_timeout_seconds:
                raise SourceError(f"it gave no answer within {settings.open_timeout_seconds:g} s") from exc
            raise SourceError(why(exc)) from exc
        try:
            self._video = picture_stream(self._container, "it")
            # One thread, because with more FFmpeg holds frames back.
            self._video.thread_type, self._video.thread_count = "SLICE", 1
            self._video.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            rate = self._video.average_rate or self._video.guessed_rate
            self.frame_rate = float(rate) if rate and 0.1 <= rate <= 240 else None
            self._has_times = self._container.format.name not in _WITHOUT_TIMES
            self._in_segments = self._container.format.name == "hls"
            codec = self._video.codec_context.name
            self._holds_back = self._container.format.name in _HELD_BACK and codec in ("h264", "hevc")
        except BaseException:
            self._container.close()
            raise

    def pictures(self) -> Iterator[Picture | None]:
        """Pictures as they come; see `Connection`."""
        pace, before_ns = _Pace(), None
        known_pts: set[int | None] = set()
        try:
            # All streams, sound too: where nothing but sound comes, the caller must still be able to look around.
            for packet in self._container.demux():
                arrival_ns = time.monotonic_ns()
                if packet.stream_index != self._video.index:
                    yield None
                    continue
                if self._in_segments and packet.size and self._seen.add(packet.pts, bytes(packet)):
                    known_pts.add(packet.pts)  # decoded all the same: others build on it
                decoded = self._decode(cast("av.Packet[av.VideoStream]", packet))
                if not decoded:
                    yield None
                for frame in decoded:
                    own_ns = own_time_ns(frame) if self._has_times else None
                    if self._in_segments:
                        if frame.pts in known_pts:
                            known_pts.discard(frame.pts)
                            yield None
                            continue
                        while (seconds := pace.seconds_until(own_ns, time.monotonic_ns())) > 0:
                            time.sleep(min(seconds, 0.1))
                            yield None
                        arrival_ns = time.monotonic_ns()
                    held_ns = 0
                    if self._holds_back and own_ns is not None and before_ns is not None:
                        held_ns = max(0, min(_SECOND_NS, own_ns - before_ns))
                    before_ns = own_ns
                    yield Picture(frame, own_ns, arrival_ns - held_ns)
        except av.error.FFmpegError as exc:
            raise SourceError(why(exc)) from exc

    def close(self) -> None:
        """Release the connection."""
        self._container.close()

    def _decode(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        try:
            return packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as exc:
            self.damaged += 1
            _log.debug("a packet cannot be decoded: %s", why(exc))
            return []


class _Pace:
    """HLS comes in segments of some seconds at once; each picture is given when its time has come."""

    def __init__(self) -> None:
        self._shift_ns: int | None = None

    def seconds_until(self, own_ns: int | None, now_ns: int) -> float:
        """How long to wait with a picture of this time."""
        if own_ns is None:
            return 0.0
        ahead_ns = None if self._shift_ns is None else own_ns + self._shift_ns - now_ns
        # Too late, or far ahead: the server paused or left something out, and time goes on from here.
        if ahead_ns is None or not -_SECOND_NS // 2 < ahead_ns < 10 * _SECOND_NS:
            self._shift_ns, ahead_ns = now_ns - own_ns, 0
        return max(0, ahead_ns) / _SECOND_NS


def check_location(location: str) -> None:
    """Say early what can never be opened.

    Raises:
        UsageError: a webcam is asked for something that there is not.
    """
    if location.startswith("webcam:"):
        webcam_options(_parameters(location), "linux")


def _how_to_open(location: str, settings: LiveSettings) -> tuple[str, str | None, dict[str, str]]:
    """Address, format and options for FFmpeg."""
    if location.startswith("webcam:"):
        return _webcam(location.removeprefix("webcam:"))
    scheme = urlsplit(location).scheme.lower()
    microseconds = str(int((settings.stall_timeout_seconds + 1.0) * 1e6))
    if scheme in ("rtsp", "rtsps"):
        # The session description says what comes, so nothing needs to be probed: the first frame is there a second sooner.
        return (
            location,
            None,
            {"rtsp_transport": settings.rtsp_transport, "probesize": "32", "fpsprobesize": "0", "timeout": microseconds},
        )
    options = {"analyzeduration": "1000000", "fpsprobesize": "0", "rw_timeout": microseconds}
    if scheme.startswith("rtmp"):
        options["rtmp_live"] = "live"
    return location, None, options


def _webcam(text: str) -> tuple[str, str, dict[str, str]]:
    number = text.partition("?")[0]
    system = sys.platform if sys.platform in _WEBCAM_FORMATS else "linux"
    options = webcam_options(_parameters(text), system)
    if system == "linux":
        return f"/dev/video{number}", _WEBCAM_FORMATS[system], options
    if system == "darwin":
        return f"{number}:none", _WEBCAM_FORMATS[system], options
    names = [device.name for device in _windows_webcams()]
    if int(number) >= len(names):
        raise SourceError(f"there is no such webcam; found: {', '.join(map(repr, names)) or 'none'}")
    return f"video={names[int(number)]}", _WEBCAM_FORMATS[system], options


def _parameters(text: str) -> dict[str, str]:
    return dict(parse_qsl(text.partition("?")[2], keep_blank_values=True))


def _windows_webcams() -> list[av.DeviceInfo]:
    if not hasattr(av, "enumerate_input_devices"):
        raise SourceError(f"PyAV {av.__version__} cannot list webcams. Try: pip install --upgrade av")
    return [device for device in av.enumerate_input_devices("dshow") if "video" in device.media_types]


def webcam_options(wanted: dict[str, str], system: str) -> dict[str, str]:
    """FFmpeg's options for `?size=1280x720&fps=30&format=mjpeg`.

    Raises:
        UsageError: a parameter is not known.
    """
    names = {"size": "video_size", "fps": "framerate", "format": "pixel_format"}
    if system == "linux":
        names["format"] = "input_format"
    elif wanted.get("format") == "mjpeg":
        names["format"] = "vcodec" if system == "win32" else "pixel_format"
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise UsageError(f"A webcam has no {', '.join(map(repr, unknown))}. Known: {', '.join(sorted(names))}.")
    return {names[name]: value for name, value in wanted.items()}
