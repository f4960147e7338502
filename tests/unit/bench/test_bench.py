"""`tensortap bench`: levels, reports, comparison, and what cannot be measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models import pose_model
from tensortap.bench.case import Case, Failure, Report, Row, Spread
from tensortap.bench.child import measure_apart
from tensortap.bench.measure import Measurement
from tensortap.bench.report import as_markdown, changes, read, write
from tensortap.cli.main import app
from tensortap.cli.scene import write_video
from tensortap.errors import UsageError

ROW = Row(
    model="a.onnx",
    device="some CPU",
    engine="openvino",
    precision="bf16",
    imgsz=(384, 640),
    batch_size=4,
    level="end-to-end",
    streams=2,
    images_per_second=Spread(40.0, 38.0, 44.0),
    efficiency=Spread(0.95, 0.94, 0.97),
    latency_ms_p50=None,
    latency_ms_p99=None,
    cpu_ms_per_image=50.0,
    peak_mb=300.0,
)
MACHINE = {"cpu": "some CPU", "cores": 2, "python": "3.12", "versions": {"numpy": "2"}, "measured": "2026-01-01"}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "scene.mp4"
    write_video("scene://street?people=2&seed=1&size=160x96&fps=10&seconds=2", path)
    return path


def test_levels_of_a_case(video: Path, tmp_path: Path) -> None:
    case = Case(str(pose_model(tmp_path / "a.onnx")), batch_size=1, video=str(video), streams=(1, 3), rounds=2, seconds=0.05)
    rows = Measurement(case).run()
    assert [(row.level, row.streams) for row in rows] == [("engine", 1), ("poses", 1), ("end-to-end", 1), ("end-to-end", 3)]
    engine, poses, *whole = rows
    assert engine.efficiency is None
    for row in rows:
        assert row.images_per_second.low <= row.images_per_second.median <= row.images_per_second.high
        assert row.images_per_second.low > 0
    for row in (engine, poses):
        assert row.latency_ms_p50 is not None
        assert row.latency_ms_p99 is not None
        assert 0 < row.latency_ms_p50 <= row.latency_ms_p99
    for row in (poses, *whole):
        assert row.efficiency is not None


def test_a_process_of_its_own_tells_its_rows_and_its_failures(video: Path, tmp_path: Path) -> None:
    model = str(pose_model(tmp_path / "a.onnx"))
    rows = measure_apart(Case(model, video=str(video), rounds=1, seconds=0.05))
    assert not isinstance(rows, Failure)
    assert [row.level for row in rows] == ["engine", "poses", "end-to-end"]
    failure = measure_apart(Case(model, video=str(tmp_path / "missing.mp4"), rounds=1, seconds=0.05))
    assert isinstance(failure, Failure)
    assert "missing.mp4" in failure.message


def test_images_and_batches_are_apart() -> None:
    assert ROW.batches_per_second == 10.0
    text = as_markdown(Report(MACHINE, "a.mp4", 3, 1.0, [ROW]))
    row = next(line for line in text.splitlines() if line.startswith("| a.onnx"))
    assert "| 40.0 (38.0 to 44.0) | 10.0 |" in row


def test_a_report_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(Report(MACHINE, "a.mp4", 3, 1.0, [ROW]), path)
    assert read(path) == [ROW]


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [{"model": "a"}]}', '{"rows": 3}'])
def test_what_is_no_report(content: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="no report"):
        read(path)


def test_changes_beyond_the_noise() -> None:
    faster = replace(ROW, images_per_second=Spread(60.0, 55.0, 61.0))
    about_the_same = replace(ROW, images_per_second=Spread(43.0, 41.0, 45.0))
    assert changes([ROW], [faster]) == [(faster, 1.5, True)]
    assert changes([ROW], [about_the_same])[0][2] is False
    assert changes([ROW], [replace(ROW, batch_size=1)]) == []


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plots(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    path = tmp_path / f"report{suffix}"
    write(Report(MACHINE, "a.mp4", 3, 1.0, [ROW, replace(ROW, level="engine", efficiency=None)]), path)
    assert path.stat().st_size > 5000


def test_the_command_measures_reports_and_compares(video: Path, tmp_path: Path) -> None:
    model, report = pose_model(tmp_path / "a.onnx"), tmp_path / "report.json"
    quick = ["bench", "-m", str(model), "-i", str(video), "--rounds", "1", "--seconds", "0.05", "--engine", "onnxruntime"]
    first = CliRunner().invoke(app, [*quick, "--batch", "1", "-o", str(report), "-o", str(tmp_path / "report.md")])
    assert first.exit_code == 0, first.output
    assert "end to end" in (tmp_path / "report.md").read_text()
    again = CliRunner().invoke(app, [*quick, "--batch", "1", "--compare", str(report), "--json"])
    assert again.exit_code == 0, again.output
    assert [row["level"] for row in json.loads(again.stdout)["rows"]] == ["engine", "poses", "end-to-end"]
    assert "against" in again.stderr


def test_one_combination_that_fails_leaves_the_others(video: Path, tmp_path: Path) -> None:
    good, bad = pose_model(tmp_path / "a.onnx"), tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    arguments = ["-m", str(bad), "-m", str(good), "-i", str(video), "--rounds", "1", "--seconds", "0.05", "--json"]
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert {row["model"] for row in outcome["rows"]} == {"a.onnx"}
    assert "bad.onnx" in outcome["failures"][0]["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch", "1,x"], "--batch"),
        (["--streams", "0"], "--streams"),
        (["--precision", "f8"], "--precision"),
        (["--engine", "abacus"], "--engine"),
        (["-o", "report.txt"], "report.txt"),
        (["--compare", "missing.json"], "missing.json"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "-m", str(pose_model(tmp_path / "a.onnx")), *arguments])
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)
