"""`tensortap demo`: the bundled model on a drawn scene, on any machine, without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tensortap.cli.console import DebugOption, JsonOption, console
from tensortap.cli.running import run_pipeline
from tensortap.errors import UsageError
from tensortap.pipeline import Pipeline
from tensortap.scenes.url import is_scene
from tensortap.types import Result

MODEL = "demo"
SCENE = "scene://street?people=6&seed=3&size=1280x720&fps=30&seconds=8"
LIVE_SCENE = "scene://street?people=6&seed=3&size=1280x720&fps=30&live=1"
_SECOND_NS = 1_000_000_000
_MOST_PEOPLE = 5


def demo(
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Where demo.mp4 and demo.jsonl are written.")] = Path(),
    scene: Annotated[str | None, typer.Option(help="Another scene, e.g. scene://gym?people=4&seed=1.")] = None,
    live: Annotated[bool, typer.Option("--live", help="In real time, until Ctrl-C, writing nothing.")] = False,
    web: Annotated[str | None, typer.Option(help="With --live: the browser page, e.g. at :8080 (this machine only).")] = None,
    web_token: Annotated[
        str | None, typer.Option(envvar="TENSORTAP_WEB_TOKEN", help="What those who look at the page must know.")
    ] = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    debug: DebugOption = False,
) -> None:
    """Find drawn people with the bundled model: nothing to download, no camera needed."""
    scene = scene or (LIVE_SCENE if live else SCENE)
    if not is_scene(scene):
        raise UsageError(f"--scene {scene}: the demo shows scenes. For a video: tensortap run -i {scene} -m MODEL -o out.mp4")
    outputs = [] if live else [folder / "demo.mp4", folder / "demo.jsonl"]
    if not folder.is_dir():
        raise UsageError(f"--folder {folder}: there is no such folder.")
    if web and not live:
        raise UsageError(f"--web {web} shows what goes on: add --live.")
    run_pipeline(
        # On the page, streams come and go.
        lambda: Pipeline(scene, MODEL, outputs=outputs, keep_running=web is not None),
        quiet=quiet,
        as_json=as_json,
        web=web,
        web_token=web_token,
        on_result=_nothing if quiet else Commentary(),
    )
    if not quiet:
        console.print(_NEXT, soft_wrap=True)


class Commentary:
    """Says once for each second of the scene who is seen where."""

    def __init__(self) -> None:
        self._next_ns = 0

    def __call__(self, result: Result) -> None:
        """Called with every result."""
        if result.info.pts_ns < self._next_ns:
            return
        self._next_ns = result.info.pts_ns - result.info.pts_ns % _SECOND_NS + _SECOND_NS
        console.print(f"{result.info.pts_ns / _SECOND_NS:4.0f} s  {escape(describe(result))}", soft_wrap=True)


def describe(result: Result) -> str:
    """`2 people: #1 at (320, 410), #2 at (500, 400)`: the middles of their boxes, best first."""
    poses = result.poses
    if not len(poses):
        return "nobody"
    middles = (poses.boxes_xyxy[:, :2] + poses.boxes_xyxy[:, 2:]) / 2
    who = [
        f"{f'#{track_id}' if track_id > 0 else 'somebody'} at ({x:.0f}, {y:.0f})"
        for track_id, (x, y) in zip(poses.track_ids.tolist(), middles.tolist(), strict=True)
    ]
    more = f" and {len(who) - _MOST_PEOPLE} more" if len(who) > _MOST_PEOPLE else ""
    return f"{len(who)} {'person' if len(who) == 1 else 'people'}: {', '.join(who[:_MOST_PEOPLE])}{more}"


def _nothing(result: Result) -> None:
    pass


_NEXT = """
The bundled model knows drawn people only. Next, with a video of yours and a model that knows real ones:
  tensortap run -i VIDEO.mp4 -m yolov8n-pose -o out.mp4 -o out.jsonl   [dim]fetched once, exported by Ultralytics[/]
  tensortap run -i VIDEO.mp4 -m my-pose-model.onnx -o out.mp4          [dim]any YOLOv8-pose or YOLO11-pose export[/]
  tensortap models                                                     [dim]the models that have a name[/]"""
