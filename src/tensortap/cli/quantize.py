"""`tensortap quantize`: an INT8 model, and what it lost."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tensortap.cli.console import EXIT_FAILURE, DebugOption, JsonOption, console, print_error, print_json
from tensortap.cli.evaluate import measure_ap
from tensortap.cli.fetch import fetch_model
from tensortap.cli.running import stop_on_signals
from tensortap.errors import MissingDependencyError, UsageError
from tensortap.evaluation import Annotations, read_annotations
from tensortap.pipeline import Pipeline
from tensortap.portable.engines.base import InputFormat
from tensortap.portable.model import image_input
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.runtime import PortableRuntime
from tensortap.quantize.agreement import AGREEMENT_TOLERANCE, agreement, find
from tensortap.quantize.calibration import Picture, gather, network_input
from tensortap.quantize.onnxruntime import quantize_onnxruntime
from tensortap.quantize.openvino import is_available, quantize_openvino

_AP_TOLERANCE = 0.01


def quantize(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Float model: ONNX file, OpenVINO .xml or its folder, or a name.")
    ],
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", help="Videos or images to calibrate with: of what it is to see.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder (OpenVINO) or .onnx file (ONNX Runtime).")
    ] = None,
    engine: Annotated[str, typer.Option(help="openvino, onnxruntime, or auto: OpenVINO where NNCF is installed.")] = "auto",
    frames: Annotated[int, typer.Option(min=2, help="Pictures to calibrate with, and as many others to compare on.")] = 128,
    imgsz: Annotated[str | None, typer.Option(help="Network input of a dynamic model: 640 or HEIGHTxWIDTH.")] = None,
    images: Annotated[Path | None, typer.Option(help="Annotated images, for AP before and after.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Their COCO keypoint annotations.")] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help=f"Most that may be lost: {_AP_TOLERANCE} of AP, or {AGREEMENT_TOLERANCE} of the agreement in OKS.",
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the model even if it lost more.")] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    debug: DebugOption = False,
) -> None:
    """Make an INT8 model. Exit code 1, and no model, if it lost more than the tolerance."""
    truth = _truth(images, annotations)
    backend = _backend(engine)
    path = fetch_model(model, quiet=quiet)
    target = output or _default_output(path, backend)
    if target.exists():
        raise UsageError(f"-o {target} is there already. Remove it, or name another.")
    if (target.suffix == ".onnx") != (backend == "onnxruntime"):
        raise UsageError(f"-o {target}: OpenVINO's INT8 models are folders, ONNX Runtime's are .onnx files; this is {backend}.")
    with stop_on_signals():
        try:
            outcome = _quantize(path, inputs, target, backend, frames, imgsz, truth, quiet)
        except BaseException:
            _remove(target)
            raise
    allowed = tolerance if tolerance is not None else (_AP_TOLERANCE if truth else AGREEMENT_TOLERANCE)
    is_good = outcome["lost"] <= allowed
    if not (is_good or keep):
        _remove(target)
    outcome |= {"tolerance": allowed, "good": is_good, "path": str(target) if target.exists() else None}
    if as_json:
        print_json(outcome)
    if not is_good:
        print_error(
            f"The INT8 model lost {outcome['lost']:.3f} {outcome['of']}, more than --tolerance {allowed:g}; "
            f"{'it was kept all the same' if keep else 'it was not kept (--keep keeps it)'}. "
            "More --frames, of scenes with people like those that it is to see, may help."
        )
        raise typer.Exit(EXIT_FAILURE)
    if not quiet:
        console.print(f"[green]wrote[/] {escape(str(target))}: lost {outcome['lost']:.3f} {outcome['of']}, {allowed:g} allowed")


def _truth(images: Path | None, annotations: Path | None) -> Annotations | None:
    if (images is None) != (annotations is None):
        raise UsageError("--images and --annotations belong together.")
    return read_annotations(annotations, images) if annotations and images else None


def _backend(engine: str) -> str:
    if engine not in ("auto", "openvino", "onnxruntime"):
        raise UsageError(f"--engine {engine}: choose one of auto, onnxruntime, openvino.")
    if engine == "openvino" and not is_available():
        raise MissingDependencyError('INT8 for OpenVINO needs NNCF: pip install "tensortap[quantize]"')
    return engine if engine != "auto" else "openvino" if is_available() else "onnxruntime"


def _default_output(model: Path, backend: str) -> Path:
    stem = model.stem if model.is_file() else model.name
    return Path(f"{stem}-int8-openvino" if backend == "openvino" else f"{stem}-int8.onnx")


def _quantize(
    path: Path,
    inputs: list[str],
    target: Path,
    backend: str,
    count: int,
    imgsz: str | None,
    truth: Annotations | None,
    quiet: bool,
) -> dict[str, Any]:
    """Make it and measure what was lost."""
    settings: dict[str, Any] = {"engine": backend, "imgsz": imgsz}
    with Pipeline(inputs, path, tracker=None, **settings) as pipeline:
        if pipeline.parts.engine.precision.startswith("int8"):
            raise UsageError(f"{path.name} is an INT8 model already.")
        pictures = _pictures(pipeline, 2 * count)
        before = find(pipeline.parts.engine, pipeline.parts.decoder, pictures[1::2])
        feeding, info = pipeline.parts.feeding, pipeline.parts.model
    if truth is None and not any(map(len, before)):
        raise UsageError(
            f"The model finds nobody in {', '.join(inputs)}: there is nothing to compare on. Give frames with people, "
            "or --images and --annotations."
        )
    if not quiet:
        console.print(f"[dim]calibrating on {len(pictures[::2])} pictures ...[/]")
    wanted, input_format = image_input(info), InputFormat(feeding.color, feeding.scale, feeding.mean)
    samples = [network_input(picture, wanted, input_format) for picture in pictures[::2]]
    made = (quantize_openvino if backend == "openvino" else quantize_onnxruntime)(info, samples, target)
    if truth is not None:
        settings |= {"conf_thres": 0.001, "iou_thres": 0.7, "precision": "auto", "letterbox": feeding.letterbox}
        ap = [measure_ap(str(each), truth, settings, quiet).statistics["AP"] for each in (path, made)]
        if not quiet:
            console.print(f"AP {ap[0]:.3f} before, {ap[1]:.3f} after, {len(truth.image_paths)} images")
        return {"engine": backend, "AP_before": ap[0], "AP_after": ap[1], "lost": ap[0] - ap[1], "of": "of AP"}
    with Pipeline(inputs, made, tracker=None, **settings) as pipeline:
        found = agreement(before, find(pipeline.parts.engine, pipeline.parts.decoder, pictures[1::2]))
    if not quiet:
        console.print(
            f"on {len(before)} other pictures: {found.people_before} people before, {found.people_after} after, "
            f"{found.matched} the same; their keypoints differ by {found.mean_distance:.2f} px on average, "
            f"{found.p95_distance:.2f} px at the 95th percentile"
        )
    return {"engine": backend, **asdict(found), "lost": 1 - found.similarity, "of": "of the agreement"}


def _pictures(pipeline: Pipeline, count: int) -> list[Picture]:
    runtime, feeding = pipeline.parts.runtime, pipeline.parts.feeding
    if not isinstance(runtime, PortableRuntime):
        raise UsageError("A recording has no pictures to calibrate with. Give videos or images.")
    _, height, width, _ = pipeline.parts.engine.requests[0].images.shape
    return gather(runtime.sources, Preprocessor((width, height), feeding.letterbox, feeding.color), count)


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
