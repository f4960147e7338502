"""What lies in a recording: names, and the way from our dataclasses to JSON and back. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensortap.geometry import Letterbox
from tensortap.types import FrameInfo, StreamInfo

FORMAT = "tensortap.recording"
VERSION = 1
SUFFIX = ".tap"
HEADER = "recording.json"
INDEX = "frames.jsonl"
IMAGES = "images"


def is_recording(path: Path) -> bool:
    """Whether this is meant to be a recording: by its suffix, or by what the folder holds."""
    return path.suffix.lower() == SUFFIX or (path / HEADER).is_file()


def chunk_name(number: int) -> str:
    """The file of a chunk."""
    return f"chunk-{number:06d}.npz"


def image_name(source_id: int, index: int) -> str:
    """The picture of a frame, relative to the recording."""
    return f"{IMAGES}/{source_id}/{index:08d}.jpg"


def to_json(value: StreamInfo | FrameInfo | Letterbox) -> dict[str, Any]:
    """The fields of a dataclass of numbers, texts and tuples."""
    return dataclasses.asdict(value)


def stream_from_json(data: Mapping[str, Any]) -> StreamInfo:
    """The stream that `to_json` described. Raises KeyError, TypeError or ValueError where it did not."""
    size_wh, rate, count = data.get("size_wh"), data.get("frame_rate"), data.get("num_frames")
    return StreamInfo(
        source_id=int(data["source_id"]),
        name=str(data["name"]),
        size_wh=_pair(size_wh) if size_wh is not None else None,
        frame_rate=float(rate) if rate is not None else None,
        num_frames=int(count) if count is not None else None,
        is_still=bool(data.get("is_still", False)),
    )


def info_from_json(data: Mapping[str, Any], source_id: int) -> FrameInfo:
    """The frame that `to_json` described, as one of this stream. Raises KeyError, TypeError or ValueError."""
    return FrameInfo(
        source_id=source_id,
        source=str(data["source"]),
        index=int(data["index"]),
        pts_ns=int(data["pts_ns"]),
        size_wh=_pair(data["size_wh"]),
        duration_ns=int(data.get("duration_ns", 0)),
        is_still=bool(data.get("is_still", False)),
        arrival_ns=int(data.get("arrival_ns", 0)),
        # Not live any more: a replay waits for whoever takes its frames.
        capture_ns=int(data.get("capture_ns", 0)),
    )


def letterbox_from_json(data: Mapping[str, Any]) -> Letterbox:
    """The letterbox that `to_json` described. Raises KeyError, TypeError or ValueError."""
    left, top, right, bottom = map(_number, data["crop_xyxy"])
    box = Letterbox(
        source_wh=_pair(data["source_wh"]),
        network_wh=_pair(data["network_wh"]),
        resized_wh=_pair(data["resized_wh"]),
        offset_xy=_pair(data["offset_xy"]),
        crop_xyxy=(left, top, right, bottom),
        pad_value=int(data["pad_value"]),
        interpolation="bilinear" if data["interpolation"] == "bilinear" else "nearest",
    )
    if min(*box.resized_wh) < 1 or not (right > left and bottom > top):
        raise ValueError(f"the letterbox is empty: {box}")
    return box


def roi_from_json(data: Any) -> tuple[float, float, float, float] | None:
    """The region, or `None` for the whole frame. Raises TypeError or ValueError."""
    if data is None:
        return None
    left, top, right, bottom = map(float, data)
    return left, top, right, bottom


def _number(value: Any) -> float:
    """Whole where it is written so."""
    return value if isinstance(value, int) else float(value)


def _pair(data: Any) -> tuple[int, int]:
    first, second = data
    return int(first), int(second)
