"""`tensortap scene`: a drawn scene as a video, as pictures, and its truth as COCO keypoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import cv2
import typer

from tensortap.cli.console import DebugOption, console
from tensortap.errors import UsageError
from tensortap.portable.pixels import BgrPixels
from tensortap.scenes import SceneFrame, SceneRequest, coco_truth, parse_scene
from tensortap.sinks.files import cannot_write
from tensortap.sinks.video import VideoSink
from tensortap.skeletons import COCO_17
from tensortap.types import Frame, FrameInfo, Poses, Result

_SECOND_NS = 1_000_000_000


def scene(
    url: Annotated[str, typer.Argument(help="e.g. scene://street?people=6&seed=3&seconds=10")],
    video: Annotated[Path | None, typer.Option(help="Write the pictures as a video: .mp4, .mkv, .mov.")] = None,
    coco: Annotated[Path | None, typer.Option(help="Write who is where as COCO keypoint annotations: .json.")] = None,
    images: Annotated[Path | None, typer.Option(help="Write the pictures into this folder, as 000001.png ...")] = None,
    debug: DebugOption = False,
) -> None:
    """Draw a scene into files, with the exact keypoints of everybody in it."""
    request = parse_scene(url)
    if request.num_frames is None:
        raise UsageError(f"{url} never ends: say how long, e.g. seconds=10.")
    if not (video or coco or images):
        raise UsageError("Say what to write: --video scene.mp4, --coco truth.json, --images folder.")
    with ExitStack() as opened:
        frames = _drawn(url, request, video, images, opened)
        truth = coco_truth(frames, file_name="{image_id:06d}.png")
    if coco:
        _write(coco, json.dumps(truth))
    for path in (video, images, coco):
        if path:
            console.print(f"[green]wrote[/] {path}")


def write_video(url: str, path: Path) -> None:
    """Draw a scene that ends into a video."""
    with ExitStack() as opened:
        for _ in _drawn(url, parse_scene(url), path, None, opened):
            pass


def _drawn(url: str, request: SceneRequest, video: Path | None, images: Path | None, opened: ExitStack) -> Iterator[SceneFrame]:
    """The frames, one by one, each of them written first."""
    scene = request.scene
    sink = VideoSink(video) if video else None
    if sink:
        opened.callback(sink.close)
    if images:
        images.mkdir(parents=True, exist_ok=True)
    nobody = Poses.empty(COCO_17)
    duration_ns = round(_SECOND_NS / scene.frame_rate)
    for index in range(request.num_frames or 0):
        frame = scene.frame(index)
        if sink:
            info = FrameInfo(0, url, index, frame.pts_ns, scene.size_wh, duration_ns)
            sink.write(Result(Frame(info, BgrPixels(frame.image)), nobody))
        if images:
            path = images / f"{index + 1:06d}.png"
            _write(path, cv2.imencode(".png", frame.image)[1].tobytes())
        yield frame


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as exc:
        raise cannot_write(str(path), exc) from exc
