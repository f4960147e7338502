"""From what is wanted to the graph of DeepStream's elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tensortap.deepstream.graph import Element, Graph, Link, RtspMount, Value, linked
from tensortap.deepstream.platforms import Platform
from tensortap.errors import UsageError

_NVMM = "video/x-raw(memory:NVMM)"
_FILE_TIMEOUT_US = 4_000_000
"""Files have time: full batches are faster."""
_ANY_PROTOCOL, _ONLY_TCP = 0, 4
"""Values of `select-rtp-protocol`."""
# What can stand in for the hardware, the best first.
_SOFTWARE = {"h264": ("x264enc", "openh264enc"), "h265": ("x265enc",)}


@dataclass(frozen=True)
class Inference:
    """One nvinfer or nvinferserver."""

    config: str
    """Its configuration file."""
    unique_id: int = 1
    """`gie-unique-id` of that file: what its tensors are told apart by."""
    is_secondary: bool = False
    """Looks at objects that another one found (process-mode=2) rather than at whole frames."""
    gives_tensors: bool = True
    """Its tensors are the ones that are decoded."""
    batch_size: int | None = None
    """Most frames or objects at once; `None` leaves it to the file."""
    interval: int | None = None
    """Batches to skip between two that are inferred; `None` leaves it to the file."""


@dataclass(frozen=True)
class Screen:
    """Pictures on this machine's display."""


@dataclass(frozen=True)
class VideoFile:
    """Pictures in a file: MP4 in fragments, or Matroska; both play after a kill."""

    path: str


Visual = Screen | VideoFile | RtspMount
"""Where pictures with people drawn in go."""


@dataclass(frozen=True)
class Cameras:
    """How RTSP cameras are read."""

    only_tcp: bool = True
    """RTP over the RTSP connection; otherwise over UDP where the camera can."""
    stall_seconds: float = 5.0
    """A camera is opened again after so long without a picture."""
    retry_seconds: float = 10.0
    """From an error of the connection to the next attempt."""
    attempts: int = -1
    """Failed attempts after which it is given up; -1 for never."""
    batch_seconds: float = 0.04
    """How long the mux waits for those that are slow."""


@dataclass(frozen=True)
class Wanted:
    """Everything that decides what the graph looks like."""

    uris: Sequence[str]
    """The inputs, as URIs."""
    inferences: Sequence[Inference]
    """In the order in which frames pass them; exactly one gives tensors."""
    platform: Platform
    gie: Literal["nvinfer", "nvinferserver"] = "nvinfer"
    surface_wh: tuple[int, int] = (1920, 1080)
    """What the old nvstreammux scales every stream to."""
    new_mux: bool = False
    """The new nvstreammux, which does not scale."""
    tracker: Mapping[str, Value] | None = None
    """Properties of nvtracker; `None` for none."""
    tracker_optional: frozenset[str] = frozenset()
    """Those of them that some versions lack."""
    analytics: str | None = None
    """Configuration file of nvdsanalytics."""
    file_loop: bool = False
    """Play files over and over."""
    cameras: Cameras = Cameras()
    pixels: bool = False
    """Keep surfaces where Python can read them."""
    visuals: Sequence[Visual] = ()
    codec: Literal["h264", "h265"] = "h264"
    bitrate: int = 4_000_000
    """Bits a second of files and RTSP."""
    keyframe_interval: int = 60
    """Frames from one keyframe to the next: a player that joins waits for one."""
    tiled_wh: tuple[int, int] = (1280, 720)
    """The picture that shows several streams."""
    encoder: Literal["auto", "hardware", "software"] = "auto"
    """`auto` is the hardware where its element exists."""
    gpu_id: int = 0

    @property
    def is_live(self) -> bool:
        """Whether there is a camera among the inputs."""
        return any(uri.lower().startswith(("rtsp://", "rtsps://")) for uri in self.uris)


HasElement = Callable[[str], bool]


def build(wanted: Wanted, has_element: HasElement = lambda factory: True) -> Graph:
    """The graph.

    Args:
        has_element: whether this machine has an element; by default it has all.

    Raises:
        UsageError: what is wanted contradicts itself, or needs an element that this machine lacks.
    """
    return _Builder(wanted, has_element).graph()


@dataclass
class _Builder:
    wanted: Wanted
    has_element: HasElement
    elements: list[Element] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def graph(self) -> Graph:
        wanted = self.wanted
        tapped = [number for number, each in enumerate(wanted.inferences) if each.gives_tensors]
        if len(tapped) != 1:
            raise UsageError(
                f"One inference gives the tensors that are decoded, not {len(tapped)} of {len(wanted.inferences)}."
            )
        [tap] = tapped
        for number, uri in enumerate(wanted.uris):
            self._source(number, uri)
        trunk = [self._mux(), *self._readable_pixels()]
        names = [self._inference(number, each) for number, each in enumerate(wanted.inferences)]
        # nvtracker follows what the last inference on whole frames found; those on objects look at what it tracks.
        first_secondary = next((i for i, each in enumerate(wanted.inferences) if each.is_secondary), len(names))
        trunk += names[:first_secondary] + self._tracker() + names[first_secondary:] + self._analytics()
        ends = [self._visual(number, visual) for number, visual in enumerate(wanted.visuals)]
        if ends:
            trunk += self._drawing()
        else:
            trunk.append(self._add("fakesink", "nowhere", {"sync": False, "async": False, "enable-last-sample": False}))
        if len(ends) > 1:
            trunk.append(self._add("tee", "outputs"))
        self.links += linked(trunk)
        for end in ends:
            self.links += linked([trunk[-1], *end])
        return Graph(
            elements=tuple(self._in_order()),
            links=tuple(self.links),
            tap=names[tap],
            join="tracker" if wanted.tracker is not None and tap < first_secondary else None,
            environment={"USE_NEW_NVSTREAMMUX": "yes"} if wanted.new_mux else {},
            rtsp=tuple(visual for visual in wanted.visuals if isinstance(visual, RtspMount)),
            is_live=wanted.is_live,
        )

    def _in_order(self) -> list[Element]:
        """The elements in the order in which frames pass them."""
        by_name = {element.name: element for element in self.elements}
        order = [element.name for element in self.elements if element.name.startswith("source-")]
        following = ["mux"]
        while following:
            name = following.pop(0)
            order.append(name)
            following = [link.sink for link in self.links if link.source == name] + following
        return [by_name[name] for name in order]

    def _add(
        self, factory: str, name: str, properties: Mapping[str, Value] | None = None, optional: frozenset[str] = frozenset()
    ) -> str:
        self.elements.append(Element(factory, name, dict(properties or {}), optional))
        return name

    def _gpu(self) -> dict[str, Value]:
        """The GPU, for elements that can be told; the first one needs no word."""
        return {"gpu-id": self.wanted.gpu_id} if self.wanted.gpu_id else {}

    def _source(self, number: int, uri: str) -> None:
        name = f"source-{number}"
        chain = [name]
        if self.has_element("nvurisrcbin"):
            self._nvurisrcbin(name, uri)
        elif self.wanted.file_loop:
            raise UsageError("--file-loop needs nvurisrcbin, which this DeepStream lacks (it came with 6.0).")
        else:
            self._add("uridecodebin", name, {"uri": uri})
            # Whatever decoder it picks, the mux gets surfaces of the GPU.
            chain.append(self._add("nvvideoconvert", f"{name}-convert", self._gpu()))
            chain.append(self._add("capsfilter", f"{name}-caps", {"caps": f"{_NVMM},format=NV12"}))
        self.links += [*linked(chain), Link(chain[-1], "mux", f"sink_{number}")]

    def _nvurisrcbin(self, name: str, uri: str) -> None:
        properties: dict[str, Value] = {"uri": uri, **self._gpu()}
        optional: frozenset[str] = frozenset()
        if uri.lower().startswith(("rtsp://", "rtsps://")):
            cameras = self.wanted.cameras
            # Without an interval a camera that went away never comes back.
            properties |= {
                "latency": 200,
                "select-rtp-protocol": _ONLY_TCP if cameras.only_tcp else _ANY_PROTOCOL,
                "rtsp-reconnect-interval": max(1, round(cameras.stall_seconds)),
                "rtsp-reconnect-attempts": cameras.attempts,
                "init-rtsp-reconnect-interval": max(1, round(cameras.retry_seconds)),
            }
            optional = frozenset({"rtsp-reconnect-attempts", "init-rtsp-reconnect-interval"})
        elif self.wanted.file_loop and uri.startswith("file:"):
            properties["file-loop"] = True
        self._add("nvurisrcbin", name, properties, optional)

    def _mux(self) -> str:
        wanted = self.wanted
        properties: dict[str, Value] = {"batch-size": len(wanted.uris)}
        properties["batched-push-timeout"] = round(wanted.cameras.batch_seconds * 1e6) if wanted.is_live else _FILE_TIMEOUT_US
        if not wanted.new_mux:
            properties |= {"width": wanted.surface_wh[0], "height": wanted.surface_wh[1], **self._gpu()}
            if wanted.is_live:
                properties["live-source"] = True
            memory = 0
            if wanted.pixels:
                memory = wanted.platform.pixel_memory
            elif wanted.file_loop:
                memory = wanted.platform.file_loop_memory
            if memory:
                properties["nvbuf-memory-type"] = memory
        return self._add("nvstreammux", "mux", properties)

    def _readable_pixels(self) -> list[str]:
        """RGBA, the only layout besides RGB that Python's surface API reads, in memory that the CPU reads."""
        if not self.wanted.pixels:
            return []
        memory = self.wanted.platform.pixel_memory
        properties = {**self._gpu(), **({"nvbuf-memory-type": memory} if memory else {})}
        return [
            self._add("nvvideoconvert", "readable", properties),
            self._add("capsfilter", "readable-caps", {"caps": f"{_NVMM},format=RGBA"}),
        ]

    def _inference(self, number: int, inference: Inference) -> str:
        wanted = self.wanted
        # The file first: setting it reads it, and what is set after that stays.
        properties: dict[str, Value] = {"config-file-path": inference.config}
        if wanted.gie == "nvinfer":  # nvinferserver has it in its file only
            properties |= self._gpu()
        if inference.batch_size is not None:
            properties["batch-size"] = inference.batch_size
        if inference.interval is not None:
            properties["interval"] = inference.interval
        if inference.gives_tensors and wanted.gie == "nvinfer":
            properties["output-tensor-meta"] = True  # nvinferserver has it in its file only
        return self._add(wanted.gie, f"gie-{number}", properties)

    def _tracker(self) -> list[str]:
        if self.wanted.tracker is None:
            return []
        return [self._add("nvtracker", "tracker", {**self._gpu(), **self.wanted.tracker}, self.wanted.tracker_optional)]

    def _analytics(self) -> list[str]:
        return (
            [self._add("nvdsanalytics", "analytics", {"config-file": self.wanted.analytics})] if self.wanted.analytics else []
        )

    def _drawing(self) -> list[str]:
        wanted = self.wanted
        rows = max(1, math.isqrt(len(wanted.uris)))
        width, height = wanted.surface_wh if len(wanted.uris) == 1 else wanted.tiled_wh
        tiles: dict[str, Value] = {
            "rows": rows,
            "columns": math.ceil(len(wanted.uris) / rows),
            "width": width,
            "height": height,
        }
        return [
            # Drawing and encoding in a thread of their own: the tap's has to be back for the next batch.
            self._add("queue", "drawing-queue"),
            self._add("nvmultistreamtiler", "tiler", {**tiles, **self._gpu()}),
            self._add("nvvideoconvert", "tiler-convert", self._gpu()),
            # On the CPU it draws lines and circles in every version.
            self._add("nvdsosd", "osd", {"process-mode": 0, "display-text": True, **self._gpu()}),
        ]

    def _visual(self, number: int, visual: Visual) -> list[str]:
        """The elements from the drawn picture to one output."""
        paced = not self.wanted.is_live  # files are played at their own speed where somebody watches
        if isinstance(visual, Screen):
            name = f"screen-{number}"
            shown = {"sync": paced, "qos": False}
            return [self._add("queue", f"{name}-queue"), self._add(self.wanted.platform.display_sink, name, shown)]
        if isinstance(visual, VideoFile):
            name = f"file-{number}"
            is_matroska = visual.path.lower().endswith(".mkv")
            mux = "matroskamux" if is_matroska else "mp4mux"
            return [
                *self._encoded(name),
                # In fragments, so that what is written plays after a kill.
                self._add(mux, f"{name}-mux", {} if is_matroska else {"fragment-duration": 1000}),
                self._add("filesink", name, {"location": visual.path, "sync": False, "async": False}),
            ]
        name = f"rtsp-{number}"
        return [
            *self._encoded(name),
            self._add(f"rtp{self.wanted.codec}pay", f"{name}-pay", {"pt": 96}),
            self._add(
                "udpsink", name, {"host": "127.0.0.1", "port": visual.udp_port, "sync": paced, "async": False, "qos": False}
            ),
        ]

    def _encoded(self, name: str) -> list[str]:
        wanted = self.wanted
        encoder, is_hardware = self._encoder()
        caps = f"{_NVMM if is_hardware else 'video/x-raw'},format=I420"
        properties: dict[str, Value]
        if is_hardware:
            properties = {"bitrate": wanted.bitrate, "iframeinterval": wanted.keyframe_interval, **wanted.platform.encoder}
            properties |= self._gpu()
        elif encoder == "openh264enc":
            properties = {"bitrate": wanted.bitrate, "gop-size": wanted.keyframe_interval}
        else:  # thousands of bits, and nothing that holds frames back
            properties = {"bitrate": max(1, wanted.bitrate // 1000), "key-int-max": wanted.keyframe_interval}
            properties |= {"speed-preset": "veryfast", "tune": "zerolatency"}
        return [
            self._add("queue", f"{name}-queue"),
            self._add("nvvideoconvert", f"{name}-convert", self._gpu()),
            self._add("capsfilter", f"{name}-caps", {"caps": caps}),
            self._add(encoder, f"{name}-encoder", properties),
            # Parameter sets before every key frame: a player may join at any.
            self._add(f"{wanted.codec}parse", f"{name}-parse", {"config-interval": -1}),
        ]

    def _encoder(self) -> tuple[str, bool]:
        """The encoder's element, and whether it is hardware."""
        codec, choice = self.wanted.codec, self.wanted.encoder
        hardware = f"nvv4l2{codec}enc"
        if choice != "software" and self.has_element(hardware):
            return hardware, True
        software = next((name for name in _SOFTWARE[codec] if self.has_element(name)), None)
        if choice != "hardware" and software:
            return software, False
        wanted = [*([hardware] if choice != "software" else []), *(_SOFTWARE[codec] if choice != "hardware" else [])]
        raise UsageError(
            f"--encoder {choice}: this machine lacks {' and '.join(wanted)}. The software encoders come with "
            "gstreamer1.0-plugins-ugly (x264enc) and gstreamer1.0-plugins-bad (openh264enc, x265enc)."
        )
