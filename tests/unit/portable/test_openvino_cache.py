"""OpenVINO's cache: kept, read again, and done without where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import pose_model

pytest.importorskip("openvino")


def outputs(path: Path) -> np.ndarray:
    from tensortap.portable.engines.base import InputFormat
    from tensortap.portable.engines.openvino import OpenVinoEngine
    from tensortap.portable.model import read_model

    engine = OpenVinoEngine(read_model(path), InputFormat(), network_wh=(64, 64), precision="f32")
    engine.requests[0].images[...] = np.arange(64, dtype=np.uint8)[:, None]
    engine.requests[0].start(1)
    found: np.ndarray = engine.requests[0].wait()["output0"].copy()
    engine.close()
    return found


def test_it_is_kept_and_may_be_broken_or_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = pose_model(tmp_path / "pose.onnx"), tmp_path / "cache"
    monkeypatch.setenv("TENSORTAP_CACHE", str(cache))
    expected = outputs(model)
    kept = sorted((cache / "openvino").glob("*.blob"))
    assert kept
    np.testing.assert_array_equal(outputs(model), expected)
    assert sorted((cache / "openvino").glob("*.blob")) == kept
    for path in kept:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(outputs(model), expected)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TENSORTAP_CACHE", str(tmp_path / "file"))
    np.testing.assert_array_equal(outputs(model), expected)
