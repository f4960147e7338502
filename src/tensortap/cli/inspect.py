"""`tensortap inspect`: what a model file takes, gives and means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import DebugOption, JsonOption, print_json
from tensortap.cli.fetch import fetch_model
from tensortap.cli.looking import Wish, look_at
from tensortap.config import Settings
from tensortap.decode.heads import recognise
from tensortap.errors import ModelError, UsageError
from tensortap.portable.model import ModelInfo, TensorSpec, image_input, read_model
from tensortap.registry import is_own_decoder

_MAX_NAMES = 8
_PLOTS = (".png", ".jpg", ".jpeg")


def inspect(
    model: Annotated[str, typer.Argument(help="ONNX file, OpenVINO .xml or its folder, or a name: see tensortap models.")],
    picture: Annotated[
        str | None, typer.Option("--input", "-i", help="Run the model on this image, or on a video's first frame.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="With -i: draw the scores at each stride, and the people, into this .png or .jpg.")
    ] = None,
    max_rows: Annotated[int, typer.Option("--rows", min=1, help="With -i: explain so many of the best rows.")] = 12,
    decoder: Annotated[str, typer.Option(help="auto, a decoder's name, or your own: my.py:decode.")] = "auto",
    kpt_shape: Annotated[
        str | None, typer.Option(help="Keypoints and values of each, 17x3, where the model does not say.")
    ] = None,
    conf_thres: Annotated[float, typer.Option(help="With -i: people have a score above it.")] = 0.25,
    iou_thres: Annotated[float, typer.Option(help="With -i: of boxes that overlap by more, the best stays.")] = 0.45,
    max_det: Annotated[int, typer.Option(help="With -i: at most so many people.")] = 300,
    letterbox: Annotated[str, typer.Option(help="With -i: auto, or the name of a policy.")] = "auto",
    engine: Annotated[str, typer.Option(help="With -i: auto, openvino, onnxruntime, tensorrt or onnxruntime-cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="With -i: auto, f32, bf16 or f16.")] = "auto",
    imgsz: Annotated[str | None, typer.Option(help="With -i: network input of a dynamic model.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a model's inputs, outputs and metadata, the head that is recognised and why; with -i, the tensors it gives and what
    becomes of their rows."""
    info = read_model(fetch_model(model))
    if plot is not None:
        _check_plot(plot, picture, info)
    settings = Settings.checked(
        inputs=picture or os.curdir,
        model=info.path,
        decoder=decoder,
        kpt_shape=kpt_shape,
        conf_thres=conf_thres,
        iou_thres=iou_thres,
        max_det=max_det,
        letterbox=letterbox,
        engine=engine,
        precision=precision,
        imgsz=imgsz,
        tracker=None,
    )
    report = _report(info, settings)
    if not as_json:
        _print(info, report)
    if picture is not None:
        is_recognised = report["head"]["decoder"] is not None
        if plot is not None and not is_recognised:
            raise UsageError(
                f"--plot {plot}: the head was not recognised, so nobody knows which values are scores. Try --decoder."
            )
        report |= look_at(info, settings, is_recognised, Wish(plot, max_rows, quiet=as_json))
    if as_json:
        print_json(report)


def _check_plot(plot: Path, picture: str | None, info: ModelInfo) -> None:
    if picture is None:
        raise UsageError(f"--plot {plot}: say which picture to draw over, with -i.")
    if plot.suffix.lower() not in _PLOTS:
        raise UsageError(f"--plot {plot}: should end in {', '.join(_PLOTS)}.")
    for path, what in ((Path(picture), "input"), (info.path, "model")):
        if path.exists() and plot.exists() and path.samefile(plot):
            raise UsageError(f"--plot {plot}: it is the {what}; it would be overwritten. Choose another name.")


def _report(info: ModelInfo, settings: Settings) -> dict[str, Any]:
    report: dict[str, Any] = {
        "path": str(info.path),
        "format": info.format,
        "inputs": [_described(tensor) for tensor in info.inputs],
        "outputs": [_described(tensor) for tensor in info.outputs],
        "metadata": info.metadata,
    }
    if settings.decoder == "none" or is_own_decoder(settings.decoder):
        own = settings.decoder if settings.decoder != "none" else None
        report["head"] = {"decoder": own, "arguments": {}, "reason": f"--decoder {settings.decoder} says so"}
        return report
    try:
        wanted = image_input(info)
        head = recognise(
            {tensor.name: tensor.shape[1:] for tensor in info.outputs},
            info.metadata,
            network_wh=(wanted.width, wanted.height) if wanted.width and wanted.height else None,
            decoder=None if settings.decoder == "auto" else settings.decoder,
            kpt_shape=settings.kpt_shape,
        )
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
