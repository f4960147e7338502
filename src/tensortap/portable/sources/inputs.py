"""What `-i` means: which of the inputs named are videos, which are images, and which belong together."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tensortap.errors import SourceError
from tensortap.recording.format import is_recording
from tensortap.registry import plugins
from tensortap.text import printable

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""Suffixes of still images; everything else is opened as a video."""
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")  # two letters at least: C:// is a drive


@dataclass(frozen=True)
class Input:
    """One stream to be: a video by path or URL, still images, or a drawn scene."""

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


def redact(text: str) -> str:
    """The same text with user names, passwords and query strings of URLs replaced by stars."""
    return re.sub(r"([a-zA-Z][a-zA-Z0-9+.-]+://)([^/\s]*@)?([^\s?'\"]*)(\?[^\s'\"]*)?", _redacted, text)


def _redacted(match: re.Match[str]) -> str:
    scheme, credentials, rest, query = match.groups()
    return f"{scheme}{'***@' if credentials else ''}{rest}{'?***' if query else ''}"


def is_url(location: str) -> bool:
    """Whether this names something on the network rather than a file."""
    return bool(_URL.match(location)) and not location.startswith("file://")


def _is_glob(location: str) -> bool:
    return glob.has_magic(location) and not Path(location).exists()


def _find(location: str) -> Input:
    if location.startswith("scene://"):
        name = urlsplit(location).netloc or "street"
        return Input("scene", printable(f"scene-{name}"), location)
    scheme = location.partition("://")[0] if _URL.match(location) else ""
    if scheme in plugins("source") or is_url(location):
        parts = urlsplit(location)
        name = Path(parts.path).name or parts.hostname or "stream"
        return Input(scheme if scheme in plugins("source") else "video", printable(name), location)
    if location.startswith("file://"):
        location = url2pathname(urlsplit(location).path)
    if not location:
        raise SourceError("An input has no name: -i was given an empty text.")
    path = Path(location)
    if path.exists() and is_recording(path):
        return Input("recording", printable(path.name), location)
    if path.is_dir():
        return _folder(location, path)
    if path.exists():
        kind: Literal["video", "images"] = "images" if path.suffix.lower() in IMAGE_SUFFIXES else "video"
        return Input(kind, printable(path.name), location, (path,) if kind == "images" else ())
    if _is_glob(location):
        return _glob(location)
    folder = path.parent
    where = f"The folder {str(folder)!r} does not exist either." if not folder.is_dir() else _similar(path)
    raise SourceError(f"There is no input file {location!r}. {where}".rstrip())


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
