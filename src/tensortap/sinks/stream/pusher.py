"""Sends encoded pictures to an RTSP or RTMP server, in a process of its own: PyAV keeps all threads waiting while it connects.

The first line of the standard input is JSON: location, codec. Then pictures come, each with a header of `HEADER`: whether it is
a keyframe, its time in seconds, and its size in bytes. The answer is a line `up` when the server has taken the first picture,
and the reason when it does not take them any more. It ends when the standard input ends. Imports nothing of tensortap's.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from fractions import Fraction
from typing import Any

HEADER = struct.Struct("<?dI")
_TICKS = 90_000
_TIMEOUT_SECONDS = 5.0


def connect(av: Any, location: str, codec: str, keyframe: bytes) -> tuple[Any, Any]:
    """The container and its stream, described by a first picture."""
    timeout = str(round(_TIMEOUT_SECONDS * 1_000_000))
    if location.startswith("rtsp"):
        name, options = "rtsp", {"rtsp_transport": "tcp", "timeout": timeout}
    else:
        name, options = "flv", {"flvflags": "no_duration_filesize", "rw_timeout": timeout}
    with av.open(io.BytesIO(keyframe), format="h264" if codec == "h264" else "hevc") as described:
        container = av.open(location, "w", format=name, options=options)
        stream = container.add_stream_from_template(described.streams.video[0])
    return container, stream


def main() -> int:
    """Send until the standard input ends, or the server does."""
    import av
    import av.error

    av.logging.set_level(av.logging.PANIC)
    pipe = sys.stdin.buffer
    wanted = json.loads(pipe.readline())
    container: Any = None
    stream: Any = None
    try:
        while len(header := pipe.read(HEADER.size)) == HEADER.size:
            is_keyframe, seconds, size = HEADER.unpack(header)
            data = pipe.read(size)
            if len(data) < size:
                break
            is_first = container is None
            if is_first:
                container, stream = connect(av, wanted["location"], wanted["codec"], data)
            packet = av.Packet(data)
            packet.stream, packet.is_keyframe = stream, is_keyframe
            packet.time_base = Fraction(1, _TICKS)
            packet.pts = packet.dts = round(seconds * _TICKS)
            container.mux(packet)
            if is_first:
                print("up", flush=True)
        if container is not None:
            container.close()
    except (av.error.FFmpegError, OSError) as exc:
        print(exc.strerror or type(exc).__name__, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
