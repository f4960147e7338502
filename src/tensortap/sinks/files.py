"""Files that are whole after every write, whatever happens next."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from tensortap.errors import SinkError

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

    Args:
        path: where; `-` is the standard output. What was there is replaced.
        tail: what the file ends with after every piece, e.g. the bracket that closes a JSON array.

    Raises:
        SinkError: the file cannot be created.
    """

    def __init__(self, path: Path, *, tail: bytes = b"") -> None:
        self._is_stdout = str(path) == "-"
        self._name = "the standard output" if self._is_stdout else str(path)
        self._tail = tail
        self._body_size = 0
        self._descriptor: int | None = None
        try:
            if self._is_stdout:
                sys.stdout.flush()
                self._descriptor = os.dup(sys.stdout.fileno())
            else:
                self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as exc:
            raise cannot_write(self._name, exc) from exc

    def append(self, piece: bytes) -> None:
        """Write a piece after the body, and the tail after it.

        Raises:
            SinkError: the disk is full, the reader is gone, or the file is closed. The file is as it was before.
        """
        if self._descriptor is None:
            raise SinkError(f"{self._name} is closed; nothing more can be written to it.")
        try:
            self._write(self._descriptor, piece + self._tail)
        except OSError as exc:
            self._take_back(self._descriptor)
            raise cannot_write(self._name, exc) from exc
        except BaseException:
            self._take_back(self._descriptor)
            raise
        self._body_size += len(piece)

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.close(descriptor)
        except OSError as exc:
            raise cannot_write(self._name, exc) from exc

    def _write(self, descriptor: int, data: bytes) -> None:
        if self._tail:
            os.lseek(descriptor, self._body_size, os.SEEK_SET)
        written = os.write(descriptor, data)
        while written < len(data):  # pipes and nearly full disks take less than they are given
            written += os.write(descriptor, data[written:])

    def _take_back(self, descriptor: int) -> None:
        """End the file where the last whole piece ended."""
        try:
            os.ftruncate(descriptor, self._body_size + len(self._tail) if self._body_size else 0)
            if self._tail and self._body_size:
                os.lseek(descriptor, self._body_size, os.SEEK_SET)
                os.write(descriptor, self._tail)  # over blocks that the file owned before
            else:
                os.lseek(descriptor, 0, os.SEEK_END)
        except OSError:
            # Not a file but a pipe or a device: what it took cannot be had back. The first error is the one to tell.
            return


def cannot_write(name: str, error: OSError) -> SinkError:
    """A SinkError that says which output, what happened, and what to try."""
    advice = _ADVICE.get(error.errno or 0)
    return SinkError(f"{name} cannot be written: {error.strerror or error}.{f' {advice}.' if advice else ''}")
