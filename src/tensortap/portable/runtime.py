"""The portable runtime: sources -> mux -> preprocess -> engine, on any machine that pip reaches."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np

from tensortap import tracing
from tensortap.batches import TensorBatch
from tensortap.errors import SourceError, UsageError
from tensortap.geometry import Letterbox
from tensortap.metrics import Durations, StreamStatus
from tensortap.portable.engines.base import Engine, Request, as_batch
from tensortap.portable.mux import Mux
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.process import OPENCV_THREADS, SWITCH_INTERVAL
from tensortap.portable.threads import Mode
from tensortap.portable.writers import UNFIT, PictureWriters, Started
from tensortap.timing import StageClock
from tensortap.types import Frame, StreamEvent, StreamInfo, StreamState, TensorFrame

_log = logging.getLogger(__name__)
_JOIN_SECONDS = 1.5
_POLL_SECONDS = 0.001
_NO_TENSORS: Mapping[str, np.ndarray] = MappingProxyType({})
_TURN_SECONDS = 0.5
"""The loop turns at least so often, frames or not."""


class Source(Protocol):
    """Where the frames of one stream come from. Opened by its constructor, used by one thread at a time.

    Of a live source, `close()` may be called by any thread and ends a `read()` that waits.
    """

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
        """Release the file or connection. Closing twice is fine."""
        ...


@runtime_checkable
class WatchedSource(Protocol):
    """A source that comes and goes, and says so."""

    reconnects: int
    """How often it has come back."""

    def watch(self, listener: Callable[[StreamEvent], object]) -> None:
        """Tell of every change of state from now on, in whichever thread."""
        ...


@dataclass(eq=False)
class _Batch:
    """Frames on their way through the engine, in order; those without a slot were not inferred."""

    request: Request | None
    frames: list[tuple[Frame, Letterbox, int | None]] = field(default_factory=list)
    num_slots: int = 0
    started: Started = field(default_factory=Started)
    writing: Future[Started] | None = None
    """Where other threads write its pictures: done when they are written and the request is started."""

    def done(self) -> bool:
        """Whether its tensors are there, or an error."""
        if self.writing is not None and (not self.writing.done() or self.writing.exception() is not None):
            return self.writing.done()
        return self.request is None or self.request.done()

    def wait_for_start(self) -> None:
        """Until it is in the engine. Raises what hindered it."""
        if self.writing is not None:
            self.started = self.writing.result()


class PortableRuntime:
    """Iterate it for `TensorFrame`s, in order within each stream, and for `StreamEvent`s of live streams as they happen.

    Single use; `close()` or `with` ends it early. `add`, `remove` and `status` may be called by any thread.

    Args:
        sources: the streams, opened; they are closed with the runtime.
        engine: closed with the runtime.
        preprocessor: made for the engine's network size.
        interval: infer one frame, then let this many pass by without tensors, in each stream.
        max_frames: stop each stream after so many frames.
        max_latency_seconds: drop frames of live streams that are older when the engine could take them.
        hold_open: go on when the last stream has ended, for streams that are added later.
        batch_timeout_seconds: how long a batch waits to be filled while the engine has nothing else to do.
        mode: for `latency`, only the newest frame of a live stream waits, and none is handed to an engine that is busy.
        writing_threads: so many threads write the pictures of batches; with 0 it is the one that iterates.
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
        max_latency_seconds: float | None = None,
        hold_open: bool = False,
        batch_timeout_seconds: float = 0.1,
        mode: Mode = "throughput",
        writing_threads: int = 0,
        clock: StageClock | None = None,
    ) -> None:
        self.sources: list[Source] = []
        self.engine = engine
        self.failures: list[SourceError] = []
        """Streams that broke while others went on, in the order in which they broke."""
        self.mode = mode
        self.engine_seconds = Durations()
        """From the start of each batch to its tensors."""
        self.latest_turn = time.monotonic()
        """When the loop last turned, by `time.monotonic()`."""
        self._preprocessor = preprocessor
        self.writers = PictureWriters(preprocessor, engine.requests, writing_threads) if writing_threads else None
        """The threads that write pictures, if any."""
        self._interval = interval
        self._max_frames = max_frames
        self._batch_timeout_seconds = batch_timeout_seconds
        self._clock = clock or StageClock()
        # Enough for two batches, with the frames in between that are not inferred, and not too many decoded frames in memory.
        queue_size = max(4, 2 * engine.batch_size, min(32, engine.batch_size * (interval + 1)))
        self._mux = Mux(
            queue_size,
            live_queue_size=engine.batch_size if mode == "latency" else None,
            max_latency_seconds=max_latency_seconds,
            hold_open=hold_open,
        )
        # No more than one stream alone can have waiting: a slow stream must not make the fast ones wait for it.
        self._collect_size = min(engine.batch_size * (interval + 1), queue_size)
        self._collected: deque[Frame] = deque()
        self._passed: dict[int, int] = {}
        """`source_id` -> frames since the last inferred one, that one included."""
        self._unfit: dict[int, int] = {}
        """`source_id` -> frames that no network input could be made of."""
        self._bugs: list[BaseException] = []
        self._events: deque[StreamEvent] = deque()
        self._states: dict[int, StreamEvent] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._leaving: list[threading.Thread] = []
        """Readers of streams that were removed."""
        self._lock = threading.Lock()
        self._started = self._closed = self._has_live = False
        self._held = ExitStack()
        """What was changed of the process."""
        for source in sources:
            self.add(source)

    def add(self, source: Source) -> None:
        """Take part from now on. The number of its stream must be new.

        Raises:
            UsageError: the runtime is closed; so is the source then.
        """
        with self._lock:
            if self._closed:
                source.close()
                raise UsageError("The run is over; no stream can be added any more.")
            stream = source.stream
            self.sources.append(source)
            self._has_live |= stream.is_live
            self._mux.add(stream.source_id, live=stream.is_live)
            if self._started:
                self._start(source)

    def remove(self, source_id: int) -> None:
        """End a stream: what waits of it is dropped, what is in the engine still comes out, and then an `ENDED` event.

        Raises:
            UsageError: there is no such stream.
        """
        with self._lock:
            source = next((source for source in self.sources if source.stream.source_id == source_id), None)
            if source is None:
                raise UsageError(f"There is no stream {source_id}.")
            self.sources.remove(source)
            thread = self._threads.pop(source_id, None)
            self._leaving = [leaving for leaving in [*self._leaving, thread] if leaving and leaving.is_alive()]
        self._tell(StreamEvent(source_id, source.stream.name, StreamState.ENDED, "removed", time.time_ns(), 1))
        self._mux.remove(source_id)
        if thread is None or source.stream.is_live:
            source.close()

    def status(self) -> list[StreamStatus]:
        """Every stream at this moment, in the order of their numbers."""
        with self._lock:
            sources = list(self.sources)
        return [self._status(source) for source in sources]

    @property
    def streams(self) -> list[StreamInfo]:
        """The streams, as far as they are known."""
        with self._lock:
            return [source.stream for source in self.sources]

    def __iter__(self) -> Iterator[TensorFrame | StreamEvent]:
        """Tensors of every frame, and what happens to live streams.

        Raises:
            SourceError: a stream broke; raised after the frames of all others.
            EngineError: inference failed.
        """
        self._held.enter_context(self.settings())
        with self._lock:
            self._started = True
            for source in self.sources:
                self._start(source)
        self._clock.restart()
        in_flight: deque[_Batch] = deque()
        # A second batch would wait in the engine, where no newer frame can take its place.
        idle = deque(self.engine.requests[:1] if self.mode == "latency" else self.engine.requests)
        try:
            while True:
                self.latest_turn = time.monotonic()
                while self._events:
                    event = self._events.popleft()
                    if event.state is StreamState.ENDED:
                        yield from self._drained(event.source_id, in_flight, idle)
                    yield event
                # Keep the engine full before looking at results: it never waits for what comes after it.
                while idle:
                    batch = self._next_batch(idle, wait=not in_flight)
                    if batch is None:
                        break
                    in_flight.append(batch)
                if in_flight and not self._more_comes_first(in_flight[0], idle):
                    yield from self._finished(in_flight.popleft(), idle)
                elif not in_flight and not self._events and self._mux.finished:
                    break
        finally:
            self.close()
        if self._bugs:
            raise self._bugs[0]
        if self.failures:
            raise self.failures[0]

    @property
    def damaged(self) -> dict[int, int]:
        """`source_id` -> packets or files that could not be decoded so far."""
        with self._lock:
            return {source.stream.source_id: self._damaged(source) for source in self.sources}

    def __enter__(self) -> PortableRuntime:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the readers, wait for what is in flight, release engine and sources. Closing twice is fine."""
        with self._lock:
            self._closed = True
            sources, threads = list(self.sources), dict(self._threads)
            leaving = self._leaving
            held, self._held = self._held, ExitStack()
        held.close()
        self._mux.close()
        for source in sources:
            if source.stream.is_live or source.stream.source_id not in threads:
                source.close()
        deadline = time.monotonic() + _JOIN_SECONDS
        for source in sources:
            thread = threads.get(source.stream.source_id)
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    # FFmpeg is inside a read that its own timeout will end; a container must not be closed under it.
                    name = source.stream.name
                    _log.warning("%s does not answer; it is left to its time-out.", name, extra={"stream": name})
        for thread in leaving:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self.writers is not None:
            self.writers.close()
        self.engine.close()

    @contextmanager
    def settings(self) -> Iterator[None]:
        """What a run changes of the process while it goes on."""
        with OPENCV_THREADS.held(), SWITCH_INTERVAL.held() if self.writers else nullcontext():
            yield

    def _start(self, source: Source) -> None:
        """Begin to read a stream, with the lock held."""
        if isinstance(source, WatchedSource):
            source.watch(self._heard)
        stream = source.stream
        name = f"tensortap-source-{stream.source_id}"
        thread = threading.Thread(target=self._read, args=(source,), name=name, daemon=True)
        self._threads[stream.source_id] = thread
        thread.start()

    def _read(self, source: Source) -> None:
        """Body of a reader thread: one source into its queue."""
        source_id, reason = source.stream.source_id, ""
        try:
            count = 0
            while self._max_frames is None or count < self._max_frames:
                started = time.perf_counter()
                if (frame := source.read()) is None:
                    break
                if (trace := tracing.active()) is not None:
                    trace.span("read", started, time.perf_counter(), frame.info)
                    trace.begin("frame", frame.info)
                    trace.begin("in the mux", frame.info)
                if not self._mux.put(source_id, frame):
                    break
                count += 1
        except SourceError as exc:
            reason = str(exc)
            if source_id in self._threads:
                self.failures.append(exc)
                if len(self.sources) > 1:
                    _log.warning("%s The other streams go on.", exc, extra={"stream": source.stream.name})
        except BaseException as exc:  # a bug of ours: the consumer raises it, with its traceback
            self._bugs.append(exc)
        finally:
            source.close()
            ended = StreamEvent(source_id, source.stream.name, StreamState.ENDED, reason, time.time_ns(), 1)
            self._states[source_id] = ended
            self._mux.finish(source_id)

    def _heard(self, event: StreamEvent) -> None:
        """A live stream has come or gone; in the thread that reads it."""
        if self._closed or event.source_id not in self._threads:
            return
        if event.state is not StreamState.ONLINE:
            self._mux.pause(event.source_id)
        before = self._states.get(event.source_id)
        known = before is not None and before.state is event.state
        level = logging.DEBUG if known else logging.INFO if event.state is StreamState.ONLINE else logging.WARNING
        if event.state is StreamState.CONNECTING:
            level = logging.DEBUG
        reason = f": {event.reason}" if event.reason else ""
        _log.log(level, "%s is %s%s", event.source, event.state.value, reason, extra=_of_event(event))
        self._tell(event)

    def _tell(self, event: StreamEvent) -> None:
        self._states[event.source_id] = event
        self._events.append(event)
        self._mux.wake()

    def _status(self, source: Source) -> StreamStatus:
        stream = source.stream
        event = self._states.get(stream.source_id)
        default = StreamState.CONNECTING if isinstance(source, WatchedSource) else StreamState.ONLINE
        behind, late = self._mux.dropped(stream.source_id)
        return StreamStatus(
            source_id=stream.source_id,
            name=stream.name,
            is_live=stream.is_live,
            state=event.state if event else default,
            reason=event.reason if event else "",
            since_ns=event.since_ns if event else 0,
            size_wh=stream.size_wh,
            queued=self._mux.queued(stream.source_id),
            dropped_behind=behind,
            dropped_late=late,
            damaged=self._damaged(source),
            reconnects=source.reconnects if isinstance(source, WatchedSource) else 0,
        )

    def _damaged(self, source: Source) -> int:
        return source.damaged + self._unfit.get(source.stream.source_id, 0)

    def _next_batch(self, idle: deque[Request], *, wait: bool) -> _Batch | None:
        """The next frames, preprocessed and handed to the engine; `None` if none are there (yet)."""
        self._clock.subject = None
        if not self._collected:
            self._collected.extend(self._collect(wait))
            self._clock.lap("decode wait")
        if not self._collected:
            return None
        batch = _Batch(request=None)
        while self._collected and self._place(self._collected[0], batch, idle):
            self._collected.popleft()
        self._clock.lap("preprocess")
        batch.started = Started()
        if batch.request is not None and not batch.num_slots:  # no frame was fit for it
            idle.appendleft(batch.request)
            batch.request = None
        if batch.request is not None:
            try:
                if self.writers is None:
                    batch.request.start(batch.num_slots)
                else:
                    pictures = [frame for frame, _, slot in batch.frames if slot is not None]
                    batch.writing = self.writers.write(batch.request, pictures)
            except RuntimeError:
                if not self._closed:
                    raise
                return None  # somebody else has just ended the threads
            self._clock.lap("engine start")
        if (trace := tracing.active()) is not None:
            for frame, _, slot in batch.frames:
                trace.end("in the mux", frame.info)
                if slot is not None:
                    trace.begin("in the engine", frame.info)
        return batch

    def _collect(self, wait: bool) -> list[Frame]:
        """Frames enough for a batch; fewer at the end, or where waiting for more would let the engine idle."""
        size = self._collect_size
        if not wait:
            return self._mux.collect(size, timeout_seconds=0, only_full=True)
        if not self._mux.wait_for_any(_TURN_SECONDS):
            return []
        return self._mux.collect(size, timeout_seconds=self._batch_timeout_seconds)

    def _more_comes_first(self, oldest: _Batch, idle: deque[Request]) -> bool:
        """Wait for the oldest batch; True if an idle request can be given frames of live streams, or an event, before that.

        Readers of files are always ahead, so that this matters for live streams only.
        """
        if not self._has_live or not idle or oldest.request is None:
            return False
        while not oldest.done() and not self._closed:
            if self._events:
                return True
            frames = self._mux.collect(self._collect_size, timeout_seconds=_POLL_SECONDS, only_full=True)
            if frames:
                self._collected.extend(frames)
                return True
        return False

    def _place(self, frame: Frame, batch: _Batch, idle: deque[Request]) -> bool:
        """Give the frame its place in the batch. False: the batch is full, the frame belongs to the next one."""
        source_id = frame.info.source_id
        passed = self._passed.get(source_id, 0)
        try:
            if passed:
                batch.frames.append((frame, self._preprocessor.letterbox(frame), None))
            else:
                if batch.num_slots == self.engine.batch_size:
                    return False
                if batch.request is None:
                    batch.request = idle.popleft()
                if self.writers is None:
                    box = self._preprocessor.write(frame, batch.request.images[batch.num_slots])
                else:
                    box = self._preprocessor.placed(frame)
                batch.frames.append((frame, box, batch.num_slots))
                batch.num_slots += 1
        except UNFIT as exc:
            self._leave_out(frame, exc)
            return True
        self._passed[source_id] = (passed + 1) % (self._interval + 1)
        return True

    def _leave_out(self, frame: Frame, reason: Exception) -> None:
        """No network input can be made of a frame."""
        source_id, name = frame.info.source_id, frame.info.source
        self._unfit[source_id] = self._unfit.get(source_id, 0) + 1
        if self._unfit[source_id] == 1:
            width, height = frame.info.size_wh
            _log.warning("%s: a frame of %dx%d is left out: %s", name, width, height, reason, extra={"stream": name})

    def _finished(self, batch: _Batch, idle: deque[Request]) -> Iterator[TensorFrame]:
        """The tensors of a batch, frame by frame, once the engine is done with it."""
        outputs: TensorBatch | None = None
        batch.wait_for_start()
        if batch.writing is not None:
            self._clock.lap("preprocess")
        if batch.request is not None:
            outputs = as_batch(batch.request.wait())
            self.engine_seconds.add(time.monotonic() - batch.started.at)
        self._clock.lap("engine wait")
        trace = tracing.active()
        for frame, box, slot in batch.frames:
            if trace is not None and slot is not None:
                trace.end("in the engine", frame.info)
            if slot is not None and slot in batch.started.unfit:
                self._leave_out(frame, batch.started.unfit[slot])
                self._passed[frame.info.source_id] = 0  # the next one is inferred in its place
                continue
            yield TensorFrame(frame, _NO_TENSORS if slot is None or outputs is None else outputs.frame(slot), box)
            self._clock.restart()
        if batch.request is not None:
            idle.append(batch.request)

    def _drained(self, source_id: int, in_flight: deque[_Batch], idle: deque[Request]) -> Iterator[TensorFrame]:
        """Everything that is in the engine, before a stream is said to have ended."""
        self._mux.remove(source_id)
        self._collected = deque(frame for frame in self._collected if frame.info.source_id != source_id)
        while in_flight:
            yield from self._finished(in_flight.popleft(), idle)


def _of_event(event: StreamEvent) -> dict[str, object]:
    """What structured logs say of a change of state besides its sentence."""
    return {
        "stream": event.source,
        "source_id": event.source_id,
        "state": event.state.value,
        "reason": event.reason,
        "since_ns": event.since_ns,
        "times": event.times,
    }
