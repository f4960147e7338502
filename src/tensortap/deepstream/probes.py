"""What happens inside the probes: metadata -> tensors -> poses -> metadata, while the buffer waits."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np

from tensortap.deepstream import placement
from tensortap.deepstream.identities import Carried, Tracked, join
from tensortap.deepstream.metadata import BatchMeta, FrameMeta, NewObject, ObjectMeta, Size, Tensors
from tensortap.deepstream.overlay import drawings_of, objects_of, text_of
from tensortap.errors import EngineError
from tensortap.geometry import Letterbox
from tensortap.types import Frame, FrameInfo, Poses, Result, StreamInfo, TensorFrame

_log = logging.getLogger(__name__)

Understand = Callable[[Frame, Sequence[TensorFrame]], Result]
"""Taps, decode and track for one frame. A frame without inference comes as one TensorFrame without tensors; with tensors of
objects there are as many as objects, perhaps none."""
_PATIENCE = 10
"""Batches without tensors, beyond those that are skipped on purpose."""
_MAX_PENDING = 64
"""Frames of a stream between the tap and nvtracker; more means that buffers were dropped there."""


@dataclass(frozen=True)
class TapSettings:
    """What the probes must know beyond what is in the metadata."""

    unique_id: int
    """Whose tensors are decoded."""
    letterbox: str
    """How that inference scales: a policy of `tensortap.geometry`, one of nvinfer's."""
    is_secondary: bool = False
    """Its tensors belong to objects."""
    interval: int = 0
    """Batches that it skips between two."""
    network_wh: Size | None = None
    """Its input, for bindings that do not tell; by configuration or model."""
    surface_wh: Size | None = None
    """What the old nvstreammux scales to; `None` where it does not scale."""
    labels: tuple[str, ...] = ("person",)
    """Names of the classes."""
    joins: bool = False
    """nvtracker names the people, behind the tap."""
    draws: bool = True
    """Somebody sees the picture."""
    pixels: bool = False
    """Surfaces can be read."""
    max_frames: int | None = None
    """Frames of each stream; later ones pass by."""


class SurfacePixels:
    """A surface's pixels on demand: they can be had while the probe runs, and are kept if they were."""

    def __init__(self, meta: FrameMeta, source_wh: Size) -> None:
        self._meta: FrameMeta | None = meta
        self._source_wh = source_wh
        self._image: np.ndarray | None = None

    def bgr(self) -> np.ndarray | None:
        """uint8 (H, W, 3) BGR at the size of the camera's frame; `None` once the surface is gone and nobody asked before."""
        if self._image is None and self._meta is not None:
            image = self._meta.bgr()
            if image.shape[1::-1] != self._source_wh:
                import cv2

                image = cv2.resize(image, self._source_wh, interpolation=cv2.INTER_LINEAR)
            self._image = image
        return self._image

    def release(self) -> None:
        """The probe is over: the surface belongs to others again."""
        self._meta = None


@dataclass(eq=False)
class _Stream:
    """One input, as far as the probes have seen it."""

    info: StreamInfo
    carried: Carried
    """The people of its last inferred frame."""
    count: int = 0
    """Frames so far."""
    pending: deque[_Pending] = field(default_factory=deque)
    """Frames on their way from the tap to nvtracker."""
    lock: Lock = field(default_factory=Lock)
    """Held while `pending` is used: the two probes are in two threads."""

    def wait(self, pending: _Pending) -> list[_Pending]:
        """Have a frame wait. What comes back has waited too long."""
        with self.lock:
            self.pending.append(pending)
            return [self.pending.popleft() for _ in range(len(self.pending) - _MAX_PENDING)]

    def arrived(self, frame_number: int) -> list[_Pending]:
        """The frames that have waited up to this one, it being the last; empty where it does not wait."""
        with self.lock:
            if not any(each.frame_number == frame_number for each in self.pending):
                return []
            found = [self.pending.popleft()]
            while found[-1].frame_number != frame_number:
                found.append(self.pending.popleft())
            return found

    def given_up(self) -> list[_Pending]:
        """All that wait."""
        with self.lock:
            found = list(self.pending)
            self.pending.clear()
            return found


@dataclass(eq=False)
class _Pending:
    """A frame that waits for nvtracker."""

    frame_number: int
    result: Result
    surface_wh: Size
    rows: list[int]
    """Rows of the people who became objects."""
    objects: list[NewObject]


class Probes:
    """The two probes: one behind the inference, and, where nvtracker names people, one behind that.

    Neither catches anything; whoever calls them from GStreamer does: `runtime.py`.

    Args:
        streams: by the number of the mux's pad.
        understand: makes a result of a frame.
        deliver: takes the results, in order within each stream.
        nobody: the people of a frame that nobody looked at.
    """

    def __init__(
        self,
        settings: TapSettings,
        streams: Sequence[StreamInfo],
        understand: Understand,
        deliver: Callable[[Result], None],
        nobody: Poses,
    ) -> None:
        self.settings = settings
        self._streams: Mapping[int, _Stream] = {
            number: _Stream(stream, Carried(nobody)) for number, stream in enumerate(streams)
        }
        self._understand = understand
        self._deliver = deliver
        self._unknown: set[int] = set()
        self._without = 0
        """Batches in a row without tensors."""

    def on_tensors(self, batch: BatchMeta) -> None:
        """Behind the inference: read, understand, and put objects back."""
        seen = []
        for meta in batch.frames():
            stream = self._stream(meta)
            limit = self.settings.max_frames
            if stream is not None and (limit is None or stream.count < limit):
                seen.append(self._inferred(meta, stream))
        if seen:
            self._expect_tensors(any(seen))

    def on_tracked(self, batch: BatchMeta) -> None:
        """Behind nvtracker: bring the identities back, and draw."""
        for meta in batch.frames():
            stream = self._stream(meta)
            if stream is not None:
                self._tracked(meta, stream)

    def flush(self) -> None:
        """Deliver what waits for an nvtracker that has ended."""
        for stream in self._streams.values():
            for pending in stream.given_up():
                self._deliver(pending.result)

    def _stream(self, meta: FrameMeta) -> _Stream | None:
        stream = self._streams.get(meta.pad_index)
        if stream is None and meta.pad_index not in self._unknown:
            self._unknown.add(meta.pad_index)
            _log.warning("Frames of the mux's pad %d belong to no input that is known; they are passed over.", meta.pad_index)
        return stream

    def _expect_tensors(self, came: bool) -> None:
        """Raises EngineError where batch after batch comes without: that is no frame without people."""
        self._without = 0 if came else self._without + 1
        if self._without > 2 * self.settings.interval + _PATIENCE:
            raise EngineError(
                f"{self._without} batches in a row came without tensors of gie-unique-id={self.settings.unique_id}. Does the "
                "inference run, and is output-tensor-meta on?"
            )

    def _inferred(self, meta: FrameMeta, stream: _Stream) -> bool:
        """One frame. Whether somebody looked at it."""
        surface_wh = meta.surface_wh or self.settings.surface_wh or meta.source_wh
        pixels = SurfacePixels(meta, meta.source_wh) if self.settings.pixels else None
        frame = Frame(self._info(meta, stream), pixels)
        stream.count += 1
        try:
            if self.settings.is_secondary:
                seen = [(each, tensors) for each in meta.objects() for tensors in each.tensors(self.settings.unique_id)]
                frames, objects = self._of_objects(frame, surface_wh, seen)
            else:
                frames, objects = [self._of_frame(frame, surface_wh, next(meta.tensors(self.settings.unique_id), None))], []
            result = self._understand(frame, frames)
        finally:
            if pixels is not None:
                pixels.release()
        self._put_back(meta, stream, result, surface_wh, objects)
        return result.inferred

    def _of_frame(self, frame: Frame, surface_wh: Size, tensors: Tensors | None) -> TensorFrame:
        """One frame's tensors; without any, inference was skipped (`interval`)."""
        network_wh = (tensors and tensors.network_wh) or self.settings.network_wh
        if tensors is None:
            box = placement.of_frame(self.settings.letterbox, frame.info.size_wh, surface_wh, network_wh or surface_wh)
            return TensorFrame(frame, {}, box)
        box = placement.of_frame(self.settings.letterbox, frame.info.size_wh, surface_wh, _known(network_wh))
        return TensorFrame(frame, tensors.layers, box)

    def _of_objects(
        self, frame: Frame, surface_wh: Size, seen: Sequence[tuple[ObjectMeta, Tensors]]
    ) -> tuple[list[TensorFrame], list[ObjectMeta]]:
        """A TensorFrame for each object that has tensors."""
        frames, objects = [], []
        for each, tensors in seen:
            network_wh = _known(tensors.network_wh or self.settings.network_wh)
            box = placement.of_object(self.settings.letterbox, frame.info.size_wh, surface_wh, network_wh, each.box_xyxy)
            if box is None:
                continue
            frames.append(TensorFrame(frame, tensors.layers, box, roi=_roi(box), track_id=each.track_id))
            objects.append(each)
        return frames, objects

    def _info(self, meta: FrameMeta, stream: _Stream) -> FrameInfo:
        rate = stream.info.frame_rate
        duration_ns = round(1e9 / rate) if rate else 0
        return FrameInfo(
            source_id=stream.info.source_id,
            source=stream.info.name,
            index=stream.count,
            # 2**64 - 1 stands for no time at all.
            pts_ns=meta.pts_ns if meta.pts_ns < 1 << 63 else stream.count * duration_ns,
            size_wh=meta.source_wh,
            duration_ns=duration_ns,
            arrival_ns=time.time_ns(),
        )

    def _put_back(
        self, meta: FrameMeta, stream: _Stream, result: Result, surface_wh: Size, objects: Sequence[ObjectMeta]
    ) -> None:
        """What was found, into the buffer, and on."""
        poses = _scaled(result.poses, result.info.size_wh, surface_wh)
        attached: list[tuple[int, NewObject]] = []
        if self.settings.is_secondary:
            # One person in each object, as every head for regions gives: then the object is that person.
            if len(poses) == len(objects):
                for row, each in enumerate(objects):
                    track_id, score = int(poses.track_ids[row]), float(poses.scores[row])
                    each.name(track_id, text_of(self._label(each.class_id), track_id, score))
        else:
            if result.inferred:
                meta.mark_inferred()
            # People whom our tracker predicts are objects too: nvdsanalytics and nvmsgconv need them in every frame. With
            # nvtracker, which carries its own, there are none.
            attached = objects_of(poses, surface_wh, self.settings.unique_id, self.settings.labels)
            for _, new in attached:
                meta.add_object(new)
        if not self.settings.joins:
            self._draw(meta, poses, surface_wh)
            self._deliver(result)
            return
        rows, new_objects = [row for row, _ in attached], [new for _, new in attached]
        for late in stream.wait(_Pending(meta.frame_number, result, surface_wh, rows, new_objects)):
            self._deliver(late.result)

    def _tracked(self, meta: FrameMeta, stream: _Stream) -> None:
        arrived = stream.arrived(meta.frame_number)
        if not arrived:
            return  # beyond max_frames, or handed on already
        *lost, pending = arrived
        for each in lost:
            self._deliver(each.result)  # its buffer never came here; nobody named its people
        objects = [
            Tracked(each.track_id, each.class_id, each.confidence, each.box_xyxy, each.detector_box_xyxy)
            for each in meta.objects()
            if each.component_id in (self.settings.unique_id, -1)
        ]
        result, size_wh = pending.result, pending.result.info.size_wh
        if result.inferred:
            named = np.full(len(result.poses), -1, np.int64)
            boxes = np.array([new.box_xyxy for new in pending.objects], np.float32).reshape(-1, 4)
            scores = np.array([new.confidence for new in pending.objects], np.float32)
            class_ids = np.array([new.class_id for new in pending.objects], np.int64)
            named[pending.rows] = join(boxes, scores, class_ids, objects)
            poses = result.poses.with_track_ids(named)
            on_surface = _scaled(poses, size_wh, pending.surface_wh)
            stream.carried.remember(on_surface)
        else:
            on_surface = stream.carried.predict(objects)
            poses = _scaled(on_surface, pending.surface_wh, size_wh)
        self._draw(meta, on_surface, pending.surface_wh)
        self._deliver(replace(result, poses=poses))

    def _draw(self, meta: FrameMeta, poses: Poses, surface_wh: Size) -> None:
        if self.settings.draws:
            for drawing in drawings_of(poses, surface_wh):
                meta.add_drawing(drawing)

    def _label(self, class_id: int) -> str:
        labels = self.settings.labels
        return labels[class_id] if 0 <= class_id < len(labels) else f"class {class_id}"


def _known(network_wh: Size | None) -> Size:
    if network_wh is None:
        raise EngineError(
            "The size of the network input is not known, for this binding does not tell it. Give infer-dims in the "
            "configuration file."
        )
    return network_wh


def _roi(box: Letterbox) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.crop_xyxy
    return float(left), float(top), float(right), float(bottom)


def _scaled(poses: Poses, from_wh: Size, to_wh: Size) -> Poses:
    """Poses in pixels of one picture, in pixels of another that shows the same."""
    if from_wh == to_wh or not len(poses):
        return poses
    scale = np.array([to_wh[0] / from_wh[0], to_wh[1] / from_wh[1]], np.float64)
    keypoints = poses.keypoints.copy()
    keypoints[..., :2] *= scale
    boxes = (poses.boxes_xyxy * np.tile(scale, 2)).astype(np.float32)
    return Poses(boxes, poses.scores, poses.class_ids, keypoints, poses.skeleton, poses.track_ids)
