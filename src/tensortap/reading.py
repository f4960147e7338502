"""How a model is fed and its tensors are read: as the head that is recognised wants it, or as the settings say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tensortap.batches import Shortlist
from tensortap.config import Settings
from tensortap.decode.heads import recognise
from tensortap.decode.outputs import Feeding, Head
from tensortap.errors import ModelError, PluginError, UsageError
from tensortap.loading import load_callable, taken_by
from tensortap.pipeline import Decoder
from tensortap.portable.engines.base import Engine
from tensortap.portable.model import ModelInfo, image_input
from tensortap.recording.reader import Recording
from tensortap.recording.replay import DescribedEngine
from tensortap.registry import DECODERS, load, load_plugin, package_of, plugins
from tensortap.skeletons import Skeleton, skeleton_for
from tensortap.taps import name_of
from tensortap.types import Poses, TensorFrame

_log = logging.getLogger(__name__)


def feeding_for(settings: Settings, model: ModelInfo) -> Feeding:
    """How the network wants its pictures: as the authors of its head have it, unless the settings say otherwise."""
    wanted = image_input(model)
    head = _head_in_file(settings, model)
    feeding = head.feeding if head is not None else Feeding()
    if wanted.dtype == "uint8":
        # The model works the rest out itself, and is fed what pictures are everywhere.
        feeding = replace(feeding, color="rgb")
        for name in ("mean", "scale"):
            if getattr(settings, name) is not None:
                raise UsageError(f"--{name}: {model.path.name} takes pictures as bytes; it has its own {name}, or none.")
    return replace(
        feeding,
        letterbox=feeding.letterbox if settings.letterbox == "auto" else settings.letterbox,
        color=feeding.color if settings.color == "auto" else settings.color,
        mean=feeding.mean if settings.mean is None else settings.mean,
        scale=feeding.scale if settings.scale is None else settings.scale,
    )


def shortlist_for(settings: Settings, model: ModelInfo) -> Shortlist | None:
    """What an engine may pick out of the model's output for the decoder; `None` where the decoder reads all of it."""
    head = _head_in_file(settings, model)
    if head is None or head.decoder != "yolo-pose":
        return None
    told = head.arguments
    return Shortlist(told["output"], told["num_classes"], told["transposed"])


def _head_in_file(settings: Settings, model: ModelInfo) -> Head | None:
    """The head as far as the model's file tells; `None` where the first tensors have to, or nobody knows it."""
    wanted = image_input(model)
    try:
        return recognise(
            {tensor.name: tensor.shape[1:] for tensor in model.outputs},
            model.metadata,
            network_wh=(wanted.width, wanted.height) if wanted.width and wanted.height else None,
            decoder=settings.decoder if settings.decoder in DECODERS else None,
            kpt_shape=settings.kpt_shape,
        )
    except ModelError:
        return None


def recorded_feeding(recording: Recording) -> Feeding:
    """How the network was fed, as far as the recording tells; nothing is fed again."""
    told = recording.header.get("feeding") or {}
    try:
        scale = told["scale"]
        return Feeding(
            letterbox=str(told["letterbox"]),
            color="bgr" if told["color"] == "bgr" else "rgb",
            scale=_three(scale) if isinstance(scale, list) else float(scale),
            mean=_three(told["mean"]),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return Feeding()


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


class Nobody:
    """The decoder of `--decoder none`: finds nobody, whatever the tensors are."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self._nobody = Poses.empty(skeleton)

    def __call__(self, frame: TensorFrame) -> Poses:
        return self._nobody


def skeleton_of(model: ModelInfo) -> Skeleton:
    return skeleton_for((model.kpt_shape or (17, 3))[0])


def own_decoder(settings: Settings, given: Decoder | type[Any] | None = None) -> Decoder | None:
    """The decoder that is not ours, made with what it takes of the settings; `None` for ours.

    Args:
        given: a function, or a class to be made; `None` for what the settings name.

    Raises:
        UsageError, PluginError: it cannot be loaded or made.
    """
    offered = _decoder_settings(settings)
    decoder: Decoder
    if isinstance(given, type):
        decoder = given(**taken_by(given, offered))
    elif given is not None:
        decoder = given
    elif ":" in settings.decoder:
        decoder = load_callable(settings.decoder, "--decoder", offered)
    elif settings.decoder in plugins("decoder"):
        decoder = _plugged_in(settings.decoder, offered)
    else:
        return None
    _warn_of_what_has_no_effect(settings, decoder)
    return decoder


def _plugged_in(name: str, offered: Mapping[str, Any]) -> Decoder:
    decoder: Any = load_plugin("decoder", name)
    try:
        return decoder(**taken_by(decoder, offered)) if isinstance(decoder, type) else decoder  # type: ignore[no-any-return]
    except Exception as exc:  # of somebody else's code
        raise PluginError(
            f"The decoder {name!r} of the installed package {package_of(plugins('decoder')[name])} cannot be made: "
            f"{type(exc).__name__}: {exc}"
        ) from exc


def _decoder_settings(settings: Settings) -> dict[str, Any]:
    """What a decoder's constructor may be told by the settings."""
    told: dict[str, Any] = {name: getattr(settings, name) for name in ("conf_thres", "iou_thres", "max_det", "clip")}
    if settings.kpt_shape is not None:
        told["num_keypoints"], told["keypoint_dims"] = settings.kpt_shape
    return told


def _warn_of_what_has_no_effect(settings: Settings, decoder: Decoder) -> None:
    """A decoder of one's own that is no class, or takes less, decides itself what the settings ask for."""
    for name in ("conf_thres", "iou_thres", "max_det", "clip", "kpt_shape"):
        asked = getattr(settings, name)
        has = getattr(decoder, "num_keypoints" if name == "kpt_shape" else name, None)
        if asked != Settings.model_fields[name].default and has is None:
            _log.warning("--%s has no effect: the decoder %s does not take it.", name.replace("_", "-"), name_of(decoder))


def network_wh_of(engine: Engine) -> tuple[int, int]:
    """Width and height of the network input."""
    _, height, width, _ = engine.requests[0].images.shape
    return width, height


def create_decoder(settings: Settings, models: Sequence[tuple[ModelInfo, Engine]]) -> tuple[Head, Decoder]:
    """The decoder of one model, or of recordings that are replayed together."""
    (first, _), *others = models
    head, *heads = [_recognised(settings, model, engine) for model, engine in models]
    for (model, _), other in zip(others, heads, strict=True):
        if (other.decoder, other.arguments) != (head.decoder, head.arguments):
            raise ModelError(
                f"The recordings have different heads: {first.path} has {head.decoder}, {head.reason}; {model.path} has "
                f"{other.decoder}, {other.reason}. Replay them one by one."
            )
    decoder: Decoder = load("decoder", DECODERS, head.decoder)(**{**_decoder_settings(settings), **head.arguments})
    return head, decoder


class FirstFrameDecoder:
    """Recognises the head by the first tensors, for models that are engines on a device and have no file to be asked.

    Args:
        settings: what the decoder is told.
        model: what is known of the model.
    """

    def __init__(self, settings: Settings, model: ModelInfo) -> None:
        self.skeleton = skeleton_for((settings.kpt_shape or model.kpt_shape or (17, 3))[0])
        self._settings = settings
        self._model = model
        self._decoder: Any = None

    @property
    def rejected(self) -> Mapping[int, Mapping[str, int]]:
        """As the decoder's own."""
        return getattr(self._decoder, "rejected", {})

    def __call__(self, frame: TensorFrame) -> Poses:
        if self._decoder is None:
            engine = DescribedEngine(
                "", "", "", 1, {name: array.shape for name, array in frame.tensors.items()}, frame.letterbox.network_wh
            )
            head, self._decoder = create_decoder(self._settings, [(self._model, engine)])
            _log.info("%s: %s", head.decoder, head.reason)
        poses: Poses = self._decoder(frame)
        return poses


def decoder_on_device(settings: Settings, model: ModelInfo, network_wh: tuple[int, int] | None) -> tuple[Head | None, Decoder]:
    """The decoder for a model that a device runs: by its file if that says enough, else by the first tensors."""
    shapes: Any = {tensor.name: tensor.shape[1:] for tensor in model.outputs}
    engine = DescribedEngine("", "", "", 1, shapes, network_wh)
    try:
        return create_decoder(settings, [(model, engine)])
    except ModelError:
        if shapes and all(None not in shape for shape in shapes.values()):
            raise  # the first tensors would say no more
        return None, FirstFrameDecoder(settings, model)


def _recognised(settings: Settings, model: ModelInfo, engine: Engine) -> Head:
    try:
        return recognise(
            engine.outputs,
            model.metadata,
            network_wh=engine.network_wh if isinstance(engine, DescribedEngine) else network_wh_of(engine),
            decoder=None if settings.decoder == "auto" else settings.decoder,
            kpt_shape=settings.kpt_shape,
        )
    except ModelError as exc:
        raise ModelError(f"{model.path}: {exc}") from None
