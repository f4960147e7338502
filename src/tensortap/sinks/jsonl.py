"""`jsonl`: one JSON object a line for every frame, described in docs/frame.schema.json."""

from __future__ import annotations

from pathlib import Path

import orjson

from tensortap.sinks.files import GrowingFile
from tensortap.types import Result, StreamEvent

SCHEMA = "tensortap.frame/1"
EVENT_SCHEMA = "tensortap.event/1"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


class JsonlSink:
    """Writes a line for every frame, people or not; a killed run loses at most the frame in flight.

    Pixels are those of the original frame. Coordinates and the scores of keypoints are rounded to hundredths, a person's
    score to ten-thousandths. Values that are not finite become `null`.

    Args:
        path: the file; `-` is the standard output.

    Raises:
        SinkError: the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)

    def write(self, result: Result) -> None:
        """Write one frame. Raises SinkError."""
        self._file.append(orjson.dumps(frame_object(result), option=_OPTIONS))

    def write_event(self, event: StreamEvent) -> None:
        """Write a change of a live stream's state as a line of its own. Raises SinkError."""
        self._file.append(orjson.dumps(event_object(event), option=_OPTIONS))

    def close(self) -> None:
        """Release the file. Raises SinkError."""
        self._file.close()


def frame_object(result: Result) -> dict[str, object]:
    """A frame as an object of the schema `tensortap.frame/1`; its arrays are for orjson's NumPy option."""
    info, poses = result.info, result.poses
    people: list[dict[str, object]] = []
    if len(poses):
        boxes, keypoints = poses.boxes_xyxy.round(2), poses.keypoints.round(2)
        people = [
            {
                "track_id": track_id if track_id >= 0 else None,
                "class_id": class_id,
                "score": round(score, 4),
                "box_xyxy": boxes[row],
                "keypoints": keypoints[row],
            }
            for row, (track_id, class_id, score) in enumerate(
                zip(poses.track_ids.tolist(), poses.class_ids.tolist(), poses.scores.tolist(), strict=True)
            )
        ]
    times = {"capture_ns": info.capture_ns} if info.capture_ns else {}
    return {
        "schema": SCHEMA,
        "source_id": info.source_id,
        "source": info.source,
        "index": info.index,
        "pts_ns": info.pts_ns,
        **times,
        "size_wh": info.size_wh,
        "inferred": result.inferred,
        "people": people,
    }


def event_object(event: StreamEvent) -> dict[str, object]:
    """An event as an object of the schema `tensortap.event/1`."""
    return {
        "schema": EVENT_SCHEMA,
        "source_id": event.source_id,
        "source": event.source,
        "state": event.state.value,
        "reason": event.reason,
        "since_ns": event.since_ns,
        "times": event.times,
    }
