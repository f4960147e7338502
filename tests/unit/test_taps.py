"""Taps and decoders of one's own: any model, named on the command line, and what happens when they fail."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto

from models import channel_means, pose_model, ranked_outputs, typed_outputs
from scene import write_scene
from tensortap import DecodeError, Pipeline, TapError, TensorFrame, UsageError

MINE = """
import numpy as np
import tensortap

seen = []

def look(frame):
    seen.append((frame.info.index, {name: (array.dtype, array.shape) for name, array in frame.tensors.items()}))

def second_fails(frame):
    if frame.info.index >= 1:
        raise ValueError("boom")

def nobody(frame):
    return tensortap.Poses.empty(tensortap.COCO_17)

def broken(frame):
    return frame.tensors["gone"]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "a.mp4", 6)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "make", [ranked_outputs, lambda path: typed_outputs(path, {"a": TensorProto.BOOL, "b": TensorProto.INT64})]
)
def test_tensors_of_any_model(tmp_path: Path, video: Path, mine: Path, make: Any, engine: str) -> None:
    model = make(tmp_path / "any.onnx")
    settings = {"decoder": "none", "engine": engine, "taps": f"{mine}:look"}
    pipeline = Pipeline(video, model, outputs=tmp_path / "out.jsonl", **settings)
    assert pipeline.run().people == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6
    assert pipeline.parts.head is None
    [tap] = pipeline.parts.taps
    seen = tap.__globals__["seen"]
    assert [index for index, _ in seen] == list(range(6))
    if make is ranked_outputs:
        assert {name: shape for name, (_, shape) in seen[0][1].items()} == {
            "rank1": (), "rank2": (3,), "rank5": (1, 3, 1, 1), "loose": (7, 3)
        }  # fmt: skip
    else:
        assert {name: str(dtype) for name, (dtype, _) in seen[0][1].items()} == {"a": "bool", "b": "int64"}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (50 / 255, 100 / 255, 150 / 255)),
        ({"color": "bgr"}, (150 / 255, 100 / 255, 50 / 255)),
        ({"mean": "10,20,30", "scale": "0.5"}, (20, 40, 60)),
        ({"color": "bgr", "mean": (30, 20, 10), "scale": "0.1,0.5,1"}, (12, 40, 40)),
    ],
)
def test_any_model_is_fed_as_it_wants(
    tmp_path: Path, settings: dict[str, Any], expected: tuple[float, ...], engine: str
) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[...] = (150, 100, 50)  # BGR
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    model = channel_means(tmp_path / "means.onnx")
    with Pipeline(tmp_path / "a.png", model, decoder="none", engine=engine, precision="f32", **settings) as pipeline:
        [means] = [frame.tensors["mean"].copy() for frame in pipeline.tensors()]
    np.testing.assert_allclose(means, expected, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": "0"}, "--scale 0: one number above 0"),
        ({"scale": "nan"}, "--scale nan: one number above 0"),
        ({"scale": (1, 2)}, r"--scale \(1, 2\): one number above 0"),
        ({"mean": "1,2"}, "--mean 1,2: three numbers"),
        ({"mean": "a,b,c"}, "--mean a,b,c: three numbers"),
        ({"color": "grey"}, "--color grey"),
    ],
)
def test_feeding_that_cannot_be_meant(tmp_path: Path, video: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pipeline(video, channel_means(tmp_path / "means.onnx"), decoder="none", **settings)


def test_a_model_that_takes_bytes_has_no_scale(tmp_path: Path, video: Path) -> None:
    model = channel_means(tmp_path / "means.onnx", dtype=TensorProto.UINT8)
    with pytest.raises(UsageError, match=r"--scale: means.onnx takes pictures as bytes"):
        Pipeline(video, model, decoder="none", scale=1)


def test_nothing_can_be_written_into_tensors(tmp_path: Path, video: Path) -> None:
    refused = []
    for engine in ("onnxruntime", "openvino"):
        pipeline = Pipeline(video, ranked_outputs(tmp_path / "any.onnx"), decoder="none", engine=engine)

        @pipeline.tap
        def write(frame: TensorFrame) -> None:
            for array in frame.tensors.values():
                with pytest.raises(ValueError, match="read-only"):
                    array[...] = 0
                with pytest.raises(ValueError, match=r"read-only|output array"):
                    np.add(array, 1, out=array)
                refused.append(array.shape)
            with pytest.raises(TypeError):
                frame.tensors["new"] = np.zeros(1)  # type: ignore[index]

        pipeline.run()
    assert len(refused) == 2 * 6 * 4


def test_a_tap_that_fails_stops_the_run(tmp_path: Path, video: Path, mine: Path) -> None:
    pipeline = Pipeline(video, pose_model(tmp_path / "pose.onnx"), taps=[f"{mine}:second_fails"])
    with pytest.raises(TapError) as caught:
        pipeline.run()
    message = str(caught.value)
    assert message.startswith("The tap second_fails (mine.py:10) failed on frame 1 of a.mp4 (stream 0): ValueError: boom\n")
    assert 'mine.py", line 12, in second_fails' in message
    assert "taps.py" not in message
    assert isinstance(caught.value.__cause__, ValueError)
    assert (pipeline.summary.tap_errors, pipeline.summary.frames) == (1, 1)


@pytest.mark.parametrize(("policy", "errors"), [("warn", 5), ("drop", 1)])
def test_a_tap_that_fails_and_the_run_goes_on(
    tmp_path: Path, video: Path, mine: Path, policy: str, errors: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"taps": [f"{mine}:second_fails", f"{mine}:look"], "on_tap_error": policy}
    pipeline = Pipeline(video, pose_model(tmp_path / "pose.onnx"), **settings)
    with caplog.at_level(logging.WARNING):
        summary = pipeline.run()
    assert (summary.frames, summary.tap_errors) == (6, errors)
    assert len(pipeline.parts.taps[1].__globals__["seen"]) == 6
    [record] = caplog.records
    assert "ValueError: boom" in record.getMessage()
    assert f"--on-tap-error {policy}" in record.getMessage()


def test_a_decoder_named(tmp_path: Path, video: Path, mine: Path) -> None:
    pipeline = Pipeline(video, pose_model(tmp_path / "pose.onnx"), decoder=f"{mine}:nobody")
    assert pipeline.run().people == 0
    with pytest.raises(UsageError, match=r"--decoder .*mine.py has no 'nobdy'"):
        Pipeline(video, tmp_path / "pose.onnx", decoder=f"{mine}:nobdy")


def test_a_decoder_that_fails_names_the_frame(tmp_path: Path, video: Path, mine: Path) -> None:
    pipeline = Pipeline(video, pose_model(tmp_path / "pose.onnx"), decoder=f"{mine}:broken")
    with pytest.raises(
        DecodeError, match=r"(?s)The decoder broken \(mine.py:17\) failed on frame 0 of a.mp4.*KeyError: 'gone'"
    ):
        pipeline.run()
