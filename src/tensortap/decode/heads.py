"""Which decoder a model needs: told by its metadata and the shapes of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensortap.decode.layouts import LAYOUTS
from tensortap.decode.outputs import Head, Keypoints, Match, Outputs, Shape, text_of
from tensortap.errors import ModelError

_OWN = "decode its tensors yourself with Pipeline(decoder=...)"


def recognise(
    outputs: Mapping[str, Shape],
    metadata: Mapping[str, Any],
    *,
    network_wh: tuple[int, int] | None = None,
    decoder: str | None = None,
    kpt_shape: tuple[int, int] | None = None,
) -> Head:
    """The head of a model.

    Args:
        outputs: name -> shape without batch axis; `None` where an axis is not known.
        metadata: what the export wrote into the file: `task`, `kpt_shape`, `names`, `end2end` ...
        network_wh: width and height of the network input, where they are known: they tell anchor grids apart.
        decoder: the one that the user asks for; `None` for the one that fits.
        kpt_shape: number of keypoints and values of each, where the user says so; else the metadata's.

    Raises:
        ModelError: the outputs are not those of a pose head known here, fit several, or not the one that was asked for.
    """
    described = ", ".join(f"{name} {text_of(shape)}" for name, shape in outputs.items())
    task = metadata.get("task")
    if task not in (None, "pose"):
        raise ModelError(
            f"This is a {task} model (its metadata say so; outputs: {described}), not a pose model. "
            f"Use the -pose weights, e.g. yolov8n-pose, or {_OWN}."
        )
    asked = Outputs(outputs, metadata, _keypoints(metadata, kpt_shape), network_wh)
    matches = [match for layout in LAYOUTS.values() if (match := layout.match(asked)) is not None]
    if decoder is not None:
        return _the_wanted(decoder, matches, asked, described)
    sure = [match for match in matches if not match.doubt]
    if len(sure) == 1:
        return sure[0].head
    if matches:
        raise ModelError(_doubts(sure or matches, described))
    raise ModelError(_nothing(asked, described))


def _keypoints(metadata: Mapping[str, Any], wanted: tuple[int, int] | None) -> Keypoints:
    if wanted is not None:
        return Keypoints(*wanted, f"by --kpt-shape {wanted[0]}x{wanted[1]}", is_told=True)
    told = metadata.get("kpt_shape")
    if told is None:
        return Keypoints(17, 3, "assumed to be COCO's 17 x 3, as the file has no kpt_shape", is_told=False)
    is_pair = isinstance(told, (list, tuple)) and len(told) == 2 and all(isinstance(value, int) for value in told)
    if not (is_pair and told[0] >= 1 and told[1] in (2, 3)):
        raise ModelError(f"The model's metadata have kpt_shape {told!r}; it should be [keypoints, 2 or 3].")
    return Keypoints(int(told[0]), int(told[1]), f"by kpt_shape {list(told)}", is_told=True)


def _the_wanted(decoder: str, matches: list[Match], asked: Outputs, described: str) -> Head:
    """The head that the user asked for, also where others fit as well."""
    for match in matches:
        if match.head.decoder == decoder:
            return match.head
    layout = LAYOUTS.get(decoder)
    expects = f" {decoder} expects {layout.expects(asked.keypoints)}." if layout else ""
    looks = [match for match in matches if not match.doubt] or matches
    if looks:
        other = looks[0].head
        hint = f"The model has the head of {other.decoder}: {other.reason}. Use --decoder {other.decoder}, or leave it out."
    else:
        hint = f"If it has another number of keypoints, say so with --kpt-shape, or {_OWN}."
    raise ModelError(f"--decoder {decoder}: the outputs are {described}.{expects} {hint}")


def _doubts(matches: list[Match], described: str) -> str:
    could = "; ".join(f"--decoder {match.head.decoder} if {match.doubt or match.head.reason}" for match in matches)
    which = "it can be read in several ways" if len(matches) > 1 else "nothing in the file says so for sure"
    return f"The outputs ({described}) may be those of a pose head, but {which}. Say which: {could}."


def _nothing(asked: Outputs, described: str) -> str:
    keypoints = asked.keypoints
    if (found := asked.only(2)) is not None:
        name, shape = found
        if asked.metadata.get("end2end") is True:
            return f"The output {name} {text_of(shape)} should be an end-to-end head, {LAYOUTS['end2end'].expects(keypoints)}."
        if set(shape) == {None}:
            return f"The output {name} is {text_of(shape)}: neither axis is known, so its head cannot be told."
        return (
            f"Model output {name!r} is {text_of(shape)}; yolo-pose with {keypoints.num} keypoints of {keypoints.dims} values "
            f"({keypoints.source}) expects {4 + 1 + keypoints.num_values} rows for one class, one more for each further class. "
            "This looks like a detection export: re-export the -pose weights, whose metadata hold task and kpt_shape. "
            f"If it is a pose model of another number of keypoints, say so with --kpt-shape, or {_OWN}."
        )
    expected = "; ".join(f"{name}: {layout.expects(keypoints)}" for name, layout in LAYOUTS.items())
    return f"The outputs ({described}) are those of no pose head that is known here ({expected}). {_OWN[0].upper()}{_OWN[1:]}."
