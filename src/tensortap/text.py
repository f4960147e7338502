"""Text that can be shown and stored wherever it came from."""

from __future__ import annotations

import os
import re

_SECRET = re.compile(r"(?i)\b(user|username|password|passwd|pwd|pass|token|auth|key|secret)=[^&/?;\s'\"]*")
_USER = re.compile(r"[^\s/:@'\"]+:[^\s/@'\"]+@")


def printable(text: str) -> str:
    """The same text as valid Unicode: file names may hold bytes that are none, which no JSON and no terminal takes."""
    return os.fsencode(text).decode("utf-8", "replace")


def redact(text: str) -> str:
    """The same text with user names, passwords and query strings of URLs replaced by stars."""
    text = re.sub(r"([a-zA-Z][a-zA-Z0-9+.-]+://)([^\s?'\"]*)(\?[^\s'\"]*)?", _redacted, text)
    return _USER.sub("***@", text)  # of what was meant as a URL and is none


def _redacted(match: re.Match[str]) -> str:
    scheme, rest, query = match.groups()
    authority, slash, path = rest.partition("/")
    if "@" not in authority and "@" in path and not re.fullmatch(r"(\[[0-9a-fA-F:.]*\]|[^:]*)(:[0-9]*)?", authority):
        authority, slash, path = rest, "", ""  # a password with a slash in it
        if "/" in (behind := rest.rpartition("@")[2]):
            authority, slash, path = rest[: -len(behind)] + behind.partition("/")[0], "/", behind.partition("/")[2]
    credentials, at, host = authority.rpartition("@")
    path = _SECRET.sub(r"\1=***", path)  # some recorders want them there
    return f"{scheme}{'***@' if at and credentials else at}{host}{slash}{path}{'?***' if query else ''}"
