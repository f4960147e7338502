"""The engine that the settings ask for, with the model loaded into it at the size that they ask for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from tensortap.batches import Shortlist
from tensortap.config import Settings
from tensortap.errors import EngineError, MissingDependencyError, UsageError
from tensortap.geometry import rectangle
from tensortap.loading import names_parameter, taken_by
from tensortap.portable.engines.auto import first_that_loads
from tensortap.portable.engines.base import Engine, InputFormat
from tensortap.portable.engines.gpu import nvidia_gpu_here
from tensortap.portable.model import ImageInput, ModelInfo, image_input
from tensortap.portable.threads import Mode
from tensortap.reading import feeding_for
from tensortap.registry import AUTO_ENGINES, ENGINES, GPU_ENGINES, load
from tensortap.tuned import Choice, recall
from tensortap.types import StreamInfo

_log = logging.getLogger(__name__)


def create_engine(
    settings: Settings, model: ModelInfo, mode: Mode = "throughput", shortlist: Shortlist | None = None
) -> tuple[Engine, str]:
    """The engine that the settings ask for, with the model loaded, and why it is this one.

    Args:
        mode: what it is to be set up for.
        shortlist: what it may pick out of an output where that is on a device.

    Raises:
        MissingDependencyError, EngineError, ModelError, UsageError: it cannot be had; no other engine is taken instead.
    """
    wanted = image_input(model)
    feeding = feeding_for(settings, model)
    asked_hw = settings.imgsz or model.imgsz or (640, 640)
    height, width = wanted.height or asked_hw[0], wanted.width or asked_hw[1]
    if settings.imgsz and settings.imgsz != (height, width):
        raise UsageError(
            f"--imgsz {settings.imgsz[0]}x{settings.imgsz[1]}: the input of {model.path.name} is fixed at {height}x{width}. "
            "Export the model with dynamic=True or with that size."
        )
    _check_stride(model, wanted, height, width)

    def create(name: str, tuned: Choice | None = None) -> Engine:
        engine_class = load("engine", ENGINES, name)
        engine: Engine = engine_class(
            model,
            InputFormat(feeding.color, feeding.scale, feeding.mean),
            network_wh=(width, height),
            batch_size=settings.batch_size or wanted.batch or (tuned.batch_size if tuned else 1),
            precision=tuned.precision if tuned else settings.precision,
            threads=settings.threads,
            # Engines of installed packages need not know of these.
            **taken_by(
                engine_class, {"mode": mode, "streams": settings.engine_streams or (tuned.engine_streams if tuned else None)}
            ),
            # Those that take anything may pass it on to one that does not.
            **({"shortlist": shortlist} if names_parameter(engine_class, "shortlist") else {}),
        )
        return engine

    if settings.engine != "auto":
        return create(settings.engine), "asked for by name"
    tuned = recall(model.path, mode, (height, width)) if settings.precision == "auto" else None
    if tuned is not None:
        try:
            return create(tuned.choice.engine, tuned.choice), f"tuned on {tuned.when[:10]} to be the fastest here"
        except (EngineError, MissingDependencyError) as exc:
            _log.warning("What tensortap tune found, %s, cannot be had any more: %s", tuned.choice, exc)
    names = (*GPU_ENGINES, *AUTO_ENGINES) if nvidia_gpu_here() else AUTO_ENGINES
    return first_that_loads([(name, partial(create, name)) for name in names])


def rectangular_imgsz(settings: Settings, model: ModelInfo, policy: str, streams: Sequence[StreamInfo]) -> tuple[int, int]:
    """Height and width of the network input without the padding that all streams would have.

    Raises:
        UsageError: the model's input is fixed, nothing is padded, or the size of pictures is not known yet.
    """
    wanted = image_input(model)
    if wanted.height or wanted.width:
        fixed = {"height": wanted.height, "width": wanted.width}
        described = " and ".join(f"{name} {side}" for name, side in fixed.items() if side)
        raise UsageError(f"--rect: the input of {model.path.name} is fixed at {described}. Export the model with dynamic=True.")
    height, width = settings.imgsz or model.imgsz or (640, 640)
    _check_stride(model, wanted, height, width)
    if "stretch" in policy:
        raise UsageError(f"--rect: {policy} stretches pictures to the whole input; there is no padding to leave out.")
    sizes_wh = [stream.size_wh for stream in streams if stream.size_wh and not stream.is_still]
    if len(sizes_wh) < len(streams) or not streams or settings.keep_running:
        names = [stream.name for stream in streams if stream.is_still or not stream.size_wh]
        wide_wh = rectangle(policy, [(1920, 1080)], (width, height), model.stride)
        raise UsageError(
            f"--rect: how large the pictures of {names[0] if names else 'later streams'} are is not known beforehand. "
            f"If they are 16:9, say --imgsz {wide_wh[1]}x{wide_wh[0]}."
        )
    width, height = rectangle(policy, sizes_wh, (width, height), model.stride)
    return height, width


def _check_stride(model: ModelInfo, wanted: ImageInput, height: int, width: int) -> None:
    # A size that the file fixes is right as it is.
    if (not wanted.height and height % model.stride) or (not wanted.width and width % model.stride):
        raise UsageError(f"--imgsz {height}x{width}: both must be multiples of the model's stride, {model.stride}.")
