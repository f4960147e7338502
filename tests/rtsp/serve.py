"""An RTSP server of gst-rtsp-server's, on loopback, for tests; run by a Python that has PyGObject, on its own.

    python3 serve.py '{"port": 0, "mounts": {"/cam": {"clip": "cam.clip", "drop": 0.05}}}'

A clip is what `rtsp.clips.write_clip` made: H.264 pictures, each with its size in front. It is played in real time, over and
over, to all clients together, from the moment the server starts: a client that comes later sees what a camera shows then.
Prints `ready PORT` when it listens, and ends when its standard input is closed.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    "( appsrc name=camera is-live=true format=time "
    "caps=video/x-h264,stream-format=byte-stream,alignment=au "
    "! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def read_clip(path: str) -> tuple[float, list[bytes]]:
    """Frames a second, and the pictures."""
    with open(path, "rb") as file:
        data = file.read()
    (rate,) = struct.unpack_from("<d", data)
    pictures, position = [], 8
    while position < len(data):
        (size,) = struct.unpack_from("<I", data, position)
        pictures.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    return rate, pictures


class Camera:
    """One mount: shows its clip from the start of the server on, whoever watches."""

    def __init__(self, clip: str, drop: float = 0.0) -> None:
        self.rate, self.pictures = read_clip(clip)
        self.drop = drop
        self.started = time.monotonic()
        self.sources: list[object] = []
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_launch(LAUNCH)
        # A pipeline for each client: a shared one sometimes stays mute for a client that comes while another leaves.
        self.factory.set_shared(False)
        self.factory.connect("media-configure", self.configure)
        threading.Thread(target=self.play, daemon=True).start()

    def configure(self, factory: object, media: object) -> None:
        """A client came: its pipeline gets the pictures from now on."""
        element = media.get_element()
        source = element.get_child_by_name("camera")
        if self.drop:
            pad = element.get_child_by_name("pay0").get_static_pad("src")
            kinds = Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST
            pad.add_probe(kinds, self.lose)
        self.sources.append(source)
        media.connect("unprepared", lambda _: source in self.sources and self.sources.remove(source))

    def lose(self, pad: object, info: object) -> object:
        """Lose a share of the packets."""
        return Gst.PadProbeReturn.DROP if random.random() < self.drop else Gst.PadProbeReturn.OK

    def play(self) -> None:
        """Body of the camera's thread."""
        number = 0
        while True:
            ahead = self.started + number / self.rate - time.monotonic()
            if ahead < -0.5:  # this process was stopped: what a camera did not show meanwhile is not to be had
                number += int(-ahead * self.rate)
            time.sleep(max(0.0, ahead))
            for source in list(self.sources):
                buffer = Gst.Buffer.new_wrapped(self.pictures[number % len(self.pictures)])
                # Not by `do-timestamp`: see Viewer in sinks/stream/gst_server.py.
                plays = source.current_state == Gst.State.PLAYING
                buffer.pts = buffer.dts = source.get_current_running_time() if plays else 0
                source.emit("push-buffer", buffer)
            number += 1


def main() -> None:
    """Serve until the standard input ends."""
    wanted = json.loads(sys.argv[1])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(wanted["port"]))
    # Clients come at the same time: without threads each would wait until those before it have seen a keyframe.
    server.get_thread_pool().set_max_threads(8)
    mounts = server.get_mount_points()
    cameras = [Camera(**mount) for mount in wanted["mounts"].values()]
    for path, camera in zip(wanted["mounts"], cameras, strict=True):
        mounts.add_factory(path, camera.factory)
    if not server.attach(None):
        sys.exit(f"port {wanted['port']} is in use")
    print("ready", server.get_bound_port(), flush=True)
    loop = GLib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
