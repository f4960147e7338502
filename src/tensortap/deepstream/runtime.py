"""The DeepStream runtime: GStreamer makes the tensors in threads of its own, and waits in a probe until they are understood."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tensortap.deepstream.graph import Graph
from tensortap.deepstream.metadata import BatchMeta
from tensortap.deepstream.probes import Probes, TapSettings, Understand
from tensortap.errors import EngineError, SourceError
from tensortap.types import Frame, Poses, Result, StreamInfo, TensorFrame

_log = logging.getLogger(__name__)
_QUEUE_SIZE = 64
"""Results between the probes and the caller."""
_POLL_SECONDS = 0.1
_END = object()

OnBuffer = Callable[[Any], None]
"""Takes a buffer, in the thread that carries it. Never raises."""


class Tap(Protocol):
    """Makes metadata of buffers: `tap_pyds.PydsTap` or `tap_servicemaker.ServiceMakerTap`."""

    def batch(self, buffer: Any) -> BatchMeta | None:
        """The batch's metadata; `None` where the buffer carries none."""
        ...


class Listener(Protocol):
    """Who is told what becomes of a running graph. May be called by any thread."""

    def source_failed(self, number: int, reason: str) -> None:
        """One input has ended with an error; the others go on."""
        ...

    def ended(self, error: Exception | None) -> None:
        """Nothing more will come, because everything has come, or because of an error."""
        ...


class Driver(Protocol):
    """Runs a graph: GStreamer itself, or pyservicemaker."""

    name: str
    """For people."""

    def start(self, graph: Graph, on_buffer: Mapping[str, OnBuffer], listener: Listener) -> None:
        """Build the graph and let it run.

        Args:
            on_buffer: name of an element -> what is called with every buffer that leaves it. The buffer always goes on.

        Raises:
            TensortapError: it cannot be built.
        """
        ...

    def stop(self) -> None:
        """Complete what is being written, and release everything. Stopping twice is fine."""
        ...


@dataclass(eq=False)
class _Loan:
    """A frame whose tensors are lent to the caller's loop."""

    frame: TensorFrame
    returned: threading.Event


class DeepStreamRuntime:
    """Runs a graph and hands on what its probes make. Single use; `close()` or `with` ends it early.

    Args:
        graph: what runs.
        driver: what runs it.
        tap: reads its buffers.
        settings: what the probes must know.
        streams: by the number of the mux's pad.
        nobody: the people of a frame that nobody looked at.
    """

    def __init__(
        self, graph: Graph, driver: Driver, tap: Tap, settings: TapSettings, streams: Sequence[StreamInfo], nobody: Poses
    ) -> None:
        self.graph = graph
        self.driver = driver
        self.failures: list[SourceError] = []
        """Streams that broke while others went on."""
        self.probe_errors = 0
        """Exceptions in probes. The first ends the run and is raised there; their buffers went on all the same."""
        self.dropped = Counter[int]()
        """`source_id` -> results of live streams that the caller was too slow for."""
        self._tap = tap
        self._settings = settings
        self._streams = streams
        self._nobody = nobody
        self._queue: queue.Queue[object] = queue.Queue(_QUEUE_SIZE)
        self._closing = threading.Event()
        self._error: BaseException | None = None
        self._delivered = dict.fromkeys((stream.source_id for stream in streams), 0)
        self._probes: Probes | None = None

    @property
    def damaged(self) -> Mapping[int, int]:
        """Nothing: GStreamer leaves damaged packets out without telling which."""
        return {}

    def results(self, understand: Understand) -> Iterator[Result]:
        """Calls `understand` in the probe for every frame; what became of it, in order within each stream.

        Raises:
            SourceError: a stream broke; raised after the frames of all others.
            EngineError: the graph cannot be built, or it failed.
            TensortapError: whatever `understand` raised.
        """
        self._start(understand, self._deliver)
        try:
            while (item := self._take()) is not _END:
                assert isinstance(item, Result)
                yield item
        finally:
            self.close()
        self._raise_errors()

    def __iter__(self) -> Iterator[TensorFrame]:
        """The tensors of every frame. The buffer waits until the next one is asked for."""

        def lend(frame: Frame, tensors: Sequence[TensorFrame]) -> Result:
            for each in tensors:
                loan = _Loan(each, threading.Event())
                self._put(loan)
                while not (loan.returned.wait(_POLL_SECONDS) or self._closing.is_set()):
                    pass
            return Result(frame, self._nobody, all(each.inferred for each in tensors))

        self._start(lend, self._count)
        try:
            while (item := self._take()) is not _END:
                assert isinstance(item, _Loan)
                try:
                    yield item.frame
                finally:
                    item.returned.set()
        finally:
            self.close()
        self._raise_errors()

    def __enter__(self) -> DeepStreamRuntime:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the graph complete its outputs and stop. Closing twice is fine."""
        self._closing.set()  # whoever waits in a probe goes on
        self.driver.stop()

    def source_failed(self, number: int, reason: str) -> None:
        """One input has ended with an error."""
        error = SourceError(f"{self._streams[number].name} cannot be played: {reason.strip()}")
        self.failures.append(error)
        if len(self._streams) > 1:
            _log.warning("%s The other streams go on.", error)

    def ended(self, error: Exception | None) -> None:
        """The graph has come to its end."""
        if error is None and self._probes is not None:
            self._probes.flush()
        if error is not None and self._error is None:
            self._error = error
        self._put(_END)

    def _start(self, understand: Understand, deliver: Callable[[Result], None]) -> None:
        probes = self._probes = Probes(self._settings, self._streams, understand, deliver, self._nobody)
        handlers = {self.graph.tap: self._guarded(probes.on_tensors)}
        if self.graph.join is not None:
            handlers[self.graph.join] = self._guarded(probes.on_tracked)
        try:
            self.driver.start(self.graph, handlers, self)
        except BaseException:
            self.close()
            raise

    def _guarded(self, handle: Callable[[BatchMeta], None]) -> OnBuffer:
        """What a probe calls: nothing leaves it, for an exception in a probe costs the buffer, or the process."""

        def on_buffer(buffer: Any) -> None:
            if self._closing.is_set() or self._error is not None:
                return
            try:
                batch = self._tap.batch(buffer)
                if batch is not None:
                    handle(batch)
            except BaseException as exc:  # the caller raises it, with its traceback
                self.probe_errors += 1
                if self._error is None:
                    self._error = exc
                self._put(_END)

        return on_buffer

    def _deliver(self, result: Result) -> None:
        """Queue a result. Files wait; cameras lose the oldest."""
        while self.graph.is_live and self._queue.full():
            try:
                oldest = self._queue.get_nowait()
            except queue.Empty:
                break
            if oldest is _END:
                self._queue.put(_END)
                return
            assert isinstance(oldest, Result)
            self.dropped[oldest.info.source_id] += 1
        self._put(result)
        self._count(result)

    def _count(self, result: Result) -> None:
        """End the run when every stream has given what was asked for."""
        limit = self._settings.max_frames
        self._delivered[result.info.source_id] += 1
        if limit is not None and all(count >= limit for count in self._delivered.values()):
            self._put(_END)

    def _put(self, item: object) -> None:
        while not self._closing.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def _take(self) -> object:
        while True:
            try:
                # With a time-out, because a wait without one keeps Ctrl-C waiting on some systems.
                return self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._closing.is_set():
                    return _END

    def _raise_errors(self) -> None:
        if self._error is not None:
            raise self._error
        if self.failures:
            raise self.failures[0]


def explained(element: str, text: str, debug: str) -> EngineError:
    """An error of GStreamer's, with what to try."""
    hints = {
        "encoder": "Some GPUs have no encoder: try --encoder software.",
        "gie": "See the lines of nvinfer above; the configuration file is the first place to look.",
        "tracker": "See the lines of nvtracker above; is the low-level library of --tracker-config there?",
        "rtsp": "Is the port in use?",
    }
    hint = next((hint for name, hint in hints.items() if name in element), "")
    where = f" ({debug.strip().splitlines()[0]})" if debug.strip() else ""
    return EngineError(f"DeepStream's element {element} failed: {text.strip()}{where} {hint}".strip())
