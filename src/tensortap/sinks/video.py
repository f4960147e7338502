"""`video`: the pictures with people drawn in, as a file that plays even if the run is killed."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import cv2
import numpy as np

from tensortap.errors import SinkError
from tensortap.sinks.background import BackgroundWorker
from tensortap.sinks.draw import draw_poses
from tensortap.sinks.files import cannot_write, ensure_writable
from tensortap.types import Result

_log = logging.getLogger(__name__)
_TICKS = 90_000
"""Ticks a second: fine enough for every frame rate in use, coarse enough for 32-bit fields of MP4."""
_ENCODERS = {"h264": "libx264", "h265": "libx265"}
# Fragments of at most a second, each of which plays as soon as it is written. (FFmpeg's `hybrid_fragmented` would turn them
# into a plain MP4 at the end, but ruins the file where the disk is full at that moment.)
_MP4_OPTIONS = {"movflags": "+default_base_moof+delay_moov", "frag_duration": "1000000", "flush_packets": "1"}
_CLUSTER_MILLISECONDS = 1000
_MKV_OPTIONS = {"cluster_time_limit": str(_CLUSTER_MILLISECONDS), "flush_packets": "1"}
_CLOSE_SECONDS = 1.5
"""How long the last pictures of a live stream may take: whoever stops a run of cameras does not wait."""
_SMPTE170M = 6  # AVColorSpace: BT.601, the matrix of OpenCV's conversion
_MPEG_RANGE = 1


class VideoSink:
    """Encodes one stream, on its own thread, with the timestamps of the source. Pictures of live streams are dropped and
    counted while the encoder is behind; files wait for it.

    The first frame sets the size; later frames of another size are fitted into it. A frame of odd size is repeated at its
    edge by one pixel, because 4:2:0 video has even sizes.

    Args:
        path: `.mp4`, `.mov`, `.m4v` or `.mkv`.
        codec: `h264` or `h265`.
        bitrate: bits a second; `None` keeps a constant quality instead.
        min_keypoint_score: keypoints below it are not drawn.

    Raises:
        SinkError: the file cannot be created.
    """

    handles_live = True

    def __init__(
        self,
        path: Path,
        *,
        codec: Literal["h264", "h265"] = "h264",
        bitrate: int | None = None,
        min_keypoint_score: float = 0.4,
    ) -> None:
        self._path = path
        self._codec = codec
        self._bitrate = bitrate
        self._min_keypoint_score = min_keypoint_score
        self._container: Any = None
        self._stream: Any = None
        self._last_tick = -1
        self._durations: dict[int, int] = {}
        self._first_packets: list[Any] | None = [] if path.suffix.lower() == ".mkv" else None
        """Of the first cluster of a Matroska file: its header alone is a file that nobody can open."""
        self._closed = self._is_live = False
        # FFmpeg opens the file with the first packet only, and what was there stays until then; whether it can is said now.
        self._created = ensure_writable(path)
        self._worker: BackgroundWorker[Result] = BackgroundWorker(f"tensortap-video-{path.name}", self._encode, self._finish)

    def write(self, result: Result) -> None:
        """Queue one frame. Waits while the encoder is behind. Raises SinkError for frames before."""
        if self._closed:
            raise SinkError(f"{self._path} is closed; nothing more can be written to it.")
        self._is_live = result.info.is_live
        self._worker.put(result, drop=self._is_live)

    @property
    def dropped(self) -> int:
        """Pictures that were lost because the encoder was too slow for a live stream."""
        return self._worker.dropped

    def close(self) -> None:
        """Encode what is queued and complete the file. Raises SinkError."""
        self._closed = True
        if not self._worker.close(_CLOSE_SECONDS if self._is_live else None):
            raise SinkError(f"{self._path} could not be completed within {_CLOSE_SECONDS:g} s; all but its end can be played.")

    def _encode(self, result: Result) -> None:
        """Draw and encode one frame, in the worker's thread."""
        if result.image is None:
            raise SinkError(
                f"{self._path}: there is no picture of {result.info.source}: its pixels stay on the device, or it was "
                "recorded without --frames."
            )
        picture = draw_poses(result.image, result.poses, min_score=self._min_keypoint_score)
        try:
            if self._container is None:
                self._open(picture, result.info.duration_ns)
            frame = self._frame(picture, result)
            for packet in self._stream.encode(frame):
                self._mux(packet)
        except (av.error.FFmpegError, OSError) as exc:
            raise self._error(exc) from exc

    def _open(self, picture: np.ndarray, duration_ns: int) -> None:
        mkv = self._path.suffix.lower() == ".mkv"
        container_format = "matroska" if mkv else "mp4"
        self._container = av.open(
            f"file:{self._path}", "w", format=container_format, options=_MKV_OPTIONS if mkv else _MP4_OPTIONS
        )
        rate = Fraction(1_000_000_000, duration_ns).limit_denominator(1001) if duration_ns > 0 else Fraction(30)
        # "veryfast" costs about a fifth of "medium" for a third more bits: the cores belong to inference. Two threads keep up
        # with it; more only hold frames back.
        options = {"preset": "veryfast", "threads": "2"}
        if self._bitrate is None:
            options["crf"] = "21" if self._codec == "h264" else "25"
        if self._codec == "h265":
            options["x265-params"] = "log-level=error:pools=2"
        stream = self._container.add_stream(_ENCODERS[self._codec], rate=max(rate, Fraction(1, 10)), options=options)
        stream.height, stream.width = picture.shape[0] + picture.shape[0] % 2, picture.shape[1] + picture.shape[1] % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.colorspace, context.color_range = _SMPTE170M, _MPEG_RANGE
        if self._bitrate is not None:
            context.bit_rate = self._bitrate
        if self._codec == "h265" and not mkv:
            context.codec_tag = "hvc1"  # QuickTime and Safari play no other
        self._stream = stream

    def _frame(self, picture: np.ndarray, result: Result) -> av.VideoFrame:
        size_wh = (self._stream.width, self._stream.height)
        planes = cv2.cvtColor(_fitted(picture, size_wh), cv2.COLOR_BGR2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.colorspace, frame.color_range = _SMPTE170M, _MPEG_RANGE
        tick = max(round(result.info.pts_ns * _TICKS / 1_000_000_000), self._last_tick + 1)
        self._last_tick = tick
        self._durations[tick] = round(result.info.duration_ns * _TICKS / 1_000_000_000)
        frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
        return frame

    def _mux(self, packet: Any) -> None:
        duration = self._durations.pop(packet.pts, 0)
        if duration > 0:
            packet.duration = duration  # how long the last frame is shown, nothing else says
        if self._first_packets is None:
            self._container.mux(packet)
            return
        self._first_packets.append(packet)
        if packet.dts is not None and packet.dts - (self._first_packets[0].dts or 0) > _CLUSTER_MILLISECONDS * _TICKS // 1000:
            self._mux_first()

    def _mux_first(self) -> None:
        """Write the header and the first cluster at once."""
        packets, self._first_packets = self._first_packets or [], None
        for packet in packets:
            self._container.mux(packet)

    def _finish(self) -> None:
        """Complete the file, in the worker's thread."""
        if self._container is None:
            if self._created:
                self._path.unlink(missing_ok=True)  # no frame ever came: an empty file would not play
            return
        try:
            try:
                if self._stream is not None:
                    for packet in self._stream.encode(None):
                        self._mux(packet)
                    self._mux_first()
            finally:
                self._container.close()
        except (av.error.FFmpegError, OSError) as exc:
            if self._path.suffix.lower() != ".mkv":
                _cut_to_whole_fragments(self._path)
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> SinkError:
        if isinstance(exc, OSError):
            return cannot_write(str(self._path), exc)
        return SinkError(f"{self._path} cannot be encoded: {exc}.")


def _fitted(picture: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The picture at exactly this size: as it is, one pixel larger, or scaled to fit with black bars."""
    width, height = size_wh
    rows, columns = picture.shape[:2]
    if (columns, rows) == size_wh:
        return picture
    if 0 <= width - columns <= 1 and 0 <= height - rows <= 1:
        padded: np.ndarray = cv2.copyMakeBorder(picture, 0, height - rows, 0, width - columns, cv2.BORDER_REPLICATE)
        return padded
    ratio = min(width / columns, height / rows)
    inner = max(1, round(columns * ratio)), max(1, round(rows * ratio))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return canvas


def _cut_to_whole_fragments(path: Path) -> None:
    """Take a fragment that did not fit on the disk off the end of an MP4: players stumble over half a one.

    An MP4 is a row of boxes, each a 32-bit size and a four-letter type (ISO/IEC 14496-12, 4.2); the media of a fragment is the
    `mdat` that follows its `moof`.
    """
    whole = 0
    try:
        size = path.stat().st_size
        with path.open("r+b") as file:
            position = 0
            while position + 8 <= size:
                file.seek(position)
                header = file.read(8)
                box_size = int.from_bytes(header[:4], "big")
                position += box_size
                if box_size < 8 or position > size:
                    break
                if header[4:] in (b"moov", b"mdat"):
                    whole = position
            if whole:
                file.truncate(whole)
    except OSError as exc:
        _log.debug("%s could not be cut to its last whole fragment: %s", path, exc)
