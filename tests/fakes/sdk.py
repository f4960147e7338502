"""The C side: buffers with batches of frames, objects and tensors in memory that is overwritten when the buffer goes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

UNTRACKED = 0xFFFFFFFFFFFFFFFF
TENSOR_OUTPUT, SEGMENTATION, USER_META = 12, 13, 4096
"""`NvDsMetaType`: tensors, and two kinds that are somebody else's."""
FLOAT, HALF, INT8, INT32, INT64, UINT8 = range(6)
"""`NvDsInferDataType` of nvdsinfer.h 9.1."""
NUMBERS = {"float32": FLOAT, "float16": HALF, "int8": INT8, "int32": INT32, "int64": INT64, "uint8": UINT8}
POISON = 0xA5


class Segfault(BaseException):
    """What ends a process without a word. Not an Exception, so that nothing catches it by accident."""


_addresses = count(0x7F0000000000, 0x1000)
_objects: dict[int, Any] = {}


def place(thing: Any) -> int:
    """An address for a structure."""
    address = next(_addresses)
    _objects[address] = thing
    return address


def at(address: int) -> Any:
    """What lies at an address."""
    if address not in _objects:
        raise Segfault(f"nothing at {address:#x}")
    return _objects[address]


@dataclass(eq=False)
class Struct:
    """Anything in C: has an address, and belongs to a buffer until that is released."""

    buffer: Buffer | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        self.address = place(self)

    def touch(self) -> Any:
        """Whoever reads or writes it does this first."""
        if self.buffer is not None and self.buffer.released:
            raise Segfault(f"{type(self).__name__} was used after its buffer had gone")
        return self


@dataclass(eq=False)
class Layer(Struct):
    """One output: what it is, and where this frame's part of the batch lies."""

    name: str
    number: int
    """`NvDsInferDataType`."""
    dims: tuple[int, ...]
    pointer: int
    """`out_buf_ptrs_host[i]`; 0 for none."""
    binding: int = 0
    num_elements: int | None = None
    """`numElements`, where it should contradict the dimensions."""


@dataclass(eq=False)
class TensorMeta(Struct):
    """`NvDsInferTensorMeta`."""

    unique_id: int
    layers: list[Layer]
    network_wh: tuple[int, int]


@dataclass(eq=False)
class UserMeta(Struct):
    """`NvDsUserMeta`."""

    meta_type: int
    data: Any


@dataclass(eq=False)
class Rect:
    """`left, top, width, height` of whatever has them."""

    left: float = 0.0
    top: float = 0.0
    width: float = 0.0
    height: float = 0.0
    border_width: int = 0
    border_color: tuple[float, ...] = (0, 0, 0, 0)
    has_bg_color: int = 0
    bg_color: tuple[float, ...] = (0, 0, 0, 0)

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(eq=False)
class Text:
    """`NvOSD_TextParams`."""

    display_text: str | None = None
    x_offset: int = 0
    y_offset: int = 0
    font_name: str | None = None
    font_size: int = 0
    font_color: tuple[float, ...] = (0, 0, 0, 0)
    set_bg_clr: int = 0
    text_bg_clr: tuple[float, ...] = (0, 0, 0, 0)


@dataclass(eq=False)
class Object(Struct):
    """`NvDsObjectMeta`, all zero when it comes from the pool."""

    unique_component_id: int = 0
    class_id: int = 0
    object_id: int = 0
    confidence: float = 0.0
    tracker_confidence: float = 0.0
    rect: Rect = field(default_factory=Rect)
    detector: Rect = field(default_factory=Rect)
    tracker: Rect = field(default_factory=Rect)
    text: Text = field(default_factory=Text)
    label: bytearray = field(default_factory=lambda: bytearray(128))
    user_meta: list[UserMeta] = field(default_factory=list)
    parent: Object | None = None
    smashed: bool = False
    """Something was written over the end of the label, where the lists' pointers are."""

    @property
    def label_text(self) -> str:
        return bytes(self.label).partition(b"\0")[0].decode("utf-8", "replace")


@dataclass(eq=False)
class Line:
    x1: int = 0
    y1: int = 0
    x2: int = 0
    y2: int = 0
    width: int = 0
    color: tuple[float, ...] = (0, 0, 0, 0)


@dataclass(eq=False)
class Circle:
    xc: int = 0
    yc: int = 0
    radius: int = 0
    color: tuple[float, ...] = (0, 0, 0, 0)
    has_bg_color: int = 0
    bg_color: tuple[float, ...] = (0, 0, 0, 0)


@dataclass(eq=False)
class Display(Struct):
    """`NvDsDisplayMeta`: 16 of each kind, and counts that nobody checks."""

    lines: list[Line] = field(default_factory=lambda: [Line() for _ in range(16)])
    circles: list[Circle] = field(default_factory=lambda: [Circle() for _ in range(16)])
    texts: list[Text] = field(default_factory=lambda: [Text() for _ in range(16)])
    num_lines: int = 0
    num_circles: int = 0
    num_labels: int = 0

    @property
    def drawn(self) -> tuple[list[Line], list[Circle]]:
        """What nvdsosd draws: it trusts the counts."""
        if max(self.num_lines, self.num_circles, self.num_labels) > 16:
            raise Segfault("nvdsosd read beyond the 16th element")
        return self.lines[: self.num_lines], self.circles[: self.num_circles]


@dataclass(eq=False)
class Frame(Struct):
    """`NvDsFrameMeta`. Objects, drawings and user metadata are put in front of what is there."""

    pad_index: int
    batch_id: int
    frame_num: int
    buf_pts: int
    source_wh: tuple[int, int]
    surface_wh: tuple[int, int]
    source_id: int = 0
    ntp_timestamp: int = 0
    infer_done: bool = False
    num_obj_meta: int = 0
    objects: list[Object] = field(default_factory=list)
    displays: list[Display] = field(default_factory=list)
    user_meta: list[UserMeta] = field(default_factory=list)

    def add_object(self, new: Object, parent: Object | None = None) -> Object:
        new.parent, new.buffer = parent, self.buffer
        self.objects.insert(0, new)
        self.num_obj_meta += 1
        return new

    def add_user_meta(self, meta: UserMeta, to: Object | None = None) -> None:
        meta.buffer = self.buffer
        (self if to is None else to).user_meta.insert(0, meta)

    @property
    def drawn(self) -> tuple[list[Line], list[Circle]]:
        """Everything that nvdsosd draws in it."""
        lines: list[Line] = []
        circles: list[Circle] = []
        for display in reversed(self.displays):
            lines += display.drawn[0]
            circles += display.drawn[1]
        return lines, circles


@dataclass(eq=False)
class Batch(Struct):
    """`NvDsBatchMeta`. Frames are appended."""

    frames: list[Frame] = field(default_factory=list)


class Surface:
    """The pixels of one frame: rows are longer than they show, as pitches are."""

    def __init__(self, image: np.ndarray, layout: str = "RGBA") -> None:
        height, width = image.shape[:2]
        self.layout = layout
        channels = {"RGBA": 4, "RGB": 3, "NV12": 1}[layout]
        self.memory = np.full((height, (width + 16) * channels), POISON, np.uint8)
        if layout != "NV12":
            rgb = image[..., ::-1]
            opaque = np.dstack([rgb, np.full((height, width), 255, np.uint8)]) if channels == 4 else rgb
            self.memory[:, : width * channels] = opaque.reshape(height, -1)
        self.shape = (height, width, channels)

    @property
    def view(self) -> np.ndarray:
        _, _, channels = self.shape
        return np.lib.stride_tricks.as_strided(self.memory, self.shape, (self.memory.strides[0], channels, 1), writeable=True)


class Buffer:
    """A `Gst.Buffer`: PyGObject's hash of it is its address in C.

    Args:
        surfaces: of the frames; `None` is no buffer of surfaces at all.
        memory_type: `NvBufSurfaceMemType` of the surfaces.
    """

    def __init__(self, *, has_meta: bool = True, surfaces: Sequence[Surface] | None = None, memory_type: int = 3) -> None:
        self.address = place(self)
        self.released = False
        self.batch = Batch(buffer=self) if has_meta else None
        self.surfaces = surfaces
        self.memory_type = memory_type
        self.mapped: dict[int, int] = {}
        """`batch_id` -> how often it was mapped, on Jetson."""
        self.unmapped: list[int] = []
        self._memory: list[Any] = []

    def __hash__(self) -> int:
        return self.address

    def __eq__(self, other: object) -> bool:
        return self is other

    def add_frame(
        self,
        *,
        pad_index: int = 0,
        frame_num: int = 0,
        buf_pts: int = 0,
        source_wh: tuple[int, int] = (1280, 720),
        surface_wh: tuple[int, int] | None = None,
        source_id: int | None = None,
    ) -> Frame:
        assert self.batch is not None
        frame = Frame(
            pad_index,
            len(self.batch.frames),
            frame_num,
            buf_pts,
            source_wh,
            surface_wh or source_wh,
            source_id=pad_index if source_id is None else source_id,
            buffer=self,
        )
        self.batch.frames.append(frame)
        return frame

    def add_tensors(
        self,
        outputs: dict[str, np.ndarray],
        owners: Sequence[tuple[Frame, Object | None]],
        *,
        unique_id: int = 1,
        network_wh: tuple[int, int] = (640, 640),
    ) -> None:
        """What nvinfer attaches after one call: `(B, ...)` of each output in one stretch of memory, and for each owner the
        place of its own part."""
        stretches = {}
        for name, values in outputs.items():
            memory = ctypes.create_string_buffer(np.ascontiguousarray(values).tobytes(), max(1, values.nbytes))
            self._memory.append(memory)
            stretches[name] = ctypes.addressof(memory)
        for number, (frame, owner) in enumerate(owners):
            layers = [
                Layer(
                    name,
                    NUMBERS[values.dtype.name],
                    values.shape[1:],
                    stretches[name] + number * values[0].nbytes,
                    binding,
                    buffer=self,
                )
                for binding, (name, values) in enumerate(outputs.items(), start=1)
            ]
            meta = TensorMeta(unique_id, layers, network_wh, buffer=self)
            frame.infer_done = frame.infer_done or False  # network-type=100: nvinfer leaves it alone
            frame.add_user_meta(UserMeta(TENSOR_OUTPUT, meta), owner)

    def release(self) -> None:
        """The buffer has gone: the pool's memory is filled by a later batch, and structures return to theirs."""
        self.released = True
        for memory in self._memory:
            ctypes.memset(memory, POISON, len(memory))
        for surface in self.surfaces or ():
            surface.memory.fill(POISON)


def detection(
    box_xyxy: tuple[float, float, float, float],
    *,
    component: int = 1,
    class_id: int = 0,
    confidence: float = 0.9,
    object_id: int = UNTRACKED,
) -> Object:
    """An object as nvinfer's detector leaves it."""
    left, top, right, bottom = box_xyxy
    rect = Rect(left, top, right - left, bottom - top)
    detector = Rect(left, top, right - left, bottom - top)
    return Object(component, class_id, object_id, confidence, rect=rect, detector=detector)
