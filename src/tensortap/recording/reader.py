"""Reads a recording. Nothing in it is executed; what is damaged is named."""

from __future__ import annotations

import io
import json
import logging
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from tensortap.errors import SourceError
from tensortap.recording.format import (
    FORMAT,
    HEADER,
    INDEX,
    SUFFIX,
    VERSION,
    chunk_name,
    image_name,
    info_from_json,
    letterbox_from_json,
    roi_from_json,
    stream_from_json,
)
from tensortap.types import Frame, StreamInfo, TensorFrame

_log = logging.getLogger(__name__)
_MAX_CHUNK_BYTES = 4 << 30
"""No chunk of ours is near it; a few bytes can be made to unpack to more than any machine has."""

_UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What zipfile and NumPy raise where a chunk is damaged."""
_ODD = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
"""What JSON that does not say what it should ends in."""


class ChunkError(Exception):
    """A chunk cannot be read; its frames are lost."""


@dataclass(frozen=True)
class JpegPixels:
    """A recorded picture, read when it is asked for."""

    path: Path
    """The file."""
    size_wh: tuple[int, int]
    """What it must be."""

    def bgr(self) -> np.ndarray:
        """uint8 (H, W, 3) BGR. Raises SourceError."""
        try:
            data = np.frombuffer(self.path.read_bytes(), np.uint8)
            image: np.ndarray | None = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        except (OSError, cv2.error) as exc:
            raise SourceError(f"{self.path} cannot be read: {exc}") from exc
        if image is None or image.shape[1::-1] != self.size_wh:
            found = "no picture" if image is None else f"{image.shape[1]}x{image.shape[0]}"
            raise SourceError(f"{self.path} is {found}; the frame is {self.size_wh[0]}x{self.size_wh[1]}.")
        return image


class Recording:
    """A recording, opened: who was recorded, and its frames in their order.

    Args:
        path: the folder.
        source_id: number of its first stream; the others follow.

    Raises:
        SourceError: it is no recording, of a newer version, or damaged at its beginning.
    """

    def __init__(self, path: Path, source_id: int = 0) -> None:
        self.path = path
        self.header = _read_header(path)
        self.complete = False
        """Whether the run that wrote it came to its end."""
        counts, names = self._count()
        streams = self._streams(names)
        self._ids = {recorded: source_id + number for number, recorded in enumerate(sorted(streams))}
        self.streams = [
            replace(streams[recorded], source_id=new, num_frames=counts.get(recorded, 0)) for recorded, new in self._ids.items()
        ]
        if not self.complete:
            _log.warning(
                "%s was cut off: the run that wrote it was killed or its disk was full. %d frames are there.",
                path,
                counts.total(),
            )

    def frames(self) -> Iterator[TensorFrame | int]:
        """The frames in the order in which they were recorded; the number of a stream instead of a frame that is lost."""
        chunk_number, chunk, broken = -1, {}, set[int]()
        for _, line in self._lines():
            try:
                source_id = self._ids[int(line["source_id"])]
                info = info_from_json(line, source_id)
                letterbox, roi = letterbox_from_json(line["letterbox"]), roi_from_json(line.get("roi"))
                number, row = (int(line["chunk"]), int(line["row"])) if line.get("chunk") is not None else (None, 0)
                image = self.path / image_name(int(line["source_id"]), info.index) if line.get("image") else None
            except _ODD as exc:
                raise self._damaged(f"{INDEX} describes a frame in a way that cannot be understood ({exc!r})") from exc
            tensors: dict[str, np.ndarray] = {}
            if number is not None:
                if number != chunk_number and number not in broken:
                    try:
                        chunk_number, chunk = number, _read_chunk(self.path / chunk_name(number))
                    except ChunkError as exc:
                        broken.add(number)
                        _log.warning("%s cannot be read and is left out: %s", self.path / chunk_name(number), exc)
                if number in broken or not all(0 <= row < len(stack) for stack in chunk.values()):
                    yield source_id
                    continue
                tensors = {name: stack[row, ...] for name, stack in chunk.items()}
            pixels = JpegPixels(image, info.size_wh) if image and image.is_file() else None
            yield TensorFrame(Frame(info, pixels), MappingProxyType(tensors), letterbox, roi)

    def _count(self) -> tuple[Counter[int], dict[int, str]]:
        """Frames of each recorded stream, and the name of the first."""
        counts: Counter[int] = Counter()
        names: dict[int, str] = {}
        for number, line in self._lines():
            try:
                source_id = int(line["source_id"])
                counts[source_id] += 1
                names.setdefault(source_id, str(line["source"]))
            except _ODD as exc:
                raise self._damaged(f"line {number} of {INDEX} is no frame ({exc!r})") from exc
        return counts, names

    def _streams(self, names: Mapping[int, str]) -> dict[int, StreamInfo]:
        """Recorded number -> stream; made up from the frames where the header says nothing."""
        try:
            told = [stream_from_json(each) for each in self.header.get("streams") or ()]
        except _ODD as exc:
            raise self._damaged(f"{HEADER} describes a stream in a way that cannot be understood ({exc!r})") from exc
        return {source_id: StreamInfo(source_id, name) for source_id, name in names.items()} | {
            stream.source_id: stream for stream in told
        }

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The lines of the index, with their numbers; one that was cut off at the end is left out."""
        try:
            with (self.path / INDEX).open("rb") as file:
                for number, text in enumerate(file, 1):
                    try:
                        line = json.loads(text)
                    except (ValueError, RecursionError) as exc:
                        if not text.endswith(b"\n"):
                            return
                        raise self._damaged(f"line {number} of {INDEX} is no JSON") from exc
                    if not isinstance(line, dict):
                        raise self._damaged(f"line {number} of {INDEX} is no JSON object")
                    if "end" in line:
                        self.complete = True
                        return
                    yield number, line
        except FileNotFoundError:
            return  # killed before its first chunk
        except OSError as exc:
            raise SourceError(f"{self.path / INDEX} cannot be read: {exc.strerror or exc}") from exc

    def _damaged(self, what: str) -> SourceError:
        return SourceError(f"The recording {self.path} is damaged: {what}. Copy it again from where it was made.")


def _read_header(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise SourceError(f"There is no recording {str(path)!r}.")
    if not path.is_dir():
        raise SourceError(f"{path} is a file; a recording ({SUFFIX}) is a folder. Is it packed? Unpack it first.")
    try:
        header = json.loads((path / HEADER).read_bytes())
    except FileNotFoundError as exc:
        raise SourceError(f"{path} is no recording of tensortap: it holds no {HEADER}.") from exc
    except OSError as exc:
        raise SourceError(f"{path / HEADER} cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise SourceError(f"{path / HEADER} is damaged, it is no JSON: {exc}") from exc
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise SourceError(f"{path} is no recording of tensortap: its {HEADER} does not say {FORMAT!r}.")
    version = header.get("version")
    if not isinstance(version, int) or version < 1:
        raise SourceError(f"{path / HEADER} is damaged: its version is {version!r}.")
    if version > VERSION:
        raise SourceError(
            f"{path} has version {version} of the format, written by tensortap {header.get('tensortap', '?')}; this one reads "
            f"up to version {VERSION}. Update tensortap."
        )
    return header


def _read_chunk(path: Path) -> dict[str, np.ndarray]:
    """Tensor name -> read-only (frames, ...).

    Raises:
        ChunkError: it is missing or damaged, or would unpack to a senseless size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > _MAX_CHUNK_BYTES:
                raise ChunkError(f"it says that it unpacks to more than {_MAX_CHUNK_BYTES >> 30} GB")
            stacks = {}
            for member in members:
                with archive.open(member) as file:
                    # zipfile checks the sum only where a member is read to its end.
                    data = file.read()
                stacks[member.filename.removesuffix(".npy")] = _array(data)
            if not stacks:
                raise ChunkError("it holds no arrays")
            return stacks
    except ChunkError:
        raise
    except FileNotFoundError as exc:
        raise ChunkError("it is missing") from exc
    except _UNREADABLE as exc:
        raise ChunkError(str(exc) or type(exc).__name__) from exc


def _array(data: bytes) -> np.ndarray:
    """An .npy file as a read-only array, without a copy in the usual case; an array of objects is refused, not unpickled."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"unknown version {version} of .npy")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject or not shape:
        raise ValueError(f"it holds a {'single value' if not shape else 'list of objects'} where tensors should be")
    stack: np.ndarray = np.ndarray(shape, dtype, data, file.tell(), order="F" if fortran else "C")  # read-only, as bytes are
    if not dtype.isnative:
        stack = stack.astype(dtype.newbyteorder("="))
        stack.flags.writeable = False
    return stack
