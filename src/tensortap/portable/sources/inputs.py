"""What `-i` means: which of the inputs named are videos, cameras or images, and which belong together."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from tensortap.errors import SourceError
from tensortap.recording.format import is_recording
from tensortap.registry import plugins
from tensortap.text import printable, redact

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""Suffixes of still images; everything else is opened as a video."""
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")  # two letters at least: C:// is a drive
_LIVE_SCHEMES = frozenset({"rtmp", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})
_LIVE_PREFIX = "live+"
"""Before any URL: read it as a camera, whatever it looks like."""
_WEBCAM = re.compile(r"(?:webcam:(?://)?|/dev/video)?([0-9]+)(\?.*)?")
_NAMED = re.compile(r"([\w. -]+)=(.+)")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://.+|webcam:.+|/dev/video.+|[0-9]+")


@dataclass(frozen=True)
class Input:
    """One stream to be: a video by path or URL, a camera, still images, or a drawn scene."""

    kind: str
    """Name of the source in the registry, or `recording`."""
    name: str
    """Short name for people and files, without credentials."""
    location: str
    """What was asked for: a path, URL, folder or glob."""
    paths: tuple[Path, ...] = field(default=())
    """The images, in order."""


def find_inputs(locations: list[str]) -> list[Input]:
    """The streams behind the inputs named on the command line, in order.

    A video or URL is a stream of its own, and so is a folder or a glob of images. Image files named one after another (as a
    shell makes them of `*.jpg`) form one stream.

    Raises:
        SourceError: a file or folder does not exist, holds no images, or a glob matches nothing.
    """
    inputs: list[Input] = []
    for location in locations:
        found = _find(location)
        previous = inputs[-1] if inputs else None
        loose_images = found.kind == "images" and Path(location).suffix.lower() in IMAGE_SUFFIXES
        if loose_images and previous and previous.kind == "images" and previous.location == "":
            inputs[-1] = Input("images", previous.name, "", previous.paths + found.paths)
        elif loose_images and not _is_glob(location):
            inputs.append(Input("images", found.name, "", found.paths))
        else:
            inputs.append(found)
    return inputs


def is_url(location: str) -> bool:
    """Whether this names something on the network rather than a file."""
    return bool(_URL.match(location)) and not location.startswith("file://")


def short_name(url: str) -> str:
    """What to call a camera: host and path of its address, without what must not be known: `door.local/stream1`."""
    name = redact(url).partition("://")[2].removeprefix("***@").lstrip("@").partition("?")[0].rstrip("/")
    return printable(name or "stream")


def _is_glob(location: str) -> bool:
    return glob.has_magic(location) and not Path(location).exists()


def _find(location: str) -> Input:
    named = _NAMED.fullmatch(location)
    if named and not Path(location).exists() and (_ADDRESS.fullmatch(named[2]) or Path(named[2]).exists()):
        return replace(_find(named[2]), name=printable(named[1]))
    webcam = _WEBCAM.fullmatch(location)
    if webcam and (location.startswith("/dev/video") or not Path(location).exists()):
        return Input("live", f"webcam-{webcam[1]}", f"webcam:{webcam[1]}{webcam[2] or ''}")
    scheme = location.partition("://")[0] if _URL.match(location) else ""
    if scheme in plugins("source"):
        parts = urlsplit(location)
        return Input(scheme, printable(Path(parts.path).name or parts.hostname or "stream"), location)
    if is_url(location):
        return _find_url(location)
    if location.startswith("file://"):
        from urllib.request import url2pathname  # which brings HTTP and TLS

        location = url2pathname(urlsplit(location).path)
    if not location:
        raise SourceError("An input has no name: -i was given an empty text.")
    return _find_path(location)


def _find_url(location: str) -> Input:
    scheme = location.partition("://")[0].lower()
    if scheme == "scene":
        return Input("scene", printable(f"scene-{urlsplit(location).netloc or 'street'}"), location)
    if scheme.startswith(_LIVE_PREFIX):
        url = location[len(_LIVE_PREFIX) :]
        return Input("live", short_name(url), url)
    if scheme in _LIVE_SCHEMES:
        return Input("live", short_name(location), location)
    parts = urlsplit(location)
    return Input("video", printable(Path(parts.path).name or parts.hostname or "stream"), location)


def _find_path(location: str) -> Input:
    path = Path(location)
    if path.exists() and is_recording(path):
        return Input("recording", printable(path.name), location)
    if path.is_dir():
        return _folder(location, path)
    if path.exists():
        kind = "images" if path.suffix.lower() in IMAGE_SUFFIXES else "video"
        return Input(kind, printable(path.name), location, (path,) if kind == "images" else ())
    if _is_glob(location):
        return _glob(location)
    folder = path.parent
    where = f"The folder {str(folder)!r} does not exist either." if not folder.is_dir() else _similar(path)
    raise SourceError(f"There is no input file {redact(location)!r}. {redact(where)}".rstrip())


def _similar(path: Path) -> str:
    """A hint at a file that may have been meant."""
    import difflib

    close = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"Did you mean {str(path.parent / close[0])!r}?" if close else ""


def _folder(location: str, folder: Path) -> Input:
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    images = tuple(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        others = (
            f"It holds {len(files)} other files, e.g. {files[0].name!r}; name videos one by one." if files else "It is empty."
        )
        raise SourceError(f"The folder {location!r} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). {others}")
    return Input("images", printable(folder.resolve().name), location, images)


def _glob(location: str) -> Input:
    paths = sorted(Path(match) for match in glob.glob(location, recursive=True))
    images = tuple(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        found = f"It matches {len(paths)} files, none of them an image" if paths else "It matches nothing"
        raise SourceError(f"The pattern {location!r} names no images. {found}. Leave it to the shell (no quotes) for videos.")
    return Input("images", printable(location), location, images)
