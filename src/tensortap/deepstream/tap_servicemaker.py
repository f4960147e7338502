"""The adapter of `pyservicemaker`, the Python API of DeepStream since 8.0.

Its lists are iterators that can be gone through once, and an exception that leaves a callback ends the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensortap.deepstream.dlpack import CopyToHost, as_array
from tensortap.deepstream.metadata import (
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

_log = logging.getLogger(__name__)
_FONT_SIZE = 11


class ServiceMakerTap:
    """Makes batches of buffers.

    Args:
        osd: the module `pyservicemaker.osd`.
        copy_to_host: how tensors of the GPU come to the host; by default by the CUDA runtime.
    """

    def __init__(self, osd: Any, *, copy_to_host: CopyToHost | None = None) -> None:
        self.osd = osd
        self.copy_to_host = copy_to_host
        self._writes_text = True

    def batch(self, buffer: Any) -> ServiceMakerBatch | None:
        """The metadata of a `pyservicemaker.Buffer`; `None` where it carries none."""
        meta = buffer.batch_meta
        return None if meta is None else ServiceMakerBatch(self, meta, buffer)

    def write_text(self, params: Any, text: str, box_xyxy: Box) -> None:
        """What nvdsosd writes above a box. It only decorates: a version that binds it otherwise costs the text, not the run."""
        if not self._writes_text:
            return
        osd = self.osd
        try:
            params.display_text = fitted(text, MAX_LABEL_BYTES).encode()
            params.x_offset, params.y_offset = max(0, int(box_xyxy[0])), max(0, int(box_xyxy[1]) - 20)
            params.font_params.name = osd.FontFamily.Serif
            params.font_params.size = _FONT_SIZE
            params.font_params.color = osd.Color(1.0, 1.0, 1.0, 1.0)
            params.set_bg_clr = True
            params.text_bg_clr = osd.Color(0.0, 0.0, 0.0, 0.6)
        except (AttributeError, TypeError) as exc:
            self._writes_text = False
            _log.warning("This pyservicemaker takes no text at objects (%s); people are drawn without their numbers.", exc)


class ServiceMakerBatch:
    """One batch."""

    def __init__(self, tap: ServiceMakerTap, meta: Any, buffer: Any) -> None:
        self.tap = tap
        self.meta = meta
        self.buffer = buffer

    def frames(self) -> Iterator[ServiceMakerFrame]:
        """The frames in it."""
        for frame in self.meta.frame_items:
            yield ServiceMakerFrame(self, frame)


class ServiceMakerFrame:
    """One frame."""

    def __init__(self, batch: ServiceMakerBatch, meta: Any) -> None:
        self._batch = batch
        self._tap = batch.tap
        self._meta = meta
        self.pad_index = int(meta.pad_index)
        self.frame_number = int(meta.frame_number)
        self.pts_ns = int(meta.buffer_pts)
        self.source_wh = int(meta.source_width), int(meta.source_height)
        surface_wh = int(meta.pipeline_width), int(meta.pipeline_height)
        self.surface_wh: Size | None = surface_wh if min(surface_wh) > 0 else None  # a copied buffer has lost them

    def tensors(self, unique_id: int) -> Iterator[Tensors]:
        """What the inference of this id gave for it."""
        return _tensors(self._tap, self._meta.tensor_items, unique_id)

    def objects(self) -> Iterator[ServiceMakerObject]:
        """Its objects."""
        for meta in self._meta.object_items:
            yield ServiceMakerObject(self._tap, meta)

    def mark_inferred(self) -> None:
        """Nothing: `bInferDone` is not bound."""

    def add_object(self, new: NewObject) -> None:
        """Attach an object."""
        meta = self._batch.meta.acquire_object_meta()
        meta.class_id = new.class_id
        meta.confidence = new.confidence
        meta.object_id = object_id_of(new.track_id)
        meta.label = fitted(new.label, MAX_LABEL_BYTES)
        if hasattr(meta, "unique_component_id"):  # bound since 9.2
            meta.unique_component_id = new.component_id
        left, top, right, bottom = new.box_xyxy
        rect = meta.rect_params
        rect.left, rect.top, rect.width, rect.height = left, top, right - left, bottom - top
        rect.border_width = 2
        rect.border_color = self._tap.osd.Color(0.9, 0.9, 0.9, 1.0)
        self._tap.write_text(meta.text_params, new.text, new.box_xyxy)
        self._meta.append(meta)

    def add_drawing(self, drawing: Drawing) -> None:
        """Attach lines and circles."""
        osd = self._tap.osd
        meta = self._batch.meta.acquire_display_meta()
        for line in drawing.lines:
            shape = osd.Line()
            shape.x1, shape.y1, shape.x2, shape.y2, shape.width = line.x1, line.y1, line.x2, line.y2, line.width
            shape.color = osd.Color(*line.color)
            meta.add_line(shape)
        for circle in drawing.circles:
            shape = osd.Circle()
            shape.xc, shape.yc, shape.radius = circle.x, circle.y, circle.radius
            shape.color = osd.Color(*circle.color)
            shape.has_bg_color = True
            shape.bg_color = osd.Color(*circle.color)
            meta.add_circle(shape)
        self._meta.append(meta)

    def bgr(self) -> np.ndarray:
        """The surface's pixels, copied."""
        batch_id = int(self._meta.batch_id)
        pixels = as_array(self._batch.buffer.extract(batch_id), "pixels", self._tap.copy_to_host)
        return np.ascontiguousarray(pixels[..., 2::-1])


class ServiceMakerObject:
    """One object."""

    detector_box_xyxy: Box | None = None  # not bound

    def __init__(self, tap: ServiceMakerTap, meta: Any) -> None:
        self._tap = tap
        self._meta = meta
        self.component_id = int(getattr(meta, "unique_component_id", -1))
        self.class_id = int(meta.class_id)
        self.confidence = float(meta.confidence)
        self.track_id = track_id_of(int(meta.object_id))

    @property
    def box_xyxy(self) -> Box:
        """In pixels of the mux surface."""
        rect = self._meta.rect_params
        left, top = float(rect.left), float(rect.top)
        return left, top, left + float(rect.width), top + float(rect.height)

    def tensors(self, unique_id: int) -> Iterator[Tensors]:
        """What the secondary inference of this id gave for it."""
        return _tensors(self._tap, self._meta.tensor_items, unique_id)

    def name(self, track_id: int, text: str) -> None:
        """Set its identity and its text."""
        if track_id != self.track_id:  # nvtracker's own has 64 bits, ours 63
            self._meta.object_id = object_id_of(track_id)
        self._tap.write_text(self._meta.text_params, text, self.box_xyxy)


def _tensors(tap: ServiceMakerTap, tensor_items: Any, unique_id: int) -> Iterator[Tensors]:
    for user_meta in tensor_items:
        output = user_meta.as_tensor_output()
        if not output:
            continue
        # Where the binding does not tell whose tensors they are, there is one inference that gives any.
        if int(getattr(output, "unique_id", unique_id)) != unique_id:
            continue
        layers = {name: as_array(tensor, name, tap.copy_to_host) for name, tensor in output.get_layers().items()}
        yield Tensors(layers, None)


def operator_of(base: type, handle: Callable[[Any], None]) -> Any:
    """An operator for a Probe that hands every buffer to a function, and lets every buffer pass.

    Args:
        base: `pyservicemaker.BufferOperator`.
        handle: must not raise.
    """

    class Operator(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def handle_buffer(self, buffer: Any) -> bool:
            handle(buffer)
            return True

    return Operator()
