"""Reports as Markdown, JSON and a plot, and what changed since an earlier one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensortap.bench.case import Report, Row
from tensortap.bench.machine import in_a_line
from tensortap.errors import MissingDependencyError, SinkError, UsageError

COLUMNS = (
    "model",
    "device",
    "engine",
    "precision",
    "size",
    "batch",
    "level",
    "streams",
    "images/s",
    "batches/s",
    "ms a batch p50",
    "p99",
    "CPU ms an image",
    "peak MB",
    "of the engine",
)
NUM_NAMES = 4
"""The first columns, which hold words."""
LEVEL_NAMES = {"engine": "engine alone", "poses": "frame to poses", "end-to-end": "end to end"}
SUFFIXES = (".json", ".md", ".png", ".svg")


def cells(row: Row) -> list[str]:
    """A row as text, one string for each of `COLUMNS`."""
    rate, efficiency = row.images_per_second, row.efficiency
    return [
        row.model,
        row.device,
        row.engine,
        row.precision,
        f"{row.imgsz[0]}x{row.imgsz[1]}",
        str(row.batch_size),
        LEVEL_NAMES[row.level],
        str(row.streams),
        f"{rate.median:.1f} ({rate.low:.1f} to {rate.high:.1f})",
        f"{row.batches_per_second:.1f}",
        "-" if row.latency_ms_p50 is None else f"{row.latency_ms_p50:.1f}",
        "-" if row.latency_ms_p99 is None else f"{row.latency_ms_p99:.1f}",
        f"{row.cpu_ms_per_image:.1f}",
        "-" if row.peak_mb is None else f"{row.peak_mb:.0f}",
        "-" if efficiency is None else f"{efficiency.median:.3f}",
    ]


def write(report: Report, path: Path) -> None:
    """Into a file of the kind that its suffix names.

    Raises:
        UsageError: no such kind; MissingDependencyError: a plot without Matplotlib; SinkError: it cannot be written.
    """
    check_suffix(path)
    try:
        if path.suffix == ".json":
            path.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
        elif path.suffix == ".md":
            path.write_text(as_markdown(report), encoding="utf-8")
        else:
            _plot(report, path)
    except OSError as exc:
        raise SinkError(f"{path} cannot be written: {exc.strerror or exc}.") from exc


def check_suffix(path: Path) -> None:
    """Whether a report can be written there, before anything is measured.

    Raises:
        UsageError: no such kind of file; MissingDependencyError: a plot without Matplotlib.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"-o {path}: a report is one of {', '.join(SUFFIXES)}.")
    if path.suffix in (".png", ".svg"):
        _pyplot()


def read(path: Path) -> list[Row]:
    """The rows of a JSON report.

    Raises:
        UsageError: it is none.
    """
    try:
        return [Row.from_dict(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except OSError as exc:
        raise UsageError(f"--compare {path}: {exc.strerror}.") from exc
    except (KeyError, TypeError, ValueError) as exc:
        raise UsageError(f"--compare {path} is no report of tensortap bench ({exc!r}). Write one with -o before.json.") from exc


def as_markdown(report: Report) -> str:
    """A table, with what it was measured on."""
    video = report.video if "://" in report.video else Path(report.video).name
    lines = [
        f"Measured by `tensortap bench` on {in_a_line(report.machine)}; {video}; median of {report.rounds} rounds of "
        f"{report.seconds:g} s, least and most in brackets.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "|".join(["---"] * NUM_NAMES + ["---:"] * (len(COLUMNS) - NUM_NAMES)) + "|",
    ]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in report.rows]
    lines += [f"\n{Path(each.case.model).name} could not be measured: {each.message}" for each in report.failures]
    return "\n".join(lines) + "\n"


def changes(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[Row, float, bool]]:
    """Rows that both reports have: the later one, images/s after over before, and whether that is more than noise.

    More than noise: the ranges of the rounds do not touch.
    """
    earlier = {row.key: row for row in before}
    found = []
    for row in after:
        if row.key in earlier:
            old, new = earlier[row.key].images_per_second, row.images_per_second
            found.append((row, new.median / old.median, not new.overlaps(old)))
    return found


def _pyplot() -> Any:
    try:
        import matplotlib
        from matplotlib import pyplot
    except ImportError as exc:
        raise MissingDependencyError('A plot needs Matplotlib: pip install "tensortap[plot]"') from exc
    matplotlib.use("agg")
    return pyplot


def _plot(report: Report, path: Path) -> None:
    """Bars of images a second, a group for each case, whiskers for the rounds."""
    pyplot = _pyplot()
    groups: dict[str, list[Row]] = {}
    for row in report.rows:
        name = f"{row.model}\n{row.engine} {row.precision}\n{row.imgsz[0]}x{row.imgsz[1]}, batch {row.batch_size}"
        groups.setdefault(name, []).append(row)
    labels = list(dict.fromkeys(_label(row) for row in report.rows))
    figure, axes = pyplot.subplots(figsize=(max(6.0, 1.2 + 1.9 * len(groups)), 5.0), layout="constrained")
    width = 0.8 / max(1, len(labels))
    for number, label in enumerate(labels):
        for place, rows in enumerate(groups.values()):
            for row in rows:
                if _label(row) == label:
                    rate = row.images_per_second
                    error = [[rate.median - rate.low], [rate.high - rate.median]]
                    axes.bar(
                        place + (number - (len(labels) - 1) / 2) * width,
                        rate.median,
                        width,
                        yerr=error,
                        color=f"C{number}",
                        label=label if place == 0 else None,
                        capsize=2,
                    )
    axes.set_xticks(range(len(groups)), list(groups), fontsize=8)
    axes.set_ylabel("images/s")
    axes.set_title(f"{report.machine['cpu']}, {report.machine['cores']} cores", fontsize=9)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _label(row: Row) -> str:
    streams = f", {row.streams} streams" if row.streams > 1 else ""
    return LEVEL_NAMES[row.level] + streams
