"""`--profile`: a trace of every frame, whole JSON at any time, and nothing left behind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models import pose_model
from tensortap import tracing
from tensortap.cli.main import app
from tensortap.timing import StageClock
from tensortap.types import FrameInfo

INFO = FrameInfo(0, "a.mp4", 7, 0, (8, 8))


def traced_run(tmp_path: Path, *more: str) -> list[dict[str, Any]]:
    pose_model(tmp_path / "a.onnx")
    run = ["run", "-i", "scene://street?size=160x96&fps=10&seconds=1", "-m", str(tmp_path / "a.onnx"), "-q"]
    outputs = ["-o", str(tmp_path / "a.mp4"), "-o", str(tmp_path / "a.jsonl")]
    result = CliRunner().invoke(app, [*run, *outputs, "--profile", str(tmp_path / "trace.json"), *more])
    assert result.exit_code == 0, result.output
    events: list[dict[str, Any]] = json.loads((tmp_path / "trace.json").read_text())
    return events


def test_every_frame_goes_through_every_stage(tmp_path: Path) -> None:
    events = traced_run(tmp_path)
    assert tracing.active() is None
    spans = Counter(event["name"] for event in events if event["ph"] == "X")
    assert spans["read"] == spans["decode"] == spans["track"] == spans["write"] == 10
    assert {"preprocess", "engine start", "engine wait", "sinks"} <= spans.keys()
    for name in ("frame", "in the mux", "in the engine"):
        for index in range(10):
            mine = [event for event in events if event["name"] == name and event.get("id") == f"0:{index}"]
            begins, ends = ([event["ts"] for event in mine if event["ph"] == phase] for phase in "be")
            assert len(begins) == len(ends) == 1, (name, index)
            assert begins[0] <= ends[0]
    threads = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"MainThread", "tensortap-source-0"} <= threads
    decoded = [event["args"]["index"] for event in events if event["name"] == "decode"]
    assert decoded == list(range(10))


def test_frames_without_inference_leave_the_mux_and_end(tmp_path: Path) -> None:
    events = traced_run(tmp_path, "--interval", "1")
    counts = Counter((event["ph"], event["name"]) for event in events)
    assert counts["b", "frame"] == counts["e", "frame"] == counts["e", "in the mux"] == 10
    assert counts["b", "in the engine"] == counts["e", "in the engine"] == 5


def test_the_file_is_whole_after_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_FLUSH_EVENTS", 3)
    trace = tracing.Trace(tmp_path / "trace.json")
    for number in range(20):
        trace.span("work", 1.0 + number, 1.5 + number, INFO)
        if number > 3:
            json.loads((tmp_path / "trace.json").read_text())
    trace.close()
    trace.close()
    spans = [event for event in json.loads((tmp_path / "trace.json").read_text()) if event["ph"] == "X"]
    assert len(spans) == 20
    assert {event["dur"] for event in spans} == {500_000.0}


def test_without_a_file_nothing_listens() -> None:
    clock = StageClock()
    with tracing.traced(None, clock):
        assert tracing.active() is None
        assert clock.on_lap is None


def test_what_fails_ends_the_trace(tmp_path: Path) -> None:
    clock = StageClock()

    def fail() -> None:
        with tracing.traced(tmp_path / "trace.json", clock):
            clock.lap("work")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert tracing.active() is None
    assert clock.on_lap is None
    assert "work" in (tmp_path / "trace.json").read_text()
