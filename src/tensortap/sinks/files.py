"""Files that are whole after every write, whatever happens next."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from pathlib import Path

from tensortap.errors import SinkError

_log = logging.getLogger(__name__)
_ADVICE = {
    errno.ENOSPC: "Free some space or choose another disk",
    errno.EDQUOT: "Your quota is used up; choose another disk",
    errno.EFBIG: "The file has reached the largest size allowed here",
    errno.EACCES: "Choose a folder that you may write to",
    errno.EPERM: "Choose a folder that you may write to",
    errno.EROFS: "The file system is read-only; choose another folder",
    errno.EISDIR: "It is a folder; name a file in it",
    errno.ENOENT: "Create its folder first",
    errno.EPIPE: "The program that read it has gone",
}


class GrowingFile:
    """A file that grows by whole pieces: body, body, body, tail.

    Each piece is one system call and lies in the file when `append` returns, so that a killed run leaves all of them. A
    piece that does not fit is taken back.

    What was in the file before stays until the first piece is written: a run that never gets that far destroys nothing.

    Args:
        path: where; `-` is the standard output, which is only ever added to.
        tail: what the file ends with after every piece, e.g. the bracket that closes a JSON array.

    Raises:
        SinkError: the file cannot be written to.
    """

    def __init__(self, path: Path, *, tail: bytes = b"") -> None:
        self._is_stdout = str(path) == "-"
        self._name = "the standard output" if self._is_stdout else str(path)
        self._tail = tail
        self._body_size = 0
        self._created: Path | None = None
        self._descriptor: int | None = None
        if self._is_stdout:
            self._descriptor = _open_stdout()
        else:
            self._created = path if ensure_writable(path) else None
            self._descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))

    def append(self, piece: bytes) -> None:
        """Write a piece after the body, and the tail after it.

        Raises:
            SinkError: the disk is full, the reader is gone, or the file is closed. The file is as it was before.
        """
        if self._descriptor is None:
            raise SinkError(f"{self._name} is closed; nothing more can be written to it.")
        try:
            if not self._body_size:
                self._start(self._descriptor)
            self._write(self._descriptor, piece + self._tail)
        except OSError as exc:
            self._take_back(self._descriptor)
            raise cannot_write(self._name, exc) from exc
        except BaseException:
            self._take_back(self._descriptor)
            raise
        self._body_size += len(piece)

    def close(self) -> None:
        """Release the file; one that was made here and never written to goes again. Closing twice is fine."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.close(descriptor)
            if self._created is not None and not self._body_size:
                self._created.unlink(missing_ok=True)
        except OSError as exc:
            raise cannot_write(self._name, exc) from exc

    def _start(self, descriptor: int) -> None:
        """Drop what a file held before; devices and pipes hold nothing."""
        if not self._is_stdout and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)

    def _write(self, descriptor: int, data: bytes) -> None:
        if self._tail:
            os.lseek(descriptor, self._body_size, os.SEEK_SET)
        written = os.write(descriptor, data)
        while written < len(data):  # pipes and nearly full disks take less than they are given
            written += os.write(descriptor, data[written:])

    def _take_back(self, descriptor: int) -> None:
        """End the file where the last whole piece ended."""
        if self._is_stdout or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return  # what these took cannot be had back
        try:
            os.ftruncate(descriptor, self._body_size)
            os.lseek(descriptor, self._body_size, os.SEEK_SET)
            if self._tail and self._body_size:
                os.write(descriptor, self._tail)  # over blocks that the file owned before
        except OSError as exc:
            _log.debug("%s could not be cut back to its last whole piece: %s", self._name, exc)


def ensure_writable(path: Path) -> bool:
    """Make sure that a file can be written, without touching what is in it. True: there was none, and now it is empty.

    Raises:
        SinkError: it cannot.
    """
    flags = os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        try:
            os.close(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666))
            return True
        except FileExistsError:
            os.close(os.open(path, flags))
            return False
    except OSError as exc:
        raise cannot_write(str(path), exc) from exc


def _open_stdout() -> int:
    """A descriptor of our own for the standard output."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.flush()
        return os.dup(sys.stdout.fileno())
    except OSError as exc:
        raise cannot_write("the standard output", exc) from exc


def cannot_write(name: str, error: OSError) -> SinkError:
    """A SinkError that says which output, what happened, and what to try."""
    advice = _ADVICE.get(error.errno or 0)
    return SinkError(f"{name} cannot be written: {error.strerror or error}.{f' {advice}.' if advice else ''}")
