"""INT8 for ONNX Runtime, by its own static quantisation."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tensortap.errors import EngineError, MissingDependencyError
from tensortap.portable.model import ModelInfo, image_input


def quantize_onnxruntime(model: ModelInfo, samples: Sequence[np.ndarray], path: Path) -> Path:
    """Write an INT8 ONNX file (QuantizeLinear and DequantizeLinear around convolutions) with the model's metadata.

    Args:
        samples: what the model's input takes, one picture each.

    Raises:
        MissingDependencyError: ONNX Runtime's quantisation cannot be imported.
        EngineError: the model cannot be quantised.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as exc:
        raise MissingDependencyError("INT8 for ONNX Runtime needs it, and onnx: pip install onnxruntime onnx") from exc
    if model.format != "onnx":
        raise EngineError(
            f"{model.path.name} is no ONNX file; quantise the file that it was made from, or take --engine openvino."
        )
    name = image_input(model).name

    class Samples(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self._left, None)
            return None if sample is None else {name: sample}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(str(model.path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(path),
                Samples(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as exc:  # onnx, protobuf and ONNX Runtime raise their own
            raise EngineError(f"{model.path.name} cannot be quantised for ONNX Runtime: {exc}") from exc
    before, after = onnx.load(str(model.path), load_external_data=False), onnx.load(str(path))
    del after.metadata_props[:]
    after.metadata_props.extend(before.metadata_props)
    onnx.save(after, str(path))
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime advises on the root logger what has been done already."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
