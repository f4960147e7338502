"""The portable runtime: sources -> mux -> preprocess -> engine, on any machine that pip reaches."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np

from tensortap.errors import SourceError
from tensortap.geometry import Letterbox
from tensortap.portable.engines.base import Engine, Request
from tensortap.portable.mux import Mux
from tensortap.portable.preprocess import Preprocessor
from tensortap.timing import StageClock
from tensortap.types import Frame, StreamInfo, TensorFrame

_log = logging.getLogger(__name__)
_JOIN_SECONDS = 3.0


class Source(Protocol):
    """Where the frames of one stream come from. Opened by its constructor, used by one thread at a time."""

    @property
    def stream(self) -> StreamInfo:
        """What is known of the stream."""
        ...

    @property
    def damaged(self) -> int:
        """How many packets or files could not be decoded so far."""
        ...

    def read(self) -> Frame | None:
        """The next frame, `None` at the end; raises SourceError."""
        ...

    def close(self) -> None:
        """Release the file or connection."""
        ...


class _OpenCvThreads:
    """OpenCV's own threads, off while any pipeline runs.

    Pictures of network size are too small for them to help, and the cores belong to the engine. The setting is the process's,
    so the last pipeline to end restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = 0

    def hold(self) -> None:
        with self._lock:
            if not self._holders:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                cv2.setNumThreads(self._before)


_OPENCV_THREADS = _OpenCvThreads()


@dataclass(eq=False)
class _Batch:
    """Frames on their way through the engine, in order; those without a slot were not inferred."""

    request: Request | None
    frames: list[tuple[Frame, Letterbox, int | None]] = field(default_factory=list)
    num_slots: int = 0


class PortableRuntime:
    """Iterate it for `TensorFrame`s, in order within each stream. Single use; `close()` or `with` ends it early.

    Args:
        sources: the streams, opened; they are closed with the runtime.
        engine: closed with the runtime.
        preprocessor: made for the engine's network size.
        interval: infer one frame, then let this many pass by without tensors, in each stream.
        max_frames: stop each stream after so many frames.
        batch_timeout_seconds: how long a batch waits to be filled while the engine has nothing else to do.
        clock: gets the laps of `decode wait`, `preprocess` and `engine wait`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        engine: Engine,
        preprocessor: Preprocessor,
        *,
        interval: int = 0,
        max_frames: int | None = None,
        batch_timeout_seconds: float = 0.1,
        clock: StageClock | None = None,
    ) -> None:
        self.sources = sources
        self.engine = engine
        self.failures: list[SourceError] = []
        """Streams that broke while others went on, in the order in which they broke."""
        self._preprocessor = preprocessor
        self._interval = interval
        self._max_frames = max_frames
        self._batch_timeout_seconds = batch_timeout_seconds
        self._clock = clock or StageClock()
        # Enough for two batches, with the frames in between that are not inferred, and not too many decoded frames in memory.
        queue_size = max(4, 2 * engine.batch_size, min(32, engine.batch_size * (interval + 1)))
        self._mux = Mux(len(sources), queue_size)
        # No more than one stream alone can have waiting: a slow stream must not make the fast ones wait for it.
        self._collect_size = min(engine.batch_size * (interval + 1), queue_size)
        self._collected: deque[Frame] = deque()
        self._bugs: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._read, args=(number,), name=f"tensortap-source-{number}", daemon=True)
            for number in range(len(sources))
        ]
        self._holds_opencv = False

    def __iter__(self) -> Iterator[TensorFrame]:
        """Tensors of every frame.

        Raises:
            SourceError: a stream broke; raised after the frames of all others.
            EngineError: inference failed.
        """
        for thread in self._threads:
            thread.start()
        self._holds_opencv = True
        _OPENCV_THREADS.hold()
        self._clock.restart()
        in_flight: deque[_Batch] = deque()
        idle = deque(self.engine.requests)
        try:
            while True:
                # Keep the engine full before looking at results: it never waits for what comes after it.
                while idle:
                    batch = self._next_batch(idle, wait=not in_flight)
                    if batch is None:
                        break
                    in_flight.append(batch)
                if not in_flight:
                    break
                batch = in_flight.popleft()
                yield from self._finished(batch)
                if batch.request is not None:
                    idle.append(batch.request)
        finally:
            self.close()
        if self._bugs:
            raise self._bugs[0]
        if self.failures:
            raise self.failures[0]

    @property
    def damaged(self) -> dict[int, int]:
        """`source_id` -> packets or files that could not be decoded so far."""
        return {source.stream.source_id: source.damaged for source in self.sources}

    def __enter__(self) -> PortableRuntime:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the readers, wait for what is in flight, release engine and sources. Closing twice is fine."""
        if self._holds_opencv:
            self._holds_opencv = False
            _OPENCV_THREADS.release()
        self._mux.close()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread, source in zip(self._threads, self.sources, strict=True):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                # FFmpeg is inside a read that its own timeout will end; a container must not be closed under it.
                _log.warning("%s does not answer; it is left to its time-out.", source.stream.name)
            else:
                source.close()
        self.engine.close()

    def _read(self, number: int) -> None:
        """Body of a reader thread: one source into its queue."""
        source = self.sources[number]
        try:
            count = 0
            while (self._max_frames is None or count < self._max_frames) and (frame := source.read()) is not None:
                if not self._mux.put(number, frame):
                    break
                count += 1
        except SourceError as exc:
            self.failures.append(exc)
            if len(self.sources) > 1:
                _log.warning("%s The other streams go on.", exc)
        except BaseException as exc:  # a bug of ours: the consumer raises it, with its traceback
            self._bugs.append(exc)
        finally:
            self._mux.finish(number)

    def _next_batch(self, idle: deque[Request], *, wait: bool) -> _Batch | None:
        """The next frames, preprocessed and handed to the engine; `None` if none are there (yet)."""
        if not self._collected:
            self._collected.extend(self._collect(wait))
            self._clock.lap("decode wait")
        if not self._collected:
            return None
        batch = _Batch(request=None)
        while self._collected and self._place(self._collected[0], batch, idle):
            self._collected.popleft()
        self._clock.lap("preprocess")
        if batch.request is not None:
            batch.request.start(batch.num_slots)
            self._clock.lap("engine start")
        return batch

    def _collect(self, wait: bool) -> list[Frame]:
        """Frames enough for a batch; fewer at the end, or where waiting for more would let the engine idle."""
        size = self._collect_size
        if not wait:
            return self._mux.collect(size, timeout_seconds=0, only_full=True)
        if not self._mux.wait_for_any():
            return []
        return self._mux.collect(size, timeout_seconds=self._batch_timeout_seconds)

    def _place(self, frame: Frame, batch: _Batch, idle: deque[Request]) -> bool:
        """Give the frame its place in the batch. False: the batch is full, the frame belongs to the next one."""
        if frame.info.index % (self._interval + 1):
            batch.frames.append((frame, self._preprocessor.letterbox(frame), None))
            return True
        if batch.num_slots == self.engine.batch_size:
            return False
        if batch.request is None:
            batch.request = idle.popleft()
        box = self._preprocessor.write(frame, batch.request.images[batch.num_slots])
        batch.frames.append((frame, box, batch.num_slots))
        batch.num_slots += 1
        return True

    def _finished(self, batch: _Batch) -> Iterator[TensorFrame]:
        """The tensors of a batch, frame by frame, once the engine is done with it."""
        outputs: Mapping[str, np.ndarray] = {} if batch.request is None else batch.request.wait()
        self._clock.lap("engine wait")
        for frame, box, slot in batch.frames:
            # `...`, because a scalar for each frame is an array of no axes, not a number.
            tensors = {} if slot is None else {name: output[slot, ...] for name, output in outputs.items()}
            yield TensorFrame(frame, MappingProxyType(tensors), box)
            self._clock.restart()
