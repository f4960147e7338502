"""What is shown to people who watch: layout, signs, encoding, and only while somebody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from people import person, poses_of, result
from rtsp.clips import number_of, numbered_picture
from tensortap.errors import UsageError
from tensortap.sinks.names import parse_output, shown
from tensortap.sinks.push import PushSink
from tensortap.sinks.rtsp import RtspAddress, parse_rtsp_address
from tensortap.sinks.stream.channel import Channel, Send
from tensortap.sinks.stream.encoder import Encoder, Encoding
from tensortap.sinks.stream.views import SingleView, TiledView, grid
from tensortap.sinks.stream.wall import Wall
from tensortap.types import Result, StreamEvent, StreamState


def of(source_id: int, index: int = 0, poses: bool = False) -> Result:
    made = result(index, poses_of([person(60, top=10, height=70)] if poses else []))
    return replace(made, frame=replace(made.frame, info=replace(made.info, source_id=source_id)))


def event(source_id: int, state: StreamState, reason: str = "") -> StreamEvent:
    return StreamEvent(source_id, f"cam{source_id}", state, reason, 1_000_000_000, 1)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("number", "rows", "columns"),
    [
        (0, 1, 1),
        (1, 1, 1),
        (2, 1, 2),
        (3, 1, 3),
        (4, 2, 2),
        (5, 2, 3),
        (8, 2, 4),
        (9, 3, 3),
        (15, 3, 5),
        (16, 4, 4),
        (30, 5, 6),
    ],
)
def test_tiles_lie_as_in_deepstream(number: int, rows: int, columns: int) -> None:
    assert grid(number) == (rows, columns)


def test_tiles() -> None:
    wall, view = Wall(), TiledView((640, 384))
    assert view.draw(wall.slots()).max() > 100  # it says that there are none
    for source_id in range(4):
        wall.add(source_id, f"cam{source_id}")
    wall.put(of(2, 10))
    wall.put(of(1, 30, poses=True))
    picture = view.draw(wall.slots()).copy()
    assert picture.shape == (384, 640, 3)
    # Numbered from the left, row by row: 1 is at the top right, 2 at the bottom left. Their grey is 60 plus the index.
    assert picture[10, 600].tolist() == [90, 90, 90]
    assert picture[200, 10].tolist() == [70, 70, 70]
    assert picture[:192, 320:].std() > picture[192:, :320].std()  # somebody is drawn there
    waiting = picture[192:, 320:]
    assert waiting.max() > 200  # a sign
    wall.tell(event(2, StreamState.OFFLINE, "Connection refused"))
    darker = view.draw(wall.slots())
    assert darker[200, 10].tolist() == [23, 23, 23]
    assert darker[192:, :320].max() > 200
    assert (darker[:192] == picture[:192]).all()
    wall.tell(event(2, StreamState.ONLINE))
    assert (view.draw(wall.slots()) == picture).all()
    wall.tell(event(0, StreamState.ENDED, "removed"))
    three = view.draw(wall.slots())  # 1, 2, 3 in one row
    assert three[192, 100].tolist() == [90, 90, 90]
    assert three[192, 320].tolist() == [70, 70, 70]


def test_people_are_drawn_where_they_are_in_a_tile() -> None:
    wall, view = Wall(), TiledView((320, 192))
    wall.put(of(0, 0, poses=True))
    large = view.draw(wall.slots())
    lit = (np.abs(large.astype(int) - 60) > 40).any(axis=-1)
    lit[160:] = False  # the name
    rows, columns = np.nonzero(lit)
    # Twice as large as the source: the person's box is 16 wide around 60 there, and 75 high below 7.
    assert 100 < columns.min() < 108
    assert 132 < columns.max() < 140
    assert rows.max() > 140


def test_one_alone_keeps_its_size() -> None:
    wall, view = Wall(), SingleView(1, (320, 240))
    wall.put(of(0))
    wall.put(of(1, 5))
    assert view.draw(wall.slots()).shape == (96, 160, 3)
    other = result(0, size_wh=(333, 211))
    wall.put(replace(other, frame=replace(other.frame, info=replace(other.info, source_id=1))))
    assert view.draw(wall.slots()).shape == (96, 160, 3)
    wall.tell(event(1, StreamState.ENDED))
    assert view.draw(wall.slots()).max() > 200
    assert SingleView(7, (320, 240)).draw(wall.slots()).shape == (240, 320, 3)
    odd = SingleView(0, (320, 240))
    wall.put(result(0, size_wh=(333, 211)))
    assert odd.draw(wall.slots()).shape == (212, 334, 3)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_every_picture_comes_out_at_once_and_keyframes_by_the_clock(codec: str) -> None:
    encoder = Encoder(Encoding(codec=codec, bitrate=500_000, keyframe_seconds=1.0), (160, 96))
    packets = []
    for number in range(30):
        [packet] = encoder.encode(numbered_picture(number, (160, 96)), number / 10, keyframe=number == 25)
        packets.append(packet)
    assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 10, 20, 25]
    # From a keyframe on, each packet is all that a decoder needs.
    decoder = av.CodecContext.create(codec.replace("h265", "hevc"), "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets[20:] for frame in decoder.decode(av.Packet(packet.data))]
    frames += decoder.decode(None)
    assert [number_of(frame.to_ndarray(format="bgr24")) for frame in frames] == list(range(20, 30))


class Show:
    """A channel and what it has sent."""

    def __init__(self, frame_rate: float = 200.0, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.wall = Wall()
        self.sent: list[tuple[int, bool]] = []
        self.times: list[float] = []
        self.released = 0
        self.seconds, self.error = seconds, error
        self.channel = Channel("test", self.wall, lambda: SingleView(0, (160, 96)), self.sending, frame_rate=frame_rate)

    @contextmanager
    def sending(self) -> Iterator[Send]:
        yield self.send
        self.released += 1

    def send(self, picture: np.ndarray, seconds: float, keyframe: bool) -> None:
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        self.sent.append((int(picture[0, 0, 0]) - 60, keyframe))
        self.times.append(seconds)


def test_a_channel_works_only_while_it_is_watched() -> None:
    before = threading.active_count()
    show = Show()
    show.wall.put(of(0, 1))
    assert threading.active_count() == before
    show.channel.watch(True)
    until(lambda: (1, True) in show.sent)
    show.wall.put(of(0, 2))
    until(lambda: (2, False) in show.sent)
    show.channel.watch(True)  # another viewer
    until(lambda: (2, True) in show.sent)
    until(lambda: len(show.sent) > 5)  # goes on although nothing changes
    show.channel.watch(False)
    until(lambda: show.released == 1 and threading.active_count() == before)
    number = len(show.sent)
    show.wall.put(of(0, 3))
    show.channel.watch(True)
    until(lambda: len(show.sent) > number)
    assert show.sent[number] == (3, True)
    assert show.times == sorted(show.times[:number]) + sorted(show.times[number:])
    assert show.channel.close()
    assert show.channel.close()
    show.channel.watch(True)
    assert threading.active_count() == before


def test_a_slow_channel_shows_the_newest_and_counts_the_rest() -> None:
    show = Show(seconds=0.05)
    show.channel.watch(True)
    for index in range(100):
        show.wall.put(of(0, index))
        time.sleep(0.005)
    until(lambda: show.sent[-1][0] == 99)
    shown_numbers = {number for number, _ in show.sent if number >= 0}
    assert show.channel.close()
    assert len(shown_numbers) < 50
    assert 0 < show.channel.dropped <= 100 - len(shown_numbers)


def test_a_channel_that_fails_says_why() -> None:
    show = Show(error=RuntimeError("no encoder"))
    show.channel.watch(True)
    until(lambda: show.channel.error is not None)
    assert str(show.channel.error) == "no encoder"
    assert show.channel.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://:8554/ds-test", RtspAddress("127.0.0.1", 8554, "/ds-test", "", "")),
        ("rtsp://0.0.0.0/a/b/", RtspAddress("0.0.0.0", 8554, "/a/b", "", "")),
        ("rtsp://[::1]:0/x", RtspAddress("::1", 0, "/x", "", "")),
        ("rtsp://me:p%40ss:w@box.local:5/x", RtspAddress("box.local", 5, "/x", "me", "p@ss:w")),
    ],
)
def test_addresses(text: str, expected: RtspAddress) -> None:
    assert parse_rtsp_address(text) == expected


@pytest.mark.parametrize("text", ["rtsp://:8554", "rtsp://:8554/", "rtsp://:99999/a", "rtsp://::1:5/a", "rtsp://:8554/a b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="say where to serve"):
        parse_rtsp_address(text)


@pytest.mark.parametrize(
    ("text", "sink", "expected"),
    [
        ("rtsp://u:secret@:8554/ds-test", "rtsp", "rtsp://***@:8554/ds-test"),
        ("rtsp+push://u:secret@box/a?token=secret", "push", "rtsp+push://***@box/a?***"),
        ("rtmp://a.example/live/secret", "push", "rtmp://a.example/live/***"),
    ],
)
def test_secrets_are_not_shown(text: str, sink: str, expected: str) -> None:
    name = parse_output(text)
    assert (name.sink, name.text, shown(text)) == (sink, text, expected)
    assert not name.is_file
    assert not name.per_stream
    assert "secret" not in str(name.path)


@pytest.mark.parametrize("text", ["rtsp+push:///x", "rtmp://host", "rtsp+push://host/"])
def test_where_nothing_can_be_pushed(text: str) -> None:
    with pytest.raises(UsageError, match="say which server"):
        PushSink(text)


def test_rtmp_takes_h264_only() -> None:
    with pytest.raises(UsageError, match="Leave out --codec h265"):
        PushSink("rtmp://host/live/key", Encoding(codec="h265"))


def test_files_are_files() -> None:
    assert parse_output("rtsp.jsonl").path == Path("rtsp.jsonl")
    assert parse_output("rtsp.jsonl").is_file
