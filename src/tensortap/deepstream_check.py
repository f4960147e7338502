"""The self-test of `tensortap deepstream-check`: what a machine has of DeepStream, and whether it does what is expected.

It writes its own clip and its own small network, whose output says what the network was fed, so that it needs no model.
"""

from __future__ import annotations

import importlib
import platform
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tensortap import _version
from tensortap.deepstream import machine as machines
from tensortap.deepstream.build import Inference, Screen, VideoFile, Wanted, build
from tensortap.deepstream.graph import Graph, RtspMount
from tensortap.deepstream.gstreamer import load_gst
from tensortap.deepstream.platforms import Platform
from tensortap.deepstream.tracker_file import LIBRARY
from tensortap.errors import TensortapError
from tensortap.nvinfer.writer import Wanted as WantedConfig
from tensortap.nvinfer.writer import as_ini
from tensortap.pipeline import Pipeline
from tensortap.skeletons import skeleton_for
from tensortap.types import Poses, TensorFrame

SDK = Path("/opt/nvidia/deepstream/deepstream")
_TRACKER_CONFIGS = ("config_tracker_IOU.yml", "config_tracker_NvSORT.yml", "config_tracker_NvDCF_perf.yml")
_SIZE_WH, _NETWORK_WH, _NUM_FRAMES, _RATE = (640, 360), (320, 192), 30, 25
_MEAN_STEPS, _MOST_STEPS = 3.0, 12.0
"""How far the device's network input may be from ours, in steps of 0..255: decoders and colour conversions differ by some."""
_OPTIONAL = {
    "nvinferserver": "-g nvinferserver",
    "nvdsanalytics": "--analytics-config",
    "nveglglessink": "-o screen",
    "nv3dsink": "-o screen",
    "nvv4l2h264enc": "the hardware's H.264; --encoder software does without",
    "nvv4l2h265enc": "the hardware's H.265; --encoder software does without",
    "x264enc": "-c h264 --encoder software, unless there is openh264enc",
    "x265enc": "-c h265 --encoder software",
}
"""Element -> what is not to be had without it."""
SKELETON = skeleton_for(17)


@dataclass(frozen=True)
class Finding:
    """What became of one step."""

    step: str
    state: Literal["pass", "FAIL", "note", "skip"]
    detail: str


class _Failed(Exception):  # noqa: N818  # it is an outcome
    """A step has failed; says why."""


def check(folder: Path, root: Path = Path("/")) -> Iterator[Finding]:
    """Every step in turn.

    Args:
        folder: for files of the test.
        root: where `/etc`, `/opt` and `/proc` are.
    """
    failed = False
    for finding in look(root):
        failed |= finding.state == "FAIL"
        yield finding
    for step, run in _RUNS:
        if failed and step == _RUNS[0][0]:
            yield Finding("runs", "skip", "nothing is run before the steps above pass")
            return
        finding = _outcome(step, lambda run=run: run(folder))  # type: ignore[misc]
        failed |= finding.state == "FAIL"
        yield finding


def look(root: Path = Path("/")) -> Iterator[Finding]:
    """What there is, without running anything."""
    this = machines.platform_of("auto")
    yield Finding(
        "machine",
        "pass",
        f"{this.name}: {this.description}; {platform.platform()}; Python {platform.python_version()}; "
        f"tensortap {_version.__version__}",
    )
    yield _outcome("driver", lambda: _driver(root))
    yield _outcome("SDK", lambda: _sdk(root))
    gst = _outcome("GStreamer", lambda: str(load_gst().Gst.version_string()))
    yield gst
    if gst.state == "pass":
        yield from _elements(this)
    else:
        yield Finding("elements", "skip", "GStreamer cannot be asked")
    yield from _bindings()
    yield _outcome("nvtracker's library", lambda: _exists(root / LIBRARY.lstrip("/")))
    yield _outcome("RTSP server", _rtsp_server)


def _outcome(step: str, run: Callable[[], str]) -> Finding:
    try:
        return Finding(step, "pass", run())
    except (TensortapError, _Failed) as exc:
        return Finding(step, "FAIL", str(exc))
    except Exception as exc:  # a self-test says what went wrong, whatever it was
        where = traceback.extract_tb(exc.__traceback__)[-1]
        return Finding(step, "FAIL", f"{type(exc).__name__}: {exc} ({Path(where.filename).name}:{where.lineno})")


def _driver(root: Path) -> str:
    for path in ("proc/driver/nvidia/version", "etc/nv_tegra_release"):
        if (root / path).exists():
            return (root / path).read_text(errors="replace").strip().splitlines()[0]
    raise _Failed(
        "there is no NVIDIA driver: neither /proc/driver/nvidia/version nor /etc/nv_tegra_release. In a container: --gpus all"
    )


def _sdk(root: Path) -> str:
    folder = root / str(SDK).lstrip("/")
    if not folder.exists():
        raise _Failed(f"{SDK} is not there: DeepStream is not installed. NVIDIA's images have it: deploy/deepstream")
    version = folder / "version"
    return version.read_text(errors="replace").strip().replace("\n", " ") if version.exists() else f"{SDK}, version unknown"


def _exists(path: Path) -> str:
    if not path.exists():
        raise _Failed(f"{path} is not there; it is part of the SDK")
    return str(path)


def _graphs(this: Platform) -> list[Graph]:
    """Graphs that together use every element and property that tensortap sets."""
    pose = Inference("pose.txt", batch_size=1, interval=0)
    visuals = [Screen(), VideoFile("a.mp4"), RtspMount(8554, "/ds-test", 5400, "H264")]
    tracker = {"ll-lib-file": LIBRARY, "ll-config-file": "a.yml", "tracker-width": 640, "tracker-height": 384}
    common: dict[str, Any] = {"inferences": [pose], "platform": this, "tracker": tracker, "visuals": visuals}
    return [
        build(Wanted(uris=["file:///a.mp4"], file_loop=True, pixels=True, analytics="a.txt", **common)),
        build(Wanted(uris=["rtsp://a/b"], codec="h265", **common)),
        build(Wanted(uris=["rtsp://a/b"], gie="nvinferserver", encoder="software", **common)),
        build(Wanted(uris=["rtsp://a/b"], encoder="software", codec="h265", **(common | {"visuals": [VideoFile("a.mkv")]}))),
    ]


def _elements(this: Platform) -> Iterator[Finding]:
    gst = load_gst().Gst
    missing: dict[str, None] = {}
    unknown: dict[str, None] = {}
    optional: dict[str, None] = {}
    names: dict[str, None] = {}
    for graph in _graphs(this):
        for element in graph.elements:
            names[element.factory] = None
            made = gst.ElementFactory.make(element.factory, None)
            if made is None:
                missing[element.factory] = None
                continue
            for name in element.properties:
                if made.find_property(name) is None:
                    known = optional if name in element.optional else unknown
                    known[f"{element.factory}.{name}"] = None
    for name in [name for name in missing if name in _OPTIONAL]:
        del missing[name]
        yield Finding(f"element {name}", "note", f"is not there; it is for {_OPTIONAL[name]}")
    if missing:
        yield Finding(
            "elements", "FAIL", f"not there: {', '.join(missing)}. gst-inspect-1.0 NAME says why a plugin does not load"
        )
    else:
        yield Finding("elements", "pass", ", ".join(names))
    if unknown:
        yield Finding(
            "properties", "FAIL", f"not there: {', '.join(unknown)}. Please report this with your DeepStream's version"
        )
    elif missing:
        yield Finding("properties", "skip", "the elements that are not there cannot be asked")
    else:
        left_out = f"; left out, as this version lacks them: {', '.join(optional)}" if optional else ""
        yield Finding("properties", "pass", f"all that tensortap sets{left_out}")


def _bindings() -> Iterator[Finding]:
    found = []
    for name, needed in machines.NEEDS.items():
        try:
            module = importlib.import_module(name)
            lacking = [each for each in needed if not _has(module, each)]
        except (ImportError, OSError) as exc:
            yield Finding(name, "note", f"cannot be imported: {exc}")
            continue
        if lacking:
            yield Finding(name, "FAIL", f"{getattr(module, '__version__', 'version unknown')} lacks {', '.join(lacking)}")
        else:
            found.append(name)
            yield Finding(name, "pass", str(getattr(module, "__version__", "version unknown")))
    if not found:
        yield Finding("bindings", "FAIL", f"neither can be used. Install {'; or '.join(machines.INSTALL.values())}")


def _has(module: Any, path: str) -> bool:
    """Whether a module has `a.b`."""
    for name in path.split("."):
        module = getattr(module, name, None)
    return module is not None


def _rtsp_server() -> str:
    try:
        import gi

        gi.require_version("GstRtspServer", "1.0")
    except (ImportError, ValueError) as exc:
        raise _Failed(f"apt install python3-gi gir1.2-gst-rtsp-server-1.0 ({exc})") from exc
    return "is there"


# What follows runs graphs.


def _clip(folder: Path) -> Path:
    """Grey slopes that tell every corner apart, and a bright square that moves; H.264."""
    import av

    path = folder / "clip.mp4"
    if path.exists():
        return path
    width, height = _SIZE_WH
    slope = 50 + 110 * np.linspace(0, 1, width)[None] + 50 * np.linspace(0, 1, height)[:, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(_NUM_FRAMES):
            picture = np.repeat(slope.astype(np.uint8)[..., None], 3, axis=2)
            left, top, right, bottom = _square(number)
            picture[top:bottom, left:right] = 235
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


def _square(number: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the bright square."""
    return 80 + 8 * number, 100, 200 + 8 * number, 260


def _config(folder: Path) -> Path:
    """A file of nvinfer's, and its network: the mean of each 16 x 16 pixels of what it is fed."""
    import onnx
    from onnx import TensorProto, helper

    path, model = folder / "config_infer.txt", folder / "means.onnx"
    if path.exists():
        return path
    width, height = _NETWORK_WH
    pool = helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[16, 16], strides=[16, 16])
    graph = helper.make_graph(
        [pool],
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, height, width])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["batch", 3, height // 16, width // 16])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(model))
    wanted = WantedConfig(model.name, (height, width), "nvinfer-symmetric", precision="f32", head="tensortap's self-test")
    path.write_text(as_ini(wanted))
    return path


def _person(frame: TensorFrame) -> Poses:
    """Somebody around the bright square."""
    box = np.array([_square(frame.info.index % _NUM_FRAMES)], np.float32)
    along = np.linspace(0, 1, 17, dtype=np.float32)[:, None]
    points = box[:, :2] + along * (box[:, 2:] - box[:, :2])
    keypoints = np.concatenate([points, np.full((17, 1), 0.9, np.float32)], axis=1)[None]
    return Poses(box, np.array([0.9], np.float32), np.zeros(1, np.int64), keypoints, SKELETON)


def _on_device(folder: Path, **settings: Any) -> Pipeline:
    told: dict[str, Any] = {"nvinfer_config": _config(folder), "decoder": _person, "tracker": None, "runtime": "deepstream"}
    return Pipeline(_clip(folder), **(told | settings))


def _tensors(folder: Path) -> str:
    """The same frames in both runtimes: what the network was fed, as it says."""
    portable: dict[str, Any] = {"nvinfer_config": _config(folder), "decoder": "none", "engine": "onnxruntime"}
    ours = [frame.tensors["means"].copy() for frame in Pipeline(_clip(folder), **portable).tensors()]
    theirs = []
    for frame in _on_device(folder).tensors():
        if set(frame.tensors) != {"means"} or frame.tensors["means"].shape != ours[0].shape:
            found = {name: array.shape for name, array in frame.tensors.items()}
            raise _Failed(f"outputs are {found}, not {{'means': {ours[0].shape}}}")
        theirs.append(frame.tensors["means"].copy())
    if len(theirs) != len(ours):
        raise _Failed(f"{len(theirs)} frames came, not {len(ours)}")
    steps = np.abs(np.stack(theirs) - np.stack(ours)) * 255
    text = (
        f"{len(theirs)} frames; the network's input differs from the portable runtime's by {steps.mean():.2f} of 255 steps, "
        f"at most {steps.max():.1f}"
    )
    if steps.mean() > _MEAN_STEPS or np.percentile(steps, 99) > _MOST_STEPS:
        raise _Failed(f"{text}: scaling, letterbox or colours are not what they should be")
    return text


def _pixels(folder: Path) -> str:
    differences = []
    with _on_device(folder, pixels=True, max_frames=5) as pipeline:

        def look_at(frame: TensorFrame) -> None:
            image = frame.image
            if image is None or image.shape != (_SIZE_WH[1], _SIZE_WH[0], 3):
                raise _Failed(f"the picture is {None if image is None else image.shape}")
            left, top, right, bottom = _square(frame.info.index)
            differences.append(abs(float(image[top + 8 : bottom - 8, left + 8 : right - 8].mean()) - 235))

        pipeline.tap(look_at)
        pipeline.run()
    if not differences or max(differences) > _MOST_STEPS:
        raise _Failed(f"a square of 235 is read {max(differences, default=0):.1f} steps beside that")
    return f"{len(differences)} pictures, a square of 235 read within {max(differences):.1f} steps"


def _nvtracker(folder: Path) -> str:
    configs = SDK / "samples/configs/deepstream-app"
    config = next((configs / name for name in _TRACKER_CONFIGS if (configs / name).exists()), None)
    if config is None:
        raise _Failed(f"{configs} has none of {', '.join(_TRACKER_CONFIGS)}")
    results = list(_on_device(folder, tracker_config=str(config), tracker="auto"))
    named = [int(track_id) for result in results for track_id in result.poses.track_ids if track_id >= 0]
    if len(named) < len(results) // 2 or len(set(named)) != 1:
        raise _Failed(
            f"{config.name}: of {len(results)} frames with one person {len(named)} came back with an identity, and there are "
            f"{len(set(named))} identities; one is right"
        )
    return f"{config.name}: {len(named)} of {len(results)} frames came back with one identity"


def _video_file(folder: Path) -> str:
    import av

    path = folder / "out.mp4"
    with _on_device(folder, outputs=path) as pipeline:
        frames = pipeline.run().frames
    if not path.exists():
        raise _Failed("no file was written")
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context.name
        decoded = sum(1 for _ in container.decode(video=0))
    if decoded < frames - 2:
        raise _Failed(f"of {frames} frames {decoded} can be decoded")
    return f"{decoded} frames of {codec}"


def _rtsp(folder: Path) -> str:
    import av

    port = 8600
    with _on_device(folder, outputs=f"rtsp://:{port}/ds-test", file_loop=True) as pipeline:
        # Somebody has to take the results, for files wait for that.
        running = threading.Thread(target=pipeline.run, name="deepstream-check", daemon=True)
        running.start()
        try:
            with av.open(f"rtsp://127.0.0.1:{port}/ds-test", options={"rtsp_transport": "tcp"}, timeout=20) as container:
                frame = next(container.decode(video=0))
                size = frame.width, frame.height
        finally:
            pipeline.close()
            running.join(20)
    return f"a player got a picture of {size[0]}x{size[1]}"


_RUNS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("tensors", _tensors),
    ("pixels", _pixels),
    ("nvtracker", _nvtracker),
    ("video file", _video_file),
    ("RTSP out", _rtsp),
)
