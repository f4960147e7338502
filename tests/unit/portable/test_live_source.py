"""Cameras that misbehave, as connections made by hand: what is told, what is tried again, what is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest

from tensortap.errors import SourceError, UsageError
from tensortap.portable.sources.connection import (
    LiveSettings,
    Picture,
    RefusedError,
    Seen,
    _how_to_open,
    _Pace,
    webcam_options,
)
from tensortap.portable.sources.live import LiveSource
from tensortap.types import Frame, StreamEvent, StreamState

CONNECTING, ONLINE, STALLED, OFFLINE = (
    StreamState.CONNECTING,
    StreamState.ONLINE,
    StreamState.STALLED,
    StreamState.OFFLINE,
)
QUICK = LiveSettings(
    open_timeout_seconds=0.3, stall_timeout_seconds=0.2, retry_min_seconds=0.01, retry_max_seconds=0.02, retries=None
)


def picture(size_wh: tuple[int, int] = (32, 16)) -> Picture:
    frame = av.VideoFrame.from_ndarray(np.zeros((size_wh[1], size_wh[0], 3), np.uint8), format="bgr24")
    return Picture(frame, None, time.monotonic_ns())


class Script:
    """A connection that does one thing after the other: an int gives so many pictures, a call is called, an error raised."""

    frame_rate = 25.0

    def __init__(self, *steps: Any, size_wh: tuple[int, int] = (32, 16)) -> None:
        self.damaged = 0
        self.closed = False
        self._steps = steps
        self._size_wh = size_wh

    def pictures(self) -> Iterator[Picture | None]:
        for step in self._steps:
            if isinstance(step, int):
                for _ in range(step):
                    yield picture(self._size_wh)
            elif isinstance(step, BaseException):
                raise step
            else:
                yield from step() or ()

    def close(self) -> None:
        self.closed = True


class Camera:
    """A live source over scripts; when they are used up, the last one is used again."""

    def __init__(self, *scripts: Any, settings: LiveSettings = QUICK) -> None:
        self.opened: list[Script] = []
        self.events: list[StreamEvent] = []
        self._scripts = scripts
        self.source = LiveSource(4, "door", "rtsp://127.0.0.1/x", settings=settings, connect=self._connect)
        self.source.watch(self.events.append)

    def _connect(self) -> Script:
        made = self._scripts[min(len(self.opened), len(self._scripts) - 1)]()
        self.opened.append(made)
        if isinstance(made, BaseException):
            raise made
        return made

    def read(self, count: int) -> list[Frame]:
        frames = [self.source.read() for _ in range(count)]
        assert all(frame is not None for frame in frames)
        return frames  # type: ignore[return-value]

    @property
    def states(self) -> list[StreamState]:
        return [event.state for event in self.events]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def silence(seconds: float = 0.6) -> Callable[[], Iterator[None]]:
    """Packets that hold no picture."""

    def packets() -> Iterator[None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
            yield None

    return packets


def hang(seconds: float) -> Callable[[], Iterator[None]]:
    """A call that does not return for a while."""

    def call() -> Iterator[None]:
        time.sleep(seconds)
        yield None

    return call


def test_an_end_is_a_fault_and_frames_go_on(caplog: pytest.LogCaptureFixture) -> None:
    camera = Camera(lambda: Script(3), lambda: Script(2, size_wh=(64, 48)), lambda: Script(100, silence()))
    frames = camera.read(6)
    camera.source.close()
    assert camera.source.read() is None
    assert [frame.info.index for frame in frames] == list(range(6))
    assert [frame.info.size_wh for frame in frames] == [(32, 16)] * 3 + [(64, 48)] * 2 + [(32, 16)]
    assert all(after.info.pts_ns > before.info.pts_ns for before, after in pairwise(frames))
    assert all(frame.info.is_live and frame.info.source_id == 4 and frame.info.source == "door" for frame in frames)
    assert abs(frames[-1].info.capture_ns - time.time_ns()) < 60e9
    assert camera.states == [CONNECTING, ONLINE, OFFLINE, ONLINE, OFFLINE, ONLINE]
    assert camera.events[2].reason == "the connection was ended by the other side"
    assert [event.times for event in camera.events] == [1, 1, 1, 2, 2, 3]
    assert camera.source.reconnects == 2
    assert all(script.closed for script in camera.opened)


def test_down_at_start_and_what_is_told_of_it() -> None:
    refused, gone = SourceError("Connection refused"), SourceError("No route to host")
    camera = Camera(*[lambda: refused] * 3, *[lambda: gone] * 2, lambda: Script(1, silence()))
    camera.read(1)
    camera.source.close()
    # Told once, not at every attempt; again when the reason changes.
    assert [(event.state, event.reason) for event in camera.events] == [
        (CONNECTING, ""),
        (OFFLINE, "Connection refused"),
        (OFFLINE, "No route to host"),
        (ONLINE, "32x16"),
    ]
    assert camera.events[1].since_ns == camera.events[2].since_ns  # down since then, whatever the reason
    assert camera.source.reconnects == 0
    assert camera.source.read() is None


def test_a_camera_that_sends_anything_but_pictures_has_stalled() -> None:
    camera = Camera(lambda: Script(2, silence(30)), lambda: Script(1, silence()))
    camera.read(3)
    camera.source.close()
    assert camera.states == [CONNECTING, ONLINE, STALLED, ONLINE]
    assert camera.events[2].reason == "no frame for 0.2 s"
    assert camera.source.read() is None


def test_a_call_that_hangs_is_left_alone() -> None:
    camera = Camera(lambda: Script(1, hang(1.5)), lambda: Script(1, silence()))
    started = time.monotonic()
    camera.read(2)
    assert time.monotonic() - started < 1.4
    assert camera.states == [CONNECTING, ONLINE, STALLED, ONLINE]
    camera.source.close()
    assert camera.source.read() is None


def test_no_more_attempts_than_can_hang() -> None:
    camera = Camera(lambda: Script(hang(1.0)))
    reader = threading.Thread(target=camera.source.read)
    reader.start()
    time.sleep(1.2)
    assert len(camera.opened) <= 3
    assert "it is there, but showed no picture within 0.3 s" in [event.reason for event in camera.events]
    camera.source.close()
    reader.join(5)
    assert not reader.is_alive()


def test_a_connection_that_does_not_come_about() -> None:
    def never() -> Script:
        time.sleep(1.2)
        return Script(1)

    camera = Camera(never, lambda: Script(1, silence()))
    camera.read(1)
    camera.source.close()
    assert (OFFLINE, "it gave no answer within 0.3 s") in [(event.state, event.reason) for event in camera.events]
    assert camera.source.read() is None


def test_it_can_be_given_up() -> None:
    settings = LiveSettings(retry_min_seconds=0.01, retry_max_seconds=0.01, retries=2)
    camera = Camera(lambda: SourceError("Connection refused"), settings=settings)
    with pytest.raises(SourceError, match="door was given up after 3 attempts: Connection refused"):
        camera.source.read()


def test_pauses_are_short_until_the_outage_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LiveSettings(retry_min_seconds=0.25, retry_max_seconds=5)
    camera = Camera(*[lambda: SourceError("no")] * 9, lambda: Script(1, silence()), settings=settings)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(round(seconds, 1) if seconds < 1 else round(seconds))
        if len(pauses) in (5, 7):
            camera.source._down_since -= 30  # half a minute passes

    monkeypatch.setattr(camera.source, "_sleep", pause)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    camera.read(1)
    assert pauses == [0.2, 0.5, 1, 1, 1, 2, 3, 5, 5]
    camera.source.close()
    assert camera.source.read() is None


def test_pauses_double_up_to_a_limit_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LiveSettings(retry_min_seconds=1, retry_max_seconds=5)
    camera = Camera(*[lambda: SourceError("no")] * 5, lambda: Script(1), lambda: Script(1, silence()), settings=settings)
    pauses: list[float] = []
    monkeypatch.setattr(camera.source, "_sleep", pauses.append)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    monkeypatch.setattr("tensortap.portable.sources.live._SHORT_SECONDS", 1000.0)
    camera.read(2)
    assert pauses == [1, 2, 4, 5, 5, 5]  # it was back for a moment only
    monkeypatch.setattr("tensortap.portable.sources.live._STEADY_SECONDS", 0.0)
    pauses.clear()
    camera.read(2)
    assert pauses[0] == 1
    camera.source.close()
    assert camera.source.read() is None


def test_a_wrong_password_is_not_tried_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(lambda: RefusedError("wrong"), lambda: Script(1, silence()))
    pauses: list[float] = []
    monkeypatch.setattr(camera.source, "_sleep", pauses.append)
    camera.read(1)
    assert 15 <= pauses[0] <= 30
    camera.source.close()
    assert camera.source.read() is None


def test_what_nobody_expected_is_told_and_the_camera_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    bug = ZeroDivisionError("a bug with rtsp://me:secret@10.0.0.1/x")
    camera = Camera(lambda: Script(1, bug), lambda: bug, lambda: Script(2, silence()))
    assert len(camera.read(3)) == 3
    [offline] = [event for event in camera.events if event.state is StreamState.OFFLINE]
    assert offline.reason == "ZeroDivisionError: a bug with rtsp://***@10.0.0.1/x"
    assert "Traceback" in caplog.text
    assert "door failed in a way that nobody expected" in caplog.text
    assert "secret" not in caplog.text
    assert caplog.text.count("nobody expected") == 1, "the same again says nothing new"
    camera.source.close()
    assert camera.source.read() is None


def test_closing_ends_a_read_that_waits() -> None:
    camera = Camera(lambda: Script(silence(30)), settings=LiveSettings())
    answers: list[Frame | None] = []
    reader = threading.Thread(target=lambda: answers.append(camera.source.read()))
    reader.start()
    time.sleep(0.1)
    camera.source.close()
    reader.join(2)
    assert answers == [None]


def test_packets_that_come_again_are_known() -> None:
    seen = Seen(size=3)
    assert [seen.add(pts, b"x") for pts in (1, 2, 1, 3, 4, 1)] == [False, False, True, False, False, False]
    assert not seen.add(4, b"other")


def test_segments_are_shown_at_their_pace() -> None:
    pace, second = _Pace(), 1_000_000_000
    assert pace.seconds_until(90 * second, 5 * second) == 0
    assert pace.seconds_until(92 * second, 5 * second) == 2
    assert pace.seconds_until(92 * second, 7 * second + 1000) == 0  # a little late is no reason to start over
    assert pace.seconds_until(93 * second, 7 * second) == 1
    assert pace.seconds_until(94 * second, 20 * second) == 0  # the server paused: from here on
    assert pace.seconds_until(95 * second, 20 * second) == 1
    assert pace.seconds_until(500 * second, 21 * second) == 0
    assert pace.seconds_until(None, 21 * second) == 0


def test_options_of_webcams() -> None:
    wanted = {"size": "1280x720", "fps": "30", "format": "mjpeg"}
    assert webcam_options(wanted, "linux") == {"video_size": "1280x720", "framerate": "30", "input_format": "mjpeg"}
    assert webcam_options(wanted, "win32") == {"video_size": "1280x720", "framerate": "30", "vcodec": "mjpeg"}
    with pytest.raises(UsageError, match="A webcam has no 'colour'"):
        LiveSource(0, "x", "webcam:0?colour=red")


def test_rtsp_goes_over_tcp_unless_asked() -> None:
    assert _how_to_open("rtsp://h/x", LiveSettings())[2]["rtsp_transport"] == "tcp"
    assert _how_to_open("RTSP://h/x", LiveSettings(rtsp_transport="udp"))[2]["rtsp_transport"] == "udp"
