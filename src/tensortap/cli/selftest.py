"""What `tensortap doctor --model M` shows: whether a model gives the same in every slot, batch, engine and precision."""

from __future__ import annotations

import math
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import EXIT_FAILURE, console, print_json, print_table
from tensortap.cli.fetch import fetch_model
from tensortap.config import Settings
from tensortap.errors import EngineError
from tensortap.portable.model import read_model
from tensortap.registry import AUTO_ENGINES, ENGINES, missing_modules, plugins
from tensortap.selftest import Difference, PeopleDifference, SelfTest, Trial
from tensortap.text import printable

DRAWN = "scene://street?people=6&seed=1"
"""The picture of those who name none."""


def self_test(picture: str | None, max_batch_size: int, as_json: bool, **asked: Any) -> None:
    """Run the self-test and say how it went.

    Args:
        picture: an input; its first frame is taken.
        max_batch_size: batches of 1, 2, ... so many.
        as_json: print for machines.
        **asked: fields of `Settings`: model, engine, precision, imgsz ...

    Raises:
        typer.Exit: something differs.
        TensortapError: nothing could be tried.
    """
    settings = Settings.checked(inputs=picture or DRAWN, tracker=None, **asked)
    assert settings.model is not None
    model = read_model(fetch_model(settings.model, quiet=as_json))
    with console.status("") as status:
        test = SelfTest(
            settings,
            model,
            _engines(settings.engine),
            max_batch_size,
            on_step=lambda text: status.update(f"{model.path.name} on {text}"),
        )
        trials = test.run()
    if test.reference is None:
        raise EngineError(
            "\n".join([f"No engine runs {model.path}.", *(f"{each.engine}: {' '.join(each.notes)}" for each in trials)])
        )
    healthy = not any(trial.faults for trial in trials)
    if as_json:
        print_json(
            {
                "model": str(model.path),
                "picture": test.frame.info.source,
                "reference": {"engine": test.reference.engine, "precision": test.reference.precision},
                "head": test.head,
                "trials": [_as_dict(trial, test.reference) for trial in trials],
                "same": healthy,
            }
        )
    else:
        _print(model.path.name, test, healthy)
    if not healthy:
        raise typer.Exit(EXIT_FAILURE)


def _engines(asked: str) -> list[str]:
    """Names of the engines to try: the one asked for, or all that are installed, the plainest first."""
    if asked != "auto":
        return [asked]
    ours = [name for name in sorted(ENGINES, key=lambda name: name in AUTO_ENGINES[:1]) if not missing_modules(ENGINES[name])]
    return [*ours, *plugins("engine")]


def _as_dict(trial: Trial, reference: Trial) -> dict[str, Any]:
    return {
        "engine": trial.engine,
        "asked": trial.asked,
        "precision": trial.precision or None,
        "is_reference": trial is reference,
        "batch_sizes": trial.batch_sizes,
        "runs": trial.runs,
        "tolerance": trial.tolerance,
        "slots": _difference(trial.slots),
        "against_reference": _difference(trial.against),
        "people": _people(trial.people),
        "notes": trial.notes,
        "faults": trial.faults,
    }


def _difference(apart: Difference | None) -> dict[str, Any] | None:
    if apart is None:
        return None
    numbers = {
        name: value if math.isfinite(value) else None
        for name, value in (("typical", apart.typical), ("largest", apart.largest))
    }
    return {"output": apart.output, **numbers, "where": apart.where or None}


def _people(apart: PeopleDifference | None) -> dict[str, Any] | None:
    if apart is None:
        return None
    return {
        "found": apart.found,
        "missing": apart.missing,
        "moved": round(apart.moved, 6),
        "moved_pixels": round(apart.moved_pixels, 3),
    }


def _print(name: str, test: SelfTest, healthy: bool) -> None:
    out = Console(highlight=False)
    assert test.reference is not None
    picture, reference = escape(test.frame.info.source), f"{test.reference.engine} in {test.reference.precision}"
    out.print(
        f"[bold]{escape(printable(name))}[/]: one picture ({picture}) in every slot of every batch, compared with {reference}",
        soft_wrap=True,
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("engine", "precision", "batches", "slots differ by", "from reference", "may", "people", ""):
        table.add_column(title, no_wrap=True)
    for trial in test.trials:
        if not trial.ran and not trial.faults:
            continue
        sizes = trial.batch_sizes
        table.add_row(
            trial.engine,
            trial.precision,
            f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else "".join(map(str, sizes)),
            _share(trial.slots),
            "[dim]reference[/]" if trial is test.reference else _share(trial.against),
            f"{trial.tolerance * 100:g} %",
            _people_text(trial.people, trial is test.reference),
            "[red]differs[/]" if trial.faults else "[green]agrees[/]",
        )
    print_table(table, out)
    for note in dict.fromkeys(f"{trial.engine}: {note}" for trial in test.trials for note in trial.notes):
        out.print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    for trial in test.trials:
        for fault in trial.faults:
            out.print(f"[red]{escape(f'{trial.engine} in {trial.precision or trial.asked} {fault}')}[/]", soft_wrap=True)
    compared = {trial.engine for trial in test.trials if trial.ran}
    if len(compared) == 1:
        out.print(f"[yellow]Only {escape(compared.pop())} could be tried: nothing says whether it is right.[/]")
    if healthy:
        out.print("[green]Slots, batches, engines and precisions agree within their tolerances.[/]")


def _share(apart: Difference | None) -> str:
    if apart is None:
        return "-"
    if math.isinf(apart.typical):
        return f"[red]no comparison ({escape(apart.output)})[/]"
    return "nothing" if apart.typical == 0 else f"{apart.typical * 100:.2g} % ({escape(apart.output)})"


def _people_text(apart: PeopleDifference | None, is_reference: bool) -> str:
    if apart is None:
        return "-"
    if is_reference:
        return str(apart.found)
    missing = f", {apart.missing} alone" if apart.missing else ""
    return f"{apart.found}, {apart.moved_pixels:.2f} px apart{missing}"
