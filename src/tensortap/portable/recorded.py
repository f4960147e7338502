"""Model and engine as the header of a recording has them, and back."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensortap.errors import SourceError
from tensortap.portable.engines.base import Engine
from tensortap.portable.model import ModelInfo, TensorSpec
from tensortap.recording.format import to_json
from tensortap.recording.reader import Recording
from tensortap.recording.replay import DescribedEngine
from tensortap.types import StreamInfo, TensorFrame


def describe(streams: Sequence[StreamInfo], model: ModelInfo, engine: Engine) -> dict[str, Any]:
    """What the header of a recording says of a run. No path of this machine is in it."""
    return {
        "streams": [to_json(stream) for stream in streams],
        "model": {
            "name": model.path.name,
            "format": model.format,
            "inputs": [_tensor(tensor) for tensor in model.inputs],
            "outputs": [_tensor(tensor) for tensor in model.outputs],
            # As exports write them into ONNX files: the repr of Python values, which have more types of keys than JSON.
            "metadata": {str(key): repr(value) for key, value in model.metadata.items()},
        },
        "engine": {
            "name": engine.name,
            "precision": engine.precision,
            "device": engine.device,
            "batch_size": engine.batch_size,
            "network_wh": engine.network_wh
            if isinstance(engine, DescribedEngine)
            else list(engine.requests[0].images.shape[2:0:-1]),
            "outputs": {name: list(shape) for name, shape in engine.outputs.items()},
        },
    }


def recorded(recording: Recording) -> tuple[ModelInfo, DescribedEngine]:
    """The model and the engine that a recording was made with; what the header does not say, the first frame does.

    Raises:
        SourceError: the header describes them in a way that cannot be understood.
    """
    try:
        model, engine = recording.header.get("model") or {}, recording.header.get("engine") or {}
        told = ModelInfo(
            path=Path(str(model.get("name", recording.path.name))),
            format="openvino" if model.get("format") == "openvino" else "onnx",
            inputs=_tensors(model.get("inputs", [])),
            outputs=_tensors(model.get("outputs", [])),
            metadata={str(key): _literal(str(text)) for key, text in model.get("metadata", {}).items()},
        )
        outputs = {str(name): tuple(int(size) for size in shape) for name, shape in engine.get("outputs", {}).items()}
        width, height = engine.get("network_wh") or (0, 0)
        network_wh = (int(width), int(height)) if width else None
        if not outputs or not network_wh:
            seen = next((frame for frame in recording.frames() if isinstance(frame, TensorFrame) and frame.inferred), None)
            outputs = outputs or ({name: array.shape for name, array in seen.tensors.items()} if seen else {})
            network_wh = network_wh or (seen.letterbox.network_wh if seen else None)
        return told, DescribedEngine(
            name=str(engine.get("name", "unknown")),
            precision=str(engine.get("precision", "unknown")),
            device=str(engine.get("device", "unknown")),
            batch_size=int(engine.get("batch_size", 1)),
            outputs=outputs,
            network_wh=network_wh,
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
        raise SourceError(f"The recording {recording.path} is damaged: its header cannot be understood ({exc!r}).") from exc


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _tensors(data: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(str(each["name"]), str(each["dtype"]), tuple(None if size is None else int(size) for size in each["shape"]))
        for each in data
    )


def _literal(text: str) -> Any:
    """A value from its repr; literals only, nothing is executed."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
