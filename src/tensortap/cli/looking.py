"""What `tensortap inspect -i` shows: the tensors that a model gives for a picture, and what becomes of their rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import print_table
from tensortap.config import Settings
from tensortap.decode.base import PoseDecoder
from tensortap.decode.explain import Explanation, explain
from tensortap.errors import SinkError, SourceError
from tensortap.pipeline import Pipeline
from tensortap.plot import plot_scores
from tensortap.portable.model import ModelInfo
from tensortap.statistics import TensorStatistics, statistics_of
from tensortap.types import TensorFrame

_LOOK_SETTINGS = ("kpt_shape", "conf_thres", "iou_thres", "max_det", "letterbox", "engine", "precision", "imgsz")


@dataclass(frozen=True)
class Wish:
    """What is to be shown of a picture."""

    plot: Path | None
    max_rows: int
    quiet: bool


def look_at(info: ModelInfo, settings: Settings, is_recognised: bool, wish: Wish) -> dict[str, Any]:
    """Run the model on one picture, summarise its outputs and explain its rows."""
    others = settings.model_dump(include=set(_LOOK_SETTINGS))
    with Pipeline(
        settings.inputs, info.path, decoder=settings.decoder if is_recognised else "none", tracker=None, **others
    ) as pipeline:
        for frame in pipeline.tensors():
            found = {name: statistics_of(tensor) for name, tensor in frame.tensors.items()}
            report: dict[str, Any] = {"tensors": {name: each.as_dict() for name, each in found.items()}}
            decoder = pipeline.parts.decoder
            explanation = explain(decoder, frame, max_rows=wish.max_rows) if isinstance(decoder, PoseDecoder) else None
            if explanation is not None:
                report |= _explained(explanation)
            if not wish.quiet:
                console = Console(highlight=False)
                engine, box = pipeline.parts.engine, frame.letterbox
                console.print(
                    f"\n[bold]{escape(frame.info.source)}[/] {frame.info.size_wh[0]}x{frame.info.size_wh[1]}, "
                    f"{pipeline.parts.feeding.letterbox} letterbox: {box.resized_wh[0]}x{box.resized_wh[1]} at {box.offset_xy} "
                    f"of {box.network_wh[0]}x{box.network_wh[1]}, {engine.name} ({engine.precision})"
                )
                _print_tensors(console, found)
                if isinstance(decoder, PoseDecoder) and explanation is not None:
                    _print_rows(console, explanation, decoder)
            if wish.plot is not None and explanation is not None:
                _write_plot(wish.plot, frame, decoder, explanation)
                if not wish.quiet:
                    Console(highlight=False).print(f"[green]wrote[/] {escape(str(wish.plot))}")
            return report
    raise SourceError(f"{settings.inputs[0]} holds no picture that can be decoded.")


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


def _write_plot(path: Path, frame: TensorFrame, decoder: Any, explanation: Explanation) -> None:
    assert frame.image is not None
    sheet = plot_scores(frame.image, frame.letterbox, decoder.score_maps(frame), explanation, decoder.conf_thres)
    _, encoded = cv2.imencode(path.suffix.lower(), sheet)
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as exc:
        raise SinkError(f"--plot {path} cannot be written: {exc.strerror or exc}.") from exc


def _explained(explanation: Explanation) -> dict[str, Any]:
    """For `--json`; what is no number becomes null."""

    def number(value: float, digits: int) -> float | None:
        return round(float(value), digits) if math.isfinite(value) else None

    return {
        "num_rows": explanation.num_rows,
        "verdicts": explanation.counts,
        "people": len(explanation.poses),
        "rows": [
            {
                "row": row.row,
                "place": row.place or None,
                "score": number(row.score, 5),
                "class_id": row.class_id,
                "box_xyxy": [number(value, 3) for value in row.box_xyxy.tolist()],
                "keypoints": [[number(value, 3) for value in point] for point in row.keypoints.tolist()],
                "verdict": row.verdict,
                "reason": row.reason,
            }
            for row in explanation.rows
        ],
    }


def _print_rows(console: Console, explanation: Explanation, decoder: PoseDecoder) -> None:
    styles = {"kept": "green", "broken": "red", "suppressed": "yellow", "max-det": "yellow", "score": "dim"}
    console.print(f"\n[bold]{decoder.name}[/], {explanation.summary}")
    if not explanation.rows:
        return
    columns: dict[str, list[str]] = {
        "row": [str(row.row) for row in explanation.rows],
        "stride (column, line)": [row.place for row in explanation.rows],
        "score": [f"{row.score:.3f}" for row in explanation.rows],
        "class": [str(row.class_id) for row in explanation.rows],
        "box in the frame": [" ".join(f"{value:.0f}" for value in row.box_xyxy.tolist()) for row in explanation.rows],
        "sure points": [f"{int((row.keypoints[:, 2] >= 0.5).sum())}/{len(row.keypoints)}" for row in explanation.rows],
        "verdict": [f"[{styles[row.verdict]}]{escape(row.reason)}[/]" for row in explanation.rows],
    }
    if not any(columns["stride (column, line)"]):
        del columns["stride (column, line)"]
    if set(columns["class"]) == {"0"}:
        del columns["class"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, no_wrap=True, justify="right" if name in ("row", "score", "class") else "left")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    print_table(table, console)
