"""`tensortap run`: videos, cameras and images in, poses out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tensortap.cli.console import DebugOption, JsonOption, console, set_log_format
from tensortap.cli.fetch import fetch_model
from tensortap.cli.running import run_pipeline, stop_on_signals
from tensortap.config import Settings
from tensortap.config_file import FILE_NAME, ConfigFile, ServiceOptions, read_config
from tensortap.errors import UsageError
from tensortap.geometry import LETTERBOX_POLICIES
from tensortap.pipeline import Pipeline
from tensortap.sinks.names import parse_output

_LIVE = "Live streams"
_DEEPSTREAM = "DeepStream"
_PICTURES = "Videos, served and pushed pictures"


def run(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="ONNX file, OpenVINO .xml or its folder, or a name: see tensortap models."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="Videos, URLs, cameras, images, folders, globs, recordings; several at once."),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            help="out.mp4, out.jsonl, results.coco.json, out.tap, rtsp://:8554/ds-test, null, - (JSONL); several at once.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="A tensortap.toml; flags that are given override it. Without -i, the one in the working folder is taken.",
        ),
    ] = None,
    nvinfer_config: Annotated[
        Path | None, typer.Option("--nvinfer-config", help="nvinfer file, INI or YAML; flags that are given override it.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="portable, or deepstream where NVIDIA's SDK is.")] = "portable",
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime, tensorrt or onnxruntime-cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, f32, bf16 or f16, where the engine offers it.")] = "auto",
    batch_size: Annotated[int | None, typer.Option("--batch-size", "--batch", help="Frames a batch.")] = None,
    imgsz: Annotated[str | None, typer.Option(help="Network input of a dynamic model: 640 or HEIGHTxWIDTH.")] = None,
    rect: Annotated[
        bool, typer.Option("--rect/--no-rect", help="Files: a network input in the shape of the pictures, less padding.")
    ] = False,
    letterbox: Annotated[str, typer.Option(help="auto, " + ", ".join(sorted(LETTERBOX_POLICIES)) + ".")] = "auto",
    color: Annotated[str, typer.Option(help="Order of the channels that the model wants: auto, rgb or bgr.")] = "auto",
    mean: Annotated[str | None, typer.Option(help="Subtracted from the channels, in 0..255: 123.7,116.3,103.5.")] = None,
    scale: Annotated[str | None, typer.Option(help="Factor of the channels after that: 0.00392, or one for each.")] = None,
    threads: Annotated[int | None, typer.Option(help="Cores that the engine may use.")] = None,
    mode: Annotated[
        str, typer.Option(help="auto, latency (newest frame, no waiting: auto for one camera) or throughput.")
    ] = "auto",
    engine_streams: Annotated[
        int | None, typer.Option(help="Batches that the engine works on at once; by default its own choice.")
    ] = None,
    decoder: Annotated[
        str, typer.Option(help="auto, none (tensors alone, any model), a decoder's name, or your own: my.py:decode.")
    ] = "auto",
    kpt_shape: Annotated[
        str | None, typer.Option(help="Keypoints and values of each, 17x3, where the model does not say.")
    ] = None,
    taps: Annotated[
        list[str] | None, typer.Option("--tap", help="Your function of every TensorFrame, my.py:look; repeatable.")
    ] = None,
    on_tap_error: Annotated[str, typer.Option(help="When a tap raises: stop, warn, or drop the tap.")] = "stop",
    conf_thres: Annotated[float, typer.Option(help="Keep people with a score above it.")] = 0.25,
    iou_thres: Annotated[float, typer.Option(help="Of boxes that overlap by more, keep the best.")] = 0.45,
    max_det: Annotated[int, typer.Option(help="At most so many people a frame.")] = 300,
    clip: Annotated[bool, typer.Option("--clip", help="Move what lies outside the frame to its edge.")] = False,
    tracker: Annotated[str, typer.Option(help="auto, none or the name of a tracker; auto tracks videos.")] = "auto",
    no_track: Annotated[bool, typer.Option("--no-track", help="Do not track.")] = False,
    interval: Annotated[int, typer.Option(help="Let so many frames pass after each inferred one.")] = 0,
    realtime: Annotated[bool, typer.Option("--realtime", help="Replay recordings at the speed of their making.")] = False,
    record_frames: Annotated[
        bool, typer.Option("--record-frames", help="Store the pictures too where -o names a recording (.tap).")
    ] = False,
    max_frames: Annotated[int | None, typer.Option(help="Stop each input after so many frames.")] = None,
    batch_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that a batch waits to be filled while the engine idles: 0.04, or 0 for latency."),
    ] = None,
    max_latency: Annotated[
        float | None, typer.Option(rich_help_panel=_LIVE, help="Drop frames that are older, in seconds.")
    ] = None,
    rtsp_transport: Annotated[str, typer.Option(rich_help_panel=_LIVE, help="tcp or udp.")] = "tcp",
    open_timeout: Annotated[
        float, typer.Option(rich_help_panel=_LIVE, help="Seconds until a camera must answer, and until its first picture.")
    ] = 10.0,
    stall_timeout: Annotated[
        float, typer.Option(rich_help_panel=_LIVE, help="Seconds without a picture until a camera is opened again.")
    ] = 5.0,
    retry_max: Annotated[float, typer.Option(rich_help_panel=_LIVE, help="Longest pause between attempts, in seconds.")] = 10.0,
    retries: Annotated[
        int | None, typer.Option(rich_help_panel=_LIVE, help="Give a camera up after so many failed attempts in a row.")
    ] = None,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", rich_help_panel=_LIVE, help="Go on when the last stream has ended.")
    ] = False,
    gie: Annotated[str, typer.Option("--gie", "-g", rich_help_panel=_DEEPSTREAM, help="nvinfer or nvinferserver.")] = "nvinfer",
    gie_configs: Annotated[
        list[str] | None,
        typer.Option("--gie-config", rich_help_panel=_DEEPSTREAM, help="File of a further nvinfer in the graph; repeatable."),
    ] = None,
    tracker_config: Annotated[
        str | None, typer.Option(rich_help_panel=_DEEPSTREAM, help="nvtracker names the people, by this file.")
    ] = None,
    analytics_config: Annotated[
        str | None, typer.Option(rich_help_panel=_DEEPSTREAM, help="nvdsanalytics counts, by this file.")
    ] = None,
    file_loop: Annotated[
        bool, typer.Option("--file-loop", rich_help_panel=_DEEPSTREAM, help="Play files over and over.")
    ] = False,
    pixels: Annotated[
        bool, typer.Option("--pixels", rich_help_panel=_DEEPSTREAM, help="Let taps read frame.image; converts every frame.")
    ] = False,
    platform: Annotated[
        str, typer.Option(rich_help_panel=_DEEPSTREAM, help="auto, jetson, dgpu, sbsa or wsl: what the graph is for.")
    ] = "auto",
    binding: Annotated[str, typer.Option(rich_help_panel=_DEEPSTREAM, help="auto, pyds or pyservicemaker.")] = "auto",
    mux_size: Annotated[
        str | None, typer.Option(rich_help_panel=_DEEPSTREAM, help="WIDTHxHEIGHT that nvstreammux scales to.")
    ] = None,
    new_mux: Annotated[
        bool, typer.Option("--new-mux", rich_help_panel=_DEEPSTREAM, help="The new nvstreammux, which does not scale.")
    ] = False,
    encoder: Annotated[
        str, typer.Option(rich_help_panel=_DEEPSTREAM, help="auto, hardware or software encodes what is shown.")
    ] = "auto",
    gpu_id: Annotated[int, typer.Option(rich_help_panel=_DEEPSTREAM, help="Which GPU.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=_DEEPSTREAM, help="Print the graph for gst-launch-1.0; run nothing.")
    ] = False,
    codec: Annotated[str, typer.Option("--codec", "-c", rich_help_panel=_PICTURES, help="h264 or h265.")] = "h264",
    bitrate: Annotated[
        str | None, typer.Option("--bitrate", "-b", rich_help_panel=_PICTURES, help="Bits a second of each: 4M, 800k.")
    ] = None,
    keyframe_seconds: Annotated[
        float, typer.Option(rich_help_panel=_PICTURES, help="From one keyframe to the next, of what is served and pushed.")
    ] = 2.0,
    tiled_size: Annotated[
        str, typer.Option(rich_help_panel=_PICTURES, help="WIDTHxHEIGHT of the picture that shows all streams.")
    ] = "1280x720",
    tiled_fps: Annotated[
        float, typer.Option(rich_help_panel=_PICTURES, help="Pictures a second at most, of what is served and pushed.")
    ] = 30.0,
    stats: Annotated[
        float | None, typer.Option(min=0.1, help="A line with every stream's rate, every so many seconds.")
    ] = None,
    web: Annotated[
        str | None, typer.Option(help="Serve the browser page, /metrics and /healthz, e.g. at :8080 (this machine only).")
    ] = None,
    web_token: Annotated[
        str | None,
        typer.Option(
            envvar="TENSORTAP_WEB_TOKEN",
            help="What those who ask there must know; made up where others can reach it, unless it is set.",
        ),
    ] = None,
    log_format: Annotated[str, typer.Option(help="text, or json: one object a line on the standard error.")] = "text",
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="First find out how the model runs fastest here, unless that is known: see tensortap tune."
        ),
    ] = False,
    profile: Annotated[
        Path | None, typer.Option(help="Trace every frame through every stage into this .json, for ui.perfetto.dev.")
    ] = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    debug: DebugOption = False,
) -> None:
    """Find people in videos, cameras and images, and write them as data and as video."""
    file = _config_file(config, inputs)
    given = {name: context.params[name] for name in ("stats", "web", "web_token", "log_format") if _is_given(context, name)}
    options = ServiceOptions.checked(**(file.options | given))
    set_log_format(options.log_format)
    if file.settings and not config:
        console.print(f"settings: {file.path}", soft_wrap=True)
    if not inputs and not file.settings.get("inputs") and not (keep_running or file.settings.get("keep_running")):
        raise UsageError(
            "Say what to look at: -i VIDEO, URL, camera, image, folder or glob. "
            "Example: tensortap run -i a.mp4 -m yolov8n-pose.onnx"
        )
    if no_track and tracker not in ("auto", "none"):
        raise UsageError(f"--no-track and --tracker {tracker} contradict each other.")
    told: dict[str, Any] = {"inputs": inputs, "model": model, "outputs": outputs, "nvinfer_config": nvinfer_config}
    told = file.settings | {name: value for name, value in told.items() if value}
    named = [told["outputs"]] if isinstance(told.get("outputs"), str) else told.get("outputs", [])
    if as_json and any(parse_output(output).path == Path("-") for output in named):
        raise UsageError("--json and -o - would both write to the standard output. Give the JSONL a file.")
    settings: dict[str, Any] = {
        "runtime": runtime,
        "engine": engine,
        "precision": precision,
        "batch_size": batch_size,
        "imgsz": imgsz,
        "rect": rect,
        "letterbox": letterbox,
        "color": color,
        "mean": mean,
        "scale": scale,
        "threads": threads,
        "mode": mode,
        "engine_streams": engine_streams,
        "decoder": decoder,
        "kpt_shape": kpt_shape,
        "taps": taps or [],
        "on_tap_error": on_tap_error,
        "conf_thres": conf_thres,
        "iou_thres": iou_thres,
        "max_det": max_det,
        "clip": clip,
        "tracker": None if no_track else tracker,
        "interval": interval,
        "realtime": realtime,
        "record_frames": record_frames,
        "max_frames": max_frames,
        "batch_timeout": batch_timeout,
        "max_latency": max_latency,
        "rtsp_transport": rtsp_transport,
        "open_timeout": open_timeout,
        "stall_timeout": stall_timeout,
        "retry_max": retry_max,
        "retries": retries,
        "keep_running": keep_running,
        "gie": gie,
        "gie_configs": gie_configs or [],
        "tracker_config": tracker_config,
        "analytics_config": analytics_config,
        "file_loop": file_loop,
        "pixels": pixels,
        "platform": platform,
        "binding": binding,
        "mux_size": mux_size,
        "new_mux": new_mux,
        "encoder": encoder,
        "gpu_id": gpu_id,
        "codec": codec,
        "bitrate": bitrate,
        "keyframe_seconds": keyframe_seconds,
        "tiled_size": tiled_size,
        "tiled_fps": tiled_fps,
    }
    # What is left at its default is not said: it must not override what a file says.
    told |= {name: value for name, value in settings.items() if _is_given(context, name)}
    if tune and told.get("runtime") == "deepstream":
        raise UsageError("--tune is for --runtime portable: in DeepStream nvinfer is the engine.")
    if tune:
        _tune(settings | told, quiet)
    if dry_run:
        _print_graph({"inputs": [], **told})
        return
    run_pipeline(
        lambda: Pipeline(**{"inputs": [], **told}, find_model=partial(fetch_model, quiet=quiet)),
        quiet=quiet,
        as_json=as_json,
        stats=options.stats,
        web=options.web,
        web_token=options.web_token,
        profile=profile,
    )


def _print_graph(values: dict[str, Any]) -> None:
    """What DeepStream would run, on the standard output."""
    from rich.markup import escape  # not for runs elsewhere

    from tensortap.assemble_deepstream import planned_graph
    from tensortap.deepstream.graph import to_gst_launch

    settings = Settings.checked(**values)
    if settings.runtime != "deepstream":
        raise UsageError("--dry-run prints DeepStream's graph: say --runtime deepstream.")
    graph = planned_graph(settings)
    print(to_gst_launch(graph), flush=True)
    for mount in graph.rtsp:
        console.print(f"[dim]beside it, an RTSP server at {escape(mount.address)} hands on port {mount.udp_port}[/]")


def _config_file(path: Path | None, inputs: list[str] | None) -> ConfigFile:
    """What the file says that is named, or that lies in the working folder of a run that names no input."""
    if path is None and (inputs or not Path(FILE_NAME).is_file()):
        return ConfigFile(Path(FILE_NAME), {}, {})
    return read_config(path or Path(FILE_NAME))


def _tune(told: Mapping[str, Any], quiet: bool) -> None:
    if told["engine"] != "auto":
        raise UsageError(f"--tune finds the engine; --engine {told['engine']} names one. Leave one of them out.")
    if told.get("model") is None or not told.get("inputs"):
        raise UsageError("--tune needs --model and -i.")
    if told["rect"]:
        raise UsageError("--tune tunes for one size of the network input: say --imgsz HEIGHTxWIDTH rather than --rect.")
    from tensortap.cli.tune import tune_unless_tuned  # not for runs that do without it

    names = ("imgsz", "threads", "decoder", "kpt_shape", "letterbox", "color", "mean", "scale", "conf_thres")
    inputs = [told["inputs"]] if isinstance(told["inputs"], str) else told["inputs"]
    with stop_on_signals():
        tune_unless_tuned(
            fetch_model(told["model"], quiet=quiet), inputs, told["mode"], {name: told[name] for name in names}, quiet
        )


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether a flag stands on the command line, or in its variable, rather than being left at its default."""
    flags = {name, "no_track"} if name == "tracker" else {name}
    sources = [context.get_parameter_source(flag) for flag in flags]
    return any(source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT") for source in sources)
