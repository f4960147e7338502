"""`tensortap tune`: what is tried, what is kept, and what later runs make of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from media import write_video
from models import pose_model
from tensortap import Pipeline, tuned
from tensortap.apart import NoAnswerError
from tensortap.cli.main import app
from tensortap.cli.tune import tune_unless_tuned
from tensortap.errors import EngineError, UsageError
from tensortap.skeletons import COCO_17
from tensortap.tune.search import Search, Trial
from tensortap.tune.trial import Outcome, Question, try_apart
from tensortap.tuned import Choice, Tuned, recall, remember
from tensortap.types import Poses

SIZE = (64, 64)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENSORTAP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    """A video in which `pose_model` finds people."""
    images = []
    for number in range(8):
        image = np.full((96, 96, 3), 40, np.uint8)
        image[10 + number * 4 : 40 + number * 4, 30:60] = 255
        images.append(image)
    return write_video(tmp_path / "bright.mp4", size_wh=(96, 96), images=images)


def people(shift: float = 0.0, number: int = 3) -> list[Poses]:
    """One picture; everybody's keypoints moved by so many pixels."""
    start = np.arange(number, dtype=np.float32)[:, None] * 200
    keypoints = np.ones((number, 17, 3), np.float32)
    keypoints[..., 0] = start + np.arange(17) + shift
    keypoints[..., 1] = np.arange(17) * 4
    boxes = np.concatenate([start, start * 0, start + 40, start * 0 + 80], axis=1)
    return [Poses(boxes, np.full(number, 0.9, np.float32), np.zeros(number, np.int64), keypoints, COCO_17)]


def outcome(
    rate: float, precision: str = "f32", streams: int = 2, found: list[Poses] | None = None, latency_ms: float = 10.0
) -> Outcome:
    return Outcome(precision, 1, streams, SIZE, rate, latency_ms, people() if found is None else found)


def searched(table: dict[Choice, Outcome], mode: Any = "throughput", **options: Any) -> tuple[Trial, Search]:
    """A search in which only these ways exist."""

    def measure(choice: Choice) -> Outcome:
        if choice not in table:
            raise NoAnswerError("not here")
        return table[choice]

    search = Search(measure, mode=mode, tolerance=options.pop("tolerance", 0.1))
    arguments = {"first_batch": 1, "batches": [1, 4], "streams": [1, 2], **options}
    return search.run(["openvino", "onnxruntime"], ["auto", "f32", "bf16", "f16"], **arguments), search


def test_the_fastest_within_the_tolerance_is_kept() -> None:
    best, search = searched(
        {
            Choice("openvino"): outcome(50, "bf16"),
            Choice("openvino", "f32"): outcome(30),
            Choice("openvino", "f16"): outcome(90, "f16", found=people(shift=60)),
            Choice("onnxruntime"): outcome(28),
        }
    )
    assert best.choice == Choice("openvino")
    assert search.reference is not None
    assert search.reference.choice == Choice("openvino", "f32"), "not the one that came first, which is bf16"
    [lossy] = [trial for trial in search.trials if trial.choice.precision == "f16" and trial.outcome]
    assert "lost" in lossy.problem
    assert "0.1 are allowed" in lossy.problem
    best, _ = searched(
        {
            Choice("openvino"): outcome(50, "bf16"),
            Choice("openvino", "f16"): outcome(90, "f16", found=people(shift=60)),
        },
        tolerance=1.0,
    )
    assert best.choice.precision == "f16"


def test_what_was_tried_under_another_name_is_not_tried_again() -> None:
    _, search = searched({Choice("openvino"): outcome(50, "bf16"), Choice("onnxruntime"): outcome(28)})
    tried = [(trial.choice.engine, trial.choice.precision) for trial in search.trials if trial.choice.batch_size == 1]
    assert ("openvino", "bf16") not in tried
    assert ("onnxruntime", "f32") not in tried


def test_streams_and_batches_are_tried_for_the_fastest() -> None:
    fast = Choice("openvino")
    table = {
        fast: outcome(50),
        Choice("openvino", "auto", 1, 1): outcome(60, streams=1),
        Choice("openvino", "auto", 4, 1): outcome(80, streams=1),
        Choice("onnxruntime"): outcome(10),
    }
    best, search = searched(table)
    assert best.choice == Choice("openvino", "auto", 4, 1)
    tried = [trial.choice for trial in search.trials]
    assert Choice("onnxruntime", "auto", 1, 1) not in tried, "too slow to be looked at again"
    assert Choice("openvino", "auto", 1, 2) not in tried, "2 is what it had"
    best, _ = searched(table, batches=[])
    assert best.choice == Choice("openvino", "auto", 1, 1)


def test_a_little_faster_is_not_worth_it() -> None:
    best, _ = searched({Choice("openvino"): outcome(50), Choice("openvino", "auto", 4): outcome(51)})
    assert best.choice.batch_size == 1


def test_for_latency_the_time_for_one_counts() -> None:
    best, search = searched(
        {Choice("openvino"): outcome(50, latency_ms=30), Choice("onnxruntime"): outcome(40, latency_ms=20)}, mode="latency"
    )
    assert best.choice.engine == "onnxruntime"
    assert {trial.choice.batch_size for trial in search.trials} == {1}


def test_without_people_only_what_engines_choose_is_compared() -> None:
    best, search = searched(
        {
            Choice("openvino"): outcome(50, "bf16", found=people(number=0)),
            Choice("openvino", "f32"): outcome(40, found=people(number=0)),
            Choice("openvino", "f16"): outcome(90, "f16", found=people(number=0)),
        }
    )
    assert not search.can_judge
    assert best.choice.precision == "auto"


def test_no_engine_at_all() -> None:
    with pytest.raises(EngineError, match="openvino auto, batch 1: not here"):
        searched({})


def test_trials_are_real(bright: Path, tmp_path: Path) -> None:
    model = pose_model(tmp_path / "pose.onnx")
    pictures = tmp_path / "pictures.npz"
    settings = {"imgsz": None, "threads": 1}
    found = []
    for engine in ("onnxruntime", "openvino"):
        choice = Choice(engine, "f32", 2)
        question = Question(choice, "throughput", str(model), (str(bright),), str(pictures), settings, 0.1)
        found.append(try_apart(question))
        assert pictures.exists()
        bright.unlink(missing_ok=True)  # the second reads what the first has gathered
    first, second = found
    assert first.precision == second.precision == "f32"
    assert first.batch_size == 2
    assert first.images_per_second > 0
    assert first.latency_ms > 0
    assert len(first.people) == len(second.people) == 8
    assert sum(map(len, first.people)) > 0
    for one, other in zip(first.people, second.people, strict=True):
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.5)
    fixed = pose_model(tmp_path / "fixed.onnx", batch=1)
    with pytest.raises(NoAnswerError, match="fixed at 1"):
        try_apart(Question(Choice("onnxruntime", "f32", 2), "latency", str(fixed), (), str(pictures), settings, 0.1))


def kept_for(model: Path, choice: Choice, mode: Any = "throughput") -> Path:
    return remember(model, mode, SIZE, Tuned(choice, 12.5, 0.01, "2026-01-02T03:04:05+00:00"), [])


def test_later_runs_use_it_and_say_so(bright: Path, tmp_path: Path) -> None:
    model = pose_model(tmp_path / "pose.onnx")
    kept_for(model, Choice("onnxruntime", "auto", 3, 1))
    with Pipeline(bright, model) as pipeline:
        engine = pipeline.parts.engine
        assert (engine.name, engine.batch_size, engine.streams) == ("onnxruntime", 3, 1)
        assert pipeline.parts.engine_reason == "tuned on 2026-01-02 to be the fastest here"
    with Pipeline(bright, model, batch_size=2) as pipeline:
        assert pipeline.parts.engine.batch_size == 2, "what is asked for goes before what was found"
    for asked in ({"engine": "openvino"}, {"precision": "f32"}, {"mode": "latency"}):
        with Pipeline(bright, model, **asked) as pipeline:
            assert "tuned" not in pipeline.parts.engine_reason
    other = pose_model(tmp_path / "other.onnx", num_keypoints=5)
    with Pipeline(bright, other) as pipeline:
        assert "tuned" not in pipeline.parts.engine_reason


def test_what_cannot_be_had_any_more_is_told(bright: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = pose_model(tmp_path / "pose.onnx")
    kept_for(model, Choice("onnxruntime", "f16"))
    with caplog.at_level(logging.WARNING), Pipeline(bright, model) as pipeline:
        assert "tuned" not in pipeline.parts.engine_reason
    assert "onnxruntime f16, batch 1, cannot be had any more" in caplog.text


def test_other_machines_and_versions_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = pose_model(tmp_path / "pose.onnx")
    path = kept_for(model, Choice("openvino"))
    assert recall(model, "throughput", SIZE) == Tuned(Choice("openvino"), 12.5, 0.01, "2026-01-02T03:04:05+00:00")
    assert recall(model, "throughput", (32, 32)) is None
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(tuned, "versions", lambda: {"openvino": "1999.1"})
        assert recall(model, "throughput", SIZE) is None
    assert "other versions" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(tuned, "cpu_name", lambda: "another")
        assert recall(model, "throughput", SIZE) is None
    path.write_text("{broken")
    with caplog.at_level(logging.WARNING):
        assert recall(model, "throughput", SIZE) is None
    assert "left out" in caplog.text


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_the_command(bright: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = pose_model(tmp_path / "pose.onnx")
    done = run("tune", "-m", model, "-i", bright, "--engine", "onnxruntime", "--batch", "1,2", "--engine-streams", "1",
               "--seconds", 0.05, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["choice"]["engine"] == "onnxruntime"
    assert told["can_judge"]
    assert Path(told["kept"]).is_file()
    assert [trial["batch_size"] for trial in told["trials"]][-1] == 2
    with Pipeline(bright, model) as pipeline:
        assert "tuned on" in pipeline.parts.engine_reason


def test_run_with_tune_searches_once(bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pose_model(tmp_path / "pose.onnx")
    searches: list[Any] = []

    def search(*arguments: Any, **options: Any) -> None:
        searches.append((arguments, options))
        kept_for(model, Choice("onnxruntime"))

    monkeypatch.setattr("tensortap.cli.tune.tune_model", search)
    for _ in range(2):
        done = run("run", "-m", model, "-i", bright, "--tune", "--json", "-q")
        assert json.loads(done.stdout)["engine"] == "onnxruntime", done.output
    assert len(searches) == 1
    assert searches[0][0][2] == "throughput"
    monkeypatch.setattr("tensortap.cli.tune.recall", lambda *arguments: None)
    tune_unless_tuned(model, ["rtsp://nowhere.invalid/a"], "auto", {}, True)
    assert searches[1][0][2] == "latency"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tune", "-m", "MODEL", "-i", "VIDEO", "--mode", "auto"], "choose latency or throughput"),
        (["tune", "-m", "MODEL", "-i", "VIDEO", "--engine", "caffe"], "--engine caffe"),
        (["tune", "-m", "MODEL", "-i", "VIDEO", "--batch", "x"], "--batch x"),
        (["run", "-m", "MODEL", "-i", "VIDEO", "--tune", "--engine", "openvino"], "Leave one of them out"),
        (["run", "-i", "VIDEO", "--tune"], "--tune needs --model"),
    ],
)
def test_usage(arguments: list[str], told: str, bright: Path, tmp_path: Path) -> None:
    names = {"MODEL": str(pose_model(tmp_path / "pose.onnx")), "VIDEO": str(bright)}
    done = run(*(names.get(each, each) for each in arguments))
    assert isinstance(done.exception, UsageError)
    assert told in str(done.exception)


def test_a_cache_that_cannot_be_written(bright: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    done = run("tune", "-m", pose_model(tmp_path / "pose.onnx"), "-i", bright, "--engine", "onnxruntime", "--batch", 1,
               "--engine-streams", 2, "--seconds", 0.05, "--json", "-q")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kept"] is None
