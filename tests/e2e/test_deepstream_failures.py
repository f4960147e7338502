"""What goes wrong on the device, played: it is said, and no buffer is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import simulation
from fakes.simulation import Played
from squares import config, squares
from tensortap import Pipeline
from tensortap.errors import DecodeError, EngineError, SourceError, TapError, UsageError
from tensortap.types import Poses, TensorFrame

BINDINGS = ["pyds", "pyservicemaker"]
Play = Callable[..., Played]


@pytest.mark.parametrize("binding", BINDINGS)
def test_what_a_tap_or_a_decoder_raises_ends_the_run_and_no_buffer_is_lost(tmp_path: Path, play: Play, binding: str) -> None:
    played = play(binding)
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream"}

    def fail(frame: TensorFrame) -> Poses:
        raise ValueError("not mine")

    with pytest.raises(DecodeError, match="not mine"):
        list(Pipeline(squares(tmp_path / "a.mp4"), decoder=fail, **told))
    passed = played.passed
    assert passed >= 1  # the buffer went on all the same
    with Pipeline(squares(tmp_path / "a.mp4"), **told) as pipeline:
        pipeline.tap(fail)
        with pytest.raises(TapError, match="not mine"):
            pipeline.run()
    assert pipeline.parts.runtime.probe_errors == 1  # type: ignore[attr-defined]
    with Pipeline(squares(tmp_path / "a.mp4"), on_tap_error="warn", **told) as pipeline:
        pipeline.tap(fail)
        assert pipeline.run().tap_errors == 12


def test_an_input_that_cannot_be_played(tmp_path: Path, play: Play) -> None:
    play(cameras={"rtsp://10.0.0.7/door": squares(tmp_path / "door.mp4")})
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream"}
    with Pipeline(["rtsp://10.0.0.7/door", "rtsp://10.0.0.8/yard"], **told) as pipeline:
        with pytest.raises(SourceError, match=r"10\.0\.0\.8/yard cannot be played"):
            pipeline.run()
        assert pipeline.summary.streams == {0: 12}


def test_an_element_that_fails(tmp_path: Path, play: Play) -> None:
    play(broken_after=3)
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream"}
    with pytest.raises(EngineError, match="gie-0 failed"):
        list(Pipeline(squares(tmp_path / "a.mp4"), **told))


def test_an_inference_that_gives_no_tensors_is_not_taken_for_a_street_without_people(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(simulation.Nvinfer):
        def __init__(self, element: Any) -> None:
            super().__init__(element)
            self._gives_tensors = False

    played = play()
    monkeypatch.setattr(simulation, "Nvinfer", Silent)
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream"}
    with pytest.raises(EngineError, match="11 batches in a row came without tensors of gie-unique-id=3"):
        list(Pipeline(squares(tmp_path / "a.mp4"), **told))
    assert played.passed >= 11


def test_a_stream_whose_first_frames_are_skipped(tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvinfer skips batches, whosever frames are in them; and long stretches on purpose are no failure."""

    class Late(simulation.Nvinfer):
        def __init__(self, element: Any) -> None:
            super().__init__(element)
            self._counter = 1

    play()
    monkeypatch.setattr(simulation, "Nvinfer", Late)
    told: dict[str, Any] = {"nvinfer_config": config(tmp_path), "runtime": "deepstream", "interval": 15}
    results = list(Pipeline(squares(tmp_path / "a.mp4", 40), **told))
    assert [number for number, result in enumerate(results) if result.inferred] == [15, 31]
    assert [len(result.poses) for result in results[:15]] == [0] * 15
    assert len(results[15].poses) == 2


def test_a_network_that_is_not_there(tmp_path: Path, play: Play) -> None:
    play()
    nvinfer = config(tmp_path, onnx_file="none.onnx", model_engine_file="none.engine")
    with pytest.raises(UsageError, match=r"there is no .*none\.onnx and no .*none\.engine"):
        Pipeline(squares(tmp_path / "a.mp4"), nvinfer_config=nvinfer, runtime="deepstream")
