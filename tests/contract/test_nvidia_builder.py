"""What we give to TensorRT, read and built by NVIDIA's own parser and builder: those of TensorRT for RTX, which need no GPU.

They have the Python API of TensorRT 11. Nothing is run: that takes a GPU. What `fake_tensorrt` refuses is checked here, too.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, shape_inference

from models import pose_model, rtmo_model, typed_outputs
from tensortap.batches import Shortlist
from tensortap.errors import EngineError
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.engines.fold import PICKED_ANCHORS, PICKED_VALUES, folded_onnx
from tensortap.portable.model import read_model

rtx: Any = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed: pip install --group nvidia")
DEMO = Path(__file__).parents[2] / "src" / "tensortap" / "zoo" / "demo-pose.onnx"


class Deserialised:
    """In place of the runtime, which asks for a GPU."""

    def __init__(self, log: Any) -> None:
        del log

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        return SimpleNamespace(size=len(plan))


class Builder(rtx.Builder):  # type: ignore[misc]
    """Builds for a GPU that is not here."""

    def create_builder_config(self) -> Any:
        config = super().create_builder_config()
        config.num_compute_capabilities = 1
        assert config.set_compute_capability(rtx.ComputeCapability.SM89, 0)
        return config


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`tensorrt_build`, with NVIDIA's builder."""
    module = ModuleType("tensorrt")
    vars(module).update({name: getattr(rtx, name) for name in dir(rtx) if not name.startswith("__")})
    vars(module).update(__version__=rtx.__version__, Builder=Builder, Runtime=Deserialised)
    name = "tensortap.portable.engines.tensorrt_build"
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("TENSORTAP_CACHE", str(tmp_path / "cache"))
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


def built(build: Any, path: Path, *, size: int = 64, **arguments: Any) -> Any:
    model = read_model(path)
    settings: dict[str, Any] = {"network_wh": (size, size), "batch_size": 1, "precision": "auto", "gpu_name": "none"}
    return build.engine_for(model, InputFormat(), log=build.TensorRtLog(), **{**settings, **arguments})


@pytest.mark.parametrize("precision", ["f32", "f16"])
@pytest.mark.parametrize("shortlist", [None, Shortlist("output0", 1, size=20)])
def test_models_are_built(build: Any, tmp_path: Path, precision: str, shortlist: Shortlist | None) -> None:
    found = built(build, pose_model(tmp_path / "pose.onnx"), precision=precision, shortlist=shortlist)
    assert (found.precision, found.dynamic) == (precision, True)
    assert found.engine.size > 1000
    [kept] = (tmp_path / "cache" / "tensorrt").iterdir()
    assert kept.stat().st_size == found.engine.size


def test_other_shapes_of_models(build: Any, tmp_path: Path) -> None:
    assert not built(build, pose_model(tmp_path / "fixed.onnx", batch=2), batch_size=2).dynamic
    assert built(build, pose_model(tmp_path / "half.onnx", half=True)).precision == "f16"
    assert built(build, pose_model(tmp_path / "open.onnx", size=None), shortlist=Shortlist("output0", 1)).dynamic
    assert built(build, pose_model(tmp_path / "classes.onnx"), batch_size=20).engine.size > 1000
    assert built(build, rtmo_model(tmp_path / "rtmo.onnx")).engine.size > 1000


@pytest.mark.parametrize("precision", ["f32", "f16"])
@pytest.mark.parametrize("name", ["demo", "yolov8n-pose", "yolo11n-pose-random", "yolo26n-pose-end2end-random"])
def test_real_models(build: Any, name: str, precision: str, request: pytest.FixtureRequest) -> None:
    path = DEMO if name == "demo" else request.getfixturevalue("assets") / "models" / f"{name}.onnx"
    found = built(build, path, size=640, precision=precision, batch_size=12, shortlist=Shortlist("output0", 1))
    assert found.engine.size > 5_000_000


def network_of(data: bytes) -> tuple[Any, list[str]]:
    """As the parser reads it, and what it refuses."""

    class Log(rtx.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            rtx.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            """Errors are asked for."""

    log = Log()
    builder = rtx.Builder(log)
    network = builder.create_network()
    parser = rtx.OnnxParser(network, log)
    parser.parse(data)
    return (builder, network), [parser.get_error(number).desc() for number in range(parser.num_errors)]


def test_bytes_can_only_be_cast(tmp_path: Path) -> None:
    model = read_model(pose_model(tmp_path / "pose.onnx"))
    for cast_first in (True, False):
        _, errors = network_of(folded_onnx(model, InputFormat(), cast_first=cast_first)[0])
        assert bool(errors) != cast_first
        assert cast_first or "UInt8" in errors[0]


@pytest.mark.parametrize("name", ["INT16", "UINT16", "UINT32", "UINT64"])
def test_types_that_tensorrt_has_not(build: Any, tmp_path: Path, name: str) -> None:
    path = typed_outputs(tmp_path / "typed.onnx", {name.lower(): getattr(TensorProto, name)})
    with pytest.raises(EngineError, match=r"cannot read typed.onnx"):
        built(build, path, network_wh=(48, 32))


def test_what_is_picked_has_the_sizes_that_onnx_says(build: Any, tmp_path: Path) -> None:
    folded, _ = folded_onnx(
        read_model(pose_model(tmp_path / "pose.onnx")), InputFormat(), cast_first=True, fixed_bhw=(3, 64, 64)
    )
    added = build.with_shortlist(folded, Shortlist("output0", 1, size=20))
    expected = {
        each.name: tuple(dim.dim_value for dim in each.type.tensor_type.shape.dim)
        for each in shape_inference.infer_shapes(onnx.load_from_string(added)).graph.output
    }
    (_, network), errors = network_of(added)
    assert not errors
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    assert {each.name: tuple(each.shape) for each in outputs} == expected
    assert expected == {"output0": (3, 56, 64), PICKED_VALUES: (3, 56, 20), PICKED_ANCHORS: (3, 20)}
