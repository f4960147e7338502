"""The whole path against scenes whose truth is known: the bundled model, real preprocessing, engines, decoding and tracking."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import tensortap
from tensortap.geometry import iou_matrix, oks_matrix
from tensortap.scenes import Truth, parse_scene
from tensortap.skeletons import COCO_17
from tensortap.types import Result

EASY = "scene://street?people=4&seed=11&fps=10&seconds=3"
"""People in full view most of the time."""


@dataclass
class Score:
    """Found people against those of a scene."""

    matched: int = 0
    missed: int = 0
    invented: int = 0
    errors: list[float] = field(default_factory=list)
    """Distance of visible keypoints from their place, in hundredths of the person's height."""
    switches: int = 0
    """How often a person's identity changed."""
    _identity: dict[int, int] = field(default_factory=dict)

    def add(self, result: Result, truth: Truth) -> None:
        """One frame. People hardly in sight are neither asked for nor counted as invented."""
        poses = result.poses
        overlaps = iou_matrix(truth.boxes_xyxy, poses.boxes_xyxy)
        rows, columns = linear_sum_assignment(-overlaps)
        pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if overlaps[row, column] > 0.5]
        asked_for = truth.recognisable
        self.missed += int(asked_for.sum()) - sum(bool(asked_for[row]) for row, _ in pairs)
        self.invented += len(poses) - len(pairs)
        for row, column in pairs:
            if not asked_for[row]:
                continue
            self.matched += 1
            seen = truth.visibility[row] == 2
            away = poses.keypoints[column, seen, :2] - truth.keypoints[row, seen]
            height = truth.boxes_xyxy[row, 3] - truth.boxes_xyxy[row, 1]
            self.errors += (np.hypot(*away.T) / height * 100).tolist()
            identity, person = int(poses.track_ids[column]), int(truth.person_ids[row])
            if identity > 0:
                self.switches += self._identity.get(person, identity) != identity
                self._identity[person] = identity


def run(url: str, **settings: object) -> Score:
    """Every frame of a scene through the pipeline."""
    scene = parse_scene(url).scene
    score = Score()
    for result in tensortap.Pipeline(url, "demo", **settings):
        assert result.info.pts_ns == scene.frame(result.info.index).pts_ns
        score.add(result, scene.frame(result.info.index).truth)
    return score


def check(score: Score) -> None:
    """What the bundled model is good for, with some room."""
    people = score.matched + score.missed
    assert people > 30
    assert score.missed / people < 0.15
    assert score.invented / people < 0.10
    assert np.median(score.errors) < 2.0
    assert np.percentile(score.errors, 90) < 8.0


@pytest.mark.parametrize("size", ["1280x720", "640x360", "480x640", "901x507", "1920x1080"])
def test_sizes_and_aspect_ratios(size: str) -> None:
    check(run(f"{EASY}&size={size}"))


@pytest.mark.parametrize("policy", ["ultralytics", "nvinfer", "nvinfer-symmetric", "rtmo"])
def test_letterbox_policies(policy: str) -> None:
    check(run(f"{EASY}&size=900x600", letterbox=policy))


def test_stretched() -> None:
    check(run(f"{EASY}&size=640x400", letterbox="nvinfer-stretch"))


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_and_batches(engine: str, batch_size: int) -> None:
    check(run(f"{EASY}&size=640x360", engine=engine, batch_size=batch_size))


def test_identities_are_kept() -> None:
    score = run("scene://street?people=4&seed=11&fps=25&seconds=6&size=640x360")
    assert score.matched > 300
    assert score.switches <= 3


def test_several_scenes_keep_apart() -> None:
    urls = [f"scene://street?people=3&seed={seed}&fps=10&seconds=2&size=640x360" for seed in (11, 12)]
    scenes = [parse_scene(url).scene for url in urls]
    scores = [Score(), Score()]
    for result in tensortap.Pipeline(urls, "demo", batch_size=4):
        scores[result.info.source_id].add(result, scenes[result.info.source_id].frame(result.info.index).truth)
    for score in scores:
        assert score.matched >= 20
        assert score.missed / (score.matched + score.missed) < 0.2


def test_keypoints_have_the_right_side() -> None:
    """Left is the person's own: a model or decoder that swaps sides agrees in distance only by chance."""
    scene = parse_scene(f"{EASY}&size=960x540").scene
    right, swapped = [], []
    mirrored = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    for result in tensortap.Pipeline(f"{EASY}&size=960x540", "demo"):
        truth = scene.frame(result.info.index).truth
        if not len(truth) or not len(result.poses):
            continue
        keypoints = np.dstack((truth.keypoints, truth.visibility > 0)).astype(np.float32)
        areas = truth.areas.clip(100)[:, None]
        right.append(oks_matrix(keypoints, result.poses.keypoints, areas, COCO_17.sigmas).max(axis=1).mean())
        swapped.append(oks_matrix(keypoints[:, mirrored], result.poses.keypoints, areas, COCO_17.sigmas).max(axis=1).mean())
    assert np.mean(right) > np.mean(swapped) + 0.1
