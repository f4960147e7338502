"""A GStreamer client for tests: writes the H.264 or H.265 byte stream of an RTSP address to the standard output.

    python3 watch.py rtsp://127.0.0.1:8554/ds-test 60 tcp h264

Ends after so many pictures (access units). Run by a Python that has PyGObject, on its own.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def main() -> int:
    """0 when enough pictures came."""
    location, wanted, protocol, codec = sys.argv[1:]
    Gst.init(None)
    pipeline = Gst.parse_launch(
        f"rtspsrc location={location} protocols={protocol} latency=0 ! rtp{codec}depay ! {codec}parse "
        f"! video/x-{codec},stream-format=byte-stream,alignment=au ! appsink name=sink sync=false max-buffers=100"
    )
    pipeline.set_state(Gst.State.PLAYING)
    sink = pipeline.get_by_name("sink")
    for _ in range(int(wanted)):
        sample = sink.emit("try-pull-sample", 15 * Gst.SECOND)
        if sample is None:
            return 1
        buffer = sample.get_buffer()
        sys.stdout.buffer.write(buffer.extract_dup(0, buffer.get_size()))
    sys.stdout.buffer.flush()
    pipeline.set_state(Gst.State.NULL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
