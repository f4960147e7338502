"""The adapter of `pyds`, the bindings of DeepStream 6.0 to 8.0.

pyds hands out views of C structures without owning or checking them; the comments say which of its habits each line is about.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensortap.deepstream.metadata import (
    DTYPES,
    MAX_LABEL_BYTES,
    Box,
    Drawing,
    NewObject,
    Size,
    Tensors,
    fitted,
    object_id_of,
    track_id_of,
)
from tensortap.errors import EngineError

_FONT = "Serif"
_FONT_SIZE = 11


class PydsTap:
    """Makes batches of buffers.

    Args:
        pyds: the module.
        unmap_pixels: whether surfaces that were read must be unmapped (Jetson).
    """

    def __init__(self, pyds: Any, *, unmap_pixels: bool = False) -> None:
        self.pyds = pyds
        # unmap exists since pyds 1.1.5; before that a surface stays mapped.
        self.unmap: Callable[[int, int], object] | None = (
            getattr(pyds, "unmap_nvds_buf_surface", None) if unmap_pixels else None
        )

    def batch(self, buffer: Any) -> PydsBatch | None:
        """The metadata of a `Gst.Buffer`; `None` where it carries none."""
        address = hash(buffer)  # PyGObject's hash of a buffer is the address of its C structure
        meta = self.pyds.gst_buffer_get_nvds_batch_meta(address)
        return None if meta is None else PydsBatch(self, meta, address)


class PydsBatch:
    """One batch."""

    def __init__(self, tap: PydsTap, meta: Any, address: int) -> None:
        self.tap = tap
        self.meta = meta
        self.address = address
        """Of the buffer."""

    def frames(self) -> Iterator[PydsFrame]:
        """The frames in it."""
        for frame in _items(self.meta.frame_meta_list, self.tap.pyds.NvDsFrameMeta.cast):
            yield PydsFrame(self, frame)


class PydsFrame:
    """One frame."""

    surface_wh: Size | None = None  # pipeline_width and pipeline_height are not bound

    def __init__(self, batch: PydsBatch, meta: Any) -> None:
        self._batch = batch
        self._pyds = batch.tap.pyds
        self._meta = meta
        self.pad_index = int(meta.pad_index)
        self.frame_number = int(meta.frame_num)
        self.pts_ns = int(meta.buf_pts)
        self.source_wh = int(meta.source_frame_width), int(meta.source_frame_height)

    def tensors(self, unique_id: int) -> Iterator[Tensors]:
        """What the inference of this id gave for it."""
        return _tensors(self._pyds, self._meta.frame_user_meta_list, unique_id)

    def objects(self) -> Iterator[PydsObject]:
        """Its objects."""
        for meta in _items(self._meta.obj_meta_list, self._pyds.NvDsObjectMeta.cast):
            yield PydsObject(self._pyds, meta)

    def mark_inferred(self) -> None:
        """Set `bInferDone`, which nvinfer leaves alone for tensors that it does not parse (network-type=100)."""
        self._meta.bInferDone = True

    def add_object(self, new: NewObject) -> None:
        """Attach an object. Acquiring and adding lock the metadata by themselves."""
        pyds = self._pyds
        meta = pyds.nvds_acquire_obj_meta_from_pool(self._batch.meta)
        meta.unique_component_id = new.component_id
        meta.class_id = new.class_id
        meta.confidence = new.confidence
        meta.object_id = object_id_of(new.track_id)  # a fresh object's is 0, not untracked
        # The setter copies the bytes as they are: neither does it end them, nor does it look how many there is room for.
        meta.obj_label = fitted(new.label, MAX_LABEL_BYTES) + "\0"
        left, top, right, bottom = new.box_xyxy
        # nvtracker moves rect_params and leaves the detector's box alone.
        for box in (meta.rect_params, meta.detector_bbox_info.org_bbox_coords):
            box.left, box.top, box.width, box.height = left, top, right - left, bottom - top
        meta.rect_params.border_width = 2
        meta.rect_params.border_color.set(0.9, 0.9, 0.9, 1.0)
        meta.rect_params.has_bg_color = 0
        _write(meta.text_params, new.text, new.box_xyxy)
        pyds.nvds_add_obj_meta_to_frame(self._meta, meta, None)

    def add_drawing(self, drawing: Drawing) -> None:
        """Attach lines and circles."""
        pyds = self._pyds
        meta = pyds.nvds_acquire_display_meta_from_pool(self._batch.meta)
        # Coordinates are unsigned C integers: Python's int is taken, nothing else is.
        for slot, line in enumerate(drawing.lines):
            params = meta.line_params[slot]
            params.x1, params.y1, params.x2, params.y2 = line.x1, line.y1, line.x2, line.y2
            params.line_width = line.width
            params.line_color.set(*line.color)
        for slot, circle in enumerate(drawing.circles):
            params = meta.circle_params[slot]
            params.xc, params.yc, params.radius = circle.x, circle.y, circle.radius
            params.circle_color.set(*circle.color)
            params.has_bg_color = 1
            params.bg_color.set(*circle.color)
        # How many are filled, not the next free place; nothing checks these numbers.
        meta.num_lines, meta.num_circles = len(drawing.lines), len(drawing.circles)
        pyds.nvds_add_display_meta_to_frame(self._meta, meta)

    def bgr(self) -> np.ndarray:
        """The surface's pixels, copied.

        Raises:
            EngineError: the surface is neither RGBA nor RGB.
        """
        tap, address, batch_id = self._batch.tap, self._batch.address, int(self._meta.batch_id)
        try:
            surface = self._pyds.get_nvds_buf_surface(address, batch_id)
        except RuntimeError as exc:
            raise EngineError(
                f"The pixels of this surface cannot be read: {exc}. It should be RGBA: run with --pixels."
            ) from exc
        try:
            return np.ascontiguousarray(surface[..., 2::-1])
        finally:
            if tap.unmap is not None:
                tap.unmap(address, batch_id)


class PydsObject:
    """One object."""

    def __init__(self, pyds: Any, meta: Any) -> None:
        self._pyds = pyds
        self._meta = meta
        self.component_id = int(meta.unique_component_id)
        self.class_id = int(meta.class_id)
        self.confidence = float(meta.confidence)
        self.track_id = track_id_of(int(meta.object_id))

    @property
    def box_xyxy(self) -> Box:
        """In pixels of the mux surface."""
        return _box(self._meta.rect_params)

    @property
    def detector_box_xyxy(self) -> Box | None:
        """As the detector left it; `None` where nvtracker made the object."""
        coordinates = self._meta.detector_bbox_info.org_bbox_coords
        return _box(coordinates) if coordinates.width > 0 and coordinates.height > 0 else None

    def tensors(self, unique_id: int) -> Iterator[Tensors]:
        """What the secondary inference of this id gave for it."""
        return _tensors(self._pyds, self._meta.obj_user_meta_list, unique_id)

    def name(self, track_id: int, text: str) -> None:
        """Set its identity and its text."""
        if track_id != self.track_id:  # nvtracker's own has 64 bits, ours 63
            self._meta.object_id = object_id_of(track_id)
        _write(self._meta.text_params, text, self.box_xyxy)


def _items(node: Any, cast: Callable[[Any], Any]) -> Iterator[Any]:
    """The members of a GList. It ends in `None`, it cannot be iterated, and what is cast is its data, not the node."""
    while node is not None:
        yield cast(node.data)
        node = node.next


def _tensors(pyds: Any, user_meta_list: Any, unique_id: int) -> Iterator[Tensors]:
    tensor_output = pyds.NvDsMetaType.NVDSINFER_TENSOR_OUTPUT_META
    for user_meta in _items(user_meta_list, pyds.NvDsUserMeta.cast):
        if user_meta.base_meta.meta_type != tensor_output:
            continue  # somebody else's
        meta = pyds.NvDsInferTensorMeta.cast(user_meta.user_meta_data)
        if int(meta.unique_id) != unique_id:
            continue
        layers = {}
        for number in range(int(meta.num_output_layers)):  # which is not checked further down
            # Sets the layer's pointer to this frame's own part of the batch; it must not be advanced by the batch again.
            layer = pyds.get_nvds_LayerInfo(meta, number)
            layers[str(layer.layerName)] = _array(pyds, layer)
        network = meta.network_info
        yield Tensors(layers, (int(network.width), int(network.height)))


def _array(pyds: Any, layer: Any) -> np.ndarray:
    """A read-only view of a layer's memory.

    Raises:
        EngineError: its type is unknown, its dimensions contradict each other, or it has no memory.
    """
    number = int(layer.dataType)  # the enum has no names for INT64 and UINT8, and numbers for all
    dtype = DTYPES.get(number)
    if dtype is None:
        raise EngineError(f"Model output {layer.layerName!r} has the data type {number}; known are {sorted(DTYPES)}.")
    dims = layer.inferDims
    shape = tuple(int(size) for size in dims.d[: int(dims.numDims)])  # always eight numbers, what follows means nothing
    if math.prod(shape) != int(dims.numElements):
        raise EngineError(
            f"Model output {layer.layerName!r} is said to be {shape} and to have {int(dims.numElements)} elements, which "
            "do not agree."
        )
    address = pyds.get_ptr(layer.buffer) if layer.buffer is not None else 0
    if not address:
        raise EngineError(
            f"Model output {layer.layerName!r} has no memory on the host. Is disable-output-host-copy=1 in the configuration?"
        )
    # By bytes, because ctypes has no half precision.
    memory: Any = (ctypes.c_uint8 * (math.prod(shape) * dtype.itemsize)).from_address(address)
    array: np.ndarray = np.frombuffer(memory, dtype).reshape(shape)
    array.flags.writeable = False
    return array


def _box(rect: Any) -> Box:
    left, top = float(rect.left), float(rect.top)
    return left, top, left + float(rect.width), top + float(rect.height)


def _write(params: Any, text: str, box_xyxy: Box) -> None:
    """What nvdsosd writes above a box. The string is copied, and the one before is freed, by the setter."""
    params.display_text = fitted(text, MAX_LABEL_BYTES)
    params.x_offset, params.y_offset = max(0, int(box_xyxy[0])), max(0, int(box_xyxy[1]) - 20)
    params.font_params.font_name = _FONT
    params.font_params.font_size = _FONT_SIZE
    params.font_params.font_color.set(1.0, 1.0, 1.0, 1.0)
    params.set_bg_clr = 1
    params.text_bg_clr.set(0.0, 0.0, 0.0, 0.6)
