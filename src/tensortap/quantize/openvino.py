"""INT8 for OpenVINO, by NNCF."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensortap.errors import EngineError, MissingDependencyError
from tensortap.portable.model import ModelInfo, image_input
from tensortap.portable.quiet_openvino import import_openvino

_NOT_OPERATIONS = {"Constant", "Parameter", "Result"}
_LAYERS = {"Convolution", "GroupConvolution", "MatMul"}


def quantize_openvino(model: ModelInfo, samples: Sequence[np.ndarray], folder: Path) -> Path:
    """Write an INT8 IR with the model's metadata into a folder.

    What comes after the last layers turns their results into pixels, and eight bits are too few for that: it stays float.

    Args:
        samples: what the model's input takes, one picture each.

    Returns:
        The folder.

    Raises:
        MissingDependencyError: NNCF is not installed.
        EngineError: the model cannot be quantised.
    """
    try:
        ov = import_openvino()
        nncf = import_openvino("nncf")
    except ImportError as exc:
        raise MissingDependencyError('INT8 for OpenVINO needs NNCF: pip install "tensortap[quantize]"') from exc
    logging.getLogger("nncf").setLevel(logging.ERROR)
    try:
        network = ov.Core().read_model(model.path)
        shape = network.input().partial_shape
        network.reshape(list(samples[0].shape))
        network = nncf.quantize(
            network,
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            ignored_scope=nncf.IgnoredScope(names=after_the_last_layers(network), validate=False),
        )
        network.reshape(shape)
    except RuntimeError as exc:
        raise EngineError(f"{model.path.name} cannot be quantised for OpenVINO: {str(exc).strip().splitlines()[-1]}") from exc
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(network, folder / f"{folder.name}.xml", compress_to_fp16=False)
    _write_metadata(model, folder)
    return folder


def after_the_last_layers(network: Any) -> list[str]:
    """Names of the operations between the outputs and the layers with weights that they come from."""
    names: list[str] = []
    seen: set[str] = set()
    waiting = [result.input_value(0).get_node() for result in network.get_results()]
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in seen or node.get_type_name() in _LAYERS:
            continue
        seen.add(name)
        if node.get_type_name() not in _NOT_OPERATIONS:
            names.append(name)
        waiting += [port.get_source_output().get_node() for port in node.inputs()]
    # A layer's own bias belongs to it.
    return [name for name in names if not name.endswith("/WithoutBiases")]


def is_available() -> bool:
    """Whether NNCF is there."""
    import importlib.util

    return importlib.util.find_spec("nncf") is not None and importlib.util.find_spec("openvino") is not None


def _write_metadata(model: ModelInfo, folder: Path) -> None:
    import yaml

    image_input(model)
    if model.metadata:
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in model.metadata.items()}
        (folder / "metadata.yaml").write_text(yaml.safe_dump(plain | {"int8": True}, sort_keys=False), encoding="utf-8")
