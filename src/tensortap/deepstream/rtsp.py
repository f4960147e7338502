"""An RTSP server beside the graph: hands on the RTP packets that the graph sends to a local UDP port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Sequence
from typing import Any

from tensortap.deepstream.graph import RtspMount
from tensortap.errors import MissingDependencyError, SinkError

UDP_PORT = 5400
"""The port of the original application, and of NVIDIA's samples; another one where it is taken."""
_CLEANING_SECONDS = 5
_ROLE = "viewer"


def free_udp_port(wanted: int = UDP_PORT, taken: Collection[int] = ()) -> int:
    """That port, or any that is free, and is not among those that are to be used."""
    for port in (wanted, *[0] * (1 + len(taken))):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
        if found not in taken:
            return found
    return wanted


class RtspServer:
    """Serves until it is closed, on a main loop and a thread of its own.

    Raises:
        MissingDependencyError: GStreamer's RTSP server is not installed.
        SinkError: a port cannot be had.
    """

    def __init__(self, mounts: Sequence[RtspMount]) -> None:
        try:
            import gi

            gi.require_version("Gst", "1.0")
            gi.require_version("GstRtsp", "1.0")
            gi.require_version("GstRtspServer", "1.0")
            from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
        except (ImportError, ValueError) as exc:
            raise MissingDependencyError(
                f"Serving RTSP needs GStreamer's server: apt install python3-gi gir1.2-gst-rtsp-server-1.0. ({exc})"
            ) from exc
        Gst.init(None)
        context = GLib.MainContext.new()
        self._loop = GLib.MainLoop.new(context, False)
        self._servers: list[Any] = []
        for mount in mounts:
            server = GstRtspServer.RTSPServer.new()
            server.set_address(mount.host)
            server.set_service(str(mount.port))
            factory = GstRtspServer.RTSPMediaFactory.new()
            factory.set_launch(
                f"( udpsrc name=pay0 address=127.0.0.1 port={mount.udp_port} buffer-size=524288 "
                'caps="application/x-rtp,media=video,clock-rate=90000,'
                f'encoding-name=(string){mount.encoding},payload=96" )'
            )
            factory.set_shared(True)  # one reader of the port for all who watch
            if mount.user:
                # Digest, for basic authentication would send the password to whoever listens.
                auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
                token.set_string("media.factory.role", _ROLE)
                auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
                auth.add_digest(mount.user, mount.password, token)
                server.set_auth(auth)
                permissions = GstRtspServer.RTSPPermissions()
                for permission in ("media.factory.access", "media.factory.construct"):
                    permissions.add_permission_for_role(_ROLE, permission, True)
                factory.set_permissions(permissions)
            server.get_mount_points().add_factory(mount.path, factory)
            if not server.attach(context):
                raise SinkError(
                    f"{mount.address} cannot be served: port {mount.port} is in use, or {mount.host} is no address of this "
                    "machine. Choose another: -o rtsp://:8555/ds-test"
                )
            self._servers.append(server)
        self._cleaning = GLib.timeout_source_new_seconds(_CLEANING_SECONDS)
        self._cleaning.set_callback(self._clean)
        self._cleaning.attach(context)
        self._thread = threading.Thread(target=self._run, args=(context,), name="tensortap-rtsp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve nobody any more. Closing twice is fine."""
        self._cleaning.destroy()  # it would hold the context, and with it the ports
        self._loop.quit()
        self._thread.join()
        self._servers.clear()

    def _clean(self, _: object) -> bool:
        """Forget viewers that went away without a word."""
        for server in self._servers:
            server.get_session_pool().cleanup()
        return True

    def _run(self, context: object) -> None:
        context.push_thread_default()  # type: ignore[attr-defined]
        try:
            self._loop.run()
        finally:
            context.pop_thread_default()  # type: ignore[attr-defined]
