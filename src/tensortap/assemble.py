"""From settings to objects: names become classes here, and in `reading.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from tensortap.assemble_engine import create_engine, rectangular_imgsz
from tensortap.config import Settings
from tensortap.decode.outputs import Feeding, Head
from tensortap.errors import SourceError, TensortapError, UsageError
from tensortap.loading import import_meanwhile, load_callable
from tensortap.output_paths import output_paths, refuse_clashes
from tensortap.outputs import Output, Sink, TensorSink
from tensortap.pipeline import Decoder, Runtime, Tracker
from tensortap.portable.engines.base import Engine
from tensortap.portable.model import ModelInfo, read_model
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.recorded import describe, recorded
from tensortap.portable.runtime import PortableRuntime, Source
from tensortap.portable.sources.connection import LiveSettings
from tensortap.portable.sources.inputs import Input, find_inputs
from tensortap.portable.threads import decoding_threads, mode_for, writing_threads
from tensortap.reading import (
    Nobody,
    create_decoder,
    decoder_on_device,
    feeding_for,
    network_wh_of,
    own_decoder,
    recorded_feeding,
    shortlist_for,
    skeleton_of,
)
from tensortap.recording.reader import Recording
from tensortap.recording.replay import ReplayRuntime
from tensortap.registry import SINKS, SOURCES, TRACKERS, load
from tensortap.sinks.background import BackgroundSink
from tensortap.sinks.names import OutputName, parse_output, shown
from tensortap.sinks.stream.encoder import Encoding
from tensortap.taps import Tap
from tensortap.text import printable
from tensortap.timing import StageClock
from tensortap.types import Frame, Poses, StreamInfo
from tensortap.zoo import resolve

_BATCH_TIMEOUT_SECONDS = 0.04


@dataclass(eq=False)
class Parts:
    """What a pipeline is made of."""

    streams: Sequence[StreamInfo]
    runtime: Runtime
    decoder: Decoder
    taps: Sequence[Tap]
    """The taps that the settings name."""
    make_tracker: MutableMapping[int, Callable[[], Tracker]]
    """`source_id` -> a new tracker, for the streams that are tracked."""
    outputs: list[Output]
    nobody: Poses
    """The people of a frame that nothing looked at."""
    model: ModelInfo
    head: Head | None
    """What was recognised; `None` with a decoder of the user's own, or none."""
    feeding: Feeding
    """How the network gets its pictures."""
    engine: Engine
    engine_reason: str
    """Why this engine, in a sentence for people."""
    add_stream: Callable[[str, str | None], StreamInfo] | None = None
    """Open another stream, by location and name, and let it take part; `None` where the runtime takes no more."""


def assemble(
    settings: Settings,
    *,
    decoder: Decoder | type[Any] | None = None,
    clock: StageClock | None = None,
    find_model: Callable[[str], Path] = resolve,
) -> Parts:
    """Open, load and join everything that the settings name. What was opened is closed again if something fails.

    Args:
        find_model: from the name or path of a model to its file; may download it.

    Raises:
        TensortapError: something cannot be meant, found, loaded or written.
    """
    names = [parse_output(text) for text in settings.outputs]
    inputs = _named_apart(find_inputs(settings.inputs), set())
    on_device = settings.runtime == "deepstream"
    is_replay = not on_device and _is_replay(settings, inputs)
    model_path = None if is_replay or on_device else _model_path(settings, find_model)
    paths = output_paths(names, inputs, model_path, tiled=on_device)
    tracker_class = _tracker_class(settings)
    taps = [load_callable(text, "--tap") for text in settings.taps]
    decoder = own_decoder(settings, decoder)
    with ExitStack() as opened:
        if on_device:
            made = _on_device(settings, inputs, names, decoder, find_model)
        elif model_path is None:
            made = _replay(settings, inputs, clock)
        else:
            made = _infer(settings, inputs, model_path, opened, clock, is_ours=decoder is None and settings.decoder != "none")
        streams, (model, engine) = made.streams, made.models[0]
        head = None
        if decoder is None and settings.decoder == "none":
            decoder = Nobody(skeleton_of(model))
        elif decoder is None and on_device:
            head, decoder = decoder_on_device(settings, model, made.network_wh)
        elif decoder is None:
            head, decoder = create_decoder(settings, made.models)
        open_output = partial(
            _open_output,
            settings=settings,
            tiled=on_device,
            about={**describe(streams, model, engine), "feeding": asdict(made.feeding)},
            live=settings.keep_running or any(stream.is_live for stream in streams),
        )
        outputs = [open_output(name, path, source_id, opened) for name, path, source_id in paths]
        opened.pop_all()
    skeleton = getattr(decoder, "skeleton", None) or skeleton_of(model)
    parts = Parts(
        streams=streams,
        runtime=made.runtime,
        decoder=decoder,
        taps=taps,
        make_tracker={},
        outputs=outputs,
        nobody=Poses.empty(skeleton),
        model=model,
        head=head,
        feeding=made.feeding,
        engine=engine,
        engine_reason=made.reason,
    )
    if tracker_class is not None:
        # Needed when people first cross. Not earlier, because it would hold the interpreter's lock while the engine loads.
        import_meanwhile("scipy.optimize")
    for stream in streams:
        _track(stream, settings, parts, tracker_class)
        _introduce(stream, outputs)
    if isinstance(made.runtime, PortableRuntime):
        parts.add_stream = _Adding(settings, names, parts, made.runtime, tracker_class, open_output)
    return parts


class _Adding:
    """Adds a stream to a run, with the tracker and the outputs that belong to it alone. May be called by any thread."""

    def __init__(
        self,
        settings: Settings,
        names: Sequence[OutputName],
        parts: Parts,
        runtime: PortableRuntime,
        tracker_class: Callable[[], Tracker] | None,
        open_output: Callable[..., Output],
    ) -> None:
        self._settings = settings
        self._names = [name for name in names if name.per_stream]
        self._parts = parts
        self._runtime = runtime
        self._tracker_class = tracker_class
        self._open_output = open_output
        self._numbers = count(len(parts.streams))
        self._lock = Lock()

    def __call__(self, location: str, name: str | None) -> StreamInfo:
        with self._lock:
            [found] = find_inputs([location])
            if found.kind == "recording":
                raise UsageError(f"{location} is a recording; it cannot be added to a run. Replay it on its own.")
            found = replace(found, name=printable(name)) if name else found
            [found] = _named_apart([found], {stream.name for stream in self._runtime.streams})
            source_id = next(self._numbers)
            paths = [(each, each.for_stream(source_id), source_id) for each in self._names]
            refuse_clashes(paths, [found], self._parts.model.path, [output.name for output in self._parts.outputs])
            with ExitStack() as opened:
                source = _open_source(self._settings, source_id, found, threads=1)
                opened.callback(source.close)
                outputs = [self._open_output(each, path, source_id, opened, live=True) for each, path, _ in paths]
                _track(source.stream, self._settings, self._parts, self._tracker_class)
                self._parts.outputs += outputs
                _introduce(source.stream, self._parts.outputs)
                self._runtime.add(source)
                opened.pop_all()
            return source.stream


def _track(stream: StreamInfo, settings: Settings, parts: Parts, tracker_class: Callable[[], Tracker] | None) -> None:
    """Have a stream tracked, where that makes sense: nobody can be followed from one unrelated picture to the next."""
    if tracker_class and not (stream.is_still and settings.tracker == "auto"):
        parts.make_tracker[stream.source_id] = tracker_class


def _named_apart(inputs: Sequence[Input], taken: Collection[str]) -> list[Input]:
    """The same inputs with names that tell cameras apart: `door`, `door-2`."""
    named: list[Input] = []
    used = {*taken}
    for found in inputs:
        name, number = found.name, 1
        while name in used and found.kind in ("live", "scene"):
            number += 1
            name = f"{found.name}-{number}"
        used.add(name)
        named.append(replace(found, name=name))
    return named


@dataclass(eq=False)
class _Made:
    """What gives the tensors."""

    streams: Sequence[StreamInfo]
    runtime: Runtime
    models: Sequence[tuple[ModelInfo, Engine]]
    """One, or one for each recording."""
    feeding: Feeding
    reason: str
    network_wh: tuple[int, int] | None = None
    """The network input where no engine of ours says it."""


def _on_device(
    settings: Settings,
    inputs: Sequence[Input],
    names: Sequence[OutputName],
    decoder: Decoder | None,
    find_model: Callable[[str], Path],
) -> _Made:
    """DeepStream."""
    from tensortap.assemble_deepstream import assemble_on_device  # not for runs elsewhere

    made = assemble_on_device(settings, inputs, names, decoder, find_model)
    models = [(made.model, made.engine)]
    return _Made(made.streams, made.runtime, models, made.feeding, made.reason, made.engine.network_wh)


def _infer(
    settings: Settings,
    inputs: Sequence[Input],
    model_path: Path,
    opened: ExitStack,
    clock: StageClock | None,
    *,
    is_ours: bool,
) -> _Made:
    """Sources and an engine.

    Args:
        is_ours: the tensors are for one of our decoders.
    """
    model = read_model(model_path)
    sources = _open_sources(settings, inputs, opened)
    feeding = feeding_for(settings, model)
    mode = settings.mode
    if mode == "auto":
        mode = mode_for([source.stream for source in sources], hold_open=settings.keep_running)
    if settings.rect:
        imgsz = rectangular_imgsz(settings, model, feeding.letterbox, [source.stream for source in sources])
        settings = settings.model_copy(update={"imgsz": imgsz})
    engine, reason = create_engine(settings, model, mode, shortlist_for(settings, model) if is_ours else None)
    opened.callback(engine.close)
    timeout = settings.batch_timeout
    runtime = PortableRuntime(
        sources,
        engine,
        Preprocessor(network_wh_of(engine), feeding.letterbox, feeding.color),
        interval=settings.interval,
        max_frames=settings.max_frames,
        max_latency_seconds=settings.max_latency,
        hold_open=settings.keep_running,
        batch_timeout_seconds=timeout if timeout is not None else 0.0 if mode == "latency" else _BATCH_TIMEOUT_SECONDS,
        mode=mode,
        writing_threads=writing_threads(mode, getattr(engine, "threads", None)),
        clock=clock,
    )
    return _Made([source.stream for source in sources], runtime, [(model, engine)], feeding, reason)


def _replay(settings: Settings, inputs: Sequence[Input], clock: StageClock | None) -> _Made:
    """Recordings."""
    recordings: list[Recording] = []
    streams: list[StreamInfo] = []
    for found in inputs:
        recordings.append(Recording(Path(found.location), source_id=len(streams)))
        streams += recordings[-1].streams
    runtime = ReplayRuntime(
        recordings, interval=settings.interval, max_frames=settings.max_frames, realtime=settings.realtime, clock=clock
    )
    names = ", ".join(found.name for found in inputs)
    models = [recorded(recording) for recording in recordings]
    return _Made(streams, runtime, models, recorded_feeding(recordings[0]), f"replayed from {names}")


def _is_replay(settings: Settings, inputs: Sequence[Input]) -> bool:
    """Whether the inputs are recordings.

    Raises:
        UsageError: some are and some are not, or something is asked for that was settled when they were recorded.
    """
    recordings = [found for found in inputs if found.kind == "recording"]
    if not recordings:
        if settings.realtime:
            raise UsageError("--realtime is for recordings: files run at full speed, cameras at their own.")
        return False
    if len(recordings) < len(inputs):
        other = next(found for found in inputs if found.kind != "recording")
        raise UsageError(
            f"-i {recordings[0].location} is a recording and {other.location} is none. It is replayed without a model, "
            "the other needs one: run them one after the other."
        )
    for name in (
        "model",
        "engine",
        "precision",
        "batch_size",
        "imgsz",
        "rect",
        "letterbox",
        "color",
        "mean",
        "scale",
        "threads",
        "mode",
        "engine_streams",
    ):
        value = getattr(settings, name)
        if value != Settings.model_fields[name].default:
            flag = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            raise UsageError(
                f"{flag}: {recordings[0].location} is a recording; what its tensors were made with was settled when it was "
                "made. Leave it out."
            )
    return True


def _model_path(settings: Settings, find_model: Callable[[str], Path]) -> Path:
    if settings.model is None:
        raise UsageError(
            "Say which model: --model FILE.onnx, or a name such as --model yolov8n-pose; tensortap models lists the names."
        )
    return find_model(settings.model)


def first_frame(location: str) -> Frame:
    """The first frame of an input.

    Raises:
        SourceError: it cannot be opened, or holds no picture.
    """
    with ExitStack() as opened:
        for source in _open_sources(Settings(inputs=[location], retries=0), find_inputs([location]), opened):
            frame = source.read()
            if frame is not None:
                return frame
    raise SourceError(f"{location} holds no picture that can be decoded.")


def _open_sources(settings: Settings, inputs: Sequence[Input], opened: ExitStack) -> list[Source]:
    """All streams, or one error that names every input that cannot be opened."""
    sources: list[Source] = []
    errors: list[TensortapError] = []
    threads = decoding_threads(len(inputs))
    for source_id, found in enumerate(inputs):
        try:
            source = _open_source(settings, source_id, found, threads)
        except TensortapError as exc:
            errors.append(exc)
            continue
        opened.callback(source.close)
        sources.append(source)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise type(errors[0])("\n".join(map(str, errors)))
    return sources


def _open_source(settings: Settings, source_id: int, found: Input, threads: int) -> Source:
    source_class = load("source", SOURCES, found.kind)
    source: Source
    if found.kind == "images":
        source = source_class(source_id, found.name, found.paths)
    elif found.kind == "live":
        source = source_class(source_id, found.name, found.location, settings=_live_settings(settings))
    elif found.kind == "video":
        video = source_class(source_id, found.name, found.location, threads=threads)
        if video.is_endless:
            video.close()
            return _open_source(settings, source_id, replace(found, kind="live"), threads)
        source = video
    else:
        source = source_class(source_id, found.name, found.location)
    return source


def _live_settings(settings: Settings) -> LiveSettings:
    return LiveSettings(
        open_timeout_seconds=settings.open_timeout,
        stall_timeout_seconds=settings.stall_timeout,
        retry_max_seconds=settings.retry_max,
        retries=settings.retries,
        rtsp_transport=settings.rtsp_transport,
    )


def _tracker_class(settings: Settings) -> Callable[[], Tracker] | None:
    if settings.tracker_config:
        return None  # nvtracker names the people
    if settings.tracker is None or (settings.decoder == "none" and settings.tracker == "auto"):
        return None
    tracker_class: Callable[[], Tracker] = load("tracker", TRACKERS, "pose" if settings.tracker == "auto" else settings.tracker)
    return tracker_class


def _open_output(
    name: OutputName,
    path: Path,
    source_id: int | None,
    opened: ExitStack,
    *,
    settings: Settings,
    about: Mapping[str, object],
    live: bool,
    tiled: bool,
) -> Output:
    """An output, closed again if something else fails.

    Args:
        tiled: DeepStream's graph draws all streams into one picture.
        about: what a recording says of itself.
        live: with live streams, a sink that is not made for them works in the background.
    """
    if tiled and name.is_drawn:
        from tensortap.deepstream.outputs import DrawnOutput

        return Output(str(path) if name.is_file else shown(name.text), DrawnOutput(*_addresses(name)), source_id)
    if name.sink == "screen":
        raise UsageError(f"-o {name.text} is for --runtime deepstream. Here, serve it and watch: -o rtsp://:8554/ds-test.")
    sink_class = load("sink", SINKS, name.sink)
    sink: Sink | TensorSink
    if name.sink == "recording":
        sink = sink_class(path, about, images=settings.record_frames, compress=settings.record_compress)
    elif name.sink in ("push", "rtsp"):
        sink = sink_class(name.text, _encoding(settings))
    elif name.sink == "video":
        sink = sink_class(path, codec=settings.codec, bitrate=settings.bitrate)
    else:
        sink = sink_class(path)
    if live and not isinstance(sink, TensorSink) and not getattr(sink, "handles_live", False):
        sink = BackgroundSink(str(path), sink)
    opened.callback(sink.close)
    return Output(str(path) if name.is_file else shown(name.text), sink, source_id)


def _addresses(name: OutputName) -> list[str]:
    return [shown(name.text)] if name.sink == "rtsp" else []


def _encoding(settings: Settings) -> Encoding:
    """How pictures are encoded that are served or pushed."""
    return Encoding(
        codec=settings.codec,
        keyframe_seconds=settings.keyframe_seconds,
        frame_rate=settings.tiled_fps,
        size_wh=settings.tiled_size,
        **({} if settings.bitrate is None else {"bitrate": settings.bitrate}),
    )


def _introduce(stream: StreamInfo, outputs: Sequence[Output]) -> None:
    """Tell the sinks that show all streams of one before it has frames: a camera may be down for long."""
    for output in outputs:
        add = getattr(output.sink, "add_stream", None)
        if add is not None and output.source_id in (None, stream.source_id):
            add(stream)
