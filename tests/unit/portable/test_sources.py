"""Sources: what is read, in which order, with which time, and what bad input costs."""

from __future__ import annotations

import http.server
import logging
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from media import picture, rotate_by_metadata, write_audio, write_image, write_video
from tensortap.errors import SourceError
from tensortap.portable.sources.connection import FfmpegConnection, LiveSettings, Seen
from tensortap.portable.sources.images import ImageSource
from tensortap.portable.sources.inputs import find_inputs
from tensortap.portable.sources.video import VideoSource
from tensortap.text import redact
from tensortap.types import Frame


def read_all(source: VideoSource | ImageSource) -> list[Frame]:
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def open_video(path: Path) -> VideoSource:
    return VideoSource(3, path.name, str(path))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv444p"),
        ("a.mov", "mjpeg", "yuvj422p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("b.mkv", "libx264", "yuv420p10le"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_containers_and_codecs(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    source = open_video(write_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt, num_frames=8))
    frames = read_all(source)
    assert [frame.info.index for frame in frames] == list(range(8))
    assert source.damaged == 0
    assert frames[0].info.source_id == 3
    assert frames[0].info.source == name
    assert frames[0].info.pts_ns == 0
    assert frames[5].info.pts_ns == pytest.approx(500e6, abs=2e6)
    assert frames[0].info.size_wh == (160, 96)
    image = frames[0].image
    assert image is not None
    assert image.shape == (96, 160, 3)
    assert np.abs(image.astype(int) - picture(160, 96)).mean() < (30 if name == "a.gif" else 6)


def test_variable_frame_rate_keeps_its_timestamps(tmp_path: Path) -> None:
    pts_ms = [0, 40, 80, 500, 520, 2000]
    frames = read_all(open_video(write_video(tmp_path / "vfr.mp4", num_frames=6, pts_ms=pts_ms)))
    assert [round(frame.info.pts_ns / 1e6) for frame in frames] == pts_ms


def test_stream_says_what_to_expect(tmp_path: Path) -> None:
    source = open_video(write_video(tmp_path / "a.mp4", num_frames=20))
    assert source.stream.num_frames == 20
    assert source.stream.frame_rate == pytest.approx(10)
    assert source.stream.size_wh == (160, 96)
    assert not source.stream.is_still
    source.close()
    assert source.read() is None


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    path = rotate_by_metadata(write_video(tmp_path / "phone.mp4", num_frames=2), degrees)
    source = open_video(path)
    [first, _] = read_all(source)
    upright = np.rot90(picture(160, 96), -degrees // 90)
    assert first.info.size_wh == upright.shape[1::-1] == source.stream.size_wh
    assert first.image is not None
    assert np.abs(first.image.astype(int) - upright).mean() < 6


def test_a_change_of_resolution_is_followed_and_time_goes_on(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", num_frames=5).read_bytes()
    large = write_video(tmp_path / "large.ts", size_wh=(320, 240), num_frames=5).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    frames = read_all(open_video(tmp_path / "both.ts"))
    sizes = [frame.info.size_wh for frame in frames]
    assert sizes[0] == (160, 96)
    assert sizes[-1] == (320, 240)
    times = [frame.info.pts_ns for frame in frames]
    assert all(after > before for before, after in pairwise(times))
    assert frames[-1].image is not None
    assert frames[-1].image.shape == (240, 320, 3)


def test_damage_in_the_middle_costs_frames_not_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", num_frames=60, size_wh=(320, 240), options={"g": "10"})
    data = bytearray(path.read_bytes())
    generator = random.Random(4)
    for position in range(len(data) // 3, len(data) // 3 + 2000):
        data[position] = generator.randrange(256)
    path.write_bytes(data)
    source = open_video(path)
    frames = read_all(source)
    assert 40 < len(frames) <= 60
    assert frames[-1].info.pts_ns == pytest.approx(5.9e9, abs=0.2e9)  # read to its end
    assert [frame.info.index for frame in frames] == list(range(len(frames)))


def test_undecodable_packets_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Motion JPEG: every packet is a picture of its own, so exactly the ones overwritten are lost.
    path = write_video(tmp_path / "a.avi", num_frames=20, codec="mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    starts = [position for position in range(len(data) - 3) if data[position : position + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 20
    broken = bytearray(data)
    for number in (5, 11):
        start, end = starts[number], data.index(b"00dc", starts[number])
        broken[start:end] = bytes(end - start)
    path.write_bytes(broken)
    source = open_video(path)
    with caplog.at_level(logging.WARNING):
        frames = read_all(source)
    assert len(frames) == 18
    assert source.damaged == 2
    assert "damaged near frame 5" in caplog.text


def test_a_file_cut_short_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=60, size_wh=(320, 240))
    # A file whose index stands in front and whose end is missing, as after a broken download.
    import av

    with av.open(str(path)) as source, av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole = (tmp_path / "fast.mp4").read_bytes()
    (tmp_path / "fast.mp4").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        frames = read_all(open_video(tmp_path / "fast.mp4"))
    assert 5 < len(frames) < 55
    assert "ends early: its index announces 60 frames" in caplog.text


def test_files_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    whole = write_video(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_audio(tmp_path / "sound.m4a")
    for name, message in [
        ("empty.mp4", "is empty"),
        ("text.mp4", "not a video"),
        ("cut.mp4", "cut off"),
        ("sound.m4a", "no video in it, only audio"),
        ("missing.mp4", "No such file"),
    ]:
        with pytest.raises(SourceError, match=message):
            open_video(tmp_path / name)


def unknown_codec(path: Path) -> Path:
    """A video of which nobody knows the codec."""
    video = write_video(path, codec="mpeg4").read_bytes()
    assert b"V_MPEG4/ISO/ASP" in video
    path.write_bytes(video.replace(b"V_MPEG4/ISO/ASP", b"V_WHATEVER/ELSE"))
    return path


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = unknown_codec(tmp_path / "a.mkv")
    with pytest.raises(SourceError, match=r"a\.mkv has a video of a codec that FFmpeg does not know"):
        open_video(path)
    # A camera's session description may be damaged on its way.
    with pytest.raises(SourceError, match="it has a video of a codec that FFmpeg does not know"):
        FfmpegConnection(str(path), LiveSettings(), Seen())


def test_unreachable_urls_name_the_problem_but_no_password() -> None:
    with pytest.raises(SourceError, match="refused") as caught:
        VideoSource(0, "x", "http://user:secret@127.0.0.1:9/x.mp4?token=secret", timeout_seconds=2)
    assert "secret" not in str(caught.value)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a web server for the files in `tmp_path`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def test_a_video_behind_a_url(tmp_path: Path, server: str) -> None:
    write_video(tmp_path / "a.mp4", num_frames=9)
    [found] = find_inputs([f"{server}/a.mp4?token=secret"])
    assert found.name == "a.mp4"
    frames = read_all(VideoSource(0, found.name, found.location))
    assert len(frames) == 9
    assert frames[0].info.source == "a.mp4"


def test_a_url_that_is_not_there(server: str) -> None:
    with pytest.raises(SourceError, match=r"missing.mp4 cannot be opened: .*404.*Check the address"):
        VideoSource(0, "x", f"{server}/missing.mp4")


def test_images_in_order_with_their_own_names(tmp_path: Path) -> None:
    for number, name in enumerate(["b.png", "a.jpg", "c.bmp"]):
        write_image(tmp_path / name, (64 + number, 48))
    (tmp_path / "notes.txt").write_text("not an image")
    [found] = find_inputs([str(tmp_path)])
    source = ImageSource(0, found.name, found.paths)
    frames = read_all(source)
    assert [frame.info.source for frame in frames] == ["a.jpg", "b.png", "c.bmp"]
    assert [frame.info.size_wh for frame in frames] == [(65, 48), (64, 48), (66, 48)]
    assert source.stream.is_still
    assert source.stream.num_frames == 3


def test_a_damaged_image_costs_itself_only(tmp_path: Path) -> None:
    good, bad = write_image(tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_text("text")
    source = ImageSource(0, "images", (bad, good, tmp_path / "missing.png"))
    assert [frame.info.source for frame in read_all(source)] == ["a.png"]
    assert source.damaged == 2
    with pytest.raises(SourceError, match="cannot be read as an image"):
        read_all(ImageSource(0, "b.png", (bad,)))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.jpg", (64, 48))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: turn clockwise
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    [frame] = read_all(ImageSource(0, "a.jpg", (path,)))
    assert frame.info.size_wh == (48, 64)


def test_inputs_become_streams(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", num_frames=1)
    folder = tmp_path / "photos"
    folder.mkdir()
    images = [write_image(folder / f"{number}.png", (16, 16)) for number in range(3)]
    inputs = find_inputs(
        [str(images[0]), str(images[1]), str(video), str(folder), str(folder / "*.png"), "http://u:p@h/x.mp4?k=1"]
    )
    assert [(each.kind, each.name, len(each.paths)) for each in inputs] == [
        ("images", "0.png", 2),
        ("video", "v.mp4", 0),
        ("images", "photos", 3),
        ("images", str(folder / "*.png"), 3),
        ("video", "x.mp4", 0),
    ]


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    write_video(tmp_path / "street.mp4", num_frames=1)
    (tmp_path / "empty").mkdir()
    for location, message in [
        ("streat.mp4", "Did you mean .*street.mp4"),
        ("empty", "holds no images .* It is empty"),
        (".", "holds no images .* name videos one by one"),
        ("*.png", "names no images. It matches nothing"),
        ("nowhere/a.mp4", "does not exist either"),
    ]:
        with pytest.raises(SourceError, match=message):
            find_inputs([str(tmp_path / location)])


def test_redact() -> None:
    assert redact("open rtsp://me:pw@cam/live?key=1 failed") == "open rtsp://***@cam/live?*** failed"
    assert redact("a@b.mp4") == "a@b.mp4"


def test_opencv_and_ffmpeg_agree_on_pictures(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=3)
    capture = cv2.VideoCapture(str(path))
    for frame in read_all(open_video(path)):
        found, expected = capture.read()
        assert found
        assert frame.image is not None
        assert np.abs(frame.image.astype(int) - expected).max() <= 2


def test_a_time_given_twice_does_not_shift_what_follows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=6, pts_ms=[0, 100, 200, 300, 400, 500])
    source = open_video(path)
    pts = source._video.time_base.denominator // 10
    decode_next = source._decode_next
    given = iter([0, 1, 1, 2, 2, 3])

    def with_doubles() -> Any:
        frame = decode_next()
        if frame is not None:
            frame.pts = next(given) * pts
        return frame

    source._decode_next = with_doubles  # type: ignore[method-assign]
    times = [frame.info.pts_ns for frame in read_all(source)]
    assert [round(time / 1e8) for time in times] == [0, 1, 1, 2, 2, 3]
    assert all(after > before for before, after in pairwise(times))


def test_names_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", num_frames=2).rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_all(open_video(Path("12:30.mp4")))) == 2


def test_file_urls(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a b.mp4", num_frames=2)
    [found] = find_inputs([path.as_uri()])
    assert found.name == "a b.mp4"
    with pytest.raises(SourceError, match="There is no input file"):
        find_inputs([(tmp_path / "missing.mp4").as_uri()])


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        write_image(tmp_path / "a.png").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    [found] = find_inputs([str(tmp_path / name)])
    [frame] = read_all(ImageSource(0, found.name, found.paths))
    assert frame.info.source == found.name == "caf\ufffd.png"


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(SourceError, match=r"gave no answer within 0\.5 s. Check the address"):
            VideoSource(0, "x", f"http://127.0.0.1:{port}/x.mp4", timeout_seconds=0.5)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_is_heeded_while_a_url_is_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        timer = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
        timer.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            VideoSource(0, "x", f"http://127.0.0.1:{silent.getsockname()[1]}/x.mp4", timeout_seconds=5)
        timer.join()
        assert time.monotonic() - started < 4  # not the time-out
        for thread in threading.enumerate():
            if thread.name == "tensortap-open":
                thread.join(10)


@pytest.mark.parametrize(
    ("location", "name", "url"),
    [
        ("rtsp://me:pw@door.local:8554/live/1?token=x", "door.local:8554/live/1", None),
        ("RTSP://door.local", "door.local", None),
        ("rtsp://[::1]:554/a", "[::1]:554/a", None),
        ("rtmp://host/app/stream", "host/app/stream", None),
        ("udp://@:5000", ":5000", None),
        ("live+http://me:pw@cam/video.mjpg", "cam/video.mjpg", "http://me:pw@cam/video.mjpg"),
        ("yard=rtsp://me:pw@door.local/1", "yard", "rtsp://me:pw@door.local/1"),
        ("rtsp://dvr:554/user=admin_password=geheim_channel=1_stream=0.sdp", "dvr:554/user=***", None),
        ("rtsp://me:p/w@door/1", "door/1", None),
        ("/dev/video2", "webcam-2", "webcam:2"),
        ("webcam:1?size=1280x720", "webcam-1", "webcam:1?size=1280x720"),
        ("0", "webcam-0", "webcam:0"),
    ],
)
def test_cameras_and_their_names(location: str, name: str, url: str | None) -> None:
    [found] = find_inputs([location])
    assert (found.kind, found.name, found.location) == ("live", name, url or location)
    assert "pw" not in found.name
    assert "geheim" not in found.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://me:p@w@cam/1", "rtsp://***@cam/1"),
        ("rtsp://me:p/w@cam/1", "rtsp://***@cam/1"),
        ("http://host/a@2x.png", "http://host/a@2x.png"),
        ("http://host:80/a@2x.png", "http://host:80/a@2x.png"),
        ("rtsp://dvr/user=me&password=pw&channel=1", "rtsp://dvr/user=***&password=***&channel=1"),
        ("udp://@:5000", "udp://@:5000"),
        ("two rtsp://a:b@c/d and http://e:f@g/h?i=j.", "two rtsp://***@c/d and http://***@g/h?***"),
    ],
)
def test_nothing_secret_is_left(text: str, expected: str) -> None:
    assert redact(text) == expected
