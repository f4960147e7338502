"""What every sink promises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from people import person, poses_of, result
from rtsp.server import INSTALL, python_with_gi
from tensortap import registry
from tensortap.errors import SinkError
from tensortap.geometry import letterbox
from tensortap.outputs import TensorSink
from tensortap.sinks.memory import MemorySink
from tensortap.types import Result, TensorFrame

NAMES = {"coco": "out.coco.json", "jsonl": "out.jsonl", "null": "null", "recording": "out.tap", "video": "out.mp4"}
ADDRESSES = {"push": "rtsp+push://127.0.0.1:9/nobody-listens", "rtsp": "rtsp://:0/ds-test"}
"""Of sinks that are no files."""


def test_all_sinks_are_covered() -> None:
    assert {*NAMES, *ADDRESSES} == set(registry.SINKS)


@pytest.fixture(params=[*NAMES, *ADDRESSES, "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    if request.param == "memory":
        return MemorySink
    if request.param == "rtsp" and python_with_gi() is None:
        pytest.skip(f"needs gst-rtsp-server: {INSTALL}")
    if request.param in ADDRESSES:
        return lambda: registry.load("sink", registry.SINKS, request.param)(ADDRESSES[request.param])
    return lambda: registry.load("sink", registry.SINKS, request.param)(tmp_path / NAMES[request.param])


def write(sink: Any, given: Result) -> None:
    """The result, or to a recording the tensors that it might have been made of."""
    if isinstance(sink, TensorSink):
        tensors = {"output0": given.poses.keypoints.reshape(-1)}
        sink.write_tensors(TensorFrame(given.frame, tensors, letterbox("rtmo", given.info.size_wh, (64, 64))))
    else:
        sink.write(given)


def test_writes_and_closes_twice(make: Callable[[], Any]) -> None:
    before = threading.active_count()
    sink = make()
    for index in range(5):
        write(sink, result(index))
    sink.close()
    sink.close()
    assert threading.active_count() == before


def test_nothing_after_close(make: Callable[[], Any]) -> None:
    sink = make()
    write(sink, result())
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        write(sink, result(1))


def test_nothing_at_all(make: Callable[[], Any]) -> None:
    make().close()


def test_results_are_only_read(make: Callable[[], Any]) -> None:
    poses = poses_of([person(60, top=10, height=70)])
    for array in (poses.boxes_xyxy, poses.scores, poses.keypoints, poses.class_ids, poses.track_ids):
        array.flags.writeable = False
    sink = make()
    for index in range(3):
        write(sink, result(index, poses))
    sink.close()


def test_strange_people(make: Callable[[], Any]) -> None:
    poses = poses_of([person(-3000), person(60, top=10, height=70), person(50, height=1)])
    boxes, keypoints = poses.boxes_xyxy.copy(), poses.keypoints.copy()
    boxes[2], keypoints[1, :5], keypoints[2] = np.inf, np.nan, -1e30
    sink = make()
    write(sink, result(0, type(poses)(boxes, poses.scores, poses.class_ids, keypoints, poses.skeleton)))
    sink.close()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "null"])
@pytest.mark.parametrize("place", ["missing/folder", "folder"])
def test_unwritable_paths_are_said_at_once(name: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / place / NAMES[name]
    if place == "folder":
        path.mkdir(parents=True)
        (path / "other.txt").write_text("of somebody else")
    with pytest.raises(SinkError, match="cannot be written") as caught:
        registry.load("sink", registry.SINKS, name)(path)
    assert str(path) in str(caught.value)
    assert not [thread for thread in threading.enumerate() if "tensortap" in thread.name]
