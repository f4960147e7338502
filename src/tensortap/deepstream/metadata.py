"""What the probe reads from a batch and puts back into it, whichever of NVIDIA's two bindings is installed.

The two adapters, `tap_pyds` and `tap_servicemaker`, offer the protocols below. What they hand out is alive only while the
probe runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Size = tuple[int, int]
Box = tuple[float, float, float, float]
Color = tuple[float, float, float, float]

UNTRACKED_OBJECT_ID = 0xFFFFFFFFFFFFFFFF
"""What an object's id is until a tracker has named it; a fresh object's is 0, which would be somebody."""
MAX_ELEMENTS = 16
"""`MAX_ELEMENTS_IN_DISPLAY_META` of nvdsmeta.h: of each kind in one display metadata."""
MAX_LABEL_BYTES = 127
"""`MAX_LABEL_SIZE` of nvdsmeta.h, less the NUL at the end."""

DTYPES: Mapping[int, np.dtype[np.generic]] = {
    0: np.dtype(np.float32),
    1: np.dtype(np.float16),
    2: np.dtype(np.int8),
    3: np.dtype(np.int32),
    4: np.dtype(np.int64),
    5: np.dtype(np.uint8),
}
"""`NvDsInferDataType` of nvdsinfer.h by number: pyds has no names for the last two."""


@dataclass(frozen=True, eq=False)
class Tensors:
    """What one inference gave for one frame or one object."""

    layers: Mapping[str, np.ndarray]
    """Name -> read-only view without batch axis, valid while the probe runs."""
    network_wh: Size | None
    """Width and height of the network input; `None` where the binding does not tell."""


@dataclass(frozen=True)
class NewObject:
    """An object to be attached to a frame, in pixels of the mux surface."""

    component_id: int
    """`gie-unique-id` of the inference that found it."""
    class_id: int
    label: str
    """At most 127 bytes of UTF-8 are kept."""
    confidence: float
    box_xyxy: Box
    """Inside the surface."""
    track_id: int
    """-1 leaves the naming to a tracker downstream."""
    text: str
    """What nvdsosd writes at the box."""


@dataclass(frozen=True)
class Line:
    """A limb, in whole pixels inside the mux surface."""

    x1: int
    y1: int
    x2: int
    y2: int
    width: int
    color: Color
    """Red, green, blue, alpha in 0..1."""


@dataclass(frozen=True)
class Circle:
    """A joint, in whole pixels inside the mux surface."""

    x: int
    y: int
    radius: int
    color: Color


@dataclass(frozen=True)
class Drawing:
    """What fits one display metadata: at most 16 lines and 16 circles."""

    lines: tuple[Line, ...]
    circles: tuple[Circle, ...]


class ObjectMeta(Protocol):
    """One object of a frame."""

    @property
    def component_id(self) -> int:
        """`gie-unique-id` of the inference that found it."""
        ...

    @property
    def class_id(self) -> int: ...

    @property
    def confidence(self) -> float:
        """Of the detector; -0.1 where the tracker alone believes in it."""
        ...

    @property
    def track_id(self) -> int:
        """-1 where no tracker has named it."""
        ...

    @property
    def box_xyxy(self) -> Box:
        """In pixels of the mux surface, as whoever updated it last left it."""
        ...

    @property
    def detector_box_xyxy(self) -> Box | None:
        """As the detector left it; `None` where it left nothing, or the binding does not tell."""
        ...

    def tensors(self, unique_id: int) -> Iterator[Tensors]:
        """What a secondary inference gave for it."""
        ...

    def name(self, track_id: int, text: str) -> None:
        """Set its identity and what nvdsosd writes at it."""
        ...


class FrameMeta(Protocol):
    """One frame of a batch."""

    @property
    def pad_index(self) -> int:
        """The mux's pad: number of the input. Neither `batch_id` nor the place in the list says that."""
        ...

    @property
    def frame_number(self) -> int: ...

    @property
    def pts_ns(self) -> int:
        """Presentation time; may be 2**64 - 1 for none."""
        ...

    @property
    def source_wh(self) -> Size:
        """The camera's frame, as it came to the mux."""
        ...

    @property
    def surface_wh(self) -> Size | None:
        """The mux's surface; `None` where the binding does not tell."""
        ...

    def tensors(self, unique_id: int) -> Iterator[Tensors]:
        """What a primary inference gave for it. Metadata of anybody else is passed over."""
        ...

    def objects(self) -> Iterator[ObjectMeta]:
        """Its objects, in no order that means anything."""
        ...

    def mark_inferred(self) -> None:
        """Say that somebody looked for objects, even if there are none: nvtracker ends tracks by that."""
        ...

    def add_object(self, new: NewObject) -> None:
        """Attach an object."""
        ...

    def add_drawing(self, drawing: Drawing) -> None:
        """Attach lines and circles for nvdsosd."""
        ...

    def bgr(self) -> np.ndarray:
        """The surface's pixels, copied: uint8 (H, W, 3) BGR."""
        ...


class BatchMeta(Protocol):
    """One buffer behind nvstreammux."""

    def frames(self) -> Iterator[FrameMeta]:
        """The frames in it."""
        ...


def track_id_of(object_id: int) -> int:
    """An object's unsigned 64-bit id as one of ours: -1 for untracked, else without the sign bit that int64 has no room for."""
    return -1 if object_id == UNTRACKED_OBJECT_ID else object_id & 0x7FFFFFFFFFFFFFFF


def object_id_of(track_id: int) -> int:
    """One of our ids as an object's."""
    return track_id if track_id >= 0 else UNTRACKED_OBJECT_ID


def fitted(text: str, max_bytes: int) -> str:
    """The text's beginning that fits so many bytes of UTF-8, without half characters and without NUL."""
    whole = text.replace("\0", "").encode("utf-8", "replace")
    return whole[:max_bytes].decode("utf-8", "ignore")
