"""`tensortap eval`: keypoint AP of a model through the pipeline that runs in production."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tensortap.cli.console import DebugOption, JsonOption, console, print_json, print_table
from tensortap.cli.fetch import fetch_model
from tensortap.cli.progress import Progress
from tensortap.cli.running import stop_on_signals
from tensortap.evaluation import STATISTICS, Annotations, as_coco_results, keypoint_statistics, read_annotations
from tensortap.pipeline import Pipeline
from tensortap.text import printable
from tensortap.types import Result

_PRECISIONS = ("auto", "f32", "bf16", "f16")


@dataclass(frozen=True)
class Measured:
    """One model, evaluated."""

    model: str
    engine: str
    precision: str
    statistics: dict[str, float]
    people: int
    """People found, down to the lowest score."""
    images_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "model": self.model,
            "engine": self.engine,
            "precision": self.precision,
            "people": self.people,
            "images_per_second": round(self.images_per_second, 2),
            **self.statistics,
        }


def evaluate(
    model: Annotated[str, typer.Option("--model", "-m", help="ONNX file, OpenVINO .xml or its folder, or a name.")],
    images: Annotated[Path, typer.Option(help="Folder of the annotated images.")],
    annotations: Annotated[Path, typer.Option(help="COCO keypoint annotations, e.g. person_keypoints_val2017.json.")],
    compare: Annotated[
        list[str] | None, typer.Option(help="Another model, or a precision of the same one; may be given several times.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime, tensorrt or onnxruntime-cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, f32, bf16 or f16, where the engine offers it.")] = "auto",
    letterbox: Annotated[str, typer.Option(help="How images are placed in the network input.")] = "auto",
    batch_size: Annotated[int | None, typer.Option("--batch-size", "--batch", help="Images a batch.")] = None,
    imgsz: Annotated[str | None, typer.Option(help="Network input of a dynamic model: 640 or HEIGHTxWIDTH.")] = None,
    threads: Annotated[int | None, typer.Option(help="Cores that the engine may use.")] = None,
    decoder: Annotated[str, typer.Option(help="auto, a decoder's name, or your own: my.py:decode.")] = "auto",
    kpt_shape: Annotated[
        str | None, typer.Option(help="Keypoints and values of each, 17x3, where the model does not say.")
    ] = None,
    conf_thres: Annotated[float, typer.Option(help="Keep people with a score above it; an evaluation wants them all.")] = 0.001,
    iou_thres: Annotated[float, typer.Option(help="Of boxes that overlap by more, keep the best.")] = 0.7,
    max_det: Annotated[int, typer.Option(help="At most so many people an image.")] = 300,
    clip: Annotated[bool, typer.Option("--clip", help="Move what lies outside the frame to its edge.")] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False,
    debug: DebugOption = False,
) -> None:
    """Measure keypoint AP on annotated images, and what another model, precision or letterbox makes of it."""
    truth = read_annotations(annotations, images)
    if truth.missing and not quiet:
        console.print(
            f"[yellow]{len(truth.missing)} of the images are not in {escape(str(images))} and are left out, "
            f"e.g. {escape(truth.missing[0])}[/]"
        )
    settings: dict[str, Any] = {
        "engine": engine,
        "letterbox": letterbox,
        "batch_size": batch_size,
        "imgsz": imgsz,
        "threads": threads,
        "decoder": decoder,
        "kpt_shape": kpt_shape,
        "conf_thres": conf_thres,
        "iou_thres": iou_thres,
        "max_det": max_det,
        "clip": clip,
    }
    candidates = [(model, precision)]
    candidates += [(model, other) if other in _PRECISIONS else (other, precision) for other in compare or []]
    with stop_on_signals():
        measured = [measure_ap(name, truth, {**settings, "precision": wanted}, quiet) for name, wanted in candidates]
    if as_json:
        first = measured[0].as_dict()
        others = [
            {**each.as_dict(), "AP_difference": round(each.statistics["AP"] - measured[0].statistics["AP"], 4)}
            for each in measured[1:]
        ]
        print_json({"images": len(truth.image_paths), "annotated_people": truth.num_people, **first, "compared": others})
    else:
        _print(truth, measured)


def measure_ap(model: str, truth: Annotations, settings: dict[str, Any], quiet: bool) -> Measured:
    """Run one model over the annotated images."""
    pipeline = Pipeline(
        [str(path) for path in truth.image_paths], model, find_model=partial(fetch_model, quiet=quiet), tracker=None, **settings
    )
    found: list[dict[str, Any]] = []
    skeleton = pipeline.parts.nobody.skeleton
    with pipeline, Progress(console, pipeline, quiet) as progress:

        def collect(result: Result) -> None:
            found.extend(as_coco_results(result, truth))
            progress.update(result)

        pipeline.run(on_result=collect)
    parts, summary = pipeline.parts, pipeline.summary
    return Measured(
        model=parts.model.path.name,
        engine=parts.engine.name,
        precision=parts.engine.precision,
        statistics=keypoint_statistics(truth, found, skeleton.sigmas),
        people=summary.people,
        images_per_second=summary.frames / summary.seconds if summary.seconds else 0.0,
    )


def _print(truth: Annotations, measured: list[Measured]) -> None:
    shown = STATISTICS[:6]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("model", *shown, "images/s"):
        table.add_column(name, no_wrap=True, justify="left" if name == "model" else "right")
    first = measured[0]
    for each in measured:
        numbers = [f"{each.statistics[name]:.3f}" if each.statistics[name] >= 0 else "-" for name in shown]
        name = f"{each.model}, {each.engine} ({each.precision})"
        table.add_row(escape(printable(name)), *numbers, f"{each.images_per_second:.1f}")
        if each is not first:
            table.add_row("  [dim]difference[/]", *(f"{each.statistics[key] - first.statistics[key]:+.3f}" for key in shown))
    console.print(f"{len(truth.image_paths)} images, {truth.num_people} annotated people")
    print_table(table)
