"""From joints in the picture to coloured convex shapes, and which keypoints those hide."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tensortap.scenes.body import JOINT
from tensortap.skeletons import COCO_17

Color = tuple[int, int, int]

_KEYPOINTS = [JOINT[name] for name in COCO_17.keypoint_names]
_SHIFT = 4
"""Fractional bits of the coordinates given to OpenCV."""
_NUM_CORNERS = 16
_ARC = np.linspace(-1.0, 1.0, _NUM_CORNERS // 2)
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


@dataclass(frozen=True)
class Limb:
    """A capsule between two joints, with radii in units of the person's height."""

    name: str
    start: str
    end: str
    start_radius: float
    end_radius: float


def _both(name: str, start: str, end: str, start_radius: float, end_radius: float) -> tuple[Limb, Limb]:
    left, right = (
        Limb(f"{side}_{name}", f"{side}_{start}", f"{side}_{end}", start_radius, end_radius) for side in ("left", "right")
    )
    return left, right


LIMBS = (
    *_both("thigh", "hip", "knee", 0.052, 0.036),
    *_both("shin", "knee", "ankle", 0.036, 0.022),
    *_both("foot", "ankle", "toe", 0.026, 0.020),
    *_both("upper_arm", "shoulder", "elbow", 0.036, 0.027),
    *_both("forearm", "elbow", "wrist", 0.027, 0.019),
    *_both("hand", "wrist", "hand", 0.021, 0.018),
    Limb("neck", "chest", "head", 0.030, 0.030),
)
_LIMB_STARTS = np.array([JOINT[limb.start] for limb in LIMBS])
_LIMB_ENDS = np.array([JOINT[limb.end] for limb in LIMBS])
_START_RADII = np.array([limb.start_radius for limb in LIMBS])
_END_RADII = np.array([limb.end_radius for limb in LIMBS])
_HULL_JOINTS = {
    "torso": (
        ("left_shoulder", 0.030),
        ("right_shoulder", 0.030),
        ("left_hip", 0.048),
        ("right_hip", 0.048),
        ("pelvis", 0.055),
    ),
    "skirt": (("left_hip", 0.055), ("right_hip", 0.055), ("left_knee", 0.050), ("right_knee", 0.050)),
}
# Keypoints lie inside these parts by nature, and are not hidden by them.
_OWN_PARTS = {
    **dict.fromkeys(_FACE, ("head", "hair", "face")),
    **{f"{side}_shoulder": ("torso", f"{side}_upper_arm", "neck") for side in ("left", "right")},
    **{f"{side}_elbow": (f"{side}_upper_arm", f"{side}_forearm") for side in ("left", "right")},
    **{f"{side}_wrist": (f"{side}_forearm", f"{side}_hand") for side in ("left", "right")},
    **{f"{side}_hip": ("torso", "skirt", f"{side}_thigh") for side in ("left", "right")},
    **{f"{side}_knee": (f"{side}_thigh", f"{side}_shin", "skirt") for side in ("left", "right")},
    **{f"{side}_ankle": (f"{side}_shin", f"{side}_foot") for side in ("left", "right")},
}


@dataclass(frozen=True)
class Clothes:
    """What one person looks like. Colours are BGR."""

    skin: Color
    hair: Color
    top: Color
    bottom: Color
    shoes: Color
    pattern: Color
    build: float
    """Factor of all radii."""
    sleeves: str
    """`long`, `short` or `none`."""
    trousers: str
    """`long`, `short` or `skirt`."""
    hair_style: str
    """`short`, `long`, `bald` or `hat`."""
    decoration: str
    """Of the top: `plain`, `stripes`, `print`."""
    outline: float
    """How dark the rims are: 1 none, 0.5 half as bright."""

    @classmethod
    def drawn_by_lot(cls, rng: np.random.Generator) -> Clothes:
        """Somebody dressed."""

        def cloth() -> Color:
            if rng.uniform() < 0.35:  # black, grey, white
                value = float(rng.uniform(15, 240))
                return _color(value + rng.normal(0, 6, 3))
            return _color(rng.uniform(10, 245, 3))

        skins = ((180, 205, 240), (150, 185, 225), (120, 160, 205), (85, 125, 175), (60, 90, 135), (40, 60, 95))
        hairs = ((25, 25, 30), (30, 50, 75), (50, 80, 120), (90, 160, 205), (150, 150, 155), (40, 60, 150))
        top = cloth()
        return cls(
            skin=_color(np.array(skins[rng.integers(len(skins))]) * rng.uniform(0.85, 1.1)),
            hair=_color(np.array(hairs[rng.integers(len(hairs))]) * rng.uniform(0.7, 1.2)),
            top=top,
            bottom=top if rng.uniform() < 0.1 else cloth(),
            shoes=cloth(),
            pattern=cloth(),
            build=float(rng.uniform(0.8, 1.35)),
            sleeves=str(rng.choice(["long", "short", "none"], p=[0.5, 0.4, 0.1])),
            trousers=str(rng.choice(["long", "short", "skirt"], p=[0.7, 0.18, 0.12])),
            hair_style=str(rng.choice(["short", "long", "bald", "hat"], p=[0.5, 0.28, 0.1, 0.12])),
            decoration=str(rng.choice(["plain", "stripes", "print"], p=[0.55, 0.2, 0.25])),
            outline=float(rng.choice([1.0, 0.75, 0.55])),
        )

    def color_of(self, part: str) -> Color:
        """The colour of a limb."""
        kind = part.removeprefix("left_").removeprefix("right_")
        if kind in ("hand", "neck") or (kind == "forearm" and self.sleeves != "long"):
            return self.skin
        if kind in ("upper_arm", "forearm"):
            return self.skin if self.sleeves == "none" else self.top
        if kind == "foot":
            return self.shoes
        if kind == "shin" and self.trousers != "long":
            return self.skin
        return self.bottom


@dataclass(frozen=True, eq=False)
class Shape:
    """A convex polygon."""

    owner: int
    """Row of the person, -1 for a thing."""
    part: str
    points: np.ndarray
    """float64 (n, 2) in pixels."""
    color: Color
    rim: Color | None = None
    """Colour of the outline."""


def draw(image: np.ndarray, shapes: list[Shape]) -> None:
    """Paint shapes in their order into a uint8 (H, W, 3) BGR picture."""
    height, width = image.shape[:2]
    for shape in shapes:
        fixed = np.rint(shape.points * (1 << _SHIFT)).astype(np.int32)
        left, top, wide, tall = cv2.boundingRect(fixed)
        if left > width << _SHIFT or top > height << _SHIFT or left + wide < 0 or top + tall < 0:
            continue
        cv2.fillConvexPoly(image, fixed, shape.color, cv2.LINE_AA, _SHIFT)
        if shape.rim is not None:
            cv2.polylines(image, [fixed], True, shape.rim, 1, cv2.LINE_AA, _SHIFT)


def shapes_of(
    owner: int, points: np.ndarray, depths: np.ndarray, scale: float, clothes: Clothes, head_radius: float
) -> list[Shape]:
    """One person as shapes, the far ones first.

    Args:
        owner: row of the person.
        points: float64 (len(JOINTS), 2) joints in pixels.
        depths: float64 (len(JOINTS),): how far each joint is behind the pelvis, in heights.
        scale: pixels for the person's height.
        clothes: what the person looks like.
        head_radius: in heights.
    """
    build = clothes.build
    ends, starts = points[_LIMB_ENDS], points[_LIMB_STARTS]
    outlines = _capsules(starts, ends, _START_RADII * scale * build, _END_RADII * scale * build)
    limb_depths = (depths[_LIMB_STARTS] + depths[_LIMB_ENDS]) / 2
    rim = clothes.outline < 1 and scale > 60
    layers: list[tuple[float, list[Shape]]] = []
    for row, limb in enumerate(LIMBS):
        # What is farther away is in the shade of the rest.
        shade = float(np.clip(1.0 - 0.9 * limb_depths[row], 0.78, 1.1))
        color = _scaled(clothes.color_of(limb.name), shade)
        shape = Shape(owner, limb.name, outlines[row], color, _scaled(color, clothes.outline) if rim else None)
        layers.append((float(limb_depths[row]), [shape]))
    chest_depth = float(depths[[JOINT["left_shoulder"], JOINT["right_shoulder"], JOINT["pelvis"]]].mean())
    layers.append((chest_depth, _torso(owner, points, depths, scale, clothes, rim)))
    layers.append((float(depths[JOINT["head"]]) - 0.02, _head(owner, points, depths, scale, clothes, head_radius)))
    layers.sort(key=lambda layer: -layer[0])
    return [shape for _, shapes in layers for shape in shapes]


def hidden_keypoints(shapes: list[Shape], points: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Which keypoints are behind something.

    Args:
        shapes: everything in the picture, in the order in which it is painted.
        points: float64 (P, len(JOINTS), 2) in pixels.
        depths: float64 (P, len(JOINTS)): how far each joint is behind its pelvis.

    Returns:
        bool (P, 17).
    """
    keypoints = points[:, _KEYPOINTS]
    num_people = len(points)
    hidden = np.zeros((num_people, len(_KEYPOINTS)), bool)
    if not shapes or not num_people:
        return hidden
    # A keypoint is painted with the last of the parts that it belongs to; what is painted later may hide it.
    painted = np.full((num_people, len(_KEYPOINTS)), -1)
    rows_of = {(shape.owner, shape.part): row for row, shape in enumerate(shapes)}  # the last of its name
    for person in range(num_people):
        for column, name in enumerate(COCO_17.keypoint_names):
            painted[person, column] = max(rows_of.get((person, part), -1) for part in _OWN_PARTS[name])
        front = depths[person, JOINT["head"]]
        for name in _FACE:
            slack = 0.012 if name.endswith("ear") else 0.0
            hidden[person, COCO_17.keypoint_names.index(name)] = depths[person, JOINT[name]] > front + slack
    outlines = [shape.points.astype(np.float32) for shape in shapes]
    bounds = np.array([cv2.boundingRect(outline) for outline in outlines])
    from_corner = keypoints[:, :, None] - bounds[:, :2]
    candidates = ((from_corner >= 0) & (from_corner <= bounds[:, 2:])).all(axis=-1)
    candidates &= np.arange(len(shapes)) > painted[..., None]
    for person, column, row in np.argwhere(candidates):
        if not hidden[person, column]:
            x, y = keypoints[person, column].tolist()
            hidden[person, column] = cv2.pointPolygonTest(outlines[row], (x, y), False) >= 0
    return hidden


def _torso(owner: int, points: np.ndarray, depths: np.ndarray, scale: float, clothes: Clothes, rim: bool) -> list[Shape]:
    radius = scale * clothes.build
    shapes: list[Shape] = []

    def hull(part: str, color: Color) -> np.ndarray:
        outline = _hull(points, _HULL_JOINTS[part], radius)
        shapes.append(Shape(owner, part, outline, color, _scaled(color, clothes.outline) if rim else None))
        return outline

    if clothes.trousers == "skirt":
        hull("skirt", clothes.bottom)
    hull("torso", clothes.top)
    left, right = points[JOINT["left_shoulder"]], points[JOINT["right_shoulder"]]
    down = points[JOINT["pelvis"]] - (left + right) / 2
    if clothes.decoration == "stripes":
        for place in (0.22, 0.46, 0.70):
            band = np.array(
                [left + place * down, right + place * down, right + (place + 0.1) * down, left + (place + 0.1) * down]
            )
            shapes.append(Shape(owner, "torso", band, clothes.pattern))
    elif clothes.decoration == "print" and depths[JOINT["nose"]] < depths[JOINT["head"]]:
        middle = (left + right) / 2 + 0.35 * down
        across = (right - left) * 0.28
        shapes.append(
            Shape(
                owner,
                "torso",
                np.array([middle - across, middle - 0.22 * down, middle + across, middle + 0.22 * down]),
                clothes.pattern,
            )
        )
    return shapes


def _head(
    owner: int, points: np.ndarray, depths: np.ndarray, scale: float, clothes: Clothes, head_radius: float
) -> list[Shape]:
    """Hair, ears and face in the order that suits where the person looks."""
    head, hair = points[JOINT["head"]], points[JOINT["hair"]]
    radius = head_radius * scale
    up = (head - points[JOINT["chest"]]) / max(1e-6, float(np.hypot(*(head - points[JOINT["chest"]]))))
    front = depths[JOINT["head"]]
    faces_camera = depths[JOINT["nose"]] < front

    def disc(part: str, at: np.ndarray, size: float, color: Color, reach: np.ndarray | None = None) -> Shape:
        end = at if reach is None else at + reach
        outline = _capsules(at[None], end[None], np.array([size]), np.array([size]))[0]
        return Shape(owner, part, outline, color)

    skull = disc("head", head - 0.22 * radius * up, 0.86 * radius, clothes.skin, 0.42 * radius * up)
    shades = _scaled(clothes.skin, 0.82)
    ears = [
        disc("face", points[JOINT[name]], 0.17 * radius, shades)
        for name in ("left_ear", "right_ear")
        if depths[JOINT[name]] < front + 0.012
    ]
    tufts: list[Shape] = []
    if clothes.hair_style == "long":
        tufts.append(disc("hair", hair, 1.02 * radius, clothes.hair, -1.25 * radius * up))
    elif clothes.hair_style != "bald":
        tufts.append(disc("hair", hair, 0.96 * radius, clothes.hair))
    crown = []
    if clothes.hair_style == "hat":
        crown = [disc("hair", head + 0.62 * radius * up, 0.72 * radius, clothes.pattern, 0.2 * radius * up)]
    if not faces_camera:
        return [skull, *ears, *tufts, *crown]
    features: list[Shape] = []
    if radius > 3:
        for name in ("left_eye", "right_eye"):
            if depths[JOINT[name]] < front:
                features.append(disc("face", points[JOINT[name]], 0.13 * radius, (225, 228, 230)))
                features.append(disc("face", points[JOINT[name]], 0.09 * radius, (50, 40, 35)))
        features.append(disc("face", points[JOINT["nose"]], 0.13 * radius, shades, 0.16 * radius * up))
        mouth = points[JOINT["mouth"]]
        features.append(
            disc("face", mouth, 0.09 * radius, (70, 70, 170), (points[JOINT["left_eye"]] - points[JOINT["right_eye"]]) * 0.3)
        )
    return [*tufts, skull, *ears, *features, *crown]


def _capsules(starts: np.ndarray, ends: np.ndarray, start_radii: np.ndarray, end_radii: np.ndarray) -> np.ndarray:
    """Outlines of capsules of two radii, float64 (n, 16, 2): half circles joined by their common tangents."""
    along = ends - starts
    length = np.hypot(along[:, 0], along[:, 1])
    angle = np.arctan2(along[:, 1], along[:, 0])
    reach = np.arccos(np.clip((start_radii - end_radii) / np.maximum(length, 1e-6), -1, 1))
    front = angle[:, None] + reach[:, None] * _ARC
    back = angle[:, None] + np.pi + (np.pi - reach)[:, None] * _ARC
    outline = np.empty((len(starts), _NUM_CORNERS, 2))
    half = _NUM_CORNERS // 2
    outline[:, :half, 0] = ends[:, :1] + end_radii[:, None] * np.cos(front)
    outline[:, :half, 1] = ends[:, 1:] + end_radii[:, None] * np.sin(front)
    outline[:, half:, 0] = starts[:, :1] + start_radii[:, None] * np.cos(back)
    outline[:, half:, 1] = starts[:, 1:] + start_radii[:, None] * np.sin(back)
    return outline


_CIRCLE = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=-1)


def _hull(points: np.ndarray, joints: tuple[tuple[str, float], ...], radius: float) -> np.ndarray:
    """The convex hull of circles about joints."""
    rows = [JOINT[name] for name, _ in joints]
    radii = np.array([size for _, size in joints]) * radius
    cloud = (points[rows][:, None] + radii[:, None, None] * _CIRCLE).reshape(-1, 2).astype(np.float32)
    outline: np.ndarray = cv2.convexHull(cloud)[:, 0].astype(np.float64)
    return outline


def _color(values: np.ndarray) -> Color:
    blue, green, red = (int(value) for value in np.clip(values, 0, 255))
    return blue, green, red


def _scaled(color: Color, factor: float) -> Color:
    return min(255, int(color[0] * factor)), min(255, int(color[1] * factor)), min(255, int(color[2] * factor))
