"""Scenes: a camera, a background, people with something to do; every frame with its truth, by number, always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

from tensortap.errors import UsageError
from tensortap.scenes.backgrounds import BACKGROUNDS
from tensortap.scenes.body import JOINT, Proportions, joints_of
from tensortap.scenes.figures import Clothes, Shape, draw, hidden_keypoints, shapes_of
from tensortap.scenes.motion import ACTIONS, Round, plan_round
from tensortap.skeletons import COCO_17

_SECOND_NS = 1_000_000_000
_KEYPOINTS = [JOINT[name] for name in COCO_17.keypoint_names]
_NEAREST = 0.5
"""Metres before the camera at which people vanish."""


@dataclass(frozen=True)
class Setting:
    """A kind of scene: where the camera stands, and what goes on before it."""

    backgrounds: tuple[str, ...]
    """Keys of `tensortap.scenes.backgrounds.BACKGROUNDS`."""
    actions: tuple[str, ...]
    """Keys of `tensortap.scenes.motion.ACTIONS`."""
    camera_height: float
    """Metres above the ground."""
    camera_pitch: float
    """Radians downward."""
    focal: float
    """Focal length in heights of the picture."""
    depth: tuple[float, float]
    """Where people are, in metres from the camera."""
    act_share: float
    """How often people stop to do something, 0..1."""
    places: tuple[int, int]
    """How many places a person goes to, least and most."""
    across: float = 0.0
    """Share of people who walk straight through the picture and out of it."""
    light: tuple[float, float] = (0.85, 1.1)
    """Factor of brightness, least and most."""
    noise: tuple[float, float] = (0.0, 4.0)
    """Standard deviation of the sensor's noise."""
    blur: tuple[float, float] = (0.0, 0.6)
    """Standard deviation of the lens's blur, in pixels at a height of 720."""
    things: tuple[int, int] = (0, 0)
    """How many posts and boxes stand among the people."""


_EVERYDAY = ("stand", "wave", "phone", "read", "point", "crouch", "bend")
HELD_OUT_ACTIONS = ("dance", "kick", "lunge")
"""What the bundled model never saw anybody do."""
HELD_OUT_BACKGROUNDS = ("bricks", "forest", "mosaic")
"""What the bundled model never saw behind anybody."""
TRAINING_ACTIONS = tuple(sorted(set(ACTIONS) - set(HELD_OUT_ACTIONS)))
TRAINING_BACKGROUNDS = tuple(sorted(set(BACKGROUNDS) - set(HELD_OUT_BACKGROUNDS)))

SETTINGS: dict[str, Setting] = {
    "gym": Setting(
        ("room", "gradient"),
        ("crouch", "fists", "jack", "reach", "wave"),
        1.4,
        0.04,
        1.0,
        (3.0, 6.0),
        1.0,
        (1, 2),
        things=(0, 2),
    ),
    "plaza": Setting(("plaza",), _EVERYDAY, 4.5, 0.3, 1.15, (6.5, 14.0), 0.4, (2, 5), across=0.3),
    "room": Setting(("room",), _EVERYDAY, 1.5, 0.06, 0.95, (2.0, 4.6), 0.8, (2, 4), things=(0, 2)),
    "street": Setting(("street",), _EVERYDAY, 1.9, 0.05, 1.05, (3.2, 8.5), 0.35, (2, 4), across=0.6),
}
"""The scenes that have a name: `scene://street`."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Everybody who is at least partly in the picture, exactly. Coordinates are pixels of the frame."""

    boxes_xyxy: np.ndarray
    """float32 (N, 4): what the figure covers, hidden parts included, cut at the picture's edges."""
    keypoints: np.ndarray
    """float32 (N, 17, 2): x, y of COCO's keypoints, also outside of the picture."""
    visibility: np.ndarray
    """int64 (N, 17), as in COCO: 2 visible, 1 hidden behind oneself, somebody or something, 0 outside of the picture."""
    person_ids: np.ndarray
    """int64 (N,): the same number for the same person in every frame, from 1."""
    areas: np.ndarray
    """float32 (N,): pixels that the figure covers inside the picture, hidden ones included."""

    def __len__(self) -> int:
        """N, the number of people."""
        return len(self.person_ids)

    @property
    def recognisable(self) -> np.ndarray:
        """bool (N,): people with at least three keypoints in sight. Nobody could find the others."""
        seen: np.ndarray = (self.visibility == 2).sum(axis=1) >= 3
        return seen

    @property
    def tellable(self) -> np.ndarray:
        """bool (N, 17): keypoints in sight, and hidden ones next to one in sight: the limb between them says where about."""
        seen = self.visibility == 2
        near = seen.copy()
        for first, second in COCO_17.edges:
            near[:, first] |= seen[:, second]
            near[:, second] |= seen[:, first]
        told: np.ndarray = near & (self.visibility > 0)
        return told


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """One moment of a scene. Picture and truth are made when they are asked for."""

    scene: Scene
    index: int
    """0, 1, 2 ..."""
    pts_ns: int
    """Nanoseconds from the start."""

    @cached_property
    def image(self) -> np.ndarray:
        """uint8 (H, W, 3) BGR."""
        return self.scene._paint(self._moment, self.index)

    @cached_property
    def truth(self) -> Truth:
        """Who is where."""
        return self.scene._truth(self._moment)

    @cached_property
    def _moment(self) -> _Moment:
        return self.scene._moment(self.pts_ns / _SECOND_NS)


@dataclass(frozen=True, eq=False)
class _Moment:
    """Everybody's joints at one time, and the shapes that they are drawn with."""

    points: np.ndarray
    """float64 (P, len(JOINTS), 2) in pixels."""
    depths: np.ndarray
    """float64 (P, len(JOINTS)): behind the pelvis, in heights."""
    shapes: list[Shape]
    """In the order in which they are painted."""
    shown: np.ndarray
    """bool (P,): before the camera."""


@dataclass(frozen=True, eq=False)
class _Thing:
    """A box or a post that stands in the way."""

    x: float
    z: float
    wide: float
    tall: float
    color: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Scene:
    """Drawn people whose keypoints are known exactly. Equal arguments make equal scenes, pixel for pixel.

    Args:
        setting: a key of SETTINGS, or a Setting of one's own.
        people: how many there are; not all of them are in the picture all the time.
        seed: draws everything else by lot.
        size_wh: width and height of the picture in pixels.
        frame_rate: frames a second.

    Raises:
        UsageError: a name is unknown, or a number makes no sense.
    """

    setting: str | Setting = "street"
    people: int = 6
    seed: int = 0
    size_wh: tuple[int, int] = (1280, 720)
    frame_rate: float = 30.0
    _rounds: Sequence[Round] = field(init=False, repr=False)
    _body: Proportions = field(init=False, repr=False)
    _clothes: Sequence[Clothes] = field(init=False, repr=False)
    _things: Sequence[_Thing] = field(init=False, repr=False)
    _background: np.ndarray = field(init=False, repr=False)
    _noise: np.ndarray | None = field(init=False, repr=False)
    _light: float = field(init=False, repr=False)
    _blur: float = field(init=False, repr=False)
    _setting: Setting = field(init=False, repr=False)

    def __post_init__(self) -> None:
        setting = self.setting if isinstance(self.setting, Setting) else _named(self.setting)
        width, height = self.size_wh
        if not (32 <= width <= 8192 and 32 <= height <= 8192):
            raise UsageError(f"A scene of {width}x{height} pixels: width and height must be between 32 and 8192.")
        if not 0 <= self.people <= 200:
            raise UsageError(f"A scene with {self.people} people: draw between 0 and 200.")
        if not 0 < self.frame_rate <= 1000:
            raise UsageError(f"A scene of {self.frame_rate:g} frames a second: choose more than 0 and at most 1000.")
        # One generator for each part: another size or number of people changes nothing else.
        background, lens, things, *people = (
            np.random.default_rng(sequence) for sequence in np.random.SeedSequence(self.seed).spawn(3 + self.people)
        )
        drawn = {
            "_setting": setting,
            "_background": BACKGROUNDS[str(background.choice(list(setting.backgrounds)))](background, width, height),
            "_light": float(lens.uniform(*setting.light)),
            "_blur": float(lens.uniform(*setting.blur)) * height / 720,
            "_noise": _noise(lens, float(lens.uniform(*setting.noise)), width, height),
            "_things": [self._thing(things, setting) for _ in range(int(things.integers(*setting.things, endpoint=True)))],
            "_rounds": [self._round(rng, setting) for rng in people],
            "_clothes": [Clothes.drawn_by_lot(rng) for rng in people],
        }
        bodies = [Proportions.drawn_by_lot(rng, 1) for rng in people]
        drawn["_body"] = Proportions(
            *(np.array([getattr(body, name)[0] for body in bodies]) for name in Proportions.__dataclass_fields__)
        )
        for name, value in drawn.items():
            object.__setattr__(self, name, value)

    def frame(self, index: int) -> SceneFrame:
        """One frame, by its number."""
        return SceneFrame(self, index, round(index * _SECOND_NS / self.frame_rate))

    def _round(self, rng: np.random.Generator, setting: Setting) -> Round:
        near, far = setting.depth
        half_width = self.size_wh[0] / self.size_wh[1] / setting.focal / 2
        tall = float(np.clip(rng.normal(1.70, 0.12), 1.05, 2.0))
        if rng.uniform() < setting.across:
            depth = float(rng.uniform(near, far))
            turns = [(-1.0, depth), (1.0, depth + float(rng.normal(0, 0.4)))]
            if rng.uniform() < 0.5:
                turns.insert(1, (float(rng.uniform(-0.7, 0.7)), depth))
            places = [(side * (half_width * max(z, near) + 0.7 * (abs(side) == 1)), max(z, near)) for side, z in turns]
        else:
            places = []
            for _ in range(int(rng.integers(*setting.places, endpoint=True))):
                depth = float(rng.uniform(near, far))
                places.append((float(rng.uniform(-0.92, 0.92)) * half_width * depth, depth))
        return plan_round(rng, places, setting.actions, height=tall, act_share=setting.act_share)

    def _thing(self, rng: np.random.Generator, setting: Setting) -> _Thing:
        depth = float(rng.uniform(*setting.depth))
        half_width = self.size_wh[0] / self.size_wh[1] / setting.focal / 2
        post = rng.uniform() < 0.4
        blue, green, red = (int(value) for value in rng.uniform(20, 220, 3))
        return _Thing(
            float(rng.uniform(-1, 1)) * half_width * depth,
            depth,
            float(rng.uniform(0.06, 0.15) if post else rng.uniform(0.3, 1.0)),
            float(rng.uniform(1.8, 3.0) if post else rng.uniform(0.3, 1.0)),
            (blue, green, red),
        )

    def _moment(self, seconds: float) -> _Moment:
        states = [plan.at(seconds) for plan in self._rounds]
        if not states:
            nobody = np.empty((0, len(JOINT)))
            return _Moment(np.empty((0, len(JOINT), 2)), nobody, self._thing_shapes(), np.empty(0, bool))
        heights = np.array([plan.height for plan in self._rounds])
        own = joints_of(np.array([pose for _, _, pose in states]), self._body) * heights[:, None, None]
        headings = np.array([heading for _, heading, _ in states])[:, None]
        sin, cos = np.sin(headings), np.cos(headings)
        left, up, forward = own[..., 0], own[..., 1], own[..., 2]
        x = np.array([place[0] for place, _, _ in states])[:, None] - cos * left + sin * forward
        z = np.array([place[1] for place, _, _ in states])[:, None] + sin * left + cos * forward
        points, distances = self._project(x, up, z)
        middle = distances[:, JOINT["pelvis"]]
        shown = distances.min(axis=1) > _NEAREST
        focal = self._setting.focal * self.size_wh[1]
        figures: list[tuple[float, list[Shape]]] = []
        depths = (distances - middle[:, None]) / heights[:, None]
        for person in np.flatnonzero(shown).tolist():
            scale = focal * heights[person] / middle[person]
            shapes = shapes_of(
                person, points[person], depths[person], scale, self._clothes[person], float(self._body.head[person])
            )
            figures.append((float(middle[person]), shapes))
        figures += [(thing.z, [shape]) for thing, shape in zip(self._things, self._thing_shapes(), strict=True)]
        figures.sort(key=lambda figure: -figure[0])
        return _Moment(points, depths, [shape for _, shapes in figures for shape in shapes], shown)

    def _thing_shapes(self) -> list[Shape]:
        shapes = []
        for thing in self._things:
            x = np.array([-0.5, 0.5, 0.5, -0.5]) * thing.wide + thing.x
            y = np.array([0.0, 0.0, 1.0, 1.0]) * thing.tall
            corners, _ = self._project(x, y, np.full(4, thing.z))
            shapes.append(Shape(-1, "thing", corners, thing.color))
        return shapes

    def _project(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metres to the right, up and away -> pixels (..., 2) and distance (...) along the camera's axis."""
        setting = self._setting
        width, height = self.size_wh
        cos, sin = np.cos(setting.camera_pitch), np.sin(setting.camera_pitch)
        distance = z * cos - (y - setting.camera_height) * sin
        down = -(y - setting.camera_height) * cos - z * sin
        scale = setting.focal * height / np.maximum(distance, 0.05)
        return np.stack((width / 2 + x * scale, height / 2 + down * scale), axis=-1), distance

    def _paint(self, moment: _Moment, index: int) -> np.ndarray:
        image = self._background.copy()
        draw(image, moment.shapes)
        if self._blur > 0.25:
            image = cv2.GaussianBlur(image, (0, 0), self._blur)
        light = self._light * (1 + 0.03 * np.sin(index / max(self.frame_rate, 1.0)))
        if self._noise is None:
            lit: np.ndarray = cv2.convertScaleAbs(image, alpha=light)
            return lit
        # The grain of the sensor: one large piece of it, elsewhere in every frame.
        height, width = image.shape[:2]
        top, left = (index * 37) % 32, (index * 53) % 32
        grainy: np.ndarray = cv2.addWeighted(image, light, self._noise[top : top + height, left : left + width], 1.0, -128.0)
        return grainy

    def _truth(self, moment: _Moment) -> Truth:
        width, height = self.size_wh
        size = np.array([width, height])
        keypoints = moment.points[:, _KEYPOINTS]
        inside = ((keypoints >= 0) & (keypoints < size)).all(axis=-1)
        visibility = np.where(inside, 2, 0)
        visibility[inside & hidden_keypoints(moment.shapes, moment.points, moment.depths)] = 1
        boxes = np.zeros((len(keypoints), 4))
        areas = np.zeros(len(keypoints))
        for person in np.flatnonzero(moment.shown):
            outlines = [shape.points for shape in moment.shapes if shape.owner == person]
            corners = np.concatenate(outlines)
            boxes[person] = *corners.min(axis=0).clip(0, size), *corners.max(axis=0).clip(0, size)
            areas[person] = _covered(outlines, boxes[person])
        rows = np.flatnonzero(moment.shown & (areas > 0))
        return Truth(
            boxes_xyxy=boxes[rows].astype(np.float32),
            keypoints=keypoints[rows].astype(np.float32),
            visibility=visibility[rows].astype(np.int64),
            person_ids=(rows + 1).astype(np.int64),
            areas=areas[rows].astype(np.float32),
        )


def random_setting(
    rng: np.random.Generator,
    *,
    backgrounds: Sequence[str] = TRAINING_BACKGROUNDS,
    actions: Sequence[str] = TRAINING_ACTIONS,
) -> Setting:
    """A setting with everything drawn by lot: what the bundled model learned from."""
    near = float(np.exp(rng.uniform(np.log(1.7), np.log(6.5))))
    far = near * float(rng.uniform(1.2, 2.4))
    height = float(rng.uniform(0.6, 2.4) + 0.35 * max(0.0, near - 3))
    # The camera looks about at the people.
    pitch = float(np.arctan2(height - 0.9, (near + far) / 2) + rng.normal(0, 0.08))
    return replace(
        SETTINGS["street"],
        backgrounds=tuple(backgrounds),
        actions=tuple(actions),
        camera_height=height,
        camera_pitch=pitch,
        focal=float(rng.uniform(0.8, 1.3)),
        depth=(near, far),
        act_share=float(rng.uniform(0.4, 1.0)),
        across=float(rng.uniform(0, 0.5)),
        light=(0.6, 1.25),
        noise=(0.0, 8.0),
        blur=(0.0, 1.2),
        things=(0, 3),
    )


def _named(name: str) -> Setting:
    if name not in SETTINGS:
        raise UsageError(f"There is no scene called {name!r}. Choose one of: {', '.join(sorted(SETTINGS))}.")
    return SETTINGS[name]


def _noise(rng: np.random.Generator, sigma: float, width: int, height: int) -> np.ndarray | None:
    """uint8 (H + 32, W + 32, 3) about 128; `None` where it would not be seen."""
    if sigma < 0.5:
        return None
    # A tile, repeated: drawing millions of numbers would take longer than the first ten frames.
    tile = (rng.standard_normal((256, 256, 3)) * sigma + 128).clip(0, 255).astype(np.uint8)
    return np.tile(tile, (-(-(height + 32) // 256), -(-(width + 32) // 256), 1))[: height + 32, : width + 32]


def _covered(outlines: list[np.ndarray], box: np.ndarray) -> float:
    """Pixels that convex outlines cover inside a box."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    if right <= left or bottom <= top:
        return 0.0
    mask = np.zeros((bottom - top, right - left), np.uint8)
    for outline in outlines:
        cv2.fillConvexPoly(mask, np.rint((outline - (left, top)) * 16).astype(np.int32), 255, cv2.LINE_8, 4)
    return float(cv2.countNonZero(mask))
