"""Poses as metadata: objects for trackers and brokers, skeletons for nvdsosd. Pure functions, in pixels of the mux surface."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from tensortap.deepstream.metadata import MAX_ELEMENTS, Box, Circle, Color, Drawing, Line, NewObject, Size
from tensortap.skeletons import Skeleton
from tensortap.types import Poses

# Red, green, blue, alpha; sides of the body differ in hue and in lightness.
_LEFT: Color = (0.22, 0.70, 1.0, 1.0)
_RIGHT: Color = (1.0, 0.50, 0.19, 1.0)
_MIDDLE: Color = (0.47, 0.90, 0.55, 1.0)
_LEAST_SIDE = 1.0
"""A box that is smaller after clipping, in pixels, is none: trackers choke on it."""


def objects_of(poses: Poses, surface_wh: Size, component_id: int, labels: Sequence[str]) -> list[tuple[int, NewObject]]:
    """The people as objects, each with its row; those of whom nothing is on the surface are left out.

    Args:
        poses: in pixels of the surface.
        labels: names of the classes.
    """
    found = []
    for row in range(len(poses)):
        box = clipped(poses.boxes_xyxy[row], surface_wh)
        if box is None:
            continue
        class_id, score, track_id = int(poses.class_ids[row]), float(poses.scores[row]), int(poses.track_ids[row])
        label = labels[class_id] if 0 <= class_id < len(labels) else f"class {class_id}"
        found.append((row, NewObject(component_id, class_id, label, score, box, track_id, text_of(label, track_id, score))))
    return found


def text_of(label: str, track_id: int, score: float) -> str:
    """What is written at a person: `person #3 0.87`."""
    return " ".join([label, *([f"#{track_id}"] if track_id >= 0 else []), f"{score:.2f}"])


def clipped(box_xyxy: np.ndarray, surface_wh: Size) -> Box | None:
    """The part of a box that is on the surface; `None` where less than a pixel is, or where it is no box."""
    left, top, right, bottom = (float(value) for value in box_xyxy)
    if not all(map(math.isfinite, (left, top, right, bottom))):
        return None
    left, top = max(left, 0.0), max(top, 0.0)
    right, bottom = min(right, float(surface_wh[0])), min(bottom, float(surface_wh[1]))
    return (left, top, right, bottom) if right - left >= _LEAST_SIDE and bottom - top >= _LEAST_SIDE else None


def drawings_of(poses: Poses, surface_wh: Size, min_score: float = 0.4) -> list[Drawing]:
    """The people's limbs and joints, packed into as few display metadata as hold them.

    Args:
        poses: in pixels of the surface.
        min_score: keypoints below it are left out, and limbs that end there.
    """
    lines: list[Line] = []
    circles: list[Circle] = []
    # A full HD picture has limbs three pixels wide.
    width = max(1, round(min(surface_wh) / 360))
    for keypoints in poses.keypoints.astype(np.float64):
        limbs, joints = _person(keypoints, poses.skeleton, surface_wh, width, min_score)
        lines += limbs
        circles += joints
    # The OSD draws one metadata after the other, so that both kinds fill up side by side.
    count = max(math.ceil(len(lines) / MAX_ELEMENTS), math.ceil(len(circles) / MAX_ELEMENTS))
    places = [slice(number * MAX_ELEMENTS, (number + 1) * MAX_ELEMENTS) for number in range(count)]
    return [Drawing(tuple(lines[place]), tuple(circles[place])) for place in places]


def _person(
    keypoints: np.ndarray, skeleton: Skeleton, surface_wh: Size, width: int, min_score: float
) -> tuple[list[Line], list[Circle]]:
    usable = np.isfinite(keypoints).all(axis=1) & (keypoints[:, 2] >= min_score)
    points = keypoints[:, :2].tolist()
    lines = []
    for (start, end), color in zip(skeleton.edges, _limb_colors(skeleton), strict=True):
        if usable[start] and usable[end]:
            ends = clipped_segment(points[start], points[end], surface_wh)
            if ends is not None:
                lines.append(Line(*ends, width, color))
    circles = [
        Circle(round(x), round(y), width + 1, color)
        for (x, y), color in zip((points[index] for index in np.flatnonzero(usable)), _colors(skeleton, usable), strict=True)
        if 0 <= round(x) < surface_wh[0] and 0 <= round(y) < surface_wh[1]
    ]
    return lines, circles


def clipped_segment(start: Sequence[float], end: Sequence[float], surface_wh: Size) -> tuple[int, int, int, int] | None:
    """The part of a line that is on the surface, in whole pixels: x1, y1, x2, y2; `None` where none is.

    Coordinates of the OSD are unsigned. Moving the ends to the edge would turn the line, so it is cut (Liang and Barsky, "A new
    concept and method for line clipping", 1984).
    """
    (x, y), (across, down) = start, (end[0] - start[0], end[1] - start[1])
    first, last = 0.0, 1.0
    for step, room in ((-across, x), (across, surface_wh[0] - 1 - x), (-down, y), (down, surface_wh[1] - 1 - y)):
        if step == 0:
            if room < 0:
                return None
        elif step < 0:
            first = max(first, room / step)
        else:
            last = min(last, room / step)
    if first > last:
        return None
    # What rounding adds or takes stays inside.
    xs = [min(max(round(x + across * at), 0), surface_wh[0] - 1) for at in (first, last)]
    ys = [min(max(round(y + down * at), 0), surface_wh[1] - 1) for at in (first, last)]
    return xs[0], ys[0], xs[1], ys[1]


def _side(name: str) -> Color:
    return _LEFT if name.startswith("left") else _RIGHT if name.startswith("right") else _MIDDLE


def _colors(skeleton: Skeleton, usable: np.ndarray) -> Iterator[Color]:
    return (_side(skeleton.keypoint_names[index]) for index in np.flatnonzero(usable))


@lru_cache(maxsize=16)
def _limb_colors(skeleton: Skeleton) -> tuple[Color, ...]:
    """The side's colour for limbs of one side, the middle's for those across."""
    sides = [_side(name) for name in skeleton.keypoint_names]
    return tuple(sides[start] if sides[start] == sides[end] else _MIDDLE for start, end in skeleton.edges)
