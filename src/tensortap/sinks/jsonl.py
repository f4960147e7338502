"""`jsonl`: one JSON object a line for every frame, described in docs/frame.schema.json."""

from __future__ import annotations

from pathlib import Path

import orjson

from tensortap.sinks.files import GrowingFile
from tensortap.types import Result

SCHEMA = "tensortap.frame/1"
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
    return {
        "schema": SCHEMA,
        "source_id": info.source_id,
        "source": info.source,
        "index": info.index,
        "pts_ns": info.pts_ns,
        "size_wh": info.size_wh,
        "inferred": result.inferred,
        "people": people,
    }
