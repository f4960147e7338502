"""Where downloaded models are kept, and who may write there at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tensortap.cache import cache_folder
from tensortap.errors import DownloadError

_POLL_SECONDS = 0.1


def models_folder() -> Path:
    """Where the models of the zoo are kept, and where a file can be put by hand."""
    return cache_folder() / "models"


@contextmanager
def only_one(lock: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold a lock among threads and processes; the operating system releases it when the process dies.

    Raises:
        DownloadError: the folder cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+b")
    except OSError as exc:
        raise cannot_write(lock.parent, exc) from exc
    with file:  # the lock goes when the file is closed
        told = False
        while not _locks(file):
            if not told:
                on_wait()
            told = True
            time.sleep(_POLL_SECONDS)
        yield


if sys.platform == "win32":
    import msvcrt

    def _locks(file: IO[bytes]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locks(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a network file system without locks: nothing better can be had
        return True


def cannot_write(folder: Path, exc: OSError) -> DownloadError:
    """The cache refuses; says so and how to have it elsewhere."""
    return DownloadError(
        f"{folder} cannot be written: {exc.strerror or exc}. Set TENSORTAP_CACHE to a folder that can, or mend its permissions."
    )
