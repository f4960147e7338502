"""The measurements themselves, on the objects that production uses."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tensortap.bench.case import Case, Level, Row, Spread
from tensortap.errors import UsageError
from tensortap.pipeline import Pipeline
from tensortap.portable.engines.base import Engine, Request, as_batch
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.runtime import PortableRuntime
from tensortap.portable.writers import Started
from tensortap.types import Frame, TensorFrame

_NUM_FRAMES = 8
"""Frames kept for `frame to poses`: enough to differ, too few to fill memory."""
_FIRST_FRAMES = 100
"""Frames of the first end-to-end run, before the engine's rate is known."""
_LATENCY_BATCHES = 200
"""At most so many batches are timed one by one in a round."""

Step = Callable[[Request], object]


@dataclass
class _Level:
    """What the rounds of one level gave."""

    rates: list[float] = field(default_factory=list)
    efficiencies: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    peak_mb: float | None = None

    def add(self, images: int, seconds: float, cpu_seconds: float) -> float:
        """Book one round; returns images a second."""
        self.rates.append(images / seconds)
        self.cpu_ms.append(cpu_seconds / images * 1e3)
        self.peak_mb = peak_mb()
        return self.rates[-1]


class Measurement:
    """One case, measured in rounds of engine, poses and end to end in turn, so that a slow minute meets all of them."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._engine, self._poses = _Level(), _Level()
        self._whole = {streams: _Level() for streams in case.streams}

    def run(self) -> list[Row]:
        """All levels.

        Raises:
            TensortapError: the model, the engine or the video cannot be used that way.
        """
        with tempfile.TemporaryDirectory() as folder:
            for number, streams in itertools.product(range(self._case.rounds), self._case.streams):
                with self._pipeline(streams, Path(folder) / f"{number}-{streams}.jsonl") as pipeline:
                    self._measure(pipeline, streams)
        return list(self._rows(pipeline))

    def _pipeline(self, streams: int, output: Path) -> Pipeline:
        case = self._case
        frames = round(self._engine.rates[-1] * case.seconds) if self._engine.rates else _FIRST_FRAMES
        return Pipeline(
            [case.video] * streams,
            case.model,
            outputs=output,
            engine=case.engine,
            precision=case.precision,
            batch_size=case.batch_size,
            imgsz=case.imgsz,
            letterbox=case.letterbox,
            threads=case.threads,
            max_frames=max(_NUM_FRAMES, frames // streams),
        )

    def _measure(self, pipeline: Pipeline, streams: int) -> None:
        """One round of every level; they share the engine that the pipeline has loaded."""
        case, engine = self._case, pipeline.parts.engine

        def start_full(request: Request) -> None:
            request.start(engine.batch_size)

        def wait(request: Request) -> None:
            request.wait()

        alone = self._throughput(engine, self._engine, start_full, wait)
        if streams == case.streams[0]:
            self._latency(engine, self._engine, start_full, wait)
            start, finish = _to_poses(pipeline)
            runtime = pipeline.parts.runtime
            with runtime.settings() if isinstance(runtime, PortableRuntime) else nullcontext():
                rate = self._throughput(engine, self._poses, start, finish)
                self._poses.efficiencies.append(rate / alone)
                self._latency(engine, self._poses, start, finish)
        level = self._whole[streams]
        cpu_before = time.process_time()
        summary = pipeline.run()
        level.add(summary.frames, summary.seconds, time.process_time() - cpu_before)
        level.efficiencies.append(level.rates[-1] / alone)

    def _throughput(self, engine: Engine, level: _Level, start: Step, finish: Step) -> float:
        """Images a second with every request in flight."""
        for request in engine.requests:  # warm-up, and all of them on their way
            start(request)
            finish(request)
            start(request)
        in_flight = deque(engine.requests)
        batches, cpu_before, started = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - started < self._case.seconds or not batches:
            request = in_flight.popleft()
            finish(request)
            start(request)
            in_flight.append(request)
            batches += 1
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_before
        for request in in_flight:
            finish(request)
        return level.add(batches * engine.batch_size, seconds, cpu_seconds)

    def _latency(self, engine: Engine, level: _Level, start: Step, finish: Step) -> None:
        """Batches one by one, nothing else in flight."""
        request, ends = engine.requests[0], time.perf_counter() + self._case.seconds
        for number in range(_LATENCY_BATCHES):
            before = time.perf_counter()
            if number and before > ends:
                break
            start(request)
            finish(request)
            level.latencies_ms.append((time.perf_counter() - before) * 1e3)

    def _rows(self, pipeline: Pipeline) -> Iterator[Row]:
        parts = pipeline.parts
        levels: list[tuple[Level, int, _Level]] = [("engine", 1, self._engine), ("poses", 1, self._poses)]
        levels += [("end-to-end", streams, level) for streams, level in self._whole.items()]
        for name, streams, level in levels:
            p50, p99 = (float(np.percentile(level.latencies_ms, share)) if level.latencies_ms else None for share in (50, 99))
            _, height, width, _ = parts.engine.requests[0].images.shape
            yield Row(
                model=parts.model.path.name,
                device=parts.engine.device,
                engine=parts.engine.name,
                precision=parts.engine.precision,
                imgsz=(height, width),
                batch_size=parts.engine.batch_size,
                level=name,
                streams=streams,
                images_per_second=Spread.of(level.rates),
                efficiency=Spread.of(level.efficiencies) if level.efficiencies else None,
                latency_ms_p50=p50,
                latency_ms_p99=p99,
                cpu_ms_per_image=float(np.median(level.cpu_ms)),
                peak_mb=level.peak_mb,
            )


def _to_poses(pipeline: Pipeline) -> tuple[Step, Step]:
    """Preprocess and start; wait and decode; on a few frames of the pipeline's first stream."""
    engine, decoder = pipeline.parts.engine, pipeline.parts.decoder
    frames = itertools.cycle(_some_frames(pipeline))
    _, height, width, _ = engine.requests[0].images.shape
    feeding = pipeline.parts.feeding
    preprocessor = Preprocessor((width, height), feeding.letterbox, feeding.color)
    runtime = pipeline.parts.runtime
    writers = runtime.writers if isinstance(runtime, PortableRuntime) else None
    placed: dict[int, list[Frame]] = {}
    started: dict[int, Future[Started]] = {}

    def start(request: Request) -> None:
        chosen = placed[id(request)] = [next(frames) for _ in range(engine.batch_size)]
        if writers is not None:
            started[id(request)] = writers.write(request, chosen)
            return
        for slot, frame in enumerate(chosen):
            preprocessor.write(frame, request.images[slot])
        request.start(engine.batch_size)

    def finish(request: Request) -> None:
        if writers is not None:
            started[id(request)].result()
        outputs = as_batch(request.wait())
        for slot, frame in enumerate(placed[id(request)]):
            decoder(TensorFrame(frame, outputs.frame(slot), preprocessor.letterbox(frame)))

    return start, finish


def _some_frames(pipeline: Pipeline) -> Sequence[Frame]:
    runtime = pipeline.parts.runtime
    if not isinstance(runtime, PortableRuntime):
        raise UsageError("A recording has no frames to measure with. Give a video.")
    frames: list[Frame] = []
    while len(frames) < _NUM_FRAMES and (frame := runtime.sources[0].read()) is not None:
        frames.append(frame)
    if not frames:
        raise UsageError(f"{pipeline.streams[0].name} has no frames to measure with.")
    return frames


def peak_mb() -> float | None:
    """The most memory that this process has held so far, in MB; `None` where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
