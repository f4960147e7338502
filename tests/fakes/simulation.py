"""A graph, played: videos are decoded, scaled, inferred and tracked by the facts that docs/deepstream.md tells, on the CPU.

Nothing of tensortap's pre-processing or geometry is used; nvinfer's arithmetic is written out here once more.
"""

from __future__ import annotations

import configparser
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import av
import cv2
import numpy as np
import onnxruntime

from fakes import sdk, servicemaker
from fakes.bindings import make
from tensortap.deepstream.graph import Element, Graph
from tensortap.deepstream.machine import Machine
from tensortap.deepstream.platforms import Platform
from tensortap.deepstream.tap_servicemaker import operator_of
from tensortap.errors import EngineError

_FILTERS = {0: cv2.INTER_NEAREST, 1: cv2.INTER_LINEAR, 6: cv2.INTER_NEAREST}
Roi = tuple[float, float, float, float]


@dataclass
class Played:
    """What there is to look at afterwards."""

    graphs: list[Graph] = field(default_factory=list)
    passed: int = 0
    """Buffers that reached the end of the graph."""
    objects: list[tuple[int, int, list[tuple[str, int, Roi]]]] = field(default_factory=list)
    """Pad, number of the frame, and label, id and box of its objects at the end of the graph."""
    drawn: list[tuple[int, int]] = field(default_factory=list)
    """Lines and circles of each frame that nvdsosd drew."""
    stopped: int = 0


class SimulatedDriver:
    """Plays graphs, one thread each.

    Args:
        cameras: RTSP address -> the video that comes from there; another one cannot be reached.
        broken_after: buffers after which an element fails.
    """

    name = "simulation"

    def __init__(
        self, binding: str, played: Played, cameras: Mapping[str, Path] | None = None, broken_after: int | None = None
    ) -> None:
        self._binding = binding
        self._played = played
        self._cameras = cameras or {}
        self._broken_after = broken_after
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, graph: Graph, on_buffer: Mapping[str, Any], listener: Any) -> None:
        self._played.graphs.append(graph)
        self._thread = threading.Thread(target=self._run, args=(graph, on_buffer, listener), name="simulation", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._played.stopped += 1
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(30)
            assert not self._thread.is_alive(), "a probe does not come back"

    def _run(self, graph: Graph, on_buffer: Mapping[str, Any], listener: Any) -> None:
        error: Exception | None = None
        try:
            self._play(graph, on_buffer, listener)
        except EngineError as exc:
            error = exc
        listener.ended(error)

    def _play(self, graph: Graph, on_buffer: Mapping[str, Any], listener: Any) -> None:
        trunk = [element for element in graph.elements if not element.name.startswith("source-")]
        elements = {element.name: _made(element) for element in trunk}
        mux = graph["mux"].properties
        surface_wh = (int(mux["width"]), int(mux["height"])) if "width" in mux else None
        readable = any(element.name == "readable-caps" for element in trunk)
        for frames in self._batches(graph, listener):
            buffer = sdk.Buffer(surfaces=[])
            images: dict[sdk.Frame, np.ndarray] = {}
            for pad, number, pts_ns, image in frames:
                scaled = image if surface_wh in (None, image.shape[1::-1]) else cv2.resize(image, surface_wh)
                meta = buffer.add_frame(
                    pad_index=pad,
                    frame_num=number,
                    buf_pts=pts_ns,
                    source_wh=image.shape[1::-1],
                    surface_wh=scaled.shape[1::-1],
                    source_id=40 + pad,
                )
                images[meta] = scaled
                assert buffer.surfaces is not None
                buffer.surfaces.append(sdk.Surface(scaled, "RGBA" if readable else "NV12"))
            for element in trunk:
                if (work := elements[element.name]) is not None:
                    work(buffer, images)
                if element.name in on_buffer:
                    self._probe(on_buffer[element.name], buffer)
            self._end(buffer)
            if self._broken_after is not None and self._played.passed >= self._broken_after:
                raise EngineError("DeepStream's element gie-0 failed: played")

    def _probe(self, handle: Callable[[Any], None], buffer: sdk.Buffer) -> None:
        if self._binding == "pyds":
            handle(buffer)
        else:
            assert servicemaker.run_operator(operator_of(servicemaker.BufferOperator, handle), buffer) is True

    def _end(self, buffer: sdk.Buffer) -> None:
        assert buffer.batch is not None
        for frame in buffer.batch.frames:
            objects = [(each.text.display_text or "", each.object_id, each.rect.xyxy) for each in frame.objects]
            self._played.objects.append((frame.pad_index, frame.frame_num, objects))
            lines, circles = frame.drawn
            self._played.drawn.append((len(lines), len(circles)))
        buffer.release()
        self._played.passed += 1

    def _batches(self, graph: Graph, listener: Any) -> Iterator[list[tuple[int, int, int, np.ndarray]]]:
        """A frame of each input that still has some; which one comes first changes from batch to batch."""
        sources = [element for element in graph.elements if element.factory in ("nvurisrcbin", "uridecodebin")]
        playing: dict[int, Iterator[tuple[int, int, np.ndarray]]] = {}
        for number, source in enumerate(sources):
            try:
                playing[number] = self._frames(source)
                playing[number] = _ahead(playing[number])
            except OSError as exc:
                listener.source_failed(number, str(exc))
                playing.pop(number, None)
        turn = 0
        while playing and not self._stop.is_set():
            pads = sorted(playing)
            pads = pads[turn % len(pads) :] + pads[: turn % len(pads)]
            turn += 1
            batch = []
            for pad in pads:
                found = next(playing[pad], None)
                if found is None:
                    del playing[pad]
                else:
                    batch.append((pad, *found))
            if batch:
                yield batch

    def _frames(self, source: Element) -> Iterator[tuple[int, int, np.ndarray]]:
        uri = str(source.properties["uri"])
        path = self._cameras.get(uri) if uri.startswith("rtsp") else Path(url2pathname(urlsplit(uri).path))
        if path is None or not path.exists():
            raise OSError(f"Could not open resource {uri}")
        number, start_ns = 0, 0
        while not self._stop.is_set():
            last_ns = 0
            with av.open(str(path)) as container:
                for frame in container.decode(video=0):
                    last_ns = round(float(frame.pts * frame.time_base) * 1e9) if frame.pts is not None else 0
                    yield number, start_ns + last_ns, frame.to_ndarray(format="bgr24")
                    number += 1
            if not source.properties.get("file-loop"):
                return
            start_ns += last_ns + 40_000_000


def _ahead(frames: Iterator[tuple[int, int, np.ndarray]]) -> Iterator[tuple[int, int, np.ndarray]]:
    """The same, begun: what cannot be opened says so now."""
    first = next(frames, None)

    def again() -> Iterator[tuple[int, int, np.ndarray]]:
        if first is not None:
            yield first
        yield from frames

    return again()


Work = Callable[[sdk.Buffer, dict[sdk.Frame, np.ndarray]], None]


def _made(element: Element) -> Work | None:
    if element.factory == "nvinfer":
        return Nvinfer(element)
    return Nvtracker() if element.factory == "nvtracker" else None


class Nvinfer:
    """nvinfer, by its file and its element's properties. With network-type=0 it finds what is bright: objects, no tensors."""

    def __init__(self, element: Element) -> None:
        path = Path(str(element.properties["config-file-path"]))
        parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
        parser.read(path)
        self._keys = dict(parser["property"])
        self._id = int(self._keys.get("gie-unique-id", 15))
        self._batch_size = int(element.properties.get("batch-size", self._keys.get("batch-size", 1)))
        self._interval = int(element.properties.get("interval", self._keys.get("interval", 0)))
        self._is_secondary = self._keys.get("process-mode") == "2"
        self._gives_tensors = bool(element.properties.get("output-tensor-meta"))
        self._counter = 0
        self._session: Any = None
        if self._keys.get("network-type") == "100":
            self._session = onnxruntime.InferenceSession(
                str(path.parent / self._keys["onnx-file"]), providers=["CPUExecutionProvider"]
            )
            _, self._net_height, self._net_width = (int(size) for size in self._keys["infer-dims"].split(";"))

    def __call__(self, buffer: sdk.Buffer, images: dict[sdk.Frame, np.ndarray]) -> None:
        self._counter += 1
        if (self._counter - 1) % (self._interval + 1) > 0:
            return
        if self._session is None:
            for frame, image in images.items():
                for box in bright(image):
                    frame.add_object(sdk.detection(box, component=self._id))
            return
        owners: list[tuple[sdk.Frame, sdk.Object | None]] = []
        for frame in images:
            if self._is_secondary:
                on = int(self._keys.get("operate-on-gie-id", -1))
                owners += [(frame, each) for each in frame.objects if on in (-1, each.unique_component_id)]
            else:
                owners.append((frame, None))
        for first in range(0, len(owners), self._batch_size):
            some = owners[first : first + self._batch_size]
            batch = np.stack([self._converted(images[frame], owner) for frame, owner in some])
            names = [output.name for output in self._session.get_outputs()]
            outputs = self._session.run(names, {self._session.get_inputs()[0].name: batch})
            if self._gives_tensors:
                buffer.add_tensors(
                    dict(zip(names, outputs, strict=True)),
                    some,
                    unique_id=self._id,
                    network_wh=(self._net_width, self._net_height),
                )

    def _converted(self, image: np.ndarray, owner: sdk.Object | None) -> np.ndarray:
        """`get_converted_buffer` of gstnvinfer.cpp, then the kernel's factor * (pixel - mean)."""
        height, width = image.shape[:2]
        rect = owner.rect if owner else SimpleNamespace(left=0, top=0, width=width, height=height)
        src_left, src_top = (int(rect.left) + 1) // 2 * 2, (int(rect.top) + 1) // 2 * 2
        src_width, src_height = int(rect.width) // 2 * 2, int(rect.height) // 2 * 2
        to_width, to_height, left, top = self._net_width, self._net_height, 0, 0
        if self._keys.get("maintain-aspect-ratio") == "1":
            hdest = self._net_width * src_height / float(src_width)
            wdest = self._net_height * src_width / float(src_height)
            if hdest <= self._net_height:
                to_height = int(hdest)
            else:
                to_width = int(wdest)
            if self._keys.get("symmetric-padding") == "1":
                left, top = (self._net_width - to_width) // 2, (self._net_height - to_height) // 2
        source = image[src_top : src_top + src_height, src_left : src_left + src_width]
        surface = np.zeros((self._net_height, self._net_width, 3), np.uint8)
        surface[top : top + to_height, left : left + to_width] = cv2.resize(
            source, (to_width, to_height), interpolation=_FILTERS[int(self._keys.get("scaling-filter", 6))]
        )
        channels = surface if self._keys.get("model-color-format") == "1" else surface[..., ::-1]
        offsets = [float(offset) for offset in self._keys.get("offsets", "0;0;0").split(";") if offset]
        factor = np.float32(self._keys.get("net-scale-factor", 1))
        network: np.ndarray = factor * (channels.astype(np.float32) - np.array(offsets, np.float32))
        return np.ascontiguousarray(network.transpose(2, 0, 1))


def bright(image: np.ndarray) -> list[Roi]:
    """Boxes of what is bright, with a fraction of a pixel, as detectors give them."""
    contours, _ = cv2.findContours((image.min(axis=2) > 200).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = [cv2.boundingRect(contour) for contour in contours]
    return [(x + 0.4, y + 0.3, x + w + 0.1, y + h + 0.2) for x, y, w, h in boxes if w > 4 and h > 4]


class Nvtracker:
    """Follows boxes by overlap. Removes objects in the first frame that it sees them in, moves boxes, mixes the order, and
    carries objects through frames that nobody looked at."""

    def __init__(self) -> None:
        self._tracks: dict[int, dict[int, tuple[Roi, int]]] = {}
        """Pad -> id -> last box, and in how many frames it was seen."""
        self._components: dict[int, int] = {}
        """Class -> whose objects they are, as it was first seen."""
        self._next = 0xABCD000000000001

    def __call__(self, buffer: sdk.Buffer, images: dict[sdk.Frame, np.ndarray]) -> None:
        for frame in images:
            tracks = self._tracks.setdefault(frame.pad_index, {})
            if not frame.infer_done and not frame.objects:
                for track_id, (box, seen) in tracks.items():
                    if seen > 1:
                        carried = sdk.detection(box, confidence=-0.1, object_id=track_id, component=self._components[0])
                        carried.detector = sdk.Rect()
                        frame.add_object(carried)
                continue
            kept, left = [], dict(tracks)
            for each in frame.objects:
                self._components.setdefault(each.class_id, each.unique_component_id)
                box = each.rect.xyxy
                found = max(left, key=lambda track_id: _iou(left[track_id][0], box), default=None)
                if found is None or _iou(left[found][0], box) < 0.3:
                    found, self._next = self._next, self._next + 1
                    tracks[found] = box, 1
                    continue
                tracks[found] = box, left.pop(found)[1] + 1
                each.object_id = found
                each.rect.left, each.rect.top = each.rect.left + 0.75, each.rect.top - 0.5
                kept.append(each)
            for gone in left:
                del tracks[gone]
            frame.objects[:] = kept[::-1]


def _iou(first: Roi, second: Roi) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def machine_finder(binding: str, played: Played, **driver: Any) -> Callable[..., Machine]:
    """Stands in for `tensortap.deepstream.machine.find_machine`."""

    def find(platform: Platform, asked: str, environment: Mapping[str, str], redact: Callable[[str], str]) -> Machine:
        return Machine(platform, binding, SimulatedDriver(binding, played, **driver), make(binding).tap, lambda factory: True)

    return find
