"""What recordings and live streams have in common when FFmpeg reads them."""

from __future__ import annotations

import av
import av.container
import av.error
import av.stream

from tensortap.errors import SourceError
from tensortap.portable.pixels import quarter_turns_of

_SECOND_NS = 1_000_000_000


def picture_stream(container: av.container.InputContainer, location: str) -> av.VideoStream:
    """The first stream of pictures that is no cover of an album.

    Raises:
        SourceError: there is none, and what there is instead; or nobody can decode it.
    """
    pictures = [each for each in container.streams.video if not each.disposition & av.stream.Disposition.attached_pic]
    for stream in pictures:
        if stream.codec_context is not None:
            return stream
    if pictures:
        raise SourceError(f"{location} has a video of a codec that FFmpeg does not know or was built without.")
    kinds = " and ".join(sorted({stream.type for stream in container.streams})) or "no streams at all"
    raise SourceError(f"{location} has no video in it, only {kinds}.")


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height in pixels, rotation applied."""
    return (frame.height, frame.width) if quarter_turns_of(frame) % 2 else (frame.width, frame.height)


def own_time_ns(frame: av.VideoFrame) -> int | None:
    """The frame's own timestamp in nanoseconds; `None` where it has none."""
    if frame.pts is None or not frame.time_base:
        return None
    return round(frame.pts * frame.time_base * _SECOND_NS)


def why(exc: BaseException) -> str:
    """What FFmpeg or the system says, without the address: it may hold a password."""
    if isinstance(exc, av.error.HTTPUnauthorizedError):
        return "the server wants a user name and a password, or others than these"
    if isinstance(exc, av.error.HTTPForbiddenError):
        return "the server forbids it to this user"
    if isinstance(exc, av.error.InvalidDataError):
        return "what it sends is not a video that FFmpeg can read"
    if isinstance(exc, (av.error.ExitError, av.error.TimeoutError)):
        return "it gave no answer"
    return getattr(exc, "strerror", None) or type(exc).__name__
