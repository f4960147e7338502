"""People drawn into a picture: limbs, joints, boxes and labels that fit its size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from tensortap.skeletons import Skeleton
from tensortap.types import Poses

Color = tuple[int, int, int]

# BGR. Sides of the body differ in hue and in lightness, so that they can be told apart in black and white too.
_LEFT: Color = (255, 178, 56)
_RIGHT: Color = (48, 128, 255)
_MIDDLE: Color = (140, 230, 120)
_OUTLINE: Color = (32, 32, 32)
# Boxes and labels by identity: far from each other, and neighbours in number far in hue.
_PALETTE: tuple[Color, ...] = (
    (80, 175, 76),
    (244, 133, 66),
    (54, 67, 234),
    (5, 188, 251),
    (188, 71, 171),
    (193, 172, 0),
    (67, 112, 255),
    (38, 157, 158),
    (153, 99, 240),
    (163, 120, 63),
    (107, 193, 233),
    (122, 122, 122),
)
_UNTRACKED: Color = (200, 200, 200)
_SHIFT = 3
"""Fractional bits of the coordinates given to OpenCV: joints move smoothly at low resolutions."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_poses(image: np.ndarray, poses: Poses, *, min_score: float = 0.4) -> np.ndarray:
    """A copy of the picture with people drawn in.

    Args:
        image: uint8 (H, W, 3) BGR; not written to.
        poses: people in pixels of the picture.
        min_score: keypoints below it are left out, and limbs that end there.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    canvas: np.ndarray = image.copy()
    if not len(poses):
        return canvas
    height, width = canvas.shape[:2]
    brushes = [_Brush.for_person(box, width, height) for box in poses.boxes_xyxy]
    usable = _usable(poses.keypoints, width, height, min_score)
    points = np.where(usable[..., None], poses.keypoints[..., :2], 0)
    fixed = np.rint(points * (1 << _SHIFT)).astype(np.int64)
    # The best person last, on top of the others.
    for row in range(len(poses) - 1, -1, -1):
        _draw_limbs(canvas, fixed[row], usable[row], poses.skeleton, brushes[row])
    # Labels after all boxes, so that no line crosses them, and the best person's on top.
    labels = [_draw_box(canvas, poses, row, brushes[row]) for row in range(len(poses) - 1, -1, -1)]
    _draw_labels(canvas, [label for label in labels if label is not None])
    return canvas


@dataclass(frozen=True)
class _Brush:
    """Sizes in pixels that fit a person in a picture."""

    limb: int
    joint: float
    box: int
    text: float

    @classmethod
    def for_person(cls, box_xyxy: np.ndarray, width: int, height: int) -> _Brush:
        picture = min(width, height)
        # A person cut off at the edge is as near as its longer side says.
        left, top, right, bottom = (float(value) for value in np.nan_to_num(box_xyxy, posinf=0, neginf=0))
        person = min(max(bottom - top, 1.5 * (right - left), 1.0), 2.0 * picture)
        limb = max(1, round(min(person / 75, picture / 110)))
        return cls(limb=limb, joint=max(1.2, limb * 0.85), box=max(1, round(picture / 500)), text=max(0.33, picture / 1200))


def _usable(keypoints: np.ndarray, width: int, height: int, min_score: float) -> np.ndarray:
    """bool (N, K): sure enough, and near enough to the picture that a line to it means something."""
    reach = np.array([width, height], np.float32)
    xy = keypoints[..., :2]
    with np.errstate(invalid="ignore"):
        near = ((xy > -reach) & (xy < 2 * reach)).all(axis=-1)
        sure = keypoints[..., 2] >= min_score
    usable: np.ndarray = near & sure
    return usable


def _draw_limbs(canvas: np.ndarray, points: np.ndarray, usable: np.ndarray, skeleton: Skeleton, brush: _Brush) -> None:
    colors = _limb_colors(skeleton)
    limbs = [(edge, color) for edge, color in zip(skeleton.edges, colors, strict=True) if usable[edge[0]] and usable[edge[1]]]
    ends = points.tolist()
    # A dark rim first, so that limbs stand out from any background and from each other.
    if brush.limb > 1:
        for (start, end), _ in limbs:
            cv2.line(canvas, ends[start], ends[end], _OUTLINE, brush.limb + 2, cv2.LINE_AA, _SHIFT)
    for (start, end), color in limbs:
        cv2.line(canvas, ends[start], ends[end], color, brush.limb, cv2.LINE_AA, _SHIFT)
    radius = round(brush.joint * (1 << _SHIFT))
    rim = round((brush.joint + 0.8) * (1 << _SHIFT))
    for index in np.flatnonzero(usable).tolist():
        cv2.circle(canvas, ends[index], rim, _OUTLINE, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, ends[index], radius, _joint_colors(skeleton)[index], cv2.FILLED, cv2.LINE_AA, _SHIFT)


class _Label(NamedTuple):
    """A text to be written at a box."""

    text: str
    left: int
    top: int
    width: int
    """Of the box."""
    color: Color
    scale: float


def _draw_box(canvas: np.ndarray, poses: Poses, row: int, brush: _Brush) -> _Label | None:
    """Draw one box; what is to be written at it comes back."""
    height, width = canvas.shape[:2]
    box = poses.boxes_xyxy[row]
    if not np.isfinite(box).all():
        return None
    left, top, right, bottom = np.clip(box, -1, [width, height, width, height]).round().astype(int).tolist()
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return None  # out of the picture: nothing of the person is in view
    track_id = int(poses.track_ids[row])
    color = _PALETTE[track_id % len(_PALETTE)] if track_id >= 0 else _UNTRACKED
    cv2.rectangle(canvas, (left, top), (right, bottom), color, brush.box, cv2.LINE_AA)
    score = f"{poses.scores[row]:.2f}"
    return _Label(f"#{track_id} {score}" if track_id >= 0 else score, left, top, right - left, color, brush.text)


def _draw_labels(canvas: np.ndarray, labels: list[_Label]) -> None:
    """Write the labels, the last one first; one that would lie over another is left out."""
    height, width = canvas.shape[:2]
    plates: list[tuple[int, int, int, int]] = []
    for label in reversed(labels):
        weight = max(1, round(label.scale * 1.6))
        (text_width, text_height), _ = cv2.getTextSize(label.text, _FONT, label.scale, weight)
        pad = max(2, round(text_height * 0.35))
        plate_width, plate_height = text_width + 2 * pad, text_height + 2 * pad
        if text_width > max(label.width, 40) * 2 or plate_height > height / 10:
            continue  # a far-away person, or a tiny picture, would disappear behind the label
        x = min(max(label.left, 0), max(0, width - plate_width))
        y = label.top - plate_height if label.top >= plate_height else max(0, label.top)
        if any(x < right and left < x + plate_width and y < low and top < y + plate_height for left, top, right, low in plates):
            continue
        plates.append((x, y, x + plate_width, y + plate_height))
        cv2.rectangle(canvas, (x, y), (x + plate_width, y + plate_height), label.color, cv2.FILLED)
        blue, green, red = label.color
        ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 130 else (255, 255, 255)
        cv2.putText(canvas, label.text, (x + pad, y + pad + text_height), _FONT, label.scale, ink, weight, cv2.LINE_AA)


def _side(name: str) -> Color:
    return _LEFT if name.startswith("left") else _RIGHT if name.startswith("right") else _MIDDLE


@lru_cache(maxsize=16)
def _joint_colors(skeleton: Skeleton) -> tuple[Color, ...]:
    return tuple(_side(name) for name in skeleton.keypoint_names)


@lru_cache(maxsize=16)
def _limb_colors(skeleton: Skeleton) -> tuple[Color, ...]:
    """The side's colour for limbs of one side, the middle's for those across."""
    sides = _joint_colors(skeleton)
    return tuple(
        sides[start] if sides[start] == sides[end] else (_MIDDLE if _MIDDLE not in (sides[start], sides[end]) else sides[end])
        for start, end in skeleton.edges
    )
