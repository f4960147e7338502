"""`tensortap nvinfer-config`: a correct nvinfer file for a model, or what is wrong with one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.markup import escape

from tensortap.cli.console import EXIT_FAILURE, DebugOption, console
from tensortap.cli.fetch import fetch_model
from tensortap.config import Settings
from tensortap.decode.heads import recognise
from tensortap.errors import ModelError, UsageError
from tensortap.nvinfer.check import check as check_file
from tensortap.nvinfer.writer import Wanted, as_ini
from tensortap.portable.model import image_input, read_model
from tensortap.reading import feeding_for
from tensortap.sinks.files import cannot_write


def nvinfer_config(
    model: Annotated[str | None, typer.Argument(help="ONNX file, or a name: see tensortap models.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; the standard output without it.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "--batch", min=1, max=1024, help="Most streams at once.")] = 1,
    imgsz: Annotated[str | None, typer.Option(help="Network input of a dynamic model: 640 or HEIGHTxWIDTH.")] = None,
    precision: Annotated[str, typer.Option(help="f16 or f32.")] = "f16",
    interval: Annotated[int, typer.Option(min=0, help="Let so many batches pass after each inferred one.")] = 0,
    check: Annotated[
        Path | None, typer.Option(help="Say what would break with this file instead; exit code 1 if anything.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Write a correct nvinfer file for a model, with a comment on each key; or check one."""
    if (model is None) == (check is None):
        raise UsageError("Give a model to write a file for, or --check FILE.")
    if check is not None:
        _check(check)
        return
    if precision not in ("f16", "f32"):
        raise UsageError(f"--precision {precision}: should be f16 or f32.")
    path = fetch_model(str(model))
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path} is no ONNX file; nvinfer builds its engine from one.")
    text = as_ini(_wanted(path, output, batch_size, imgsz, precision, interval))
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise cannot_write(str(output), exc) from exc
    console.print(f"[green]wrote[/] {escape(str(output))}")


def _wanted(path: Path, output: Path | None, batch_size: int, imgsz: str | None, precision: str, interval: int) -> Wanted:
    info = read_model(path)
    picture = image_input(info)
    settings = Settings.checked(inputs="video", model=path, imgsz=imgsz)
    feeding = feeding_for(settings, info)
    try:
        head = recognise({tensor.name: tensor.shape[1:] for tensor in info.outputs}, info.metadata).decoder
    except ModelError as exc:
        console.print(f"[yellow]{escape(str(exc))}[/]", soft_wrap=True)
        head = ""
    if picture.batch not in (None, batch_size):
        raise UsageError(f"--batch {batch_size}: the batch of {path.name} is fixed at {picture.batch}. Export it as dynamic.")
    asked = settings.imgsz or info.imgsz or (640, 640)
    folder = output.parent if output else Path()
    return Wanted(
        onnx_file=os.path.relpath(path, folder),
        imgsz=(picture.height or asked[0], picture.width or asked[1]),
        letterbox=feeding.letterbox,
        color=feeding.color,
        scale=feeding.scale,
        mean=feeding.mean,
        is_nhwc=picture.layout == "NHWC",
        batch_size=batch_size,
        interval=interval,
        precision=cast("Literal['f16', 'f32']", precision),
        head=head,
    )


def _check(path: Path) -> None:
    errors, warnings = check_file(path)
    for sentence in errors:
        console.print(f"[red]broken:[/] {escape(sentence)}", soft_wrap=True)
    for sentence in warnings:
        console.print(f"[yellow]doubt:[/] {escape(sentence)}", soft_wrap=True)
    if errors:
        raise typer.Exit(EXIT_FAILURE)
    if not warnings:
        console.print("[green]nothing to say against it[/]")
