"""`tensortap models`: the names that `--model` takes, and which of them are here."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import EXIT_FAILURE, DebugOption, JsonOption, print_error, print_json
from tensortap.errors import UsageError
from tensortap.zoo import ZOO, ZooModel, models_folder, state_of

_STYLES = {"bundled": "green", "ready": "green", "not converted": "yellow", "partly downloaded": "yellow", "missing": "red"}


def models(
    path: Annotated[
        str | None, typer.Option("--path", metavar="NAME", help="Print where this model is, if it is here.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the models that have a name: what they are, their licence, and whether they are on this machine."""
    if path is not None:
        _print_path(path)
    elif as_json:
        print_json({"folder": str(models_folder()), "models": [_described(model) for model in ZOO.values()]})
    else:
        _print_table()


def _described(model: ZooModel) -> dict[str, Any]:
    state, path = state_of(model)
    return {
        "name": model.name,
        "note": model.note,
        "licence": model.licence,
        "homepage": model.homepage,
        "url": model.url or None,
        "size_bytes": model.size_bytes,
        "sha256": model.sha256,
        "state": state,
        "path": str(path),
    }


def _print_path(name: str) -> None:
    if name not in ZOO:
        raise UsageError(f"--path {name}: there is no model of that name. Choose one of: {', '.join(ZOO)}.")
    state, path = state_of(ZOO[name])
    if not path.is_file():
        print_error(f"{name} is not here ({state}). tensortap inspect {name} fetches it; by hand, it would be {path}")
        raise typer.Exit(EXIT_FAILURE)
    print(path)


def _print_table() -> None:
    console = Console(highlight=False)
    table = Table("name", "", "licence", "download", "here", box=None, padding=(0, 2), header_style="dim")
    table.columns[3].justify = "right"
    for model in ZOO.values():
        state, _ = state_of(model)
        size = "" if not model.url else f"{model.size_bytes / 1e6:.1f} MB" if model.size_bytes else "?"
        here = "" if state == "not downloaded" else f"[{_STYLES[state]}]{state}[/]"
        table.add_row(f"[bold]{model.name}[/]", escape(model.note), model.licence, size, here)
    console.print(table)
    console.print(f"Kept in {escape(str(models_folder()))}; TENSORTAP_CACHE sets another folder.", soft_wrap=True)
    console.print(
        "YOLO models are downloaded as .pt and exported by Ultralytics, which has to be installed once.", soft_wrap=True
    )
