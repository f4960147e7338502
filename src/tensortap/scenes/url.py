"""`scene://street?people=6&seed=3`: a scene where a file or a camera may be named."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from tensortap.errors import UsageError
from tensortap.scenes.scene import SETTINGS, Scene

SCHEME = "scene://"
_DEFAULT_SECONDS = 10.0
_KNOWN = ("fps", "live", "people", "seconds", "seed", "size")


@dataclass(frozen=True, eq=False)
class SceneRequest:
    """What a URL asks for."""

    scene: Scene
    """The scene, drawn when frames are asked for."""
    num_frames: int | None
    """How many frames to show; `None` never ends."""
    live: bool
    """Whether frames come when their time has come, as from a camera, rather than as fast as they are asked for."""


def is_scene(location: str) -> bool:
    """Whether this names a scene."""
    return location.startswith(SCHEME)


def parse_scene(url: str) -> SceneRequest:
    """`scene://SETTING?people=6&seed=0&size=1280x720&fps=30&seconds=10&live=0`; all of them may be left out.

    `seconds=0` never ends, and neither does `live=1` without `seconds`.

    Raises:
        UsageError: the setting or a parameter is unknown, or a value cannot be meant.
    """
    parts = urlsplit(url)
    values = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(values) - set(_KNOWN))
    if unknown:
        raise UsageError(f"{url}: a scene has no {', '.join(map(repr, unknown))}. Known: {', '.join(_KNOWN)}.")
    if parts.path.strip("/"):
        raise UsageError(f"{url}: a scene has a name and parameters only, e.g. scene://street?people=4.")

    def number(name: str, default: float, kind: type[int] | type[float] = float) -> float:
        text = values.get(name)
        if text is None:
            return default
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise UsageError(f"{url}: {name} should be {what}, not {text!r}.") from None

    live = bool(number("live", 0, int))
    frame_rate = number("fps", 30.0)
    seconds = number("seconds", 0.0 if live else _DEFAULT_SECONDS)
    if not 0 <= seconds <= 1e6:
        raise UsageError(f"{url}: seconds should be 0 (for ever) or more, not {values['seconds']}.")
    try:
        scene = Scene(
            parts.netloc or "street",
            people=int(number("people", 6, int)),
            seed=_seed(url, int(number("seed", 0, int))),
            size_wh=_size(url, values.get("size", "1280x720")),
            frame_rate=frame_rate,
        )
    except UsageError as exc:
        raise UsageError(f"{url}: {exc}" if not str(exc).startswith(url) else str(exc)) from None
    return SceneRequest(scene, max(1, round(seconds * frame_rate)) if seconds else None, live)


def names() -> list[str]:
    """The settings that a URL may name."""
    return sorted(SETTINGS)


def _size(url: str, text: str) -> tuple[int, int]:
    width, by, height = text.lower().partition("x")
    if not (by and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"{url}: size should be WIDTHxHEIGHT, e.g. 1280x720, not {text!r}.")
    return int(width), int(height)


def _seed(url: str, seed: int) -> int:
    if seed < 0:
        raise UsageError(f"{url}: seed should be 0 or more, not {seed}.")
    return seed
