"""`pyservicemaker` 9.x, played: one-shot iterators, DLPack tensors, operators whose exceptions end the process."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from enum import Enum
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from fakes import sdk
from fakes.pyds import real, uint
from fakes.sdk import Segfault

_DTYPES = {0: "float32", 1: "float16", 2: "int8", 3: "int32", 4: "int64", 5: "uint8"}


class _Device(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Managed(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Tensor:
    """DLPack on some device. What it describes is not its own."""

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: str, device: int = 1, strides: tuple[int, ...] | None = None
    ) -> None:
        self.shape = shape
        code = {"f": 2, "i": 0, "u": 1}[np.dtype(dtype).kind]
        self._shape = (ctypes.c_int64 * len(shape))(*shape)
        self._strides = None if strides is None else (ctypes.c_int64 * len(strides))(*strides)
        self._managed = _Managed(
            address,
            _Device(device, 0),
            len(shape),
            _DataType(code, np.dtype(dtype).itemsize * 8, 1),
            ctypes.cast(self._shape, ctypes.POINTER(ctypes.c_int64)),
            ctypes.cast(self._strides, ctypes.POINTER(ctypes.c_int64)) if strides else None,
            0,
        )

    def __dlpack__(self, stream: Any) -> Any:
        """The stream has no default."""
        return _new(ctypes.addressof(self._managed), b"dltensor", None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._managed.device.device_type, 0


class _Meta:
    """A wrapper with the properties that are bound and no others."""

    def __init__(self, c: Any) -> None:
        object.__setattr__(self, "_c", c)

    def _touched(self) -> Any:
        return self._c.touch() if hasattr(self._c, "touch") else self._c

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(getattr(type(self), name, None), property):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        object.__setattr__(self, name, value)


def _field(name: str, convert: Any = lambda value: value) -> property:
    return property(
        lambda self: getattr(self._touched(), name), lambda self, value: setattr(self._touched(), name, convert(value))
    )


def _told(name: str) -> property:
    return property(lambda self: getattr(self._touched(), name))


class _Text(_Meta):
    @property
    def display_text(self) -> bytes:
        return (self._c.display_text or "").encode()

    @display_text.setter
    def display_text(self, value: Any) -> None:
        self._c.display_text = value.decode() if isinstance(value, bytes) else value

    x_offset = _field("x_offset", uint)
    y_offset = _field("y_offset", uint)
    set_bg_clr = _field("set_bg_clr", bool)
    text_bg_clr = _field("text_bg_clr")
    font_params = property(lambda self: _Font(self._c))


class _Font(_Meta):
    name = _field("font_name")
    size = _field("font_size", uint)
    color = _field("font_color")


class _Rect(_Meta):
    left = _field("left", real)
    top = _field("top", real)
    width = _field("width", real)
    height = _field("height", real)
    border_width = _field("border_width", uint)
    border_color = _field("border_color")
    has_bg_color = _field("has_bg_color", bool)


class TensorOutputUserMetadata(_Meta):
    """Tensors of one inference."""

    unique_id = _told("unique_id")

    def get_layers(self) -> dict[str, Tensor]:
        layers = {}
        for layer in self._touched().layers:
            layers[layer.name] = Tensor(layer.pointer, layer.dims, _DTYPES[layer.number], settings.device)
        return layers


class UserMetadata(_Meta):
    def as_tensor_output(self) -> TensorOutputUserMetadata | None:
        c = self._touched()
        return TensorOutputUserMetadata(c.data) if c.meta_type == sdk.TENSOR_OUTPUT else None


def _tensor_items(user_meta: list[sdk.UserMeta]) -> Iterator[UserMetadata]:
    return iter([UserMetadata(each) for each in user_meta if each.meta_type == sdk.TENSOR_OUTPUT])


class ObjectMetadata(_Meta):
    class_id = _field("class_id", uint)
    object_id = _field("object_id", uint)
    unique_component_id = _field("unique_component_id", uint)
    confidence = _field("confidence", real)
    tracker_confidence = _field("tracker_confidence", real)
    rect_params = property(lambda self: _Rect(self._touched().rect))
    text_params = property(lambda self: _Text(self._touched().text))
    tensor_items = property(lambda self: _tensor_items(self._touched().user_meta))

    @property
    def label(self) -> str:
        return self._touched().label_text

    @label.setter
    def label(self, value: str) -> None:
        data = value.encode()
        if len(data) > 127:
            raise Segfault("the label is longer than its room")
        self._touched().label[: len(data) + 1] = data + b"\0"


class DisplayMetadata(_Meta):
    n_lines = _told("num_lines")
    n_circles = _told("num_circles")

    def add_line(self, line: Any) -> bool:
        return self._add("lines", "num_lines", sdk.Line(line.x1, line.y1, line.x2, line.y2, line.width, line.color))

    def add_circle(self, circle: Any) -> bool:
        made = sdk.Circle(circle.xc, circle.yc, circle.radius, circle.color, int(circle.has_bg_color), circle.bg_color)
        return self._add("circles", "num_circles", made)

    def _add(self, kind: str, number: str, made: Any) -> bool:
        c = self._touched()
        if getattr(c, number) >= 16:
            return False  # and nothing is drawn
        getattr(c, kind)[getattr(c, number)] = made
        setattr(c, number, getattr(c, number) + 1)
        return True


class FrameMetadata(_Meta):
    pad_index = _told("pad_index")
    batch_id = _told("batch_id")
    source_id = _told("source_id")
    frame_number = _told("frame_num")
    buffer_pts = _told("buf_pts")
    ntp_timestamp = _told("ntp_timestamp")
    source_width = property(lambda self: self._touched().source_wh[0])
    source_height = property(lambda self: self._touched().source_wh[1])
    pipeline_width = property(lambda self: self._touched().surface_wh[0])
    pipeline_height = property(lambda self: self._touched().surface_wh[1])
    object_items = property(lambda self: iter([ObjectMetadata(each) for each in self._touched().objects]))
    tensor_items = property(lambda self: _tensor_items(self._touched().user_meta))

    def append(self, meta: Any) -> None:
        if isinstance(meta, ObjectMetadata):
            self._touched().add_object(meta._c)
        elif isinstance(meta, DisplayMetadata):
            self._touched().displays.insert(0, meta._c)
        else:
            raise TypeError(f"incompatible function arguments: {meta!r}")


class BatchMetadata(_Meta):
    frame_items = property(lambda self: iter([FrameMetadata(each) for each in self._touched().frames]))

    def acquire_object_meta(self) -> ObjectMetadata:
        return ObjectMetadata(sdk.Object(buffer=self._touched().buffer))

    def acquire_display_meta(self) -> DisplayMetadata:
        return DisplayMetadata(sdk.Display(buffer=self._touched().buffer))


class Buffer:
    """The wrapper that operators get."""

    def __init__(self, c: sdk.Buffer) -> None:
        self._c = c

    @property
    def batch_meta(self) -> BatchMetadata | None:
        return None if self._c.batch is None else BatchMetadata(self._c.batch.touch())

    @property
    def batch_size(self) -> int:
        return len(self._c.batch.frames) if self._c.batch else 1

    def extract(self, batch_id: int) -> Tensor:
        surface = self._c.surfaces[batch_id]
        height, width, channels = surface.shape
        return Tensor(
            surface.memory.ctypes.data,
            (height, width, channels),
            "uint8",
            settings.device,
            (surface.memory.strides[0], channels, 1),
        )


class BufferOperator:
    """The base class, whose constructor must have been called."""

    def __init__(self) -> None:
        self._ready = True

    def handle_buffer(self, buffer: Buffer) -> bool:
        raise NotImplementedError


class Probe:
    def __init__(self, name: str, operator: Any) -> None:
        self.name, self.operator = name, operator


def run_operator(operator: Any, buffer: sdk.Buffer) -> bool:
    """What the probe does: an exception ends the process, anything but True drops the buffer."""
    if not getattr(operator, "_ready", False):
        raise Segfault("BufferOperator.__init__ was not called")
    try:
        passes = operator.handle_buffer(Buffer(buffer))
    except Exception as exc:
        raise Segfault(f"an exception left a callback: {exc!r}") from exc
    if not isinstance(passes, bool):
        raise Segfault("handle_buffer must give a bool")
    return passes


class Pipeline:
    """Keeps what it is told. Playing ends when `stop()` is called, or at once with `error`."""

    made: ClassVar[list[Pipeline]] = []
    error: str | None = None
    lacks: frozenset[str] = frozenset()
    """Elements that there are not, and properties that elements do not have."""

    def __init__(self, name: str) -> None:
        self.elements: dict[str, tuple[str, dict[str, Any]]] = {}
        self.links: list[Any] = []
        self.probes: dict[str, Probe] = {}
        self._stopped = threading.Event()
        Pipeline.made.append(self)

    def add(self, factory: str, name: str, properties: dict[str, Any] | None = None) -> Pipeline:
        if factory in self.lacks or self.lacks & {*(properties or {})}:
            raise RuntimeError(f"Failed to create {factory}")
        self.elements[name] = factory, dict(properties or {})
        return self

    def __getitem__(self, name: str) -> Any:
        def set_properties(properties: dict[str, Any]) -> None:
            if self.lacks & {*properties}:
                raise RuntimeError("no such property")
            self.elements[name][1].update(properties)

        return SimpleNamespace(set=set_properties)

    def link(self, *what: Any) -> Pipeline:
        """Names one after the other, or a pair of names and a pair of pads; a numbered request pad is not there yet."""
        if isinstance(what[0], tuple):
            (source, sink), pads = what
            if any(pad[-1:].isdigit() for pad in pads):
                raise RuntimeError(f"no pad {pads}")
            what = source, sink
            self.links.append((source, sink, *pads))
        else:
            self.links.append(what)
        if not {*what} <= self.elements.keys():
            raise RuntimeError(f"no element among {what}")
        return self

    def attach(self, target: str, what: Any, name: str = "", tips: str = "") -> Pipeline:
        self.probes[target] = what
        return self

    def start(self) -> Pipeline:
        return self

    def wait(self) -> None:
        if self.error is not None:
            raise RuntimeError(self.error)
        self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()


class _Unsigned:
    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return getattr(instance, self._name, 0)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self._name, uint(value))


class _Line:
    x1, y1, x2, y2, width = (_Unsigned() for _ in range(5))
    color: Any = None


class _Circle:
    xc, yc, radius, width = (_Unsigned() for _ in range(4))
    color: Any = None
    has_bg_color = False
    bg_color: Any = None


class _FontFamily(Enum):
    Serif = 0


osd = SimpleNamespace(
    Line=_Line,
    Circle=_Circle,
    FontFamily=_FontFamily,
    Color=lambda red, green, blue, alpha: (real(red), real(green), real(blue), real(alpha)),
)
settings = SimpleNamespace(device=1)
"""DLPack's device of all tensors: 1 the CPU, 2 CUDA, 3 pinned, 13 managed."""


def copy_to_host(host: int, device: int, size: int) -> None:
    """`cudaMemcpy` of a GPU whose memory is the host's."""
    ctypes.memmove(host, device, size)
