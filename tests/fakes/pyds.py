"""`pyds` 1.2.0, played: capsules, lists that end in None, casts that check nothing, fields with C types."""

# ruff: noqa: N802, PLW0108, RUF012  # names as NVIDIA has them; tables of fields that nobody changes

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np

from fakes import sdk
from fakes.sdk import Segfault

_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def capsule(address: int) -> Any:
    """What pybind makes of a `void *`; a null pointer becomes None."""
    return _new(address, None, None) if address else None


def get_ptr(thing: Any) -> int:
    """The address in a capsule, or of a structure."""
    return thing._c.address if isinstance(thing, _View) else _pointer(thing, None)


def uint(value: Any) -> int:
    """What pybind11 takes for an unsigned integer."""
    if isinstance(value, float) or not hasattr(value, "__int__") or isinstance(value, str):  # np.float64 is a float, too
        raise TypeError(f"incompatible function arguments: {value!r}")
    if int(value) < 0 or int(value) >= 1 << 64:
        raise TypeError(f"incompatible function arguments: {value!r}")
    return int(value)  # np.float32 is cut off without a word


def real(value: Any) -> float:
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(f"incompatible function arguments: {value!r}")
    return float(np.float32(value))


class GList:
    """A node. Cannot be iterated; the list ends in None."""

    def __init__(self, members: list[Any], place: int = 0) -> None:
        self._members, self._place = members, place

    @property
    def data(self) -> Any:
        return capsule(self._members[self._place].address)

    @property
    def next(self) -> GList | None:
        return _glist(self._members, self._place + 1)


def _glist(members: list[Any], place: int = 0) -> GList | None:
    return GList(list(members), place) if place < len(members) else None


class _Garbage:
    """What comes of a cast of something else: any field, with any number."""

    def __getattr__(self, name: str) -> int:
        return 0x6B6B6B6B


class _View:
    """A non-owning view of a structure in C, with the fields that are bound and no others."""

    _of: type = object
    _fields: dict[str, Any] = {}
    _read_only: dict[str, Any] = {}

    def __init__(self, c: Any) -> None:
        object.__setattr__(self, "_c", c)

    @classmethod
    def cast(cls, what: Any) -> Any:
        """Unchecked: a capsule or an address."""
        if what is None:
            return None
        if isinstance(what, GList):
            return _Garbage()  # of the node instead of its data: accepted
        found = sdk.at(what if isinstance(what, int) else get_ptr(what))
        return cls(found) if isinstance(found, cls._of) else _Garbage()

    def __getattr__(self, name: str) -> Any:
        c = self._c.touch() if hasattr(self._c, "touch") else self._c
        if name in self._read_only:
            return self._read_only[name](c)
        if name in self._fields:
            return getattr(c, self._fields[name][0])
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        c = self._c.touch() if hasattr(self._c, "touch") else self._c
        if name not in self._fields:
            raise AttributeError(f"can't set attribute '{name}'")
        attribute, convert = self._fields[name]
        setattr(c, attribute, convert(value))


class _Color:
    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name

    def set(self, red: float, green: float, blue: float, alpha: float) -> None:
        setattr(self._owner, self._name, (real(red), real(green), real(blue), real(alpha)))


_strings: dict[int, str] = {}


def _string(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"incompatible function arguments: {text!r}")
    return text


def _address_of(text: str | None) -> int:
    """Strings are read as addresses."""
    if text is None:
        return 0
    address = next(sdk._addresses)
    _strings[address] = text
    return address


def get_string(address: int) -> str | None:
    return _strings.get(address)


class _RectView(_View):
    _fields = {name: (name, real) for name in ("left", "top", "width", "height")} | {
        "border_width": ("border_width", uint),
        "has_bg_color": ("has_bg_color", uint),
    }
    _read_only = {name: (lambda c, name=name: _Color(c, name)) for name in ("border_color", "bg_color")}


class _CoordinatesView(_View):
    _fields = {name: (name, real) for name in ("left", "top", "width", "height")}


class _FontView(_View):
    _fields = {"font_name": ("font_name", _string), "font_size": ("font_size", uint)}
    _read_only = {"font_color": lambda c: _Color(c, "font_color")}


class _TextView(_View):
    _fields = {
        "display_text": ("display_text", _string),
        "x_offset": ("x_offset", uint),
        "y_offset": ("y_offset", uint),
        "set_bg_clr": ("set_bg_clr", uint),
    }
    _read_only = {
        "display_text": lambda c: _address_of(c.display_text),
        "font_params": _FontView,
        "text_bg_clr": lambda c: _Color(c, "text_bg_clr"),
    }


class _LineView(_View):
    _fields = {name: (name, uint) for name in ("x1", "y1", "x2", "y2")} | {"line_width": ("width", uint)}
    _read_only = {"line_color": lambda c: _Color(c, "color")}


class _CircleView(_View):
    _fields = {name: (name, uint) for name in ("xc", "yc", "radius", "has_bg_color")}
    _read_only = {"circle_color": lambda c: _Color(c, "color"), "bg_color": lambda c: _Color(c, "bg_color")}


class NvDsMetaType:
    """The enum; bare numbers are not equal to its members."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __int__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NvDsMetaType) and other._number == self._number

    def __hash__(self) -> int:
        return self._number


NvDsMetaType.NVDSINFER_TENSOR_OUTPUT_META = NvDsMetaType(sdk.TENSOR_OUTPUT)
NVDSINFER_TENSOR_OUTPUT_META = NvDsMetaType.NVDSINFER_TENSOR_OUTPUT_META


class NvDsInferDataType:
    """The enum, which knows four of six types; the others print as `???` and have their number."""

    _names = ("FLOAT", "HALF", "INT8", "INT32")

    def __init__(self, number: int) -> None:
        self._number = number

    def __int__(self) -> int:
        return self._number

    def __repr__(self) -> str:
        name = self._names[self._number] if self._number < len(self._names) else "???"
        return f"<NvDsInferDataType.{name}: {self._number}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NvDsInferDataType) and other._number == self._number

    def __hash__(self) -> int:
        return self._number


for _number, _name in enumerate(NvDsInferDataType._names):
    setattr(NvDsInferDataType, _name, NvDsInferDataType(_number))


class _Dims:
    """Eight numbers; those beyond numDims mean nothing."""

    def __init__(self, layer: sdk.Layer) -> None:
        self.numDims = len(layer.dims)
        self.d = np.full(8, 77, np.uint32)
        self.d[: self.numDims] = layer.dims
        self.numElements = int(np.prod(layer.dims, dtype=np.int64)) if layer.num_elements is None else layer.num_elements


class _LayerView(_View):
    _of = sdk.Layer
    _read_only = {
        "dataType": lambda c: NvDsInferDataType(c.number),
        "inferDims": _Dims,
        "dims": _Dims,
        "bindingIndex": lambda c: c.binding,
        "layerName": lambda c: c.name,
        "isInput": lambda c: 0,
    }

    def __init__(self, c: Any, *, has_pointer: bool) -> None:
        super().__init__(c)
        object.__setattr__(self, "_has_pointer", has_pointer)

    @property
    def buffer(self) -> Any:
        return capsule(self._c.touch().pointer) if self._has_pointer else None


class NvDsInferTensorMeta(_View):
    _of = sdk.TensorMeta
    _read_only = {
        "unique_id": lambda c: c.unique_id,
        "num_output_layers": lambda c: len(c.layers),
        "network_info": lambda c: SimpleNamespace(width=c.network_wh[0], height=c.network_wh[1], channels=3),
        "gpu_id": lambda c: 0,
    }

    def output_layers_info(self, number: int) -> _LayerView:
        """A method; the pointer in what it gives is not valid."""
        return _LayerView(self._c.touch().layers[number], has_pointer=False)


def get_nvds_LayerInfo(tensor_meta: Any, number: int) -> _LayerView:
    """Sets the host pointer of this frame's part. The number is not checked."""
    layers = tensor_meta._c.touch().layers
    if not 0 <= number < len(layers):
        raise Segfault(f"layer {number} of {len(layers)}")
    return _LayerView(layers[number], has_pointer=True)


class NvDsUserMeta(_View):
    _of = sdk.UserMeta
    _read_only = {
        "base_meta": lambda c: SimpleNamespace(meta_type=NvDsMetaType(c.meta_type)),
        "user_meta_data": lambda c: capsule(c.data.address),
    }


def _write_label(c: sdk.Object, text: Any) -> None:
    """strcpy without its NUL, and without a look at the room there is."""
    data = _string(text).encode()
    c.label[: len(data[:128])] = data[:128]
    c.smashed = c.smashed or len(data) > 128


def _list_of(c: Any, members: list[Any]) -> GList | None:
    if getattr(c, "smashed", False):
        raise Segfault("the list's pointer was overwritten by a long label")
    return _glist(members)


class NvDsObjectMeta(_View):
    _of = sdk.Object
    _fields = {
        "unique_component_id": ("unique_component_id", lambda value: int(value)),
        "class_id": ("class_id", lambda value: int(value)),
        "object_id": ("object_id", uint),
        "confidence": ("confidence", real),
        "tracker_confidence": ("tracker_confidence", real),
    }
    _read_only = {
        "rect_params": lambda c: _RectView(c.rect),
        "text_params": lambda c: _TextView(c.text),
        "detector_bbox_info": lambda c: SimpleNamespace(org_bbox_coords=_CoordinatesView(c.detector)),
        "tracker_bbox_info": lambda c: SimpleNamespace(org_bbox_coords=_CoordinatesView(c.tracker)),
        "obj_label": lambda c: c.label_text,
        "obj_user_meta_list": lambda c: _list_of(c, c.user_meta),
        "parent": lambda c: None if c.parent is None else NvDsObjectMeta(c.parent),
    }

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "obj_label":
            _write_label(self._c.touch(), value)
        else:
            super().__setattr__(name, value)


class NvDsFrameMeta(_View):
    _of = sdk.Frame
    _fields = {"bInferDone": ("infer_done", bool)}
    _read_only = {
        "pad_index": lambda c: c.pad_index,
        "batch_id": lambda c: c.batch_id,
        "source_id": lambda c: c.source_id,
        "frame_num": lambda c: c.frame_num,
        "buf_pts": lambda c: c.buf_pts,
        "ntp_timestamp": lambda c: c.ntp_timestamp,
        "source_frame_width": lambda c: c.source_wh[0],
        "source_frame_height": lambda c: c.source_wh[1],
        "num_obj_meta": lambda c: c.num_obj_meta,
        "obj_meta_list": lambda c: _glist(c.objects),
        "display_meta_list": lambda c: _glist(c.displays),
        "frame_user_meta_list": lambda c: _glist(c.user_meta),
    }


class _Slots:
    """An array of 16."""

    def __init__(self, members: list[Any], view: type) -> None:
        self._members, self._view = members, view

    def __getitem__(self, place: int) -> Any:
        if not 0 <= place < 16:
            raise IndexError("list index out of range")
        return self._view(self._members[place])


class NvDsDisplayMeta(_View):
    _of = sdk.Display
    _fields = {name: (name, uint) for name in ("num_lines", "num_circles", "num_labels")}
    _read_only = {
        "line_params": lambda c: _Slots(c.lines, _LineView),
        "circle_params": lambda c: _Slots(c.circles, _CircleView),
        "text_params": lambda c: _Slots(c.texts, _TextView),
    }


class NvDsBatchMeta(_View):
    _of = sdk.Batch
    _read_only = {"frame_meta_list": lambda c: _glist(c.frames), "num_frames_in_batch": lambda c: len(c.frames)}


def gst_buffer_get_nvds_batch_meta(address: int) -> NvDsBatchMeta | None:
    if not isinstance(address, int):
        raise TypeError(f"incompatible function arguments: {address!r}")
    batch = sdk.at(address).batch
    return None if batch is None else NvDsBatchMeta(batch)


def nvds_acquire_obj_meta_from_pool(batch: NvDsBatchMeta) -> NvDsObjectMeta:
    return NvDsObjectMeta(sdk.Object(buffer=batch._c.touch().buffer))


def nvds_add_obj_meta_to_frame(frame: NvDsFrameMeta, new: NvDsObjectMeta, parent: NvDsObjectMeta | None) -> None:
    frame._c.touch().add_object(new._c, None if parent is None else parent._c)


def nvds_acquire_display_meta_from_pool(batch: NvDsBatchMeta) -> NvDsDisplayMeta:
    return NvDsDisplayMeta(sdk.Display(buffer=batch._c.touch().buffer))


def nvds_add_display_meta_to_frame(frame: NvDsFrameMeta, display: NvDsDisplayMeta) -> None:
    frame._c.touch().displays.insert(0, display._c)


machine = SimpleNamespace(is_jetson=False)
"""Which machine the surface functions play."""


def get_nvds_buf_surface(address: int, batch_id: int) -> np.ndarray:
    """The surface of one frame, mapped where it must be."""
    buffer = sdk.at(address)
    if buffer.surfaces is None:
        raise Segfault("this is no NvBufSurface")
    if buffer.surfaces[0].layout not in ("RGBA", "RGB"):
        raise RuntimeError("get_nvds_buf_Surface: Currently we only support RGBA/RGB color Format")
    if machine.is_jetson:
        buffer.mapped[batch_id] = buffer.mapped.get(batch_id, 0) + 1
    elif buffer.memory_type not in (1, 3):
        raise Segfault("the CPU read memory of the GPU")
    return buffer.surfaces[batch_id].view


def unmap_nvds_buf_surface(address: int, batch_id: int) -> None:
    """Once for each batch_id; another call does nothing, and neither does any on x86."""
    buffer = sdk.at(address)
    if machine.is_jetson and buffer.mapped.get(batch_id):
        buffer.unmapped.append(batch_id)
        buffer.mapped[batch_id] = 0
