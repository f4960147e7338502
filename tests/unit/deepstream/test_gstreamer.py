"""The driver on GStreamer itself, with elements that every GStreamer has. Skipped where PyGObject cannot be had."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pytest

from media import write_video
from tensortap.deepstream.graph import Element, Graph, Link, RtspMount, linked
from tensortap.deepstream.rtsp import free_udp_port
from tensortap.errors import EngineError, SinkError


def has_gstreamer() -> bool:
    """Whether PyGObject can be imported and finds GStreamer's own description."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
    except (ImportError, ValueError):
        return False
    return True


def find_gi(folder: Path) -> bool:
    """Make the system's PyGObject importable, if this Python is of the version that it was built for."""
    try:
        import gi  # noqa: F401
    except ImportError:
        ask = "import gi, os, sys; print(sys.version_info[:2], os.path.dirname(gi.__file__))"
        try:
            told = subprocess.run(
                ["/usr/bin/python3", "-c", ask], capture_output=True, text=True, timeout=20, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return False
        version, _, path = told.strip().rpartition(" ")
        if version != str(sys.version_info[:2]):
            return False
        (folder / "gi").symlink_to(path)
        sys.path.append(str(folder))
    return has_gstreamer()


@pytest.fixture(scope="module")
def driver_class(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    before = [*sys.path]
    if not find_gi(tmp_path_factory.mktemp("gi")):
        pytest.skip("PyGObject or GStreamer cannot be imported by this Python: apt install python3-gi gir1.2-gstreamer-1.0")
    from tensortap.deepstream.gstreamer import GstDriver

    yield GstDriver
    sys.path[:] = before


@dataclass
class Told:
    """What a listener was told."""

    failed: list[tuple[int, str]] = field(default_factory=list)
    errors: list[Exception | None] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def source_failed(self, number: int, reason: str) -> None:
        self.failed.append((number, reason))

    def ended(self, error: Exception | None) -> None:
        self.errors.append(error)
        self.over.set()


def chain(*elements: Element, tap: str = "tap", **more: Any) -> Graph:
    return Graph(elements, tuple(linked([element.name for element in elements])), tap=tap, **more)


def counted(count: int = 20, live: bool = False) -> list[Element]:
    return [
        Element("videotestsrc", "source-0", {"num-buffers": count, "is-live": live}),
        Element("identity", "tap"),
        Element("identity", "behind"),
        Element("fakesink", "nowhere", {"sync": False}),
    ]


def test_every_buffer_is_seen_and_goes_on_whatever_the_handler_does(
    driver_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    passed: list[int] = []

    def handle(buffer: Any) -> None:
        seen.append(hash(buffer))
        if len(seen) == 3:
            raise ValueError("a probe that raises drops the buffer")

    driver, told = driver_class(), Told()
    driver.start(chain(*counted()), {"tap": handle, "behind": lambda buffer: passed.append(hash(buffer))}, told)
    assert told.over.wait(20)
    driver.stop()
    driver.stop()
    assert told.errors[0] is None
    assert len(seen) == len(passed) == 20
    assert "A probe failed; its buffer goes on.\nTraceback" in caplog.text
    assert seen == passed  # and a buffer's hash is its address in C, which does not change


def test_what_a_decoder_finds_is_linked_and_sound_is_not(driver_class: Any, tmp_path: Path) -> None:
    video = write_video(tmp_path / "two words.mp4", num_frames=7)
    passed: list[Any] = []
    graph = Graph(
        (
            Element("uridecodebin", "source-0", {"uri": video.as_uri()}),
            Element("funnel", "mux"),
            Element("identity", "tap"),
            Element("fakesink", "nowhere", {"sync": False}),
        ),
        (Link("source-0", "mux", "sink_0"), *linked(["mux", "tap", "nowhere"])),
        tap="tap",
    )
    driver, told = driver_class(), Told()
    driver.start(graph, {"tap": passed.append}, told)
    ended = told.over.wait(20)
    driver.stop()
    if told.failed and "plug-in" in told.failed[0][1]:
        pytest.skip("this GStreamer cannot decode H.264")
    assert ended
    assert told.errors[0] is None
    assert len(passed) == 7


def test_an_input_that_is_not_there(driver_class: Any, tmp_path: Path) -> None:
    graph = Graph(
        (
            Element("uridecodebin", "source-0", {"uri": (tmp_path / "none.mp4").as_uri()}),
            Element("identity", "mux"),
            Element("fakesink", "nowhere"),
        ),
        (Link("source-0", "mux", "sink"), Link("mux", "nowhere")),
        tap="mux",
    )
    driver, told = driver_class(redact=lambda text: text.replace("none", "***")), Told()
    driver.start(graph, {}, told)
    assert told.over.wait(20)
    driver.stop()
    assert [number for number, _ in told.failed] == [0]
    assert "none" not in told.failed[0][1]
    assert told.errors[0] is None  # the runtime raises what failed


def test_one_of_two_inputs_fails_and_the_other_goes_on(driver_class: Any, tmp_path: Path) -> None:
    passed: list[Any] = []
    graph = Graph(
        (
            Element("uridecodebin", "source-0", {"uri": (tmp_path / "none.mp4").as_uri()}),
            Element("videotestsrc", "source-1", {"num-buffers": 30}),
            Element("funnel", "mux"),
            Element("identity", "tap", {"sleep-time": 20_000}),
            Element("fakesink", "nowhere", {"sync": False}),
        ),
        (Link("source-0", "mux", "sink_0"), Link("source-1", "mux", "sink_1"), *linked(["mux", "tap", "nowhere"])),
        tap="tap",
    )
    driver, told = driver_class(), Told()
    driver.start(graph, {"tap": passed.append}, told)
    deadline = time.monotonic() + 20
    while len(passed) < 30 and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.stop()
    assert len(passed) == 30
    assert [number for number, _ in told.failed] == [0]


def test_an_element_that_fails_says_which(driver_class: Any, tmp_path: Path) -> None:
    elements = counted()
    elements[1] = Element("identity", "tap", {"error-after": 5})
    driver, told = driver_class(), Told()
    driver.start(chain(*elements), {}, told)
    assert told.over.wait(20)
    driver.stop()
    assert isinstance(told.errors[0], EngineError)
    assert "DeepStream's element tap failed" in str(told.errors[0])


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (Element("nvinfer", "tap"), "no GStreamer element 'nvinfer' on this machine"),
        (Element("identity", "tap", {"batch-size": 4}), "identity of this DeepStream has no property 'batch-size'"),
    ],
)
def test_graphs_that_cannot_be_built(driver_class: Any, element: Element, message: str) -> None:
    elements = counted()
    elements[1] = element
    driver = driver_class()
    assert driver.has_element("identity")
    assert not driver.has_element("nvinfer")
    with pytest.raises(EngineError, match=message):
        driver.start(chain(*elements), {}, Told())
    driver.stop()


def test_optional_properties_are_left_out(driver_class: Any) -> None:
    elements = counted(3)
    elements[1] = Element("identity", "tap", {"silent": True, "sub-batches": "0;1"}, frozenset({"silent", "sub-batches"}))
    driver, told = driver_class(), Told()
    driver.start(chain(*elements), {}, told)
    assert told.over.wait(20)
    driver.stop()
    assert told.errors[0] is None


def test_a_run_that_is_stopped_completes_its_file(driver_class: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    elements = [
        *counted(10_000, live=True)[:2],
        Element("jpegenc", "encoder"),
        Element("matroskamux", "container"),
        Element("filesink", "file", {"location": str(path), "sync": False}),
    ]
    driver, told, seen = driver_class(), Told(), threading.Event()
    driver.start(chain(*elements), {"tap": lambda buffer: seen.set()}, told)
    assert seen.wait(20)
    time.sleep(0.3)
    driver.stop()
    with av.open(str(path)) as container:
        assert container.duration  # which only a file that was closed has
        assert sum(1 for _ in container.decode(video=0)) > 2


def free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("user", ["", "me"])
def test_the_rtsp_server_hands_on_what_comes_by_udp(driver_class: Any, tmp_path: Path, user: str) -> None:
    pytest.importorskip("gi")
    import gi

    try:
        gi.require_version("GstRtspServer", "1.0")
    except ValueError:
        pytest.skip("apt install gir1.2-gst-rtsp-server-1.0")
    video = write_video(tmp_path / "a.mp4", num_frames=400, rate=25, options={"g": "5"})
    port, udp_port = free_tcp_port(), free_udp_port()
    graph = chain(
        Element("filesrc", "source-0", {"location": str(video)}),
        Element("qtdemux", "demux"),
        Element("h264parse", "tap", {"config-interval": -1}),
        Element("rtph264pay", "pay", {"pt": 96}),
        Element("udpsink", "udp", {"host": "127.0.0.1", "port": udp_port, "sync": True}),
        rtsp=(RtspMount(port, "/ds-test", udp_port, "H264", user=user, password="p" if user else ""),),
    )
    driver, told = driver_class(), Told()
    driver.start(graph, {}, told)
    try:
        if told.over.wait(0.3):
            pytest.skip(f"this GStreamer cannot send H.264: {told.errors}")
        address = f"rtsp://{'me:p@' if user else ''}127.0.0.1:{port}/ds-test"
        with av.open(address, options={"rtsp_transport": "tcp"}, timeout=15) as container:
            frame = next(container.decode(video=0))
            assert (frame.width, frame.height) == (160, 96)
        if user:
            with pytest.raises(av.error.FFmpegError):
                av.open(f"rtsp://127.0.0.1:{port}/ds-test", options={"rtsp_transport": "tcp"}, timeout=5)
        other, began = driver_class(), time.monotonic()
        with pytest.raises(SinkError, match=f"port {port} is in use"):
            other.start(chain(*counted(), rtsp=graph.rtsp), {}, Told())
        other.stop()
        assert time.monotonic() - began < 5  # a graph that never ran has no end to wait for
    finally:
        driver.stop()
    with socket.socket() as again:  # the port is free again
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
