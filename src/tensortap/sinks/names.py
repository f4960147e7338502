"""What `-o` means: which sink an output's name asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tensortap.errors import UsageError
from tensortap.registry import known_names
from tensortap.text import redact

# The longest suffix that fits decides.
_SUFFIXES = {
    ".coco.json": "coco",
    ".jsonl": "jsonl",
    ".m4v": "video",
    ".mkv": "video",
    ".mov": "video",
    ".mp4": "video",
    ".ndjson": "jsonl",
    ".tap": "recording",
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(?://)?(.*)")  # two letters at least: C: is a drive
_SERVED = {"rtsp": "rtsp", "rtsp+push": "push", "rtmp": "push", "rtmps": "push"}
"""Schemes of outputs that are no files."""


@dataclass(frozen=True)
class OutputName:
    """An output as the user named it."""

    text: str
    """What was typed."""
    sink: str
    """Name of the sink in the registry."""
    path: Path
    """Where it writes; `-` is the standard output. Of what is no file, the address as it may be shown."""

    @property
    def is_file(self) -> bool:
        """Whether it writes a file, rather than to somebody or nowhere."""
        return self.sink not in ("null", "screen", *_SERVED.values())

    @property
    def is_drawn(self) -> bool:
        """Whether it shows pictures with people drawn in, which DeepStream's graph does by itself."""
        return self.sink in ("video", "screen", *_SERVED.values())

    @property
    def per_stream(self) -> bool:
        """Whether each stream needs an output of its own: a video holds one picture at a time."""
        return self.sink == "video"

    def for_stream(self, source_id: int) -> Path:
        """The path of one of several streams: `out.mp4` -> `out-0.mp4`."""
        return self.path.with_name(f"{self.path.stem}-{source_id}{self.path.suffix}")


def parse_output(text: str) -> OutputName:
    """The sink and path behind an output's name: by scheme (`jsonl:people.txt`, `null:`), else by suffix (`out.mp4`).

    Raises:
        UsageError: neither says which sink is meant.
    """
    if text == "-":
        return OutputName(text, "jsonl", Path("-"))
    if text in ("null", "screen"):
        return OutputName(text, text, Path(text))
    scheme, names = _SCHEME.fullmatch(text), known_names("sink") - {*_SERVED.values()}
    if scheme and scheme[1] in _SERVED and text.startswith(f"{scheme[1]}://"):
        return OutputName(text, _SERVED[scheme[1]], Path(shown(text)))
    if scheme and scheme[1] in names:
        if not scheme[2] and scheme[1] != "null":
            raise UsageError(f"-o {text}: say which file, e.g. {scheme[1]}:people.out")
        if scheme[2] == "-" and scheme[1] != "jsonl":
            raise UsageError(f"-o {text}: only jsonl can be written to the standard output. Name a file.")
        return OutputName(text, scheme[1], Path(scheme[2] or "null"))
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if text.lower().endswith(suffix):
            return OutputName(text, _SUFFIXES[suffix], Path(text))
    raise UsageError(
        f"-o {redact(text)}: cannot tell what to write. Known endings: {', '.join(sorted(_SUFFIXES))}; "
        f"or name the sink: {', '.join(f'{name}:PATH' for name in sorted(names))}; "
        "or serve it: rtsp://:8554/PATH, rtsp+push://HOST/PATH, rtmp://HOST/APP/KEY."
    )


def shown(address: str) -> str:
    """An address without user and password, and without the key of an RTMP server: for messages, logs and pages."""
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    _, at, host = authority.rpartition("@")
    path, query, _ = path.partition("?")
    if scheme.startswith("rtmp") and "/" in path:
        path = path.rpartition("/")[0] + "/***"
    return f"{scheme}://{'***@' if at else ''}{host}{slash}{path}{'?***' if query else ''}"
