"""`recording`: every frame's tensors, as files that NumPy opens: docs/recording.md."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import logging
import os
import shutil
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tensortap._version import __version__
from tensortap.errors import SinkError
from tensortap.recording.format import FORMAT, HEADER, IMAGES, INDEX, VERSION, chunk_name, image_name, to_json
from tensortap.sinks.background import BackgroundWorker
from tensortap.sinks.files import GrowingFile, cannot_write
from tensortap.types import TensorFrame

_log = logging.getLogger(__name__)
_JPEG_QUALITY = 95
_MAX_PACKERS = min(4, max(1, (os.cpu_count() or 1) // 2))
"""So many chunks are packed at once, as one core packs some 50 MB a second; the other cores are the engine's."""
_CLOSE_SECONDS = 10.0
"""So long a live stream's last chunks may take."""
_ZIP64_BYTES = 1 << 30
_PLAIN_KINDS = "biufc"
"""Kinds of NumPy's own types, which `.npy` files can name."""
_SAMPLE_BYTES = 1 << 16
_WORTH_IT = 0.85
"""Packed to less than this share, a tensor is packed: noise-like float32 shrinks by a tenth and takes a core for it."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """A frame with tensors of its own."""

    frame: TensorFrame
    tensors: Mapping[str, np.ndarray]

    @property
    def signature(self) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
        """What must be the same for two frames to lie in one chunk."""
        return [(name, array.dtype, array.shape) for name, array in self.tensors.items()]


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Frames on their way into files."""

    number: int
    lines: Sequence[str]
    """What the index will say of them."""
    packing: Future[memoryview] | None
    """The file's content to be; `None` where no frame has tensors."""

    @property
    def is_packed(self) -> bool:
        return self.packing is None or self.packing.done()


class RecordingSink:
    """Writes what the engine gave, on a thread of its own; `close()` completes the recording.

    A chunk is written to another name first and renamed, and its frames are listed after that: a killed run leaves everything
    up to its last chunk. What a recording held before stays until the first frame.

    Args:
        path: the folder, by custom `*.tap`.
        about: goes into the header: `streams`, `model`, `engine`.
        images: also store the pictures, as JPEG of quality 95.
        compress: pack tensors where that makes them much smaller.
        chunk_frames: frames with tensors in a chunk at most.
        chunk_bytes: bytes of tensors in a chunk, about.
        chunk_seconds: a chunk is written after so much time, if there is a frame to notice.

    Raises:
        SinkError: the folder cannot be written to, or holds something else.
    """

    def __init__(
        self,
        path: Path,
        about: Mapping[str, Any] | None = None,
        *,
        images: bool = False,
        compress: bool = True,
        chunk_frames: int = 64,
        chunk_bytes: int = 32 << 20,
        chunk_seconds: float = 2.0,
    ) -> None:
        self._path = path
        self._about = dict(about or {})
        self._images, self._compress = images, compress
        self._chunk_frames, self._chunk_bytes, self._chunk_seconds = chunk_frames, chunk_bytes, chunk_seconds
        self._pending: list[_Kept] = []
        self._pending_bytes = self._num_pending = self._num_chunks = self._num_frames = 0
        self._pending_since = 0.0
        self._begun = self._failed = self._closed = self._is_live = False
        self._jobs: deque[_Chunk] = deque()
        self._packers = ThreadPoolExecutor(_MAX_PACKERS, thread_name_prefix=f"tensortap-packing-{path.name}")
        self._created = _make_folder(path)
        try:
            self._index = GrowingFile(path / INDEX)
        except BaseException:
            if self._created:
                path.rmdir()
            raise
        self._worker: BackgroundWorker[_Kept] = BackgroundWorker(
            f"tensortap-recording-{path.name}", self._consume, self._finish
        )

    def write_tensors(self, frame: TensorFrame) -> None:
        """Queue one frame, inferred or not; its tensors are copied. Waits while the disk is behind; a live stream loses its
        oldest frames instead.

        Raises:
            SinkError: the recording is closed, a tensor's type is not NumPy's own, or frames before could not be written.
        """
        if self._closed:
            raise SinkError(f"{self._path} is closed; nothing more can be written to it.")
        for name, array in frame.tensors.items():
            if array.dtype.kind not in _PLAIN_KINDS:
                raise SinkError(f"{self._path}: the tensor {name!r} is {array.dtype}, which .npy files have no name for.")
        self._is_live = frame.info.is_live
        kept = _Kept(frame, {name: np.array(array, order="C") for name, array in frame.tensors.items()})
        self._worker.put(kept, drop=self._is_live)

    @property
    def dropped(self) -> int:
        """Frames that were lost because the disk was too slow for a live stream."""
        return self._worker.dropped

    def close(self) -> None:
        """Write what is queued and complete the recording. Raises SinkError."""
        self._closed = True
        if not self._worker.close(_CLOSE_SECONDS if self._is_live else None):
            raise SinkError(
                f"{self._path} does not take what is left for it within {_CLOSE_SECONDS:g} s; what was written can be replayed."
            )

    def _consume(self, kept: _Kept) -> None:
        """Take one frame into the chunk, in the worker's thread."""
        try:
            self._take(kept)
        except OSError as exc:
            self._failed = True
            raise cannot_write(str(self._path), exc) from exc
        except BaseException:
            self._failed = True
            raise

    def _take(self, kept: _Kept) -> None:
        if not self._begun:
            self._begin()
        if kept.tensors and self._num_pending:
            before = next(each for each in self._pending if each.tensors)
            if before.signature != kept.signature:
                self._flush()
        self._write_packed(_MAX_PACKERS)
        if not self._pending:
            self._pending_since = time.monotonic()
        if self._images:
            self._write_image(kept)
        self._pending.append(kept)
        self._num_pending += bool(kept.tensors)
        self._pending_bytes += sum(array.nbytes for array in kept.tensors.values())
        if (
            self._num_pending >= self._chunk_frames
            or self._pending_bytes >= self._chunk_bytes
            or time.monotonic() - self._pending_since >= self._chunk_seconds
        ):
            self._flush()

    def _begin(self) -> None:
        """Take a recording that was there away, and write the header."""
        self._begun = True
        for old in self._path.glob("chunk-*.npz"):
            old.unlink()
        shutil.rmtree(self._path / IMAGES, ignore_errors=True)
        header = {
            "format": FORMAT,
            "version": VERSION,
            "tensortap": __version__,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "images": "jpeg" if self._images else None,
            **self._about,
        }
        self._index.append(b"")
        self._write_whole(HEADER, json.dumps(header, indent=1).encode())

    def _write_image(self, kept: _Kept) -> None:
        info, image = kept.frame.info, kept.frame.image
        if image is None:
            return
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not done:
            raise SinkError(f"{self._path}: frame {info.index} of {info.source} {image.shape} cannot be stored as JPEG.")
        name = image_name(info.source_id, info.index)
        (self._path / name).parent.mkdir(parents=True, exist_ok=True)
        self._write_whole(name, data.tobytes())

    def _flush(self) -> None:
        """Have the chunk packed, and begin another."""
        if not self._pending:
            return
        lines, row = [], 0
        for kept in self._pending:
            lines.append(json.dumps(self._line(kept.frame, row if kept.tensors else None)))
            row += bool(kept.tensors)
        with_tensors = [kept.tensors for kept in self._pending if kept.tensors]
        packing = self._packers.submit(_stacked_and_packed, with_tensors, self._compress) if with_tensors else None
        self._jobs.append(_Chunk(self._num_chunks, lines, packing))
        self._num_chunks += bool(with_tensors)
        self._pending, self._num_pending, self._pending_bytes = [], 0, 0

    def _write_packed(self, most: int) -> None:
        """Write the chunks that are packed, each with the lines that say what is in it; wait while more than `most` are not."""
        while self._jobs and (len(self._jobs) > most or self._jobs[0].is_packed):
            chunk = self._jobs.popleft()
            if chunk.packing is not None:
                self._write_whole(chunk_name(chunk.number), chunk.packing.result())
            self._index.append(("\n".join(chunk.lines) + "\n").encode())
            self._num_frames += len(chunk.lines)

    def _line(self, frame: TensorFrame, row: int | None) -> dict[str, Any]:
        has_image = self._images and frame.frame.pixels is not None
        return {
            "chunk": None if row is None else self._num_chunks,
            "row": row,
            **to_json(frame.info),
            "letterbox": to_json(frame.letterbox),
            "roi": None if frame.roi is None else [float(value) for value in frame.roi],
            "image": image_name(frame.info.source_id, frame.info.index) if has_image else None,
        }

    def _write_whole(self, name: str, data: bytes | memoryview) -> None:
        """A file that is there as a whole or not at all."""
        path = self._path / name
        partial = path.with_name(f"{path.name}.part")
        try:
            with partial.open("wb") as file:
                file.write(data)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

    def _finish(self) -> None:
        """Write the last chunk and the line that says that it is, in the worker's thread."""
        try:
            if self._begun and not self._failed:
                self._flush()
                self._write_packed(0)
                self._index.append(json.dumps({"end": True, "frames": self._num_frames}).encode() + b"\n")
        except OSError as exc:
            raise cannot_write(str(self._path), exc) from exc
        finally:
            self._packers.shutdown(cancel_futures=True)
            self._index.close()
            if self._created and not self._begun:
                with contextlib.suppress(OSError):
                    self._path.rmdir()


def _stacked_and_packed(frames: Sequence[Mapping[str, np.ndarray]], compress: bool) -> memoryview:
    """The bytes of an .npz file of several frames' tensors; an array is compressed where that is worth the time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compresslevel=1) as archive:
        for name in frames[0]:
            stack = np.stack([tensors[name] for tensors in frames])
            data = stack.reshape(-1).view(np.uint8).data
            middle = max(0, (len(data) - _SAMPLE_BYTES) // 2)
            sample = data[middle : middle + _SAMPLE_BYTES]
            worth = compress and len(zlib.compress(sample, 1)) < _WORTH_IT * len(sample)
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED if worth else zipfile.ZIP_STORED
            with archive.open(member, "w", force_zip64=len(data) > _ZIP64_BYTES) as file:
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(stack))
                file.write(data)
    return buffer.getbuffer()


def _make_folder(path: Path) -> bool:
    """Make sure that the folder is there and ours to write in. True: it was made."""
    try:
        path.mkdir()
        return True
    except FileExistsError:
        if not path.is_dir():
            raise SinkError(
                f"{path} cannot be written: a recording is a folder, and this is a file. Choose another name."
            ) from None
        if not (path / HEADER).is_file() and any(path.iterdir()):
            raise SinkError(
                f"{path} cannot be written: the folder holds other things than a recording. Choose another name."
            ) from None
        return False
    except OSError as exc:
        raise cannot_write(str(path), exc) from exc
