"""Keypoint AP as the COCO evaluation has it, of results against annotated images."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensortap.errors import MissingDependencyError, UsageError
from tensortap.types import Result

STATISTICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""What the evaluation gives, in its order. -1 where there is nobody of that size."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """An annotation file of COCO keypoints, and where its images are."""

    path: Path
    image_paths: Sequence[Path]
    """The images that are there, in the order of the file."""
    image_ids: Mapping[str, int]
    """File name -> number in the annotations."""
    missing: Sequence[str]
    """Names of images that the file lists and that are not there: they are left out of the evaluation."""
    num_keypoints: int
    """K of the annotated people."""
    num_people: int
    """People with at least one labelled keypoint in the images that are there."""


def read_annotations(path: Path, images: Path) -> Annotations:
    """Read a COCO keypoint annotation file and find its images in a folder.

    Raises:
        UsageError: it is no such file, or none of its images is there.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise UsageError(f"--annotations {path} cannot be read: {exc.strerror or exc}.") from exc
    except ValueError as exc:
        raise UsageError(f"--annotations {path} is not JSON: {exc}.") from exc
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("images", "annotations")):
        raise UsageError(f"--annotations {path} is no COCO annotation file: it has no lists of images and annotations.")
    if not images.is_dir():
        raise UsageError(f"--images {images} is no folder.")
    people = [each for each in content["annotations"] if each.get("keypoints")]
    if not people:
        raise UsageError(f"--annotations {path} has no keypoints: take person_keypoints_*.json rather than instances_*.json.")
    ids: dict[str, int] = {}
    found: list[Path] = []
    missing: list[str] = []
    for image in content["images"]:
        name = str(image["file_name"])
        # Annotations may name images with folders that are not there, as in `train2017/000000000009.jpg`.
        candidate = next((place for place in (images / name, images / Path(name).name) if place.is_file()), None)
        if candidate is None:
            missing.append(name)
            continue
        if candidate.name in ids:
            raise UsageError(f"--annotations {path} lists two images called {candidate.name}; they cannot be told apart.")
        ids[candidate.name] = int(image["id"])
        found.append(candidate)
    if not found:
        raise UsageError(f"None of the {len(missing)} images of {path} is in {images}, e.g. {missing[0] if missing else '-'}.")
    present = set(ids.values())
    return Annotations(
        path=path,
        image_paths=found,
        image_ids=ids,
        missing=missing,
        num_keypoints=len(people[0]["keypoints"]) // 3,
        num_people=sum(bool(each.get("num_keypoints")) and each["image_id"] in present for each in people),
    )


def as_coco_results(result: Result, annotations: Annotations) -> list[dict[str, Any]]:
    """The people of one image, as the evaluation reads them. People with coordinates that are no numbers are left out."""
    poses = result.poses
    finite = np.isfinite(poses.boxes_xyxy).all(axis=1) & np.isfinite(poses.keypoints).all(axis=(1, 2))
    poses = poses.take(finite)
    image_id = annotations.image_ids[result.info.source]
    return [
        {"image_id": image_id, "category_id": int(class_id) + 1, "keypoints": flat, "score": float(score)}
        for class_id, score, flat in zip(
            poses.class_ids,
            poses.scores,
            poses.keypoints.reshape(len(poses), poses.skeleton.num_keypoints * 3).tolist(),
            strict=True,
        )
    ]


def keypoint_statistics(annotations: Annotations, results: Sequence[Mapping[str, Any]], sigmas: np.ndarray) -> dict[str, float]:
    """AP and AR of results, by pycocotools.

    Args:
        annotations: the truth.
        results: of all images, see `as_coco_results`.
        sigmas: float (K,): those of the skeleton; COCO's own for its 17 keypoints.

    Raises:
        MissingDependencyError: pycocotools is not installed.
        UsageError: model and annotations differ in K.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as exc:
        raise MissingDependencyError("The evaluation needs pycocotools. Try: pip install pycocotools") from exc
    if len(sigmas) != annotations.num_keypoints:
        raise UsageError(
            f"The model has {len(sigmas)} keypoints, the people in {annotations.path} have {annotations.num_keypoints}: "
            "they cannot be compared."
        )
    if not results:
        return dict.fromkeys(STATISTICS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # it talks a lot
        truth = COCO(str(annotations.path))
        evaluation = COCOeval(truth, truth.loadRes(list(results)), "keypoints")
        evaluation.params.imgIds = sorted(annotations.image_ids.values())
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: round(float(value), 4) for name, value in zip(STATISTICS, evaluation.stats, strict=True)}
