"""Video files and URLs of any container and codec that FFmpeg reads, through PyAV."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import av
import av.error

from tensortap.errors import SourceError
from tensortap.portable.pixels import quarter_turns_of, wrap
from tensortap.portable.sources.clock import FileClock
from tensortap.portable.sources.ffmpeg import own_time_ns, picture_stream, upright_size
from tensortap.portable.sources.inputs import is_url
from tensortap.text import redact
from tensortap.types import Frame, FrameInfo, StreamInfo

_log = logging.getLogger(__name__)
_SECOND_NS = 1_000_000_000
_MAX_DAMAGED_IN_A_ROW = 2000
"""So many packets without one frame between them: not a damaged spot, but no video any more."""


_CHECK_ADDRESS = "Check the address and the network; a camera that may be down needs live+ in front."


class VideoSource:
    """The frames of a video's first picture stream, upright, with their own timestamps.

    A packet that cannot be decoded costs its frame and is counted in `damaged`; a change of resolution is followed. pts start
    at 0 and always rise: where a container jumps back (files joined end to end), time goes on from the frame before.

    Args:
        source_id: number of the stream.
        name: name of the stream and its frames.
        location: a path or a URL.
        timeout_seconds: how long opening and each read of a URL may take.
        threads: decoding threads, 0 for FFmpeg's choice.

    Raises:
        SourceError: the file is missing, empty, not a video, or has no picture; the URL cannot be reached.
    """

    def __init__(self, source_id: int, name: str, location: str, *, timeout_seconds: float = 10.0, threads: int = 0) -> None:
        self.damaged = 0
        self._location = redact(location)
        self._is_url = is_url(location)
        self._container = self._open(location, timeout_seconds)
        try:
            self._video = picture_stream(self._container, self._location)
        except SourceError:
            self._container.close()
            raise
        self._video.thread_type = "AUTO"
        self._video.thread_count = threads
        self._pending: deque[av.VideoFrame] = deque()
        self._packets: Iterator[av.Packet[av.VideoStream]] | None = self._container.demux(self._video)
        self._damaged_in_a_row = 0
        self._num_packets = 0
        self._index = 0
        self._clock = FileClock()
        # The first frame is decoded here: what cannot be decoded at all is said before any work is done.
        first = self._decode_next()
        if first is None:
            self.close()
            raise SourceError(
                f"{self._location} holds no frame that can be decoded ({self._video.codec_context.name}"
                f"{f', {self.damaged} damaged packets' if self.damaged else ''}). Does it play with ffplay?"
            )
        self._pending.appendleft(first)
        rate = self._video.average_rate or self._video.guessed_rate
        self.stream = StreamInfo(
            source_id,
            name,
            size_wh=upright_size(first),
            frame_rate=float(rate) if rate else None,
            num_frames=self._num_frames(float(rate) if rate else None),
        )

    @property
    def is_endless(self) -> bool:
        """Whether this is a camera rather than a recording: a URL that announces neither length nor duration."""
        container = self._container
        if not self._is_url or container.duration is not None:
            return False
        return container.format.name == "hls" or container.size <= 0

    def read(self) -> Frame | None:
        """The next frame, `None` at the end.

        Raises:
            SourceError: the connection broke, or the file is damaged beyond use.
        """
        frame = self._decode_next()
        if frame is None:
            return None
        duration_ns = _duration_ns(frame, self.stream.frame_rate)
        pts_ns = self._clock.time(own_time_ns(frame), duration_ns)
        info = FrameInfo(
            source_id=self.stream.source_id,
            source=self.stream.name,
            index=self._index,
            pts_ns=pts_ns,
            size_wh=upright_size(frame),
            duration_ns=duration_ns,
            arrival_ns=time.time_ns(),
        )
        self._index += 1
        return Frame(info, wrap(frame, quarter_turns_of(frame)))

    def close(self) -> None:
        """Release the file or connection; `read()` gives `None` from now on."""
        self._pending.clear()
        self._packets = None
        self._container.close()

    def _open(self, location: str, timeout_seconds: float) -> av.container.InputContainer:
        if not self._is_url:
            location = location.removeprefix("file://")
            if Path(location).is_file() and Path(location).stat().st_size == 0:
                raise SourceError(f"{self._location} is empty (0 bytes).")
        try:
            if self._is_url:
                return _open_interruptibly(location, timeout_seconds)
            return av.open(f"file:{location}")  # with its protocol: names may hold colons
        except av.error.ExitError as exc:
            raise SourceError(
                f"{self._location} gave no answer within {timeout_seconds:g} s. {_CHECK_ADDRESS}"
            ) from self._cause(exc)
        except av.error.InvalidDataError as exc:
            raise SourceError(
                f"{self._location} is not a video that FFmpeg can read, or it was cut off before its index was written."
            ) from self._cause(exc)
        except av.error.FFmpegError as exc:
            hint = f" {_CHECK_ADDRESS}" if self._is_url else ""
            raise SourceError(f"{self._location} cannot be opened: {exc.strerror or exc}.{hint}") from self._cause(exc)
        except (OSError, ValueError) as exc:
            raise SourceError(f"{self._location} cannot be opened: {redact(str(exc))}") from self._cause(exc)

    def _cause(self, exc: Exception) -> Exception | None:
        """What to show below our own message: FFmpeg's errors hold the address as it is, with the password."""
        return None if self._is_url else exc

    def _num_frames(self, rate: float | None) -> int | None:
        """Frames to come, an estimate: what the index announces, or what fits the duration where an edit list shows less."""
        seconds = (
            float(self._video.duration * self._video.time_base) if self._video.duration and self._video.time_base else None
        )
        if seconds is None and self._container.duration:
            seconds = self._container.duration / 1e6
        estimates = [self._video.frames] if self._video.frames else []
        estimates += [round(seconds * rate)] if seconds and rate else []
        return min(estimates, default=None)

    def _decode_next(self) -> av.VideoFrame | None:
        """The next frame that can be decoded, `None` at the end."""
        while not self._pending and self._packets is not None:
            packet = self._next_packet()
            if packet is None:
                continue
            try:
                self._pending.extend(packet.decode())
                self._damaged_in_a_row = 0
            except av.error.EOFError:
                continue
            except av.error.FFmpegError as exc:
                self._count_damage(exc)
        return self._pending.popleft() if self._pending else None

    def _next_packet(self) -> av.Packet[av.VideoStream] | None:
        assert self._packets is not None
        try:
            packet = next(self._packets, None)
            if packet is None:
                self._packets = None
                self._say_if_cut_short()
            else:
                self._num_packets += bool(packet.size)
            return packet
        except av.error.FFmpegError as exc:
            if isinstance(exc, av.error.ExitError):
                raise SourceError(f"{self._location} stopped answering after {self._index} frames.") from self._cause(exc)
            if self._is_url or isinstance(exc, OSError):
                raise SourceError(
                    f"{self._location} broke off after {self._index} frames: {exc.strerror or exc}."
                ) from self._cause(exc)
            self._count_damage(exc)
            # The error ended the iterator; reading goes on behind the damage.
            self._packets = self._container.demux(self._video)
            return None

    def _count_damage(self, exc: Exception) -> None:
        self.damaged += 1
        self._damaged_in_a_row += 1
        if self.damaged == 1:
            _log.warning("%s is damaged near frame %d: %s. Going on.", self._location, self._index, exc)
        if self._damaged_in_a_row > _MAX_DAMAGED_IN_A_ROW:
            raise SourceError(f"{self._location} is damaged beyond frame {self._index}: nothing decodes any more.") from exc

    def _say_if_cut_short(self) -> None:
        # Packets, not frames: an edit list may leave frames out on purpose.
        announced = self._video.frames
        if announced and self._num_packets < announced * 0.99 - 1:
            _log.warning(
                "%s ends early: its index announces %d frames, %d could be read. It was probably cut off.",
                self._location,
                announced,
                self._num_packets,
            )


def _open_interruptibly(url: str, timeout_seconds: float) -> av.container.InputContainer:
    """Open a URL on a thread of its own, because FFmpeg swallows Ctrl-C; whoever interrupts leaves it to its time-out."""
    opened: list[av.container.InputContainer] = []
    failed: list[BaseException] = []
    given_up = threading.Event()

    def open_url() -> None:
        try:
            container = av.open(url, timeout=(timeout_seconds, timeout_seconds))
        except BaseException as exc:  # raised again in the caller's thread
            failed.append(exc)
            return
        if given_up.is_set():
            container.close()
        opened.append(container)

    thread = threading.Thread(target=open_url, name="tensortap-open", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        given_up.set()
        raise
    if failed:
        raise failed[0]
    return opened[0]


def _duration_ns(frame: av.VideoFrame, frame_rate: float | None) -> int:
    if frame.duration and frame.time_base:
        return round(frame.duration * frame.time_base * _SECOND_NS)
    return round(_SECOND_NS / frame_rate) if frame_rate else 0
