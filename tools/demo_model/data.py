"""Training pictures: frames of scenes drawn by lot, placed in network inputs of several shapes, with their truth."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from tensortap.scenes.backgrounds import BACKGROUNDS
from tensortap.scenes.body import ANGLE, ANGLES
from tensortap.scenes.motion import ACTIONS, Habit, Pose
from tensortap.scenes.scene import TRAINING_ACTIONS, TRAINING_BACKGROUNDS, Scene, SceneFrame, random_setting

MAX_PEOPLE = 12
SIDE = 384
TRAINING_SEEDS = 1_000_000
"""Seeds from here on are for training; those below are never seen by it."""
_VIEWS = 3
"""Pictures cut from one frame: drawing takes the time."""
FLIPPED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


class SceneBatches(IterableDataset[tuple[Tensor, ...]]):
    """Whole batches: images uint8 (B, 3, SIDE, SIDE) RGB, boxes (B, M, 4), keypoints (B, M, 17, 3), areas and valid (B, M)."""

    def __init__(self, batch_size: int, seed: int, first: int = 0) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.first = first
        """Number of the first process that draws, when several programs train together."""

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        cv2.setNumThreads(1)
        info = get_worker_info()
        number = self.first + (info.id if info else 0)
        rng = np.random.default_rng((self.seed, number))
        next_seed = TRAINING_SEEDS + (self.seed * 64 + number) * 10_000_000
        pool: list[tuple[Scene, int]] = []
        while True:
            images = np.empty((self.batch_size, SIDE, SIDE, 3), np.uint8)
            boxes = np.zeros((self.batch_size, MAX_PEOPLE, 4), np.float32)
            keypoints = np.zeros((self.batch_size, MAX_PEOPLE, 17, 3), np.float32)
            areas = np.ones((self.batch_size, MAX_PEOPLE), np.float32)
            valid = np.zeros((self.batch_size, MAX_PEOPLE), bool)
            for row in range(self.batch_size):
                if row % _VIEWS == 0:
                    if len(pool) < 40:
                        pool.append((_scene(rng, next_seed), int(rng.integers(8, 17))))
                        next_seed += 1
                    at = int(rng.integers(len(pool)))
                    scene, left = pool[at]
                    pool[at] = (scene, left - 1)
                    if left <= 1:
                        pool.pop(at)
                    frame = scene.frame(int(rng.integers(0, 3000)))
                _place(rng, frame, images[row], boxes[row], keypoints[row], areas[row], valid[row])
            pictures = torch.from_numpy(images).permute(0, 3, 1, 2)
            yield pictures, *(torch.from_numpy(array) for array in (boxes, keypoints, areas, valid))


_WIDE = {  # of postures for training: least, greatest
    "torso_pitch": (-0.4, 1.2),
    "torso_roll": (-0.45, 0.45),
    "torso_yaw": (-0.6, 0.6),
    "head_pitch": (-0.6, 0.8),
    "head_yaw": (-1.0, 1.0),
    "arm_pitch": (-0.9, 2.9),
    "arm_abduct": (-0.1, 2.7),
    "arm_twist": (-1.5, 1.8),
    "elbow": (0.0, 2.5),
    "leg_pitch": (-0.8, 1.8),
    "leg_abduct": (-0.1, 0.8),
    "knee": (0.0, 2.2),
    "lift": (0.0, 0.0),
}
_LEAST, _GREATEST = np.array([_WIDE.get(name) or _WIDE[name.split("_", 1)[1]] for name in ANGLES]).T
_GROUPS = [
    [column for name, column in ANGLE.items() if name.startswith(group)]
    for group in (
        "torso",
        "head",
        "left_arm",
        "right_arm",
        "left_leg",
        "right_leg",
        "left_elbow",
        "right_elbow",
        "left_knee",
        "right_knee",
    )
]


def _anyhow(time: float, habit: Habit) -> Pose:
    """Any angles that joints can have, so that no posture is a surprise: other ones every second."""
    place = time / 0.9
    share = place % 1.0
    first, second = (_posture(habit, int(place) + number) for number in (0, 1))
    return first + share * share * (3 - 2 * share) * (second - first)


def _posture(habit: Habit, number: int) -> Pose:
    rng = np.random.default_rng((int(habit.rng_numbers[11] * 2**31), number))
    pose: Pose = _LEAST + (_GREATEST - _LEAST) * rng.uniform(0, 1, len(ANGLES))
    for columns in _GROUPS:
        if rng.uniform() < 0.4:  # some parts of the body are at rest
            pose[columns] = rng.normal(0, 0.12, len(columns))
        elif rng.uniform() < 0.3:
            pose[columns] *= rng.uniform(0, 1)
    if rng.uniform() < 0.25:  # both sides alike
        for name, column in ANGLE.items():
            if name.startswith("left_"):
                pose[ANGLE[name.replace("left", "right", 1)]] = pose[column]
    for side in ("left", "right"):
        pose[ANGLE[f"{side}_elbow"]] = max(0.0, pose[ANGLE[f"{side}_elbow"]])
        pose[ANGLE[f"{side}_knee"]] = max(0.0, pose[ANGLE[f"{side}_knee"]])
    pose[ANGLE["lift"]] = max(0.0, rng.normal(-0.05, 0.06))
    return pose


def _patchwork(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Two other backgrounds in patches of soft or sharp edges, in colours of any kind."""
    first, second = (
        BACKGROUNDS[str(rng.choice(TRAINING_BACKGROUNDS))](rng, width, height)[..., rng.permutation(3)] for _ in range(2)
    )
    cells = rng.integers(2, 14, 2)
    mask = rng.uniform(-1, 1, (cells[0], cells[1])).astype(np.float32)
    smooth = cv2.INTER_NEAREST if rng.uniform() < 0.4 else cv2.INTER_CUBIC
    mask = cv2.resize(mask, (width, height), interpolation=smooth) * float(rng.choice([0.5, 3.0, 40.0]))
    share = (mask.clip(-1, 1) * 127 + 128).astype(np.uint8)[..., None]
    mixed = (first.astype(np.uint16) * share + second.astype(np.uint16) * (255 - share)) >> 8
    return mixed.astype(np.uint8)


# What only training sees. Those that are held out for the evaluation stay so.
ACTIONS["anyhow"] = _anyhow
BACKGROUNDS["patchwork"] = _patchwork
_ACTIONS = (*TRAINING_ACTIONS, *["anyhow"] * len(TRAINING_ACTIONS))
_BACKGROUNDS = (*TRAINING_BACKGROUNDS, *["patchwork"] * 5)


def _scene(rng: np.random.Generator, seed: int) -> Scene:
    """A picture of any shape; small ones are sooner drawn."""
    tall = float(np.exp(rng.uniform(np.log(240), np.log(900))))
    aspect = float(rng.choice([16 / 9, 4 / 3, 1.0, 3 / 4])) * float(np.exp(rng.normal(0, 0.1)))
    people = 0 if rng.uniform() < 0.02 else int(rng.integers(2, 10))
    setting = random_setting(rng, backgrounds=_BACKGROUNDS, actions=_ACTIONS)
    return Scene(setting, people, seed, (int(tall * aspect), int(tall)), 25.0)


def _place(
    rng: np.random.Generator,
    frame: SceneFrame,
    image: np.ndarray,
    boxes: np.ndarray,
    keypoints: np.ndarray,
    areas: np.ndarray,
    valid: np.ndarray,
) -> None:
    """Fill one slot: the whole picture, letterboxed, or a part of it with people; flipped, recoloured."""
    picture, truth = frame.image, frame.truth
    height, width = image.shape[:2]
    heights = truth.boxes_xyxy[:, 3] - truth.boxes_xyxy[:, 1]
    targets = np.flatnonzero(truth.recognisable & (heights > 12))
    if len(targets) and rng.uniform() < 0.75:
        # Pictures are mostly background: go where somebody is, and show them in a size of which there is little otherwise.
        target = int(rng.choice(targets))
        scale = float(np.exp(rng.uniform(np.log(34), np.log(480)))) / float(heights[target])
        # Not so small that most of the input would be empty.
        scale = float(np.clip(scale, 0.75 * min(width / picture.shape[1], height / picture.shape[0]), 1.8))
        centre = (truth.boxes_xyxy[target, :2] + truth.boxes_xyxy[target, 2:]) / 2
        left, top = np.array([width, height]) * rng.uniform(0.2, 0.8, 2) - centre * scale
    else:
        scale = min(width / picture.shape[1], height / picture.shape[0])
        left = float(rng.choice([0.0, 0.5, 1.0])) * (width - picture.shape[1] * scale)
        top = float(rng.choice([0.0, 0.5, 1.0])) * (height - picture.shape[0] * scale)
    matrix = np.array([[scale, 0, left + 0.5 * scale - 0.5], [0, scale, top + 0.5 * scale - 0.5]])
    pad = int(rng.choice([114, 0, int(rng.integers(0, 256))]))
    how = cv2.INTER_NEAREST if rng.uniform() < 0.2 else cv2.INTER_LINEAR
    cv2.warpAffine(picture, matrix, (width, height), dst=image, flags=how, borderValue=(pad, pad, pad))
    places = truth.keypoints * scale + (left, top)
    flat = truth.boxes_xyxy * scale + (left, top, left, top)
    visibility = np.where(truth.tellable, truth.visibility, 0)
    visibility[((places < 0) | (places >= (width, height))).any(axis=-1)] = 0
    flat[:, 0::2] = flat[:, 0::2].clip(0, width)
    flat[:, 1::2] = flat[:, 1::2].clip(0, height)
    if rng.uniform() < 0.5:
        image[:] = image[:, ::-1]
        places[..., 0] = width - places[..., 0]
        flat[:, [0, 2]] = width - flat[:, [2, 0]]
        places, visibility = places[:, FLIPPED], visibility[:, FLIPPED]
    kept = np.flatnonzero(((visibility == 2).sum(axis=1) >= 3) & (flat[:, 3] - flat[:, 1] > 10))[:MAX_PEOPLE]
    boxes[: len(kept)] = flat[kept]
    keypoints[: len(kept), :, :2] = places[kept]
    keypoints[: len(kept), :, 2] = visibility[kept]
    areas[: len(kept)] = truth.areas[kept] * scale**2
    valid[: len(kept)] = True
    _recolour(rng, image)


def _recolour(rng: np.random.Generator, image: np.ndarray) -> None:
    """What cameras and codecs do to a picture."""
    if rng.uniform() < 0.3:
        gains = rng.uniform(0.8, 1.2, 3) * rng.uniform(0.7, 1.3)
        table = (np.arange(256)[:, None] * gains + rng.uniform(-20, 20)).clip(0, 255).astype(np.uint8)
        cv2.LUT(image, table[None], dst=image)
    if rng.uniform() < 0.03:
        image[:] = image.mean(axis=-1, keepdims=True).astype(np.uint8)
    if rng.uniform() < 0.15:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))]
        image[:] = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    image[:] = image[..., ::-1]
