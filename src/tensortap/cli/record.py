"""`tensortap record`: a model's raw output, kept in files."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tensortap.cli.console import DebugOption, JsonOption
from tensortap.cli.fetch import fetch_model
from tensortap.cli.running import run_pipeline
from tensortap.errors import UsageError
from tensortap.geometry import LETTERBOX_POLICIES
from tensortap.pipeline import Pipeline
from tensortap.sinks.names import parse_output


def record(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="ONNX file, OpenVINO .xml or its folder, or a name: see tensortap models."),
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="Videos, URLs, images, folders, globs; several at once.")
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", "-o", help="The recording, e.g. street.tap.")] = None,
    frames: Annotated[bool, typer.Option("--frames", help="Store the pictures too, as JPEG (lossy).")] = False,
    no_compress: Annotated[bool, typer.Option("--no-compress", help="Larger files, less work for the CPU.")] = False,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime, tensorrt or onnxruntime-cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, f32, bf16 or f16, where the engine offers it.")] = "auto",
    batch_size: Annotated[int | None, typer.Option("--batch-size", "--batch", help="Frames a batch.")] = None,
    imgsz: Annotated[str | None, typer.Option(help="Network input of a dynamic model: 640 or HEIGHTxWIDTH.")] = None,
    letterbox: Annotated[str, typer.Option(help="auto, " + ", ".join(sorted(LETTERBOX_POLICIES)) + ".")] = "auto",
    color: Annotated[str, typer.Option(help="Order of the channels that the model wants: auto, rgb or bgr.")] = "auto",
    mean: Annotated[str | None, typer.Option(help="Subtracted from the channels, in 0..255: 123.7,116.3,103.5.")] = None,
    scale: Annotated[str | None, typer.Option(help="Factor of the channels after that: 0.00392, or one for each.")] = None,
    threads: Annotated[int | None, typer.Option(help="Cores that the engine may use.")] = None,
    taps: Annotated[
        list[str] | None, typer.Option("--tap", help="Your function of every TensorFrame, my.py:look; repeatable.")
    ] = None,
    on_tap_error: Annotated[str, typer.Option(help="When a tap raises: stop, warn, or drop the tap.")] = "stop",
    interval: Annotated[int, typer.Option(help="Let so many frames pass after each inferred one.")] = 0,
    max_frames: Annotated[int | None, typer.Option(help="Stop each input after so many frames.")] = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    debug: DebugOption = False,
) -> None:
    """Keep the raw tensors of any model in a recording, for tensortap run -i RECORDING without model or GPU."""
    if not inputs:
        raise UsageError("Say what to look at: -i VIDEO. Example: tensortap record -i a.mp4 -m yolov8n-pose -o a.tap")
    if not outputs:
        raise UsageError("Say where the recording goes: -o street.tap. It becomes a folder of that name.")
    for output in outputs:
        if parse_output(output).sink != "recording":
            raise UsageError(
                f"-o {output}: a recording's name ends in .tap, or begins with recording:. For more, use tensortap run."
            )
    run_pipeline(
        lambda: Pipeline(
            inputs,
            model,
            outputs=outputs,
            decoder="none",
            find_model=partial(fetch_model, quiet=quiet),
            record_frames=frames,
            record_compress=not no_compress,
            engine=engine,
            precision=precision,
            batch_size=batch_size,
            imgsz=imgsz,
            letterbox=letterbox,
            color=color,
            mean=mean,
            scale=scale,
            threads=threads,
            taps=taps or [],
            on_tap_error=on_tap_error,
            interval=interval,
            max_frames=max_frames,
        ),
        quiet=quiet,
        as_json=as_json,
    )
