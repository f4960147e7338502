"""`coco`: keypoint results as the COCO evaluation reads them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import orjson

from tensortap.sinks.files import GrowingFile
from tensortap.types import FrameInfo, Result

_log = logging.getLogger(__name__)


class CocoSink:
    """Writes a JSON array with one object a person, complete after every frame.

    `image_id` of a still image is the number that it is called by (`000000000785.jpg` is 785); other images and frames of
    videos are counted from 1, leaving out numbers that are taken. `category_id` is the class index plus 1, so that a person
    is 1. `bbox` is left, top, width, height, and the third value of each keypoint is its score. `file_name` and
    `frame_index` tell which picture it was.

    Args:
        path: the file, usually `*.coco.json`.

    Raises:
        SinkError: the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path, tail=b"\n]\n")
        self._last_number = 0
        self._named_ids: set[int] = set()
        self._started = False
        self._empty = True

    def write(self, result: Result) -> None:
        """Write the people of one frame. Raises SinkError."""
        if not self._started:
            self._file.append(b"[")
            self._started = True
        image_id = self._image_id(result.info)
        # The evaluation reads numbers only: boxes that are none are left out, keypoints that are none become (0, 0, 0).
        people = result.poses.take(np.isfinite(result.poses.boxes_xyxy).all(axis=1))
        if not len(people):
            return
        keypoints = np.where(np.isfinite(people.keypoints).all(axis=2, keepdims=True), people.keypoints, 0)
        boxes = people.boxes_xyxy.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        rows = [
            orjson.dumps(
                {
                    "image_id": image_id,
                    "category_id": class_id + 1,
                    "keypoints": flat,
                    "score": score,
                    "bbox": box,
                    "file_name": result.info.source,
                    "frame_index": result.info.index,
                },
                option=orjson.OPT_SERIALIZE_NUMPY,
            )
            for class_id, score, box, flat in zip(
                people.class_ids.tolist(),
                people.scores.tolist(),
                boxes.round(3),
                keypoints.reshape(len(people), -1).astype(np.float64).round(3),
                strict=True,
            )
        ]
        self._file.append((b"\n" if self._empty else b",\n") + b",\n".join(rows))
        self._empty = False

    def _image_id(self, info: FrameInfo) -> int:
        stem = Path(info.source).stem
        if info.is_still and stem.isascii() and stem.isdecimal():
            if int(stem) not in self._named_ids:
                self._named_ids.add(int(stem))
                return int(stem)
            _log.warning("Two images are called %s; the second gets another image_id. See file_name.", stem)
        self._last_number += 1
        while self._last_number in self._named_ids:
            self._last_number += 1
        return self._last_number

    def close(self) -> None:
        """Release the file. Raises SinkError."""
        self._file.close()
