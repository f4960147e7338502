"""`tensortap inspect`: what a model file takes, gives and means."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import DebugOption, JsonOption, print_json, print_table
from tensortap.cli.fetch import fetch_model
from tensortap.decode.heads import recognise
from tensortap.errors import ModelError, SourceError
from tensortap.pipeline import Pipeline
from tensortap.portable.model import ModelInfo, TensorSpec, image_input, read_model
from tensortap.skeletons import COCO_17
from tensortap.statistics import TensorStatistics, statistics_of
from tensortap.types import Poses

_MAX_NAMES = 8


def inspect(
    model: Annotated[str, typer.Argument(help="ONNX file, OpenVINO .xml or its folder, or a name: see tensortap models.")],
    picture: Annotated[
        str | None, typer.Option("--input", "-i", help="Run the model on this image, or on a video's first frame.")
    ] = None,
    engine: Annotated[str, typer.Option(help="With -i: auto, openvino or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="With -i: auto, f32, bf16 or f16.")] = "auto",
    imgsz: Annotated[str | None, typer.Option(help="With -i: network input of a dynamic model.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a model's inputs, outputs and metadata, the head that is recognised and why; with -i, the tensors it gives."""
    info = read_model(fetch_model(model))
    report = _report(info)
    if not as_json:
        _print(info, report)
    if picture is not None:
        report["tensors"] = _look(
            info,
            picture,
            recognised=report["head"]["decoder"] is not None,
            engine=engine,
            precision=precision,
            imgsz=imgsz,
            quiet=as_json,
        )
    if as_json:
        print_json(report)


def _look(info: ModelInfo, picture: str, *, recognised: bool, quiet: bool, **settings: Any) -> dict[str, Any]:
    """Run the model on one picture and summarise its outputs."""
    decoder: Any = "auto" if recognised else (lambda frame: Poses.empty(COCO_17))
    with Pipeline(picture, info.path, decoder=decoder, tracker=None, **settings) as pipeline:
        for frame in pipeline.tensors():
            found = {name: statistics_of(tensor) for name, tensor in frame.tensors.items()}
            if not quiet:
                engine = pipeline.parts.engine
                box = frame.letterbox
                console = Console(highlight=False)
                console.print(
                    f"\n[bold]{escape(frame.info.source)}[/] {frame.info.size_wh[0]}x{frame.info.size_wh[1]}, "
                    f"{pipeline.parts.feeding.letterbox} letterbox: {box.resized_wh[0]}x{box.resized_wh[1]} at {box.offset_xy} "
                    f"of {box.network_wh[0]}x{box.network_wh[1]}, {engine.name} ({engine.precision})"
                )
                _print_tensors(console, found)
            return {name: each.as_dict() for name, each in found.items()}
    raise SourceError(f"{picture} holds no picture that can be decoded.")


def _print_tensors(console: Console, found: dict[str, TensorStatistics]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("tensor", "shape", "dtype", "min", "mean", "max", "NaN", "inf", "zeros", "histogram, heights by logarithm"):
        table.add_column(
            name, no_wrap=True, justify="right" if name in ("min", "mean", "max", "NaN", "inf", "zeros") else "left"
        )
    for name, each in found.items():
        numbers = [f"{value:.5g}" for value in (each.least, each.mean, each.greatest)]
        odd = [f"[red]{count}[/]" if count else "0" for count in (each.nans, each.infinities)]
        shape = " x ".join(map(str, each.shape))
        table.add_row(escape(name), shape, each.dtype, *numbers, *odd, str(each.zeros), f"|{each.bars}|")
    print_table(table, console)


def _report(info: ModelInfo) -> dict[str, Any]:
    report: dict[str, Any] = {
        "path": str(info.path),
        "format": info.format,
        "inputs": [_described(tensor) for tensor in info.inputs],
        "outputs": [_described(tensor) for tensor in info.outputs],
        "metadata": info.metadata,
    }
    try:
        image_input(info)
        head = recognise({tensor.name: tensor.shape[1:] for tensor in info.outputs}, info.metadata)
        report["head"] = {"decoder": head.decoder, "arguments": dict(head.arguments), "reason": head.reason}
    except ModelError as exc:
        report["head"] = {"decoder": None, "arguments": {}, "reason": str(exc)}
    return report


def _described(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _print(info: ModelInfo, report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    console.print(f"[bold]{escape(str(info.path))}[/] ({info.format})")
    table = Table("", "name", "dtype", "shape", box=None, padding=(0, 2), header_style="dim")
    for kind, tensors in (("input", info.inputs), ("output", info.outputs)):
        for tensor in tensors:
            shape = " x ".join("?" if size is None else str(size) for size in tensor.shape)
            table.add_row(kind, escape(tensor.name), tensor.dtype, shape)
    console.print(table)
    if info.metadata:
        metadata = Table("metadata", "", box=None, padding=(0, 2), header_style="dim")
        for key, value in info.metadata.items():
            metadata.add_row(escape(str(key)), escape(_shortened(value)))
        console.print(metadata)
    else:
        console.print("[dim]no metadata[/]")
    head = report["head"]
    if head["decoder"]:
        console.print(f"[green]head: {head['decoder']}[/], because {escape(head['reason'])}.")
    else:
        console.print(f"[yellow]head: not recognised.[/] {escape(head['reason'])}")


def _shortened(value: Any) -> str:
    """Metadata on one line: of 80 class names the first few."""
    if isinstance(value, dict) and len(value) > _MAX_NAMES:
        first = ", ".join(f"{key}: {name!r}" for key, name in list(value.items())[:_MAX_NAMES])
        return f"{{{first}, ... {len(value)} in all}}"
    return str(value)
