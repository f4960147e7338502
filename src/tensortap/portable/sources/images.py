"""Still images: files, folders and globs, read by OpenCV."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import cv2
import numpy as np

from tensortap.errors import SourceError
from tensortap.portable.pixels import BgrPixels
from tensortap.text import printable
from tensortap.types import Frame, FrameInfo, StreamInfo

_log = logging.getLogger(__name__)
_SECOND_NS = 1_000_000_000


class ImageSource:
    """Image files one after another, a second apart. EXIF orientation is applied, transparency and depth beyond 8 bits dropped.

    A file that is no image costs that frame and is counted in `damaged`.

    Args:
        source_id: number of the stream.
        name: name of the stream; frames carry the name of their file.
        paths: the files, in order.
    """

    def __init__(self, source_id: int, name: str, paths: tuple[Path, ...]) -> None:
        self.stream = StreamInfo(source_id, name, num_frames=len(paths), is_still=True)
        self.damaged = 0
        self._paths = paths
        self._next = 0
        self._index = 0

    def read(self) -> Frame | None:
        """The next image, `None` after the last.

        Raises:
            SourceError: not one of the files was an image.
        """
        while self._next < len(self._paths):
            path = self._paths[self._next]
            self._next += 1
            image = self._decode(path)
            if image is None:
                continue
            info = FrameInfo(
                source_id=self.stream.source_id,
                source=printable(path.name),
                index=self._index,
                pts_ns=self._index * _SECOND_NS,
                size_wh=(image.shape[1], image.shape[0]),
                duration_ns=_SECOND_NS,
                is_still=True,
                arrival_ns=time.time_ns(),
            )
            self._index += 1
            return Frame(info, BgrPixels(image))
        if self._index == 0:
            what = (
                f"{self._paths[0]}"
                if len(self._paths) == 1
                else f"None of the {len(self._paths)} files of {self.stream.name!r}"
            )
            raise SourceError(f"{what} cannot be read as an image: damaged, empty, or no image in spite of its suffix.")
        return None

    def close(self) -> None:
        """Nothing to release; `read()` gives `None` from now on."""
        self._next, self._index = len(self._paths), max(self._index, 1)

    def _decode(self, path: Path) -> np.ndarray | None:
        try:
            data = np.frombuffer(path.read_bytes(), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        except (OSError, cv2.error) as exc:
            image, reason = None, str(exc)
        else:
            reason = "not an image that OpenCV can read" if data.size else "the file is empty"
        if image is None:
            self.damaged += 1
            _log.warning("%s is left out: %s", path, reason)
        return image
