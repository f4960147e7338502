"""What a model file says of itself: inputs, outputs and the metadata that its export wrote."""

from __future__ import annotations

import ast
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tensortap.errors import MissingDependencyError, ModelError
from tensortap.portable.quiet_openvino import import_openvino

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output."""

    name: str
    """Its name, or `output0`, `output1` ... where the file gives none."""
    dtype: str
    """NumPy's name of the type, e.g. `float32`."""
    shape: tuple[int | None, ...]
    """Sizes including the batch axis; `None` where an axis is dynamic."""


@dataclass(frozen=True)
class ImageInput:
    """The one input that takes pictures."""

    name: str
    """Its name."""
    layout: Literal["NCHW", "NHWC"]
    """Where the channels are."""
    dtype: str
    """NumPy's name of its type."""
    batch: int | None
    """Fixed batch size, or `None`."""
    height: int | None
    """Fixed height in pixels, or `None`."""
    width: int | None
    """Fixed width in pixels, or `None`."""


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """A model file, read but not loaded into an engine."""

    path: Path
    """The ONNX file or the IR's .xml."""
    format: Literal["onnx", "openvino"]
    """Which kind of file it is."""
    inputs: tuple[TensorSpec, ...]
    """Its inputs, without the weights that old ONNX files list among them."""
    outputs: tuple[TensorSpec, ...]
    """Its outputs."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the export wrote: `task`, `kpt_shape`, `names`, `imgsz`, `stride` ...; empty where it wrote nothing."""

    @property
    def kpt_shape(self) -> tuple[int, int] | None:
        """Number of keypoints and values of each, by the metadata."""
        return _pair(self.metadata.get("kpt_shape"))

    @property
    def imgsz(self) -> tuple[int, int] | None:
        """Height and width that the model was exported for, by the metadata."""
        size = self.metadata.get("imgsz")
        if isinstance(size, int) and size > 0:
            return size, size
        return _pair(size)

    @property
    def stride(self) -> int:
        """What height and width must be multiples of."""
        stride = self.metadata.get("stride", 32)
        return stride if isinstance(stride, int) and stride > 0 else 32


def read_model(path: Path) -> ModelInfo:
    """Read what a model file says of itself.

    Args:
        path: an `.onnx` file, an OpenVINO `.xml`, or a folder that holds exactly one of the latter.

    Raises:
        ModelError: it is not there, not a model, or of a kind that has to be exported first.
    """
    if path.is_dir():
        path = _only_xml(path)
    if not path.exists():
        raise ModelError(f"There is no model {str(path)!r}.{_models_beside(path)}")
    reader = {".onnx": _read_onnx, ".xml": _read_openvino}.get(path.suffix.lower())
    if reader is None:
        raise ModelError(f"{path} is no model that tensortap loads. {_advice(path)}")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty (0 bytes).")
    return reader(path)


def image_input(model: ModelInfo) -> ImageInput:
    """The model's only input, which takes pictures of three channels.

    Raises:
        ModelError: there are more inputs, or the one there is takes something else.
    """
    described = ", ".join(f"{each.name} {each.dtype} {_text(each.shape)}" for each in model.inputs)
    if len(model.inputs) != 1:
        raise ModelError(
            f"{model.path} has {len(model.inputs)} inputs ({described}); tensortap feeds one, pictures (N, 3, H, W). "
            "Re-export the model so that what else it needs is constant."
        )
    [tensor] = model.inputs
    if len(tensor.shape) == 4:
        for layout, channels, height, width in (("NCHW", 1, 2, 3), ("NHWC", 3, 1, 2)):
            if tensor.shape[channels] == 3:
                return ImageInput(
                    tensor.name,
                    layout,  # type: ignore[arg-type]
                    tensor.dtype,
                    tensor.shape[0],
                    tensor.shape[height],
                    tensor.shape[width],
                )
    raise ModelError(f"The input of {model.path} is {described}; tensortap feeds pictures (N, 3, H, W) or (N, H, W, 3).")


def _read_onnx(path: Path) -> ModelInfo:
    try:
        import onnx
    except ImportError as exc:
        raise MissingDependencyError("Reading ONNX files needs onnx, which is not installed. Try: pip install onnx") from exc
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as exc:  # protobuf raises its own, which differ between versions
        raise ModelError(f"{path} is not an ONNX model, or it was cut off: {exc}") from exc
    if not proto.graph.output:
        raise ModelError(f"{path} is not an ONNX model: it holds no graph.")

    def spec(value: Any) -> TensorSpec:
        tensor = value.type.tensor_type
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else "unknown"
        return TensorSpec(value.name, dtype, tuple(dim.dim_value or None for dim in tensor.shape.dim))

    weights = {tensor.name for tensor in proto.graph.initializer}
    return ModelInfo(
        path=path,
        format="onnx",
        inputs=tuple(spec(value) for value in proto.graph.input if value.name not in weights),
        outputs=tuple(spec(value) for value in proto.graph.output),
        metadata={entry.key: _literal(entry.value) for entry in proto.metadata_props},
    )


def _read_openvino(path: Path) -> ModelInfo:
    if not path.with_suffix(".bin").exists():
        raise ModelError(f"{path} has no {path.with_suffix('.bin').name} beside it, which holds the weights.")
    try:
        ov = import_openvino()
    except ImportError as exc:
        raise MissingDependencyError(f"{path.name} is an OpenVINO model. Try: pip install openvino") from exc
    try:
        network = ov.Core().read_model(path)
    except RuntimeError as exc:
        raise ModelError(f"{path} is not an OpenVINO model, or it was cut off: {str(exc).strip().splitlines()[-1]}") from exc

    def spec(port: Any, fallback: str) -> TensorSpec:
        names = sorted(port.get_names())
        shape = tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape())
        element = port.get_element_type()
        dtype = "bfloat16" if element.get_type_name() == "bf16" else element.to_dtype().name
        return TensorSpec(names[0] if names else fallback, dtype, shape)

    return ModelInfo(
        path=path,
        format="openvino",
        inputs=tuple(spec(port, f"input{number}") for number, port in enumerate(network.inputs)),
        outputs=tuple(spec(port, f"output{number}") for number, port in enumerate(network.outputs)),
        metadata=_read_yaml(path.with_name("metadata.yaml")),
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    """Ultralytics' metadata beside an IR; empty where there are none."""
    import yaml

    if not path.exists():
        return {}
    try:
        metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as exc:
        _log.warning("%s cannot be read and is left out: %s", path, exc)
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _literal(text: str) -> Any:
    """Ultralytics writes the repr of Python values; what is none stays text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _only_xml(folder: Path) -> Path:
    found = sorted(folder.glob("*.xml"))
    if len(found) != 1:
        holds = f"{len(found)} of them: {', '.join(path.name for path in found)}" if found else "none"
        raise ModelError(
            f"The folder {str(folder)!r} should hold one OpenVINO .xml; it holds {holds}.{_models_beside(folder / 'x')}"
        )
    return found[0]


def _models_beside(path: Path) -> str:
    """A hint at models that may have been meant."""
    if not path.parent.is_dir():
        return f" The folder {str(path.parent)!r} does not exist either."
    models = sorted(each.name for each in path.parent.iterdir() if each.suffix in {".onnx", ".xml"})
    return f" {str(path.parent)!r} holds {', '.join(models[:5])}." if models else ""


def _advice(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in {".pt", ".pth"}:
        return f"It is a PyTorch checkpoint. Export it first: yolo export model={path.name} format=onnx dynamic=True"
    if suffix in {".engine", ".plan", ".trt"}:
        return "It is a TensorRT engine, made for one GPU. Use the ONNX file that it was built from."
    if suffix == ".bin":
        return f"It holds the weights of an OpenVINO model. Name its {path.with_suffix('.xml').name}."
    return "Give an ONNX file, an OpenVINO .xml, or a folder that holds one."


def _pair(value: Any) -> tuple[int, int] | None:
    """Two positive numbers, or `None` where the metadata hold something else."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(each, int) and each > 0 for each in value):
        return value[0], value[1]
    return None


def _text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"
