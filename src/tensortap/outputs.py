"""Where results go: the sinks of a run, each of which may fail without the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Protocol, cast, runtime_checkable

from tensortap.errors import SinkError
from tensortap.timing import StageClock
from tensortap.types import Result, StreamEvent, StreamState, TensorFrame

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes results: a file, a broker, a window. Both methods raise SinkError.

    A sink with a method `write_event(event: StreamEvent)` is told what happens to live streams, too.
    """

    def write(self, result: Result) -> None:
        """Take one result. May only queue it."""
        ...

    def close(self) -> None:
        """Write what is queued and release the output. Closing twice is fine."""
        ...


@runtime_checkable
class TensorSink(Protocol):
    """Takes what the engine gave, before anyone has interpreted it: a recording. Both methods raise SinkError."""

    def write_tensors(self, frame: TensorFrame) -> None:
        """Take one frame, inferred or not. Copies what it keeps."""
        ...

    def close(self) -> None:
        """Write what is queued and release the output. Closing twice is fine."""
        ...


@dataclass(eq=False)
class Output:
    """A sink with the name that the user gave it."""

    name: str
    """Path or URL, for messages."""
    sink: Sink | TensorSink
    source_id: int | None = None
    """The one stream that goes there; `None` for all."""
    error: SinkError | None = None
    """Why the sink stopped; it gets nothing any more."""
    num_frames: int = 0
    """Frames that it was given."""
    takes_tensors: bool = field(init=False)
    """Whether it takes tensors rather than results."""

    def __post_init__(self) -> None:
        self.takes_tensors = isinstance(self.sink, TensorSink)

    @property
    def dropped(self) -> int:
        """Of these, frames of live streams that it lost because it was too slow."""
        return int(getattr(self.sink, "dropped", 0))


class Outputs:
    """All outputs of a run; one that fails is reported, closed and given nothing any more.

    Args:
        outputs: may grow while the run goes on.
        clock: books the time of `sinks`.
    """

    def __init__(self, outputs: Sequence[Output], clock: StageClock) -> None:
        self._outputs = outputs
        self._clock = clock

    def write(self, item: TensorFrame | Result) -> None:
        """Give it to those that take such: tensors or results."""
        started = time.perf_counter()
        for output in self._outputs:
            if output.error is not None or output.source_id not in (None, item.info.source_id):
                continue
            try:
                if isinstance(item, TensorFrame):
                    if not output.takes_tensors:
                        continue
                    cast("TensorSink", output.sink).write_tensors(item)
                elif output.takes_tensors:
                    continue
                else:
                    cast("Sink", output.sink).write(item)
                output.num_frames += 1
            except SinkError as exc:
                self._drop(output, exc)
        # Not a lap: results of a runtime that calls are written in another thread than they are made in.
        self._clock.book("sinks", started, time.perf_counter(), item.info)

    def tell(self, event: StreamEvent) -> None:
        """Pass on what happened to a stream; what belongs to one alone is complete when it has ended."""
        for output in self._outputs:
            if output.source_id not in (None, event.source_id):
                continue
            take = getattr(output.sink, "write_event", None)
            if take is not None and output.error is None:
                try:
                    take(event)
                except SinkError as exc:
                    self._drop(output, exc)
            if event.state is StreamState.ENDED and output.source_id is not None:
                self._close(output)

    def close(self) -> None:
        """Complete all; those that work in the background at the same time, so that several that hang take as long as one."""
        faults: list[BaseException] = []

        def close(output: Output) -> None:
            try:
                self._close(output)
            except BaseException as exc:  # a bug of ours: the caller raises it
                faults.append(exc)

        behind = [output for output in self._outputs if getattr(output.sink, "handles_live", False)]
        threads = [Thread(target=close, args=(output,), name=f"tensortap-close-{output.name}") for output in behind]
        for thread in threads:
            thread.start()
        for output in self._outputs:
            if output not in behind:
                self._close(output)
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]

    def _close(self, output: Output) -> None:
        try:
            output.sink.close()
        except SinkError as exc:
            self._drop(output, exc)

    def _drop(self, output: Output, error: SinkError) -> None:
        """Report a sink that failed and go on without it."""
        if output.error is not None:
            return
        output.error = error
        if len(self._outputs) > 1:
            _log.error("%s The other outputs go on.", error)
        try:
            output.sink.close()
        except SinkError as exc:
            _log.debug("closing %s after it failed: %s", output.name, exc)
