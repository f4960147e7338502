"""Which decoder a model needs: told by its metadata and the shapes of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tensortap.errors import ModelError

Shape = Sequence[int | None]


@dataclass(frozen=True)
class Head:
    """What was recognised."""

    decoder: str
    """Name of the decoder in the registry."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the decoder's constructor is told."""
    reason: str = ""
    """Why, in a sentence for people."""


class _Keypoints(NamedTuple):
    num: int
    dims: int
    source: str
    """Who says so, for messages."""

    @property
    def num_values(self) -> int:
        return self.num * self.dims


def recognise(outputs: Mapping[str, Shape], metadata: Mapping[str, Any]) -> Head:
    """The head of a model.

    Args:
        outputs: name -> shape without batch axis; `None` where an axis is not known.
        metadata: what the export wrote into the file: `task`, `kpt_shape`, `names`, `end2end` ...

    Raises:
        ModelError: the outputs are not those of a pose head known here; says what they look like instead.
    """
    described = ", ".join(f"{name} {_text(shape)}" for name, shape in outputs.items())
    task = metadata.get("task")
    if task not in (None, "pose"):
        raise ModelError(
            f"This is a {task} model (its metadata say so; outputs: {described}), not a pose model. "
            f"Use the -pose weights, e.g. yolov8n-pose, or decode its tensors yourself with Pipeline(decoder=...)."
        )
    if len(outputs) != 1:
        raise ModelError(
            f"This model has {len(outputs)} outputs ({described}); a YOLOv8-pose or YOLO11-pose export has one of "
            "(1, 4 + classes + keypoints x 3, anchors). Decode them yourself with Pipeline(decoder=...)."
        )
    [(name, shape)] = outputs.items()
    if len(shape) != 2:
        raise ModelError(f"The output {name} is {_text(shape)} without its batch axis; a pose head has two axes. {_HINT}")
    keypoints = _keypoint_shape(metadata)
    if metadata.get("end2end") is True or _is_end_to_end(shape, keypoints, metadata):
        raise ModelError(
            f"The output {name} {_text(shape)} is an end-to-end head: rows of x1, y1, x2, y2, score, class and keypoints, "
            "after NMS. tensortap decodes YOLOv8-pose and YOLO11-pose so far: export this model with end2end=False, or "
            "decode it yourself with Pipeline(decoder=...)."
        )
    return _yolo_pose(name, shape, keypoints, metadata)


_HINT = "If this is a pose model, decode it yourself with Pipeline(decoder=...)."


def _yolo_pose(name: str, shape: Shape, keypoints: _Keypoints, metadata: Mapping[str, Any]) -> Head:
    told_classes = _num_names(metadata)
    channels, transposed = _channels(shape, 4 + (told_classes or 1) + keypoints.num_values)
    # The channels decide: metadata of some exports list the classes of the model that they were trained from.
    num_classes = channels - 4 - keypoints.num_values
    confirmed = "kpt_shape" in metadata or num_classes == (told_classes or 1)
    if num_classes < 1 or not confirmed:
        expected = 4 + 1 + keypoints.num_values
        raise ModelError(
            f"Model output {name!r} is {_text(shape)}; yolo-pose with {keypoints.num} keypoints of {keypoints.dims} values "
            f"({keypoints.source}) expects {expected} rows for one class, one more for each further class. This looks like a "
            f"detection export: re-export the -pose weights, whose metadata hold task and kpt_shape. {_HINT}"
        )
    return Head(
        decoder="yolo-pose",
        arguments={
            "num_keypoints": keypoints.num,
            "keypoint_dims": keypoints.dims,
            "num_classes": num_classes,
            "output": name,
            "transposed": transposed,
        },
        reason=(
            f"{name} {_text(shape)} has {channels} = 4 box + {num_classes} class + {keypoints.num} x {keypoints.dims} "
            f"keypoint values in each {'row' if transposed else 'column'}; keypoints {keypoints.source}"
        ),
    )


def _keypoint_shape(metadata: Mapping[str, Any]) -> _Keypoints:
    told = metadata.get("kpt_shape")
    if told is None:
        return _Keypoints(17, 3, "assumed to be COCO's 17 x 3, as the file has no kpt_shape")
    is_pair = isinstance(told, (list, tuple)) and len(told) == 2 and all(isinstance(value, int) for value in told)
    if not (is_pair and told[0] >= 1 and told[1] in (2, 3)):
        raise ModelError(f"The model's metadata have kpt_shape {told!r}; it should be [keypoints, 2 or 3].")
    return _Keypoints(int(told[0]), int(told[1]), f"by kpt_shape {list(told)}")


def _channels(shape: Shape, expected: int) -> tuple[int, bool]:
    """How many values an anchor has, and whether they lie in rows: (values, anchors) or, transposed, (anchors, values)."""
    first, second = shape
    if first == expected or (second is None and first is not None):
        return int(first), False
    if second == expected or (first is None and second is not None):
        return int(second), True
    if first is None or second is None:
        raise ModelError(f"The output is {_text(shape)}: neither axis is known, so its head cannot be told.")
    # There are always more anchors than values.
    return (first, False) if first <= second else (second, True)


def _is_end_to_end(shape: Shape, keypoints: _Keypoints, metadata: Mapping[str, Any]) -> bool:
    """(300, 6 + K*d): at most a few hundred rows, which an anchor grid seldom has, and no classes to explain the two more."""
    rows, values = shape
    two_classes = _num_names(metadata) == 2
    return values == 6 + keypoints.num_values and rows is not None and rows <= 1000 and not two_classes


def _num_names(metadata: Mapping[str, Any]) -> int | None:
    """How many classes the metadata name."""
    names = metadata.get("names")
    return len(names) if isinstance(names, (dict, list)) and names else None


def _text(shape: Shape) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"
