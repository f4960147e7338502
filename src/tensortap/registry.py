"""Names -> classes, loaded when they are asked for, so that a missing package answers with its install line.

Installed packages add names of their own through entry points: docs/own_code.md.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from tensortap.errors import MissingDependencyError, PluginError, UsageError


@dataclass(frozen=True)
class Entry:
    """Where the class behind a name is found and what it needs."""

    target: str
    """`module:Class`."""
    needs: tuple[str, ...] = ()
    """Modules that must be importable for it; `a|b` is either."""
    install: str = "pip install tensortap"
    """The line that brings them."""
    build: tuple[str, str] | None = None
    """What the first of them must have been built with, and a glob for the file in its folder that tells."""


DECODERS = {
    "deepstream-yolo-pose": Entry("tensortap.decode.deepstream_yolo_pose:DeepStreamYoloPoseDecoder"),
    "end2end": Entry("tensortap.decode.end2end:End2EndDecoder"),
    "heatmap": Entry("tensortap.decode.region:HeatmapDecoder"),
    "rtmo": Entry("tensortap.decode.rtmo:RtmoDecoder"),
    "simcc": Entry("tensortap.decode.region:SimccDecoder"),
    "yolo-nas-pose": Entry("tensortap.decode.yolo_nas_pose:YoloNasPoseDecoder"),
    "yolo-pose": Entry("tensortap.decode.yolo_pose:YoloPoseDecoder"),
    "yolov7-pose": Entry("tensortap.decode.yolov7_pose:YoloV7PoseDecoder"),
}
ENGINES = {
    "onnxruntime": Entry(
        "tensortap.portable.engines.onnxruntime:OnnxRuntimeEngine", ("onnxruntime", "onnx"), "pip install onnxruntime onnx"
    ),
    "onnxruntime-cuda": Entry(
        "tensortap.portable.engines.onnxruntime_cuda:OnnxRuntimeCudaEngine",
        ("onnxruntime", "onnx"),
        "pip uninstall -y onnxruntime && pip install onnx onnxruntime-gpu",
        build=("CUDA", "capi/*onnxruntime_providers_cuda*"),
    ),
    "openvino": Entry("tensortap.portable.engines.openvino:OpenVinoEngine", ("openvino",), "pip install openvino"),
    "tensorrt": Entry(
        "tensortap.portable.engines.tensorrt:TensorRtEngine",
        ("tensorrt", "onnx", "cupy|torch", "array_api_compat"),
        'pip install "tensortap[tensorrt]"',
    ),
}
AUTO_ENGINES = ("openvino", "onnxruntime")
"""`--engine auto` takes the first of these that is installed and loads the model: the fastest on a CPU first."""
GPU_ENGINES = ("tensorrt", "onnxruntime-cuda")
"""These come before them where there is an NVIDIA GPU."""
SINKS = {
    "coco": Entry("tensortap.sinks.coco:CocoSink"),
    "jsonl": Entry("tensortap.sinks.jsonl:JsonlSink"),
    "null": Entry("tensortap.sinks.null:NullSink"),
    "push": Entry("tensortap.sinks.push:PushSink"),
    "recording": Entry("tensortap.recording.writer:RecordingSink"),
    "rtsp": Entry("tensortap.sinks.rtsp:RtspSink"),
    "video": Entry("tensortap.sinks.video:VideoSink"),
}
SOURCES = {
    "images": Entry("tensortap.portable.sources.images:ImageSource"),
    "live": Entry("tensortap.portable.sources.live:LiveSource"),
    "scene": Entry("tensortap.portable.sources.scene:SceneSource"),
    "video": Entry("tensortap.portable.sources.video:VideoSource"),
}
WEB = Entry("tensortap.web.server:WebServer", ("starlette", "uvicorn", "prometheus_client"), 'pip install "tensortap[web]"')
"""What `--web` starts."""
# Without its dependencies, because one of them is an OpenCV that shares its files with the headless one: docs/tracking.md.
_INSTALL_TRACKERS = (
    'pip install "supervision>=0.26.1" "pydeprecate>=0.9,<0.14" requests && pip install --no-deps "trackers>=2.6"'
)
_TRACKERS_NEEDS = ("trackers", "supervision")
TRACKERS = {
    "botsort": Entry("tensortap.track.roboflow:BotsortTracker", _TRACKERS_NEEDS, _INSTALL_TRACKERS),
    "bytetrack": Entry("tensortap.track.roboflow:BytetrackTracker", _TRACKERS_NEEDS, _INSTALL_TRACKERS),
    "cbiou": Entry("tensortap.track.roboflow:CbiouTracker", _TRACKERS_NEEDS, _INSTALL_TRACKERS),
    "ocsort": Entry("tensortap.track.roboflow:OcsortTracker", _TRACKERS_NEEDS, _INSTALL_TRACKERS),
    "pose": Entry("tensortap.track.pose:PoseTracker"),
    "sort": Entry("tensortap.track.roboflow:SortTracker", _TRACKERS_NEEDS, _INSTALL_TRACKERS),
}


def missing_modules(entry: Entry) -> list[str]:
    """The modules that this entry needs and that are not installed; empty if it can be used."""
    missing = [
        needed.replace("|", " or ")
        for needed in entry.needs
        if not any(importlib.util.find_spec(module) for module in needed.split("|"))
    ]
    if not missing and entry.build:
        built_with, file = entry.build
        spec = importlib.util.find_spec(entry.needs[0])
        folders = (spec and spec.submodule_search_locations) or []
        if not any(True for folder in folders for _ in Path(folder).glob(file)):
            missing.append(f"{entry.needs[0]} with {built_with}")
    return missing


PLUGIN_KINDS = {"decoder": DECODERS, "engine": ENGINES, "sink": SINKS, "source": SOURCES, "tracker": TRACKERS}
"""What installed packages may add to, as the entry-point groups `tensortap.decoders`, `tensortap.engines` ..."""


@cache
def plugins(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point of what installed packages add to a kind. A name of ours stays ours; of two the first counts."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"tensortap.{kind}s"):
        if point.name not in PLUGIN_KINDS[kind]:
            found.setdefault(point.name, point)
    return found


def hidden_plugins(kind: str) -> list[str]:
    """What installed packages offer in vain, because the name is taken; a sentence for each."""
    return [
        f"The {kind} {point.name!r} of {package_of(point)} is not used: "
        f"{'tensortap has' if point.name in PLUGIN_KINDS[kind] else f'{package_of(plugins(kind)[point.name])} offers'} "
        "one of that name."
        for point in entry_points(group=f"tensortap.{kind}s")
        if point.name in PLUGIN_KINDS[kind] or (point.value, package_of(point)) != _identity(plugins(kind)[point.name])
    ]


def package_of(point: EntryPoint) -> str:
    """The installed package that an entry point belongs to."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _identity(point: EntryPoint) -> tuple[str, str]:
    return point.value, package_of(point)


def known_names(kind: str) -> set[str]:
    """Every name of a kind, ours and those of installed packages."""
    return {*PLUGIN_KINDS[kind], *plugins(kind)}


def is_own_decoder(text: str) -> bool:
    """Whether `--decoder` names one that is not ours: `my.py:decode`, or an installed package's."""
    return ":" in text or text in plugins("decoder")


def load_plugin(kind: str, name: str) -> Any:
    """What an installed package offers under a name.

    Raises:
        PluginError: it cannot be imported, or is nothing that can be called.
    """
    point = plugins(kind)[name]
    try:
        found = point.load()
    except Exception as exc:  # of somebody else's code
        raise PluginError(
            f"The {kind} {name!r} ({point.value}) of the installed package {package_of(point)} cannot be loaded: "
            f"{type(exc).__name__}: {exc}. Update or uninstall that package."
        ) from exc
    if not callable(found):
        raise PluginError(
            f"The {kind} {name!r} ({point.value}) of the installed package {package_of(point)} is {type(found).__name__}, "
            "which cannot be called."
        )
    return found


def load(kind: str, table: dict[str, Entry], name: str) -> Any:
    """The class registered under a name, by us or by an installed package.

    Raises:
        UsageError: nothing has this name.
        MissingDependencyError: it needs a package that is not installed.
        PluginError: the package that registered it is broken.
    """
    if name not in table:
        if kind in PLUGIN_KINDS and name in plugins(kind):
            return load_plugin(kind, name)
        names = sorted({*table, *(plugins(kind) if kind in PLUGIN_KINDS else ())})
        raise UsageError(f"There is no {kind} called {name!r}. Choose one of: {', '.join(names)}.")
    return load_entry(table[name], f"The {kind} {name!r}")


def load_entry(entry: Entry, what: str) -> Any:
    """The class of one entry; `what` begins the message if it cannot be had.

    Raises:
        MissingDependencyError: it needs a package that is not installed.
    """
    missing = missing_modules(entry)
    if missing:
        raise MissingDependencyError(f"{what} needs {' and '.join(missing)}, which is not installed. Try: {entry.install}")
    module, _, attribute = entry.target.partition(":")
    return getattr(importlib.import_module(module), attribute)
