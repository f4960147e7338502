"""The truth of a scene as COCO keypoint annotations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tensortap.scenes.scene import SceneFrame, Truth
from tensortap.skeletons import COCO_17


def coco_truth(frames: Iterable[SceneFrame], *, file_name: str = "{index:06d}.png") -> dict[str, Any]:
    """What `pycocotools.coco.COCO` reads, with `track_id` and `pts_ns` besides.

    Images are numbered from 1, as the `coco` sink numbers the frames of a video. Hidden keypoints are labelled where their
    place can be told (`Truth.tellable`), as COCO's annotators do. People of whom fewer than three keypoints are in sight have
    `num_keypoints` 0: the evaluation then neither asks for them nor counts them as invented.

    Args:
        frames: of one scene or several; each becomes an image.
        file_name: pattern of the images' names.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, frame in enumerate(frames, start=1):
        width, height = frame.scene.size_wh
        name = file_name.format(index=frame.index, image_id=image_id)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height, "pts_ns": frame.pts_ns})
        annotations += _annotations(frame.truth, image_id, len(annotations))
    person = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO_17.keypoint_names),
        "skeleton": [[first + 1, second + 1] for first, second in COCO_17.edges],
    }
    return {"info": {"description": "drawn by tensortap"}, "images": images, "annotations": annotations, "categories": [person]}


def _annotations(truth: Truth, image_id: int, number: int) -> list[dict[str, Any]]:
    found = []
    visibility = np.where(truth.recognisable[:, None] & truth.tellable, truth.visibility, 0)
    rounded = np.where(visibility[..., None] > 0, truth.keypoints, 0).round(3)
    for row in range(len(truth)):
        left, top, right, bottom = (float(side) for side in truth.boxes_xyxy[row].round(3))
        flat = np.column_stack((rounded[row], visibility[row])).ravel()
        found.append(
            {
                "id": number + row + 1,
                "image_id": image_id,
                "category_id": 1,
                "track_id": int(truth.person_ids[row]),
                "bbox": [left, top, round(right - left, 3), round(bottom - top, 3)],
                "area": float(truth.areas[row]),
                "iscrowd": 0,
                "keypoints": [round(float(value), 3) for value in flat],
                "num_keypoints": int((visibility[row] > 0).sum()),
            }
        )
    return found
