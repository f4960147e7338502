"""An RTSP server, gst-rtsp-server, in a process of its own: run by whichever Python has PyGObject, often the system's only.

The first line of the standard input is JSON: host, port, codec, user, password. Then messages come, each with a header of
`HEADER`: a kind, the number of a mount, and the size of what follows. `M` makes a mount (its path follows), `U` takes it away,
`K` and `P` are an encoded picture for everybody who watches it, a keyframe or not.

Answers are lines on the standard output: `missing TEXT`, `failed TEXT`, `ready PORT`, and `watch MOUNT VIEWERS` whenever
somebody comes or goes. It ends when the standard input ends. Imports nothing of tensortap's.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
from typing import Any

HEADER = struct.Struct("<cII")
_MOST_QUEUED = 4_000_000
"""Bytes that wait for one viewer; then it gets nothing until it has taken them, and goes on with a keyframe."""
_STEP_NS = 1_000_000
"""Least time between the stamps of two pictures."""
_LAUNCH = (
    "( appsrc name=pictures is-live=true format=time block=false max-bytes=0 "
    "caps=video/x-{codec},stream-format=byte-stream,alignment=au "
    "! {codec}parse ! rtp{codec}pay name=pay0 pt=96 config-interval=-1 )"
)
_ROLE = "viewer"


def say(*words: object) -> None:
    """Tell the parent."""
    sys.stdout.write(" ".join(map(str, words)).replace("\n", " ") + "\n")
    sys.stdout.flush()


if __name__ == "__main__":  # whoever only wants to know the messages needs no PyGObject
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstRtsp", "1.0")
        gi.require_version("GstRtspServer", "1.0")
        from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
    except (ImportError, ValueError) as exc:
        say("missing", exc)
        sys.exit(3)


class Viewer:
    """Gives one viewer its pictures, each stamped with the running time of the viewer's pipeline. Used by one thread.

    Not by `do-timestamp`: it reads the clock and the base time while the pipeline sets one after the other, and a picture that
    comes in between gets the machine's uptime, for which its viewer would wait. Here the time is read only where both are set,
    while the source plays.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self.started = False
        """Whether it has had its keyframe."""
        self.has_played = self.paused = False
        self.stamp = -_STEP_NS
        """Of the last picture."""

    def push(self, data: bytes, is_keyframe: bool) -> bool:
        """A picture, if it can take it; the first one, and the first after a gap, is a keyframe.

        Returns:
            Whether it asks for a keyframe: it has paused and goes on.
        """
        plays = self.source.current_state == Gst.State.PLAYING
        resumes = self.paused and plays
        self.has_played |= plays
        self.paused = self.has_played and not plays
        if self.paused or self.source.get_property("current-level-bytes") > _MOST_QUEUED:
            self.started = False
        elif self.started or is_keyframe:
            clock = self.source.get_clock() if plays else None
            now = clock.get_time() - self.source.get_base_time() if clock else 0
            self.stamp = max(self.stamp + _STEP_NS, now)
            buffer = Gst.Buffer.new_wrapped(data)
            buffer.pts = buffer.dts = self.stamp
            self.started = self.source.emit("push-buffer", buffer) == Gst.FlowReturn.OK
        return resumes and not self.started


class Mount:
    """What is served under one path. Each viewer has a pipeline of its own, so that one who is stuck harms nobody."""

    def __init__(self, number: int, codec: str, permissions: Any) -> None:
        self.number = number
        self.viewers: dict[Any, Viewer] = {}
        """By source element."""
        self.lock = threading.Lock()
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_launch(_LAUNCH.format(codec=codec))
        self.factory.set_shared(False)
        if permissions is not None:
            self.factory.set_permissions(permissions)
        self.factory.connect("media-configure", self.come)

    def come(self, factory: Any, media: Any) -> None:
        """Somebody wants to watch."""
        source = media.get_element().get_child_by_name("pictures")
        with self.lock:
            self.viewers[source] = Viewer(source)
            say("watch", self.number, len(self.viewers))
        media.connect("unprepared", lambda _: self.go(source))

    def go(self, source: Any) -> None:
        """Somebody has left."""
        with self.lock:
            if self.viewers.pop(source, None) is not None:
                say("watch", self.number, len(self.viewers))

    def push(self, data: bytes, is_keyframe: bool) -> None:
        """A picture for everybody."""
        with self.lock:
            viewers = list(self.viewers.values())
        asking = [viewer for viewer in viewers if viewer.push(data, is_keyframe)]
        if asking:
            with self.lock:
                say("watch", self.number, len(self.viewers))


def permissions_for(server: Any, user: str, password: str) -> Any:
    """Let in only who knows the password; what mounts need to know of it."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", _ROLE)
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)  # basic would send the password to whoever listens
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role(_ROLE, permission, True)
    return permissions


def feed(server: Any, codec: str, permissions: Any) -> None:
    """Take messages until there are no more."""
    mounts: dict[int, tuple[str, Mount]] = {}
    while header := sys.stdin.buffer.read(HEADER.size):
        if len(header) < HEADER.size:
            return
        kind, number, size = HEADER.unpack(header)
        data = sys.stdin.buffer.read(size)
        if len(data) < size:
            return
        if kind == b"M":
            mount = Mount(number, codec, permissions)
            mounts[number] = data.decode(), mount
            server.get_mount_points().add_factory(data.decode(), mount.factory)
        elif kind == b"U":
            path, _ = mounts.pop(number, ("", None))
            if path:
                server.get_mount_points().remove_factory(path)
        elif number in mounts:
            mounts[number][1].push(data, kind == b"K")


def main() -> int:
    """Serve until the standard input ends."""
    wanted = json.loads(sys.stdin.buffer.readline())
    Gst.init(None)
    codec = wanted["codec"]
    elements = ("appsrc", f"{codec}parse", f"rtp{codec}pay")
    if missing := [element for element in elements if Gst.ElementFactory.find(element) is None]:
        say("missing", "the GStreamer elements " + ", ".join(missing))
        return 3
    server = GstRtspServer.RTSPServer()
    server.set_address(wanted["host"])
    server.set_service(str(wanted["port"]))
    # Viewers come at the same time: without threads each would wait until those before it have seen a keyframe.
    server.get_thread_pool().set_max_threads(8)
    permissions = permissions_for(server, wanted["user"], wanted["password"]) if wanted["user"] else None
    try:
        server.create_socket(None).close()  # says why it cannot be had, and attach() does not
    except GLib.Error as exc:
        say("failed", exc.message)
        return 4
    if not server.attach(None):
        say("failed", "nobody can listen there")
        return 4
    say("ready", server.get_bound_port())
    loop = GLib.MainLoop()

    def clean_up() -> bool:
        server.get_session_pool().cleanup()
        return True

    GLib.timeout_add_seconds(5, clean_up)

    def feed_to_the_end() -> None:
        try:
            feed(server, codec, permissions)
        finally:
            loop.quit()  # a server that is fed no more must not seem to live

    threading.Thread(target=feed_to_the_end, daemon=True).start()
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
