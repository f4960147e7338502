"""What would break or surprise when nvinfer runs a file for tensortap's taps."""

from __future__ import annotations

from pathlib import Path

from tensortap.nvinfer.config import NvinferConfig, read_nvinfer
from tensortap.nvinfer.reader import read_file


def check(path: Path) -> tuple[list[str], list[str]]:
    """Errors (no tensors, or wrong ones) and warnings (probably not what is meant), each a sentence with the cure.

    Raises:
        UsageError: the file cannot be read, or a value cannot be meant.
    """
    config = read_nvinfer(path)
    raw, on = _raw(path)
    return [*broken(config).values()], [*config.warnings, *_doubts(config, raw, on)]


def broken(config: NvinferConfig) -> dict[str, str]:
    """Key -> what is wrong with it, and the cure: no tensors would come, or wrong ones."""
    _, on = _raw(config.path)
    errors = {}
    if not config.output_tensor_meta:
        errors["output-tensor-meta"] = "output-tensor-meta is off: no tensors come out of nvinfer. Set output-tensor-meta=1."
    if "disable-output-host-copy" in on:
        errors["disable-output-host-copy"] = (
            "disable-output-host-copy=1: the host buffers hold what was there before. Remove it."
        )
    if "classifier-async-mode" in on:
        errors["classifier-async-mode"] = "classifier-async-mode=1: nvinfer attaches no tensors then. Remove it."
    if "input-tensor-from-meta" in on:
        errors["input-tensor-from-meta"] = (
            "input-tensor-from-meta=1: tensors go to the regions of nvdspreprocess, not to frames. Remove it."
        )
    if config.network_type != 100:
        errors["network-type"] = (
            f"network-type={config.network_type}: nvinfer parses the output by itself, as another kind of network. "
            "Set network-type=100."
        )
    if not config.onnx_file and not config.engine_file:
        errors["onnx-file"] = "Neither onnx-file nor model-engine-file is given: there is no network to run."
    return errors


def _raw(path: Path) -> tuple[dict[str, str], set[str]]:
    """The values of [property] as they stand there, and which of them are on."""
    raw = {key: entry.value for key, entry in read_file(path).groups["property"].items()}
    return raw, {key for key, value in raw.items() if value.lower() in ("1", "true")}


def _doubts(config: NvinferConfig, raw: dict[str, str], on: set[str]) -> list[str]:
    doubts: list[str] = []
    if "scaling-filter" not in config.given:
        doubts.append(
            "scaling-filter is not given: nvinfer takes the nearest pixel, which costs accuracy. Set scaling-filter=1."
        )
    elif config.scaling_filter != 1:
        doubts.append(f"scaling-filter={config.scaling_filter}: 1 (bilinear) is what pose networks are trained with.")
    if not config.maintain_aspect_ratio:
        doubts.append("maintain-aspect-ratio is off: people are stretched to the shape of the network. Set it to 1.")
    if "net-scale-factor" not in config.given:
        doubts.append("net-scale-factor is not given, so it is 1: most pose networks want 0.00392156862745098 (1/255).")
    if config.onnx_file and not config.infer_dims:
        doubts.append(
            "infer-dims is not given: an ONNX file with dynamic height and width needs it, e.g. infer-dims=3;640;640."
        )
    if config.onnx_file and not config.engine_file:
        doubts.append("model-engine-file is not given: the engine is built anew on every start. Name where to keep it.")
    if raw.get("auto-inc-mem") == "0":
        doubts.append("auto-inc-mem=0: inference blocks until somebody gives a tensor back; keep none beyond the probe.")
    if "scaling-compute-hw" not in raw:
        doubts.append(
            "scaling-compute-hw is not given: Jetson's VIC and the GPU give different pixels. Set 1 to have the GPU's."
        )
    if config.offsets != (0.0, 0.0, 0.0) and config.color == "bgr":
        doubts.append("offsets with model-color-format=1 are in the network's order: blue;green;red.")
    return doubts
