"""From settings to DeepStream's graph and runtime: the part of `assemble.py` for `--runtime deepstream`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tensortap.config import Settings
from tensortap.decode.outputs import Feeding
from tensortap.deepstream import machine as machines
from tensortap.deepstream.build import Cameras, HasElement, Inference, Screen, VideoFile, Visual, Wanted, build
from tensortap.deepstream.graph import Graph, RtspMount
from tensortap.deepstream.probes import TapSettings
from tensortap.deepstream.rtsp import free_udp_port
from tensortap.deepstream.runtime import DeepStreamRuntime
from tensortap.deepstream.tracker_file import read_tracker_file
from tensortap.errors import UsageError
from tensortap.nvinfer.check import broken
from tensortap.nvinfer.config import NvinferConfig, read_nvinfer
from tensortap.nvinfer.server import read_inferserver
from tensortap.output_paths import output_paths
from tensortap.portable.model import ModelInfo, image_input, read_model
from tensortap.portable.sources.inputs import Input, find_inputs, is_url
from tensortap.reading import skeleton_of
from tensortap.recording.replay import DescribedEngine
from tensortap.registry import SOURCES, load
from tensortap.sinks.names import OutputName, parse_output, shown
from tensortap.sinks.rtsp import parse_rtsp_address
from tensortap.text import redact
from tensortap.types import Poses, StreamInfo

_log = logging.getLogger(__name__)
_FULL_HD = (1920, 1080)
_BATCH_SECONDS = 0.04
_KEYFRAME_RATE = 30
"""Frames a second that keyframes are counted by; DeepStream's encoders take frames, not seconds."""
_OTHER_NETWORKS = {"custom-network-config", "model-file", "tlt-encoded-model", "uff-file"}
"""Keys of nvinfer's file for what engines can be built from besides ONNX files."""
_PRECISIONS = {0: "f32", 1: "int8", 2: "f16", 3: "best"}


@dataclass(eq=False)
class OnDevice:
    """What gives the tensors."""

    streams: list[StreamInfo]
    runtime: DeepStreamRuntime
    model: ModelInfo
    engine: DescribedEngine
    feeding: Feeding
    reason: str


def assemble_on_device(
    settings: Settings, inputs: Sequence[Input], names: Sequence[OutputName], decoder: Any, find_model: Callable[[str], Path]
) -> OnDevice:
    """The runtime; nothing runs yet.

    Args:
        names: the outputs.
        decoder: one's own, or `None`.

    Raises:
        TensortapError: something cannot be meant or had on this machine.
    """
    plan = _Plan(settings, inputs, names)
    _refuse_without_network(plan.config)
    environment = {"USE_NEW_NVSTREAMMUX": "yes"} if plan.wanted.new_mux else {}
    found = machines.find_machine(plan.wanted.platform, settings.binding, environment, redact)
    graph = build(plan.wanted, found.has_element)
    model = _model(settings, plan.config, find_model)
    network_wh = _network_wh(settings, model)
    nobody = Poses.empty(getattr(decoder, "skeleton", None) or skeleton_of(model))
    tap = TapSettings(
        unique_id=plan.config.unique_id,
        letterbox=plan.config.letterbox,
        is_secondary=plan.config.process_mode == 2,
        interval=settings.interval,
        network_wh=network_wh,
        surface_wh=None if plan.wanted.new_mux else plan.wanted.surface_wh,
        labels=plan.config.labels or _names(model) or ("person",),
        joins=graph.join is not None,
        draws=bool(plan.wanted.visuals),
        pixels=settings.pixels,
        max_frames=settings.max_frames,
    )
    engine = DescribedEngine(
        name=settings.gie,
        precision=_PRECISIONS[plan.config.network_mode] if settings.gie == "nvinfer" else "its own precision",
        device=f"{plan.wanted.platform.name}, GPU {settings.gpu_id}",
        batch_size=plan.batch_size,
        outputs={},
        network_wh=network_wh,
    )
    runtime = DeepStreamRuntime(graph, found.driver, found.tap, tap, plan.streams, nobody)
    feeding = Feeding(
        letterbox=plan.config.letterbox,
        color="bgr" if plan.config.color == "bgr" else "rgb",
        scale=plan.config.net_scale_factor,
        mean=plan.config.offsets,
    )
    return OnDevice(plan.streams, runtime, model, engine, feeding, f"DeepStream through {found.binding}")


def planned_graph(settings: Settings, has_element: HasElement | None = None) -> Graph:
    """The graph, for people to read. Needs no SDK.

    Args:
        has_element: whether the machine has an element; by default this one is asked, and has all if it lacks DeepStream.
    """
    if has_element is None:
        has_element = machines.element_finder()
        if not has_element("nvstreammux"):
            has_element = _has_all
    inputs, names = find_inputs(settings.inputs), [parse_output(text) for text in settings.outputs]
    plan = _Plan(settings, inputs, names)
    output_paths(names, inputs, plan.config.onnx_file, tiled=True)  # who runs the command loses no file by it
    shown = [redact(uri) for uri in plan.wanted.uris]
    return build(replace(plan.wanted, uris=shown), has_element)


def _has_all(factory: str) -> bool:
    return True


class _Plan:
    """What the settings ask of the graph."""

    def __init__(self, settings: Settings, inputs: Sequence[Input], names: Sequence[OutputName]) -> None:
        if settings.nvinfer_config is None:
            raise UsageError(
                "--runtime deepstream needs a configuration file of nvinfer: -config FILE. Write one for your model: tensortap "
                "nvinfer-config MODEL -o FILE."
            )
        self.config = _read(settings, settings.nvinfer_config)
        others = [_read(settings, path, gives_tensors=False) for path in settings.gie_configs]
        _refuse_equal_ids([self.config, *others])
        if self.config.process_mode == 2:
            _refuse_without_objects(settings, self.config, others)
        new_mux = settings.new_mux or os.environ.get("USE_NEW_NVSTREAMMUX") == "yes"
        if new_mux and settings.mux_size:
            raise UsageError("--mux-size: the new nvstreammux scales nothing. Leave it out, or leave --new-mux out.")
        if settings.tracker_config and settings.tracker not in (None, "auto"):
            raise UsageError(f"--tracker-config and --tracker {settings.tracker} contradict each other: one names the people.")
        uris = [_uri(each) for each in inputs]
        self.streams = [_stream(number, each) for number, each in enumerate(inputs)]
        batch_size = settings.batch_size or 1
        on_frames = self.config.process_mode == 1
        if on_frames and settings.gie == "nvinfer" and "batch-size" not in self.config.given:
            batch_size = max(batch_size, len(uris))
        elif on_frames and len(uris) > batch_size:
            _log.warning(
                "%s: batch-size=%d for %d inputs, so it infers several times for each batch. --batch-size %d infers once; the "
                "engine is built anew for it.",
                settings.nvinfer_config,
                batch_size,
                len(uris),
                len(uris),
            )
        self.batch_size = batch_size
        tracker, optional = (None, frozenset[str]())
        if settings.tracker_config:
            tracker, optional = read_tracker_file(Path(settings.tracker_config))
        self.wanted = Wanted(
            uris=uris,
            inferences=_inferences(settings, self.config, others, batch_size),
            platform=machines.platform_of(settings.platform),
            gie=settings.gie,
            surface_wh=settings.mux_size or _common_size(self.streams),
            new_mux=new_mux,
            tracker=tracker,
            tracker_optional=optional,
            analytics=_existing(settings.analytics_config, "--analytics-config"),
            file_loop=settings.file_loop,
            cameras=Cameras(
                only_tcp=settings.rtsp_transport == "tcp",
                stall_seconds=settings.stall_timeout,
                retry_seconds=settings.retry_max,
                attempts=-1 if settings.retries is None else settings.retries,
                batch_seconds=_BATCH_SECONDS if settings.batch_timeout is None else settings.batch_timeout,
            ),
            pixels=settings.pixels,
            visuals=_visuals(settings, names),
            codec=settings.codec,
            keyframe_interval=max(1, round(settings.keyframe_seconds * _KEYFRAME_RATE)),
            tiled_wh=settings.tiled_size,
            encoder=settings.encoder,
            gpu_id=settings.gpu_id,
            **({} if settings.bitrate is None else {"bitrate": settings.bitrate}),
        )


def _read(settings: Settings, path: str, *, gives_tensors: bool = True) -> NvinferConfig:
    """A configuration file, with what is wrong with it for our purpose.

    Raises:
        UsageError: no tensors would come, or wrong ones.
    """
    if settings.gie == "nvinferserver":
        return read_inferserver(Path(path), gives_tensors=gives_tensors)
    config = read_nvinfer(Path(path))
    if not gives_tensors:
        return config
    errors = broken(config)
    errors.pop("output-tensor-meta", None)  # the element's property turns it on
    if "network-type" in errors and "custom-lib-path" in config.given:  # which parses it
        _log.warning("%s: %s", path, errors.pop("network-type"))
    if errors:
        raise UsageError("\n".join(f"{path}: {sentence}" for sentence in errors.values()))
    return config


def _refuse_without_network(config: NvinferConfig) -> None:
    """nvinfer builds the engine from the ONNX file, if the engine is not there yet."""
    files = [file for file in (config.onnx_file, config.engine_file) if file is not None]
    if files and not config.given & _OTHER_NETWORKS and not any(file.exists() for file in files):
        raise UsageError(f"{config.path}: there is no {' and no '.join(map(str, files))}.")


def _refuse_equal_ids(configs: Sequence[NvinferConfig]) -> None:
    """Tensors and objects are told apart by these numbers alone."""
    seen: dict[int, Path] = {}
    for config in configs:
        if config.unique_id in seen:
            raise UsageError(
                f"{seen[config.unique_id]} and {config.path} both have gie-unique-id={config.unique_id}. Give each its own."
            )
        seen[config.unique_id] = config.path


def _refuse_without_objects(settings: Settings, config: NvinferConfig, others: Sequence[NvinferConfig]) -> None:
    """A network on objects needs somebody who finds them."""
    if not others:
        raise UsageError(
            f"{config.path}: process-mode=2 infers objects, and nobody finds any. Name the detector's file: --gie-config FILE."
        )
    ids = [each.unique_id for each in others]
    if config.operate_on_gie_id not in (-1, *ids):
        raise UsageError(
            f"{config.path}: operate-on-gie-id={config.operate_on_gie_id}, but gie-unique-id of --gie-config is "
            f"{' and '.join(map(str, ids))}."
        )
    if settings.interval != config.interval:
        raise UsageError(f"--interval {settings.interval} is for whole frames; {config.path} has process-mode=2.")


def _inferences(settings: Settings, tapped: NvinferConfig, others: Sequence[NvinferConfig], batch_size: int) -> list[Inference]:
    """Those on whole frames first; the one that is decoded last of its kind, for it may look at what the others found."""
    found = [Inference(str(each.path), each.unique_id, each.process_mode == 2, gives_tensors=False) for each in others]
    is_secondary = tapped.process_mode == 2
    interval = None if is_secondary else settings.interval
    found.append(Inference(str(tapped.path), tapped.unique_id, is_secondary, batch_size=batch_size, interval=interval))
    return sorted(found, key=lambda each: each.is_secondary)


def _uri(found: Input) -> str:
    """The input as nvurisrcbin takes it."""
    if found.kind == "video" and not is_url(found.location):
        return Path(found.location.removeprefix("file://")).resolve().as_uri()
    if found.kind in ("video", "live") and not found.location.startswith("webcam:"):
        return found.location
    what = {"recording": "a recording", "scene": "a drawn scene", "images": "still images"}.get(found.kind, "a webcam")
    raise UsageError(
        f"-i {found.location or found.name} is {what}; DeepStream's graph reads video files and RTSP cameras. Use --runtime "
        "portable for it."
    )


def _stream(source_id: int, found: Input) -> StreamInfo:
    """What is known of an input before it plays. Raises SourceError for a file that is no video."""
    is_live = _uri(found).lower().startswith(("rtsp://", "rtsps://"))
    if found.kind == "video" and not is_url(found.location):
        source = load("source", SOURCES, "video")(source_id, found.name, found.location, threads=1)
        source.close()
        stream: StreamInfo = source.stream
        return stream
    return StreamInfo(source_id, found.name, is_live=is_live)


def _common_size(streams: Sequence[StreamInfo]) -> tuple[int, int]:
    """The streams' own size, which costs no scaling; full HD if they differ or do not say."""
    sizes = {stream.size_wh for stream in streams}
    [size] = sizes if len(sizes) == 1 else [None]
    return size or _FULL_HD


def _visuals(settings: Settings, names: Sequence[OutputName]) -> list[Visual]:
    visuals: list[Visual] = []
    for name in (name for name in names if name.is_drawn):
        mounts = [each for each in visuals if isinstance(each, RtspMount)]
        visual = _visual(settings, name, [each.udp_port for each in mounts])
        if isinstance(visual, RtspMount) and visual.port in [each.port for each in mounts]:
            raise UsageError(f"-o {shown(name.text)}: port {visual.port} is for another output already. Choose another.")
        visuals.append(visual)
    return visuals


def _visual(settings: Settings, name: OutputName, udp_ports: Sequence[int]) -> Visual:
    if name.sink == "push":
        raise UsageError(f"-o {name.path}: DeepStream's graph pushes to nobody. Serve it: -o rtsp://:8554/ds-test.")
    if name.sink == "screen":
        return Screen()
    if name.sink == "video":
        return VideoFile(str(name.path))
    where = parse_rtsp_address(name.text)
    encoding = settings.codec.upper()
    return RtspMount(where.port, where.path, free_udp_port(taken=udp_ports), encoding, where.host, where.user, where.password)


def _existing(path: str | None, flag: str) -> str | None:
    if path is not None and not Path(path).is_file():
        raise UsageError(f"{flag} {path}: there is no such file.")
    return path


def _model(settings: Settings, config: NvinferConfig, find_model: Callable[[str], Path]) -> ModelInfo:
    """What the ONNX file says, if it is there; else what the configuration says."""
    if settings.model is not None and (settings.model != str(config.onnx_file) or Path(settings.model).exists()):
        return read_model(find_model(settings.model))
    return ModelInfo(config.engine_file or config.onnx_file or config.path, "onnx", (), ())


def _network_wh(settings: Settings, model: ModelInfo) -> tuple[int, int] | None:
    """Width and height of the network input, as far as anybody says."""
    fixed = image_input(model) if model.inputs else None
    if fixed is not None and fixed.width and fixed.height:
        return fixed.width, fixed.height
    size = settings.imgsz or (model.imgsz if model.inputs else None)
    return (size[1], size[0]) if size else None


def _names(model: ModelInfo) -> tuple[str, ...]:
    """The classes, by the model's metadata."""
    names: Any = model.metadata.get("names")
    if isinstance(names, Mapping):
        return tuple(str(names[key]) for key in sorted(names))
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
