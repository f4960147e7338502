"""Videos: they play, also after a kill, with the times and sizes of the source."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import av
import numpy as np
import pytest

from people import person, poses_of, result
from tensortap.errors import SinkError
from tensortap.sinks.background import BackgroundWorker
from tensortap.sinks.draw import draw_poses
from tensortap.sinks.video import VideoSink
from tensortap.skeletons import skeleton_for
from tensortap.types import Poses


def decoded(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times in milliseconds and BGR pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [round(float(frame.pts * frame.time_base) * 1000, 1) for frame in frames], [
            frame.to_ndarray(format="bgr24") for frame in frames
        ]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.m4v"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_times_and_pictures_come_back(tmp_path: Path, name: str, codec: str) -> None:
    sink = VideoSink(tmp_path / name, codec=codec)  # type: ignore[arg-type]
    times_ms = [0, 40, 80, 500, 510, 2000]
    for index, time_ms in enumerate(times_ms):
        sink.write(result(index, poses_of([]), size_wh=(320, 240), pts_ns=time_ms * 1_000_000))
    sink.close()
    times, pictures = decoded(tmp_path / name)
    assert times == pytest.approx(times_ms, abs=1.0)
    assert pictures[0].shape == (240, 320, 3)
    for index, picture in enumerate(pictures):
        assert np.abs(picture.astype(int) - (60 + index)).max() <= 3


def test_the_last_frame_keeps_its_duration(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    for index in range(10):
        sink.write(result(index))
    sink.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0, abs=0.02)
        assert float(stream.average_rate) == pytest.approx(10, rel=0.01)


def test_times_that_do_not_rise_are_mended(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    for index, pts_ns in enumerate([0, 100, 100, 50]):
        sink.write(result(index, pts_ns=pts_ns))
    sink.close()
    assert len(decoded(tmp_path / "a.mp4")[0]) == 4


@pytest.mark.parametrize("size_wh", [(161, 97), (160, 97), (161, 96), (33, 35)])
def test_odd_sizes(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    for index in range(3):
        sink.write(result(index, poses_of([]), size_wh=size_wh))
    sink.close()
    _, pictures = decoded(tmp_path / "a.mp4")
    assert pictures[0].shape[:2] == (size_wh[1] + size_wh[1] % 2, size_wh[0] + size_wh[0] % 2)
    assert np.abs(pictures[0].astype(int) - 60).max() <= 3  # no black seam


def test_a_change_of_size_is_fitted_in(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    sink.write(result(0, poses_of([]), size_wh=(320, 240)))
    sink.write(result(1, poses_of([]), size_wh=(320, 120)))
    sink.close()
    _, pictures = decoded(tmp_path / "a.mp4")
    assert [picture.shape for picture in pictures] == [(240, 320, 3)] * 2
    assert pictures[1][120, 160].mean() == pytest.approx(61, abs=4)
    assert pictures[1][10, 160].mean() == pytest.approx(0, abs=4)


def test_no_frames_leave_no_file(tmp_path: Path) -> None:
    VideoSink(tmp_path / "a.mp4").close()
    assert not (tmp_path / "a.mp4").exists()


def test_pixels_that_stay_on_the_device(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    sink.write(result(pixels=False))
    with pytest.raises(SinkError, match="there is no picture"):
        sink.close()


_ENDLESS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from people import result
from tensortap.sinks.video import VideoSink
sink = VideoSink(Path(sys.argv[2]))
for index in range(100_000):
    sink.write(result(index, size_wh=(320, 240), pts_ns=index * 40_000_000))
    print(index, flush=True)
    time.sleep(0.004)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_killed_run_leaves_a_video_that_plays(tmp_path: Path, name: str) -> None:
    arguments = [sys.executable, "-c", _ENDLESS, str(Path(__file__).parents[2]), str(tmp_path / name)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = 0
    deadline = time.monotonic() + 60
    while last < 200 and time.monotonic() < deadline:
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    times, _ = decoded(tmp_path / name)
    # At 25 frames/s: all but the last second, and what x264 held back to look ahead.
    assert len(times) >= last - 25 - 60


def test_drawing_reads_only_and_marks_people() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    image.flags.writeable = False
    drawn = draw_poses(image, poses_of([person(160, top=20, height=200)]))
    changed = np.abs(drawn.astype(int) - 90).max(axis=2) > 20
    assert changed[20:220, 110:210].mean() > 0.05
    assert not changed[:, :90].any()
    assert (image == 90).all()


def test_unsure_keypoints_are_left_out() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    poses = poses_of([person(160, top=20, height=200)])
    keypoints = poses.keypoints.copy()
    keypoints[..., 2] = 0.1
    unsure = Poses(poses.boxes_xyxy, poses.scores, poses.class_ids, keypoints, poses.skeleton)
    assert (draw_poses(image, unsure) > 0).sum() < (draw_poses(image, poses) > 0).sum() / 2


@pytest.mark.parametrize("size_wh", [(160, 90), (640, 480), (3840, 2160), (20, 20)])
def test_drawing_at_any_size(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    drawn = draw_poses(
        image, poses_of([person(width / 2, top=height * 0.1, height=height * 0.8), person(-width), person(9 * width)])
    )
    share = (drawn.max(axis=2) > 0).mean()
    assert 0.01 < share < 0.6


def test_skeletons_without_limbs_are_drawn_as_points() -> None:
    poses = Poses(
        np.array([[10, 10, 90, 90]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        np.array([[[30, 30, 1], [60, 60, 1]]], np.float32),
        skeleton_for(2),
    )
    drawn = draw_poses(np.zeros((100, 100, 3), np.uint8), poses)
    assert drawn[30, 30].any()
    assert not drawn[45, 45].any()


def test_what_the_thread_raises_surfaces_with_its_traceback() -> None:
    finished = []

    def consume(item: int) -> None:
        if item == 2:
            raise SinkError("two is too many")

    worker = BackgroundWorker("test", consume, lambda: finished.append(True), queue_size=2)
    with pytest.raises(SinkError, match="two") as caught:
        deque(map(worker.put, range(1000)), maxlen=0)
    assert "consume" in [entry.name for entry in caught.traceback]
    worker.close()
    assert finished == [True]


def test_a_queue_that_drops_keeps_the_newest() -> None:
    gate, taken = threading.Event(), []

    def consume(item: int) -> None:
        gate.wait(10)
        taken.append(item)

    worker = BackgroundWorker("test", consume, lambda: None, queue_size=3)
    for item in range(50):
        worker.put(item, drop=True)
    gate.set()
    worker.close()
    assert taken[-3:] == [47, 48, 49]
    assert worker.dropped == 50 - len(taken)


def test_what_was_there_stays_until_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"precious")
    VideoSink(path).close()
    assert path.read_bytes() == b"precious"


def test_names_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = VideoSink(Path("12:30:05.mp4"))
    sink.write(result())
    sink.close()
    assert len(decoded(tmp_path / "12:30:05.mp4")[0]) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_while_closing_is_heeded_when_everything_is_written() -> None:
    taken: list[int] = []

    def consume(item: int) -> None:
        time.sleep(0.02)
        taken.append(item)

    worker = BackgroundWorker("test", consume, lambda: taken.append(-1), queue_size=40)
    for item in range(30):
        worker.put(item)
    timer = threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        worker.close()
    timer.join()
    assert taken == [*range(30), -1]


def test_labels_do_not_lie_over_each_other() -> None:
    people = poses_of([person(160 + 4 * number, top=60, height=170) for number in range(4)])
    one = draw_poses(np.zeros((480, 640, 3), np.uint8), people.take(np.array([0])).with_track_ids(np.array([4])))
    four = draw_poses(np.zeros((480, 640, 3), np.uint8), people.with_track_ids(np.array([4, 4, 4, 4])))
    top = int(people.boxes_xyxy[0, 1])
    plate = slice(top - 14, top - 2)  # above the boxes there is nothing but labels
    np.testing.assert_array_equal(four[plate], one[plate])
    assert one[plate].any()
