"""The loop: tensors -> taps -> decode -> track -> sinks."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tensortap import tracing
from tensortap.errors import DecodeError, SinkError, SourceError, TensortapError, UsageError
from tensortap.metrics import Durations, Numbers, OutputNumbers, StreamMeter, StreamNumbers, StreamStatus
from tensortap.outputs import Outputs
from tensortap.taps import Answer, Peeks, Tap, Taps, described_failure, name_of
from tensortap.timing import StageClock
from tensortap.types import Frame, Poses, Result, StreamEvent, StreamInfo, StreamState, TensorFrame

if TYPE_CHECKING:
    from tensortap.assemble import Parts

_log = logging.getLogger(__name__)

Decoder = Callable[[TensorFrame], Poses]
Understand = Callable[[Frame, Sequence[TensorFrame]], Result]
"""What becomes of a frame's tensors: of the whole frame, of each of its objects, or, as one frame without tensors, of none."""
OnEvent = Callable[[StreamEvent], object]
OnResult = Callable[[Result], object]


class Tracker(Protocol):
    """Gives the people of one stream identities. One object a stream."""

    def update(self, poses: Poses, pts_ns: int) -> Poses:
        """The same people in the same order, with `track_ids`."""
        ...

    def predict(self, pts_ns: int) -> Poses:
        """Where the tracked people should be at a time that the model did not look at."""
        ...


class Runtime(Protocol):
    """Makes tensors of frames: the portable runtime, or DeepStream."""

    failures: list[SourceError]
    """Streams that broke while others went on."""

    @property
    def damaged(self) -> Mapping[int, int]:
        """`source_id` -> packets or files that could not be decoded."""
        ...

    def __iter__(self) -> Iterator[TensorFrame | StreamEvent]: ...

    def close(self) -> None:
        """Stop, and release everything."""
        ...


@runtime_checkable
class CallingRuntime(Protocol):
    """A runtime whose tensors live only as long as a call of its own: DeepStream's probes."""

    dropped: Mapping[int, int]
    """`source_id` -> results of live streams that the caller was too slow for."""

    def results(self, understand: Understand) -> Iterator[Result]:
        """Calls `understand` for every frame in threads of its own, never two at once, and hands on what became of it."""
        ...


@runtime_checkable
class OpenRuntime(Protocol):
    """A runtime whose streams come and go while it runs. All of this may be used by any thread."""

    engine_seconds: Durations
    """From the start of each batch to its tensors."""
    latest_turn: float
    """When its loop last turned, by `time.monotonic()`."""

    @property
    def streams(self) -> Sequence[StreamInfo]:
        """The streams, as far as they are known."""
        ...

    def status(self) -> Sequence[StreamStatus]:
        """Every stream at this moment."""
        ...

    def remove(self, source_id: int) -> None:
        """End a stream. Raises UsageError."""
        ...


@dataclass
class Summary:
    """What a run has done so far."""

    frames: int = 0
    """Frames that came out, all streams together."""
    inferred: int = 0
    """Frames that the model saw."""
    people: int = 0
    """People found, over all frames."""
    tap_errors: int = 0
    """How often a tap failed."""
    streams: dict[int, int] = field(default_factory=dict)
    """`source_id` -> frames."""
    seconds: float = 0.0
    """Wall-clock time from the first frame asked for to the last output completed."""
    interrupted: bool = False
    """Whether Ctrl-C ended the run."""


class Pipeline:
    """People with keypoints from videos and images.

        with tensortap.Pipeline("street.mp4", model="yolov8n-pose.onnx") as pipeline:
            for result in pipeline:
                print(result.info.index, result.poses.keypoints)

    Iterate it for `Result`s, take `tensors()` for the model's raw output, or `run()` it for its outputs alone. It runs once.

    Args:
        inputs: a path, URL, camera, folder, glob or recording, or several.
        model: an ONNX file, an OpenVINO `.xml`, a folder that holds one, or a name of the zoo, e.g. `yolov8n-pose`;
            `None` where the inputs are recordings.
        outputs: where results go besides the caller, as for `-o`: `out.mp4`, `out.jsonl`, `results.coco.json`.
        decoder: your own `TensorFrame -> Poses`, a class of such, or a decoder's name; by default the head is recognised.
            `"none"` finds nobody, for tensors of any model.
        find_model: from the name or path of a model to its file, e.g. `tensortap.zoo.resolve` with a progress bar.
        **settings: fields of `tensortap.config.Settings`, e.g. `conf_thres=0.4`, `engine="onnxruntime"`, `tracker=None`.

    Raises:
        TensortapError: something cannot be meant, opened, loaded or written; nothing has run yet.
    """

    def __init__(
        self,
        inputs: str | Path | Sequence[str | Path],
        model: str | Path | None = None,
        *,
        outputs: str | Path | Sequence[str | Path] = (),
        decoder: Decoder | type[Any] | str = "auto",
        find_model: Callable[[str], Path] | None = None,
        **settings: Any,
    ) -> None:
        from tensortap.assemble import assemble
        from tensortap.config import Settings

        own_decoder = None if isinstance(decoder, str) else decoder
        if isinstance(decoder, str):
            settings["decoder"] = decoder
        self.settings = Settings.checked(inputs=inputs, model=model, outputs=outputs, **settings)
        self.clock = StageClock()
        finding = {"find_model": find_model} if find_model else {}
        self.parts: Parts = assemble(self.settings, decoder=own_decoder, clock=self.clock, **finding)
        self.summary = Summary()
        self._outputs = Outputs(self.parts.outputs, self.clock)
        self._taps = Taps(self.parts.taps, self.settings.on_tap_error)
        self._listeners: list[OnEvent] = []
        self._watchers: list[OnResult] = []
        self._peeks = Peeks()
        self._meters: dict[int, StreamMeter] = {}
        self._trackers: dict[int, Tracker] = {}
        self._began = time.monotonic()
        self._started = self._closed = False
        # A pipeline that is dropped without having run releases what it opened.
        weakref.finalize(self, _release, self.parts)

    @property
    def streams(self) -> Sequence[StreamInfo]:
        """The inputs, as far as they are known."""
        runtime = self.parts.runtime
        return runtime.streams if isinstance(runtime, OpenRuntime) else self.parts.streams

    @property
    def errors(self) -> list[TensortapError]:
        """Streams and outputs that failed while the rest went on."""
        return [*self.parts.runtime.failures, *(output.error for output in self.parts.outputs if output.error)]

    def tap(self, function: Tap) -> Tap:
        """Call a function with every inferred `TensorFrame`, before decoding. Usable as a decorator."""
        self._taps.add(function)
        return function

    def on_event(self, function: OnEvent) -> OnEvent:
        """Call a function whenever a live stream comes, stalls or goes, in the thread that runs the pipeline. Usable as a
        decorator."""
        self._listeners.append(function)
        return function

    def on_result(self, function: OnResult) -> OnResult:
        """Call a function with every result, after the outputs, in the thread that runs the pipeline. Usable as a decorator."""
        self._watchers.append(function)
        return function

    def peek(self, source_id: int, function: Callable[[TensorFrame], Answer]) -> Future[Answer]:
        """Call a function once, with the stream's next inferred `TensorFrame`, where its tensors are. Any thread may ask; what
        the function gives or raises is the future's, and never stops the run. The future is cancelled if the stream or the run
        ends first."""
        return self._peeks.ask(source_id, function)

    def add(self, location: str | Path, name: str | None = None) -> StreamInfo:
        """Add a stream, before the run or while it goes on, from any thread. Outputs with one file a stream get another one.

        Args:
            location: what `-i` takes; one stream.
            name: what to call it; by default as on the command line.

        Returns:
            What is known of it; `source_id` is its number.

        Raises:
            TensortapError: it cannot be opened, or the run is over. The run goes on as before.
        """
        if self.parts.add_stream is None:
            raise UsageError("This run takes no more streams: its runtime has the streams that it began with.")
        return self.parts.add_stream(str(location), name)

    def remove(self, source_id: int) -> None:
        """End a stream, from any thread; files that hold nothing else are completed.

        Raises:
            UsageError: there is no such stream.
        """
        if not isinstance(self.parts.runtime, OpenRuntime):
            raise UsageError("Streams of this run cannot be removed one by one.")
        self.parts.runtime.remove(source_id)

    def numbers(self) -> Numbers:
        """How the run is at this moment; may be asked by any thread."""
        runtime, now = self.parts.runtime, time.monotonic()
        engine = Durations()
        idle_seconds = 0.0
        status: Sequence[StreamStatus]
        if isinstance(runtime, OpenRuntime):
            status, engine, idle_seconds = runtime.status(), runtime.engine_seconds, now - runtime.latest_turn
        else:
            dropped: Mapping[int, int] = runtime.dropped if isinstance(runtime, CallingRuntime) else {}
            status = [
                StreamStatus.of(stream, runtime.damaged.get(stream.source_id, 0), dropped.get(stream.source_id, 0))
                for stream in self.streams
            ]
        return Numbers(
            seconds=now - self._began,
            running=self._started and not self._closed,
            idle_seconds=idle_seconds,
            streams=[StreamNumbers.of(each, self._meters.get(each.source_id)) for each in status],
            outputs=[
                OutputNumbers(output.name, output.num_frames, output.dropped, str(output.error) if output.error else None)
                for output in self.parts.outputs
            ],
            engine=engine.distribution(),
        )

    def tensors(self) -> Iterator[TensorFrame]:
        """The model's raw output for every inferred frame, in order within each stream. Nothing is decoded or written."""
        self._start()
        try:
            for frame in self.parts.runtime:
                if isinstance(frame, StreamEvent):
                    self._tell(frame)
                elif frame.inferred:
                    if self._peeks:
                        self._peeks(frame)
                    yield frame
                if self._closed:  # by the caller, from within the loop
                    return
        finally:
            self.close()

    def __iter__(self) -> Iterator[Result]:
        """People of every frame, in order within each stream; all outputs have been given it.

        Raises:
            SourceError: a stream broke; raised when all others have ended.
            EngineError, DecodeError, TapError: nothing more can come.
        """
        self._start()
        started = time.perf_counter()
        try:
            for result in self._results():
                if isinstance(result, StreamEvent):
                    self._tell(result)
                    continue
                self._count(result)
                self._outputs.write(result)
                for watch in self._watchers:
                    watch(result)
                if (trace := tracing.active()) is not None:
                    trace.end("frame", result.info)
                yield result
                if self._closed:  # by the caller, from within the loop
                    return
        except KeyboardInterrupt:
            self.summary.interrupted = True
            raise
        finally:
            self.close()
            self.summary.seconds = time.perf_counter() - started

    def run(self, on_result: Callable[[Result], object] | None = None) -> Summary:
        """Run to the end for the outputs alone.

        Args:
            on_result: called with every result, after the outputs.

        Raises:
            SinkError: an output failed; the others are complete.
            TensortapError: as for iterating.
        """
        for result in self:
            if on_result:
                on_result(result)
            if self.parts.outputs and all(output.error for output in self.parts.outputs):
                break
        for output in self.parts.outputs:
            if output.error:
                raise output.error
        return self.summary

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the run, complete all outputs, release everything. Closing twice is fine.

        Ctrl-C meanwhile is heeded when all of that is done: an output must not be left half written.
        """
        self._closed = True
        self._peeks.close()
        interrupt: KeyboardInterrupt | None = None
        for step in (self.parts.runtime.close, self._outputs.close):
            try:
                step()
            except KeyboardInterrupt as exc:
                interrupt = exc
                step()  # once more from the start: every step may be repeated
        if interrupt is not None:
            raise interrupt

    def _tell(self, event: StreamEvent) -> None:
        """Pass on what happened to a stream; one that has ended takes with it what belonged to it alone."""
        for listener in self._listeners:
            listener(event)
        self._outputs.tell(event)
        if event.state is StreamState.ENDED:
            self._trackers.pop(event.source_id, None)
            self._meters.pop(event.source_id, None)
            self._peeks.forget(event.source_id)

    def _start(self) -> None:
        if self._started or self._closed:
            raise UsageError(f"This pipeline {'has run' if self._started else 'is closed'}. Make a new one to run again.")
        self._started = True

    def _results(self) -> Iterator[Result | StreamEvent]:
        runtime = self.parts.runtime
        if isinstance(runtime, CallingRuntime):
            return runtime.results(self._understand)
        return (item if isinstance(item, StreamEvent) else self._understand(item.frame, [item]) for item in runtime)

    def _understand(self, frame: Frame, tensors: Sequence[TensorFrame]) -> Result:
        """Taps, decode and track for one frame."""
        for each in tensors:
            self._outputs.write(each)  # first: what a tap or a decoder stumbles over is in the recording
        self.clock.restart()
        self.clock.subject = frame.info
        source_id = frame.info.source_id
        inferred = all(each.inferred for each in tensors)
        if not inferred:
            # Made by the stream's first inferred frame; DeepStream, which skips batches, may have skipped frames before it.
            tracker = self._trackers.get(source_id)
            poses = tracker.predict(frame.info.pts_ns) if tracker else self.parts.nobody
            self.clock.lap("track")
        else:
            if self._peeks and tensors:
                self._peeks(tensors[0])
            if self._taps:
                for each in tensors:
                    self._tap(each)
                self.clock.lap("taps")
            poses = Poses.joined([self._decode(each) for each in tensors]) if tensors else self.parts.nobody
            self.clock.lap("decode")
            tracker = self._tracker(source_id)
            if tracker:
                poses = tracker.update(poses, frame.info.pts_ns)
                self.clock.lap("track")
        return Result(frame, poses, inferred)

    def _count(self, result: Result) -> None:
        source_id = result.info.source_id
        self.summary.frames += 1
        self.summary.inferred += result.inferred
        self.summary.people += len(result.poses)
        self.summary.streams[source_id] = self.summary.streams.get(source_id, 0) + 1
        if source_id not in self._meters:
            self._meters[source_id] = StreamMeter()
        self._meters[source_id].count(result.info, len(result.poses), result.inferred)

    def _tap(self, frame: TensorFrame) -> None:
        try:
            self._taps(frame)
        finally:
            self.summary.tap_errors = self._taps.errors.total()

    def _decode(self, frame: TensorFrame) -> Poses:
        decoder = self.parts.decoder
        try:
            poses = decoder(frame)
        except TensortapError:
            raise
        except Exception as exc:  # of people's own code: which frame it was is half of the answer
            raise DecodeError(f"The decoder {name_of(decoder)} failed on {described_failure(frame, exc)}") from exc
        if not isinstance(poses, Poses):
            raise DecodeError(f"The decoder gave {type(poses).__name__}, not Poses. For nobody, give Poses.empty(skeleton).")
        # What is decoded of an object is that object.
        return poses if frame.track_id < 0 else poses.with_track_ids(np.full(len(poses), frame.track_id, np.int64))

    def _tracker(self, source_id: int) -> Tracker | None:
        make = self.parts.make_tracker.get(source_id)
        if make is None:
            return None
        if source_id not in self._trackers:
            self._trackers[source_id] = make()
        return self._trackers[source_id]


def _release(parts: Parts) -> None:
    """Close everything; what fails is only noted, for nobody is left to be told."""
    parts.runtime.close()
    for output in parts.outputs:
        try:
            output.sink.close()
        except SinkError as exc:
            _log.debug("closing %s: %s", output.name, exc)
