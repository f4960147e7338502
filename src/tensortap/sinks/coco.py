"""`coco`: keypoint results as the COCO evaluation reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from tensortap.sinks.files import GrowingFile
from tensortap.types import Result


class CocoSink:
    """Writes a JSON array with one object a person, complete after every frame.

    `image_id` is the number that the image is called by (`000000000785.jpg` is 785); where the name is no number, images and
    frames are counted from 1. `category_id` is the class index plus 1, so that a person is 1. `bbox` is left, top, width,
    height, and the third value of each keypoint is its score. `file_name` and `frame_index` tell frames of videos apart.

    Args:
        path: the file, usually `*.coco.json`.

    Raises:
        SinkError: the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path, tail=b"\n]\n")
        self._num_images = 0
        self._empty = True
        self._file.append(b"[")

    def write(self, result: Result) -> None:
        """Write the people of one frame. Raises SinkError."""
        self._num_images += 1
        stem = Path(result.info.source).stem
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
                    "image_id": int(stem) if stem.isdecimal() else self._num_images,
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

    def close(self) -> None:
        """Release the file. Raises SinkError."""
        self._file.close()
