"""A real RTSP server, gst-rtsp-server, for tests: started, hurt and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).with_name("serve.py")
_CHECK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; Gst.init(None); "
_CHECK += "assert all(map(Gst.ElementFactory.find, ('appsrc', 'h264parse', 'rtph264pay')))"
INSTALL = (
    "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad"
)


@lru_cache(maxsize=1)
def python_with_gi() -> str | None:
    """A Python that has PyGObject and the server; Debian's own, as a rule."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if subprocess.run([python, "-c", _CHECK], capture_output=True, timeout=60, check=False).returncode == 0:
                return python
        except OSError:
            continue
    return None


class RtspServer:
    """Serves clips on loopback from its making on.

    Args:
        mounts: path -> what `serve.Camera` takes, e.g. `{"/door": {"clip": "door.clip"}}`.
        port: 0 takes a free one.
    """

    def __init__(self, mounts: Mapping[str, Mapping[str, Any]], port: int = 0) -> None:
        python = python_with_gi()
        if python is None:
            pytest.skip(f"needs gst-rtsp-server: {INSTALL}")
        wanted = json.dumps({"port": port, "mounts": mounts}, default=str)
        self._process = subprocess.Popen(
            [python, str(_SCRIPT), wanted], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline().split()
        assert ready[:1] == ["ready"], "the RTSP server does not start"
        self.port = int(ready[1])

    def url(self, path: str, credentials: str = "") -> str:
        """Address of a mount."""
        return f"rtsp://{credentials}127.0.0.1:{self.port}{path}"

    def freeze(self) -> None:
        """Stop the process where it stands: connections stay open and silent."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
