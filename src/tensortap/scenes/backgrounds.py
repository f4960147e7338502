"""What is behind the people: painted once for a scene."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Painter = Callable[[np.random.Generator, int, int], np.ndarray]


def _any_color(rng: np.random.Generator) -> tuple[float, float, float]:
    blue, green, red = rng.uniform(0, 255, 3)
    return float(blue), float(green), float(red)


def _muted(rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour of walls and furniture."""
    grey, tint = rng.uniform(50, 215), rng.normal(0, 28, 3)
    blue, green, red = (float(value) for value in np.clip(grey + tint, 0, 255))
    return blue, green, red


def _texture(rng: np.random.Generator, width: int, height: int, octaves: int = 5) -> np.ndarray:
    """float32 (H, W) in 0..1: noise of several scales."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        coarse = rng.uniform(0, 1, (cells + 1, round(cells * width / height) + 2)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _between(share: np.ndarray, first: tuple[float, ...], second: tuple[float, ...]) -> np.ndarray:
    """Colours mixed by a float (H, W) share."""
    mixed = np.asarray(first, np.float32) + share[..., None] * (np.asarray(second, np.float32) - np.asarray(first, np.float32))
    return mixed.clip(0, 255).astype(np.uint8)


def _gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32)
    share = np.cos(angle) * x[None] + np.sin(angle) * y[:, None]
    share = (share - share.min()) / max(float(share.max() - share.min()), 1e-6)
    return _between(share, _any_color(rng), _any_color(rng))


def _noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return _between(_texture(rng, width, height, int(rng.integers(3, 8))), _any_color(rng), _any_color(rng))


def _stripes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.02, 0.25) * height
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    wave = np.sin((np.cos(angle) * x[None] + np.sin(angle) * y[:, None]) * (2 * np.pi / period))
    return _between((wave * rng.uniform(1, 8)).clip(-1, 1) * 0.5 + 0.5, _any_color(rng), _any_color(rng))


def _checker(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    side = max(4, int(rng.uniform(0.04, 0.2) * height))
    x, y = np.arange(width) // side, np.arange(height) // side
    return _between(((x[None] + y[:, None]) % 2).astype(np.float32), _any_color(rng), _any_color(rng))


def _blobs(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    image = _gradient(rng, width, height)
    for _ in range(int(rng.integers(10, 60))):
        center = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        axes = (int(rng.uniform(0.01, 0.15) * height) + 2, int(rng.uniform(0.01, 0.25) * height) + 2)
        cv2.ellipse(image, center, axes, float(rng.uniform(0, 180)), 0, 360, _any_color(rng), -1, cv2.LINE_AA)
    return image


def _clutter(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Rods, discs and boxes of every kind: limbs and heads that belong to nobody."""
    image = _noise(rng, width, height)
    for _ in range(int(rng.integers(20, 90))):
        at = rng.uniform(0, 1, 2) * (width, height)
        kind = rng.integers(4)
        if kind == 0:
            end = at + rng.normal(0, 0.15 * height, 2)
            thick = max(1, int(rng.uniform(0.004, 0.04) * height))
            cv2.line(image, _point(at), _point(end), _any_color(rng), thick, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(image, _point(at), int(rng.uniform(0.008, 0.06) * height) + 1, _any_color(rng), -1, cv2.LINE_AA)
        elif kind == 2:
            cv2.rectangle(image, _point(at), _point(at + rng.uniform(0.02, 0.25, 2) * height), _any_color(rng), -1)
        else:
            corners = at + rng.normal(0, 0.07 * height, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], _any_color(rng), cv2.LINE_AA)
    return image


def _street(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Houses with windows, a pavement and a road."""
    horizon = int(height * rng.uniform(0.36, 0.5))
    sky = np.array([225.0, 200.0, 170.0]) * rng.uniform(0.5, 1.1)
    image = _between(np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], width, 1), tuple(sky), (235, 235, 235))
    left = -int(rng.uniform(0, 0.1) * width)
    while left < width:
        wide, top = int(rng.uniform(0.1, 0.25) * width), int(rng.uniform(-0.1, 0.2) * height)
        tone = np.array(_any_color(rng)) * 0.45 + 90
        cv2.rectangle(image, (left, top), (left + wide, horizon + height // 20), tuple(tone), -1)
        pane = np.array([150.0, 130.0, 105.0]) * rng.uniform(0.4, 1.5)
        columns, gap = int(rng.integers(3, 6)), wide / 6
        for row in range(8):
            for column in range(columns):
                x = int(left + (column + 0.6) * wide / (columns + 0.4))
                y = int(top + (row + 0.5) * 0.11 * height)
                if y + 0.07 * height < horizon:
                    cv2.rectangle(image, (x, y), (int(x + gap * 0.7), int(y + 0.06 * height)), tuple(pane), -1)
        left += wide + int(rng.uniform(0, 0.01) * width)
    ground = _between(_texture(rng, width, height, 7), (105, 108, 112), (150, 152, 156))
    image[horizon:] = ground[horizon:]
    curb = int(height * rng.uniform(0.55, 0.7))
    image[curb:] = (image[curb:] * 0.62).astype(np.uint8)
    cv2.line(image, (0, curb), (width, curb), (190, 195, 195), max(1, height // 120))
    for start in range(-width // 10, width, width // 6):
        stripe = np.array(
            [
                [start, height * 0.86],
                [start + width * 0.08, height * 0.86],
                [start + width * 0.07, height * 0.88],
                [start - width * 0.012, height * 0.88],
            ]
        )
        cv2.fillConvexPoly(image, stripe.astype(np.int32), (205, 210, 210), cv2.LINE_AA)
    return image


def _plaza(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Paving seen from above, with a few things standing about."""
    image = _between(
        _texture(rng, width, height, 7), tuple(np.array(_muted(rng)) * 0.3 + 90), tuple(np.array(_muted(rng)) * 0.3 + 140)
    )
    seam = tuple(float(value) for value in image.reshape(-1, 3).mean(axis=0) * 0.8)
    vanishing = np.array([width * rng.uniform(0.3, 0.7), -0.7 * height])
    for share in np.linspace(-1.5, 2.5, 33):
        cv2.line(image, _point(vanishing), _point(np.array([share * width, height])), seam, 1, cv2.LINE_AA)
    for row in range(1, 22):
        y = int(height * (row / 22) ** 1.5)
        cv2.line(image, (0, y), (width, y), seam, 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(4, 12))):
        at = rng.uniform(0, 1, 2) * (width, 0.8 * height)
        size = rng.uniform(0.03, 0.1, 2) * height
        cv2.rectangle(image, _point(at), _point(at + size), _muted(rng), -1)
        cv2.rectangle(image, _point(at), _point(at + size * (1, 0.3)), _muted(rng), -1)
    return image


def _room(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A wall, a floor, pictures and furniture."""
    wall = _between(_texture(rng, width, height, 3) * 0.4, _muted(rng), _muted(rng))
    floor = int(height * rng.uniform(0.6, 0.85))
    boards = _stripes(rng, width, height)
    wall[floor:] = cv2.addWeighted(boards[floor:], 0.35, np.full_like(boards[floor:], _muted(rng)), 0.65, 0)
    for _ in range(int(rng.integers(2, 7))):
        at, size = rng.uniform(0, 1, 2) * (width, 0.5 * height), rng.uniform(0.08, 0.3, 2) * height
        cv2.rectangle(wall, _point(at), _point(at + size), _muted(rng), -1)
        cv2.rectangle(wall, _point(at), _point(at + size), _muted(rng), max(2, height // 100))
    for _ in range(int(rng.integers(0, 5))):
        x, wide, tall = rng.uniform(0, width), rng.uniform(0.1, 0.4) * height, rng.uniform(0.1, 0.35) * height
        tone = _muted(rng)
        cv2.rectangle(wall, _point(np.array([x, floor - tall])), _point(np.array([x + wide, floor + 0.05 * height])), tone, -1)
        cv2.circle(wall, _point(np.array([x + wide / 2, floor - tall])), int(wide * 0.3), tone, -1, cv2.LINE_AA)
    return wall


def _bricks(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    tall = max(6, int(rng.uniform(0.03, 0.07) * height))
    wide = int(tall * rng.uniform(2.0, 3.0))
    mortar, brick = _any_color(rng), np.array(_any_color(rng))
    image = np.full((height, width, 3), mortar, np.uint8)
    gap = max(1, tall // 8)
    for row, y in enumerate(range(0, height, tall)):
        for x in range(-(row % 2) * wide // 2, width, wide):
            tone = brick * rng.uniform(0.75, 1.15)
            cv2.rectangle(image, (x, y), (x + wide - gap, y + tall - gap), tuple(tone.clip(0, 255)), -1)
    return image


def _forest(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Trunks and leaves, upright things of the height of people."""
    image = _between(_texture(rng, width, height, 7), (30, 70, 40), (120, 190, 150))
    for _ in range(int(rng.integers(8, 22))):
        x, wide = rng.uniform(0, width), rng.uniform(0.01, 0.05) * width
        bottom = rng.uniform(0.6, 1.0) * height
        tone = tuple(np.array([50.0, 75.0, 100.0]) * rng.uniform(0.5, 1.4))
        trunk = np.array([[x, 0], [x + wide, 0], [x + wide * 1.3, bottom], [x - wide * 0.3, bottom]])
        cv2.fillConvexPoly(image, trunk.astype(np.int32), tone, cv2.LINE_AA)
    for _ in range(int(rng.integers(100, 300))):
        at = rng.uniform(0, 1, 2) * (width, height)
        tone = tuple(np.array([50.0, 130.0, 70.0]) * rng.uniform(0.4, 1.6))
        axes = (int(rng.uniform(0.004, 0.03) * height) + 1, int(rng.uniform(0.004, 0.02) * height) + 1)
        cv2.ellipse(image, _point(at), axes, float(rng.uniform(0, 180)), 0, 360, tone, -1, cv2.LINE_AA)
    return image


def _mosaic(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Cells of a random partition, each of one colour."""
    seeds = rng.uniform(0, 1, (int(rng.integers(30, 150)), 2)) * (width, height)
    colors = rng.uniform(0, 255, (len(seeds), 3)).astype(np.uint8)
    x, y = np.meshgrid(np.arange(0, width, 4), np.arange(0, height, 4))
    nearest = np.zeros(x.shape, np.int64)
    best = np.full(x.shape, np.inf)
    for number, seed in enumerate(seeds):
        distance = (x - seed[0]) ** 2 + (y - seed[1]) ** 2
        nearer = distance < best
        nearest[nearer], best[nearer] = number, distance[nearer]
    mosaic: np.ndarray = cv2.resize(colors[nearest], (width, height), interpolation=cv2.INTER_NEAREST)
    return mosaic


BACKGROUNDS: dict[str, Painter] = {
    "blobs": _blobs,
    "bricks": _bricks,
    "checker": _checker,
    "clutter": _clutter,
    "forest": _forest,
    "gradient": _gradient,
    "mosaic": _mosaic,
    "noise": _noise,
    "plaza": _plaza,
    "room": _room,
    "street": _street,
    "stripes": _stripes,
}
"""Name -> painter of uint8 (H, W, 3) BGR."""


def _point(place: np.ndarray) -> tuple[int, int]:
    return int(place[0]), int(place[1])
