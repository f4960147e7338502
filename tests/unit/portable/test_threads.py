"""Modes, and who gets how many threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from media import write_video
from models import pose_model
from tensortap import Pipeline
from tensortap.portable.runtime import PortableRuntime
from tensortap.portable.threads import batches_at_once, decoding_threads, mode_for
from tensortap.types import StreamInfo

CAMERA, FILE = StreamInfo(0, "door", is_live=True), StreamInfo(1, "a.mp4")


def test_latency_is_for_one_camera_alone() -> None:
    assert mode_for([CAMERA]) == "latency"
    assert mode_for([FILE]) == "throughput"
    assert mode_for([CAMERA, FILE]) == "throughput"
    assert mode_for([CAMERA, CAMERA]) == "throughput"
    assert mode_for([CAMERA], hold_open=True) == "throughput", "more may come"
    assert mode_for([]) == "throughput"


def test_cores_are_shared() -> None:
    assert [batches_at_once(mode, 8) for mode in ("latency", "throughput")] == [1, 8]
    assert [decoding_threads(inputs, cores=8) for inputs in (1, 2, 3, 8, 100)] == [8, 4, 2, 1, 1]
    assert decoding_threads(1, cores=64) == 8


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_are_set_up_for_the_mode(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    video, model = write_video(tmp_path / "a.mp4", num_frames=5), pose_model(tmp_path / "pose.onnx")
    found = {}
    for mode in ("latency", "throughput"):
        with Pipeline(video, model, engine=engine, mode=mode, threads=2) as pipeline:
            runtime = pipeline.parts.runtime
            assert isinstance(runtime, PortableRuntime)
            assert runtime.mode == mode
            found[mode] = pipeline.parts.engine.streams, pipeline.parts.engine.threads
            assert pipeline.run().frames == 5
    assert found["latency"][0] == 1
    assert found["throughput"][0] >= 1
    assert {threads for _, threads in found.values()} == {2}
    with Pipeline(video, model, engine=engine, engine_streams=2, threads=2) as pipeline:
        assert pipeline.parts.engine.streams == 2
        assert len(pipeline.parts.engine.requests) == 3
        assert pipeline.run().frames == 5
