"""`tensortap inspect`: what a model file takes, gives and means."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import DebugOption, JsonOption, print_json
from tensortap.cli.fetch import fetch_model
from tensortap.decode.heads import recognise
from tensortap.errors import ModelError
from tensortap.portable.model import ModelInfo, TensorSpec, image_input, read_model

_MAX_NAMES = 8


def inspect(
    model: Annotated[str, typer.Argument(help="ONNX file, OpenVINO .xml or its folder, or a name: see tensortap models.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a model's inputs, outputs and metadata, the head that is recognised, and why."""
    info = read_model(fetch_model(model))
    report = _report(info)
    if as_json:
        print_json(report)
    else:
        _print(info, report)


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
