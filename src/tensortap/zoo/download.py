"""One file over HTTP: resumed where it stopped, checked, and only then given its name."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tensortap.errors import DownloadError
from tensortap.zoo.cache import cannot_write

Progress = Callable[[int, int | None], object]
"""Called with bytes done, and bytes in all where that is known."""

TIMEOUT_SECONDS = 30.0
"""A server that says nothing for so long is given up on."""
PAUSE_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Before the next try, after so many in a row that brought nothing."""

_CHUNK_BYTES = 1 << 18
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class _BrokenOffError(Exception):
    """The connection ended early or the server is busy: worth another try."""


@dataclass
class _Part:
    """What has come so far, and which version of the file it belongs to."""

    path: Path
    """`NAME.part` beside the final file; `NAME.part.json` says where it came from."""
    url: str

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def _origin(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def validator(self) -> str | None:
        """What If-Range is given: a strong ETag or a date; `None` if the parts could not be told to belong together."""
        try:
            origin = json.loads(self._origin.read_text(encoding="utf-8"))
            return str(origin["validator"]) if origin["url"] == self.url and origin["validator"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def started(self, headers: Any) -> None:
        """Remember what the server says of the file that begins to come."""
        etag = headers.get("ETag") or ""
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        self._origin.write_text(json.dumps({"url": self.url, "validator": validator}), encoding="utf-8")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


def download(
    url: str,
    target: Path,
    *,
    size_bytes: int | None = None,
    sha256: str | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Fetch `url` as `target`. What has come stays in `target.part` until it is whole, so that a later call goes on from there.

    One caller at a time for one target: hold a lock.

    Raises:
        DownloadError: it cannot be had; `target` does not exist then.
    """
    part = _Part(target.with_name(target.name + ".part"), url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = _receive(part, size_bytes, sha256, on_progress)
        wrong = _what_is_wrong(part.path, size_bytes, sha256)
        if wrong and resumed:  # the first part may have been another version's, or damaged
            part.drop()
            _receive(part, size_bytes, sha256, on_progress)
            wrong = _what_is_wrong(part.path, size_bytes, sha256)
        if wrong:
            part.drop()
            raise DownloadError(
                f"What {url} gave is not the file that was expected: {wrong}. It has been deleted. "
                "Try again; if it happens again, the file has been changed, or something on the way changes it."
            )
        os.replace(part.path, target)
        part.drop()
    except DownloadError:
        raise
    except OSError as exc:
        raise write_error(target, exc, size_bytes) from exc


def write_error(target: Path, exc: OSError, size_bytes: int | None) -> DownloadError:
    """A file of the cache cannot be written, in words that help."""
    if exc.errno in _NO_SPACE:
        return _no_space(target, f"It needs {megabytes(size_bytes)}. " if size_bytes else "")
    return cannot_write(target.parent, exc)


def _no_space(target: Path, needs: str) -> DownloadError:
    free = _free_bytes(target.parent)
    free_text = "" if free is None else f" ({megabytes(free)} free)"
    return DownloadError(
        f"There is no space for {target.name} in {target.parent}{free_text}. {needs}"
        "What has come is kept: make space and run the same again, or set TENSORTAP_CACHE to a folder with more."
    )


def megabytes(size_bytes: int | None) -> str:
    """A size for people."""
    return "size unknown" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"


def sha256_of(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _what_is_wrong(path: Path, size_bytes: int | None, sha256: str | None) -> str:
    found_bytes = path.stat().st_size
    if size_bytes is not None and found_bytes != size_bytes:
        return f"it has {found_bytes} bytes instead of {size_bytes}"
    if sha256 is not None and (found := sha256_of(path)) != sha256.lower():
        return f"its SHA-256 is {found} instead of {sha256.lower()}"
    return "it is empty" if found_bytes == 0 else ""


def _receive(part: _Part, size_bytes: int | None, sha256: str | None, on_progress: Progress | None) -> bool:
    """Bring the part to its end, over as many connections as it takes. Whether it was put together from several."""
    if size_bytes is not None and part.size() == size_bytes:
        return True  # whole already: the process died before it was renamed
    failures = 0
    resumed = False
    while True:
        had = part.size()
        try:
            return _receive_once(part, size_bytes, sha256, on_progress) or resumed
        except _BrokenOffError as exc:
            resumed = True
            failures = 1 if part.size() > had else failures + 1
            if failures > len(PAUSE_SECONDS):
                raise DownloadError(f"{exc}, {failures} times in a row. {_kept(part)}".strip()) from exc
            time.sleep(PAUSE_SECONDS[failures - 1])


def _receive_once(part: _Part, size_bytes: int | None, sha256: str | None, on_progress: Progress | None) -> bool:
    """One connection, to the end of the file. Whether it went on from an earlier one."""
    had, validator = part.size(), part.validator()
    headers = {"User-Agent": "tensortap", "Accept-Encoding": "identity"}
    # Without a validator the rest may be of another version; a checksum would notice.
    if had and (validator or sha256):
        headers["Range"] = f"bytes={had}-"
        if validator:
            headers["If-Range"] = validator
    with _open(urllib.request.Request(part.url, headers=headers)) as response:
        if response.status == 206 and _first_byte(response.headers) != had:
            part.drop()
            raise _BrokenOffError(f"{part.url} answered with another range than the one asked for")
        done = had if response.status == 206 else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdigit() else None
        _check_offer(response, part, total, size_bytes)
        if not done:
            part.drop()
            part.started(response.headers)
        if total is not None:
            _check_space(part, total - done)
        total = total if total is not None else size_bytes
        with part.path.open("ab", buffering=0) as file:
            begun = done
            if on_progress:
                on_progress(done, total)
            while chunk := _read(response, part.url):
                _write(file, chunk)
                done += len(chunk)
                if on_progress:
                    on_progress(done, total)
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _BrokenOffError(f"The connection to {part.url} broke off at {done} of {total} bytes")
    return begun > 0


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from HTTPS to something that anybody on the way can change."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise DownloadError(f"{req.full_url} leads to {newurl}, which is not encrypted; it is not followed.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request) -> Any:
    """The server's answer, 200 or 206.

    Raises:
        _BrokenOffError: it may answer later.
        DownloadError: it will not.
    """
    url = request.full_url
    opener = urllib.request.build_opener(_NoDowngrade)  # made now, so that it sees the environment's proxies
    try:
        return opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code == 416 and request.has_header(
            "Range"
        ):  # there is nothing after what we have: another version, shorter than ours
            request.remove_header("Range")
            request.remove_header("If-range")
            return _open(request)
        if exc.code in (408, 425, 429) or exc.code >= 500:
            raise _BrokenOffError(f"{url} answers {exc.code} {exc.reason}") from exc
        hint = (
            " The file has been moved or withdrawn; a newer tensortap may know where it is." if exc.code in (404, 410) else ""
        )
        raise DownloadError(f"{url} answers {exc.code} {exc.reason}.{hint}") from exc
    except urllib.error.URLError as exc:
        reason = exc.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"The certificate of {url} is not trusted: {reason.verify_message}.") from exc
        if isinstance(reason, TimeoutError):
            raise _BrokenOffError(f"{url} did not answer within {TIMEOUT_SECONDS:g} seconds") from exc
        if isinstance(reason, (ConnectionResetError, BrokenPipeError)):
            raise _BrokenOffError(f"The connection to {url} broke off") from exc
        if isinstance(reason, socket.gaierror):
            raise DownloadError(f"{url} cannot be reached: its host is not found ({reason.strerror}).") from exc
        raise DownloadError(f"{url} cannot be reached: {getattr(reason, 'strerror', None) or reason}.") from exc
    except TimeoutError as exc:
        raise _BrokenOffError(f"{url} did not answer within {TIMEOUT_SECONDS:g} seconds") from exc
    except (http.client.HTTPException, OSError) as exc:
        raise _BrokenOffError(f"The connection to {url} broke off") from exc


def _read(response: Any, url: str) -> bytes:
    """What has arrived; empty at the end."""
    try:
        return bytes(response.read1(_CHUNK_BYTES))
    except TimeoutError as exc:
        raise _BrokenOffError(f"{url} sent nothing for {TIMEOUT_SECONDS:g} seconds") from exc
    except (http.client.HTTPException, OSError) as exc:
        raise _BrokenOffError(f"The connection to {url} broke off") from exc


def _write(file: Any, data: bytes) -> None:
    """All of it, past the buffers, so that the part's size is what has come."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _first_byte(headers: Any) -> int | None:
    """Of `Content-Range: bytes 100-199/200` the 100."""
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0].strip()
    return int(first) if unit.lower() == "bytes" and first.isdigit() else None


def _check_offer(response: Any, part: _Part, total: int | None, size_bytes: int | None) -> None:
    """Refuse what cannot be the file before it is fetched: a login page, another size."""
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(f"{part.url} gave a web page instead of a file: a proxy or a login page is in between.")
    if total is not None and size_bytes is not None and total != size_bytes:
        part.drop()
        raise DownloadError(
            f"{part.url} offers {total} bytes; the file that was expected has {size_bytes}. It has been changed, "
            "or something is in between; nothing is kept."
        )


def _check_space(part: _Part, missing_bytes: int) -> None:
    free = _free_bytes(part.path.parent)
    if free is not None and free < missing_bytes:
        raise _no_space(part.path.with_suffix(""), f"{megabytes(missing_bytes)} have still to come. ")


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _kept(part: _Part) -> str:
    return f"{megabytes(part.size())} have come and are kept; the same again goes on from there." if part.size() else ""
