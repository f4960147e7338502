"""The settings of a run: one model, whichever way they come."""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from tensortap.errors import UsageError
from tensortap.geometry import LETTERBOX_POLICIES
from tensortap.nvinfer.config import read_nvinfer
from tensortap.nvinfer.server import read_inferserver
from tensortap.registry import known_names
from tensortap.text import redact

_log = logging.getLogger(__name__)


def _as_list(value: Any) -> Any:
    """One path or several -> a list of strings; `None` is none."""
    if value is None:
        return []
    values = [value] if isinstance(value, (str, os.PathLike)) else value
    return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in values]


def _as_size(value: Any) -> Any:
    """640, "640", "480x640" (height first, as Ultralytics and ONNX have it) -> (height, width)."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, str):
        parts = value.lower().replace(",", "x").split("x")
        return (parts[0], parts[0]) if len(parts) == 1 else tuple(parts)
    return value


def _as_kpt_shape(value: Any) -> Any:
    """ "17x3" or "17" (values of 3) -> (17, 3)."""
    if isinstance(value, int):
        return value, 3
    if isinstance(value, str):
        parts = value.lower().replace(",", "x").split("x")
        return (parts[0], 3) if len(parts) == 1 else tuple(parts)
    return value


def _numbers(value: Any) -> list[float]:
    """0.5, "0.5", "123.7,116.3,103.5" or a sequence -> finite numbers; empty if it is none of these."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _as_mean(value: Any) -> Any:
    if value is None:
        return None
    if len(numbers := _numbers(value)) != 3:
        raise ValueError("three numbers are needed, one for each channel: 123.675,116.28,103.53")
    return tuple(numbers)


def _as_scale(value: Any) -> Any:
    if value is None:
        return None
    if len(numbers := _numbers(value)) not in (1, 3) or min(numbers) <= 0:
        raise ValueError("one number above 0 is needed, or three, one for each channel: 0.0171,0.0175,0.0174")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _as_bitrate(value: Any) -> Any:
    """4M, 800k, 4000000 -> bits a second."""
    if isinstance(value, str) and (found := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kM]?)", value.strip())):
        return round(float(found[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[found[2]])
    return value


def _as_codec(value: Any) -> Any:
    """H264, as the original application spells it, is h264."""
    return value.lower() if isinstance(value, str) else value


def _as_picture_size(value: Any) -> Any:
    """ "1280x720", width first as screens have it -> (1280, 720)."""
    return tuple(value.lower().split("x")) if isinstance(value, str) else value


def _as_model(value: Any) -> Any:
    """A `Path` is a path even where its name is one of the zoo's: `Path("demo")` -> `./demo`."""
    if isinstance(value, Path):
        return os.path.join(os.curdir, value) if value.parent == Path() else os.fspath(value)
    return value


KptShape = Annotated[
    tuple[Annotated[int, Field(ge=1, le=1000)], Annotated[int, Field(ge=2, le=3)]], BeforeValidator(_as_kpt_shape)
]
Bitrate = Annotated[int, Field(ge=10_000, le=1_000_000_000), BeforeValidator(_as_bitrate)]
_Side = Annotated[int, Field(ge=64, le=8192, multiple_of=2)]
PictureSize = Annotated[tuple[_Side, _Side], BeforeValidator(_as_picture_size)]
Size = Annotated[tuple[Annotated[int, Field(ge=32, le=8192)], Annotated[int, Field(ge=32, le=8192)]], BeforeValidator(_as_size)]


ONLY_DEEPSTREAM = (
    "gie",
    "gie_configs",
    "tracker_config",
    "analytics_config",
    "file_loop",
    "pixels",
    "platform",
    "binding",
    "mux_size",
    "new_mux",
    "encoder",
    "gpu_id",
)
"""Settings that cannot be meant in the portable runtime."""
_FILE_SAYS_SO = "nvinfer reads that from its own file, change it there"
ONLY_PORTABLE = {
    "engine": "in DeepStream nvinfer is the engine",
    "precision": "say network-mode in nvinfer's file",
    "rect": "say infer-dims in nvinfer's file",
    "letterbox": _FILE_SAYS_SO,
    "color": _FILE_SAYS_SO,
    "mean": _FILE_SAYS_SO,
    "scale": _FILE_SAYS_SO,
    "threads": "in DeepStream the GPU infers",
    "engine_streams": "in DeepStream nvinfer is the engine",
    "mode": "in DeepStream say --batch-timeout and --batch-size",
    "realtime": "recordings are replayed by it",
    "max_latency": "DeepStream's mux does not wait for slow cameras, and drops nothing for being late",
    "open_timeout": "nvurisrcbin has --stall-timeout and --retry-max",
    "tiled_fps": "DeepStream's tiles come as fast as its inputs",
    "keep_running": "DeepStream's graph has the streams that it began with",
}
"""Setting -> why it cannot be meant in DeepStream."""


class Settings(BaseModel):
    """Everything that can be said about a run. Field names are those of the command line's flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: Annotated[list[str], BeforeValidator(_as_list)] = []
    """Videos, URLs, cameras, images, folders, globs and recordings."""
    model: Annotated[str | None, BeforeValidator(_as_model)] = None
    """ONNX file, OpenVINO .xml, a folder that holds one, or a name of the zoo; `None` for recordings only."""
    nvinfer_config: str | None = None
    """nvinfer configuration file, INI or YAML: everything here that it says too is taken from it unless it is given."""
    outputs: Annotated[list[str], BeforeValidator(_as_list)] = []
    """Where results go, named by suffix or scheme."""

    runtime: Literal["portable", "deepstream"] = "portable"
    """What makes the tensors: tensortap itself, or NVIDIA's DeepStream with its SDK."""
    engine: str = "auto"
    """`auto`, or a name of the registry."""
    precision: Literal["auto", "f32", "bf16", "f16"] = "auto"
    """What the engine computes in, where the backend offers a choice."""
    batch_size: int | None = Field(default=None, ge=1, le=1024)
    """Frames a batch; `None` takes the model's own, or 1 where it is dynamic."""
    imgsz: Size | None = None
    """Network input (height, width) of a dynamic model; `None` takes what its metadata say."""
    rect: bool = False
    """Take from the network input of a dynamic model what would be padding for all streams that the run begins with, whose
    sizes must be known. Others that are added fit into what is left."""
    color: Literal["auto", "rgb", "bgr"] = "auto"
    """Order of the channels that the network wants; `auto` is what the authors of its head feed it, else RGB."""
    mean: Annotated[tuple[float, float, float] | None, BeforeValidator(_as_mean)] = None
    """Subtracted from the channels, in 0..255 and in their order; `None` as for `color`, else 0."""
    scale: Annotated[float | tuple[float, float, float] | None, BeforeValidator(_as_scale)] = None
    """Factor of the channels after that, one or three; `None` as for `color`, else 1/255."""
    letterbox: str = "auto"
    """How frames are placed in the network input: `auto` as the authors of the head do, or the name of a policy."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Cores the engine may use; `None` for all."""
    mode: Literal["auto", "latency", "throughput"] = "auto"
    """What to be after: every frame soon (only the newest waits, one batch at a time), or many frames. `auto` is latency for
    one camera alone."""
    engine_streams: int | None = Field(default=None, ge=1, le=256)
    """Batches that the engine works on at the same time; `None` is its own choice for the mode."""

    decoder: str = "auto"
    """`auto` recognises the head; `none` finds nobody, for any model; a name of the registry; or your own, `my.py:decode`."""
    taps: Annotated[list[str], BeforeValidator(_as_list)] = []
    """Functions that see every inferred frame's tensors: `my.py:look` or `package.module:look`."""
    on_tap_error: Literal["stop", "warn", "drop"] = "stop"
    """When a tap raises: end the run, go on, or do without the tap."""
    kpt_shape: KptShape | None = None
    """Number of keypoints and values of each (2 or 3), for models whose files do not say; `None` takes what they say."""
    conf_thres: float = Field(default=0.25, ge=0, le=1)
    """People with a score above it are kept."""
    iou_thres: float = Field(default=0.45, ge=0, le=1)
    """Of boxes of one class that overlap by more, the best one stays."""
    max_det: int = Field(default=300, ge=1)
    """At most so many people a frame."""
    clip: bool = False
    """Move boxes and keypoints outside the frame to its edge."""

    tracker: str | None = "auto"
    """`auto` is `pose` on videos and none on still images; `None` never tracks; or a name of the registry."""
    interval: int = Field(default=0, ge=0)
    """Frames that pass without inference after each inferred one, as nvinfer's `interval`."""
    realtime: bool = False
    """Replay recordings at the speed at which they were recorded."""
    record_frames: bool = False
    """Store the pictures too where a recording is among the outputs."""
    record_compress: bool = True
    """Pack recorded tensors where that makes them much smaller."""
    max_frames: int | None = Field(default=None, ge=1)
    """Stop each stream after so many frames."""
    batch_timeout: float | None = Field(default=None, ge=0, le=10)
    """Seconds that a batch waits to be filled while the engine has nothing else to do; `None` is 0.04, and 0 for latency."""

    codec: Annotated[Literal["h264", "h265"], BeforeValidator(_as_codec)] = "h264"
    """Of videos, served and pushed pictures."""
    bitrate: Bitrate | None = None
    """Bits a second of each video or picture; `None` keeps a constant quality in files and takes 4 Mbit/s elsewhere."""
    keyframe_seconds: float = Field(default=2.0, gt=0, le=600)
    """From one keyframe of served and pushed pictures to the next."""
    tiled_size: PictureSize = (1280, 720)
    """Width and height of the picture that shows all streams."""
    tiled_fps: float = Field(default=30.0, ge=1, le=240)
    """Pictures a second at most of what is served and pushed."""

    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP cameras send."""
    max_latency: float | None = Field(default=None, gt=0)
    """Frames of live streams that are older, in seconds, are dropped before inference."""
    open_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds until a camera must have answered, and from then until its first picture."""
    stall_timeout: float = Field(default=5.0, gt=0, le=3600)
    """Seconds without a picture after which a camera is opened again."""
    retry_max: float = Field(default=10.0, gt=0, le=3600)
    """Longest pause in seconds before the next attempt; pauses double up to it."""
    retries: int | None = Field(default=None, ge=0)
    """Failed attempts in a row after which a camera is given up; `None` never does."""
    keep_running: bool = False
    """Go on when the last stream has ended, for streams that are added while it runs."""

    gie: Literal["nvinfer", "nvinferserver"] = "nvinfer"
    """DeepStream's element that infers; its configuration file is `nvinfer_config`."""
    gie_configs: Annotated[list[str], BeforeValidator(_as_list)] = []
    """Configuration files of further inferences in DeepStream's graph, e.g. the detector before a pose network on objects."""
    tracker_config: str | None = None
    """Configuration file of nvtracker, which then names the people."""
    analytics_config: str | None = None
    """Configuration file of nvdsanalytics."""
    file_loop: bool = False
    """Play files over and over."""
    pixels: bool = False
    """Keep DeepStream's surfaces where taps can read `frame.image`, which costs a conversion of every frame."""
    platform: Literal["auto", "jetson", "dgpu", "sbsa", "wsl"] = "auto"
    """Which machine DeepStream's graph is for; `auto` is this one."""
    binding: Literal["auto", "pyds", "pyservicemaker"] = "auto"
    """DeepStream's Python bindings; `auto` takes those that are installed, pyds first, which tell more."""
    mux_size: PictureSize | None = None
    """Width and height that nvstreammux scales every stream to; `None` is the streams' own if they share it, else 1920x1080."""
    new_mux: bool = False
    """The new nvstreammux, which scales nothing."""
    encoder: Literal["auto", "hardware", "software"] = "auto"
    """What encodes DeepStream's pictures; `auto` is the hardware where it can."""
    gpu_id: int = Field(default=0, ge=0, le=63)
    """Number of the GPU that DeepStream uses."""

    @model_validator(mode="after")
    def _fits_the_runtime(self) -> Settings:
        other, hint = (
            (ONLY_PORTABLE, "is for --runtime portable: {why}")
            if self.runtime == "deepstream"
            else (dict.fromkeys(ONLY_DEEPSTREAM, ""), "is for --runtime deepstream")
        )
        for name, why in other.items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"--{name.replace('_', '-')} {hint.format(why=why)}")
        return self

    @model_validator(mode="after")
    def _has_inputs(self) -> Settings:
        if not self.inputs and not self.keep_running:
            raise ValueError("--input is missing")
        return self

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        return _known(value, {"auto", *known_names("engine")})

    @field_validator("decoder")
    @classmethod
    def _known_decoder(cls, value: str) -> str:
        return value if ":" in value else _known(value, {"auto", "none", *known_names("decoder")})

    @field_validator("tracker")
    @classmethod
    def _known_tracker(cls, value: str | None) -> str | None:
        return None if value in (None, "none") else _known(str(value), {"auto", *known_names("tracker")})

    @field_validator("letterbox")
    @classmethod
    def _known_letterbox(cls, value: str) -> str:
        return _known(value, {"auto", *LETTERBOX_POLICIES})

    @classmethod
    def checked(cls, **values: Any) -> Settings:
        """Settings from values of any origin.

        Raises:
            UsageError: a name is unknown or a value cannot be meant; every one of them is listed.
        """
        if values.get("nvinfer_config") is not None:
            path = values["nvinfer_config"] = os.fspath(values["nvinfer_config"])
            told = _told_on_device(path, values.get("gie")) if values.get("runtime") == "deepstream" else _told_by(path)
            values = told | {name: value for name, value in values.items() if value is not None or name == "tracker"}
        try:
            return cls(**values)
        except ValidationError as exc:
            raise UsageError("\n".join(dict.fromkeys(explain(error) for error in exc.errors()))) from exc


def _told_by(path: str) -> dict[str, Any]:
    """The settings that an nvinfer file makes; what it cannot make is logged."""
    config = read_nvinfer(Path(path))
    for sentence in config.warnings:
        _log.warning("%s", sentence)
    if config.ignored:
        _log.info("%s: without meaning outside DeepStream: %s", path, ", ".join(config.ignored))
    settings = config.settings()
    if "model" not in settings and config.engine_file:
        _log.info("%s: %s is an engine for one GPU; give its ONNX file with --model.", path, config.engine_file.name)
    return settings


def _told_on_device(path: str, gie: str | None) -> dict[str, Any]:
    """The settings that the file of nvinfer or nvinferserver makes where that element itself reads the rest of it."""
    config = read_inferserver(Path(path)) if gie == "nvinferserver" else read_nvinfer(Path(path))
    for sentence in config.warnings:
        _log.warning("%s", sentence)
    return config.settings_on_device()


def _known(value: str, names: set[str]) -> str:
    if value not in names:
        raise ValueError(f"choose one of {', '.join(sorted(names))}")
    return value


def explain(error: Any) -> str:
    """One of pydantic's errors in a line for a person: the flag, what it was given, what it takes."""
    if not error["loc"]:  # of all of them together
        return f"{error['msg'].removeprefix('Value error, ')}."
    name = str(error["loc"][0])
    flag = "--" + name.replace("_", "-")
    if error["type"] == "extra_forbidden":
        return f"There is no setting {name!r}. Known: {', '.join(sorted(Settings.model_fields))}."
    if error["type"] == "missing":
        return f"{flag} is missing."
    return f"{flag} {redact(str(error['input']))}: {what_is_wrong(error)}."


def what_is_wrong(error: Any) -> str:
    """Of one of pydantic's errors, what a value should have been, without the value: `should be greater than 0`."""
    message: str = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return message if error["type"] == "value_error" else f"should be {message}"
