"""Drawn people whose keypoints are known exactly: for the demo, for tests, for benchmarks, and to train on."""

from tensortap.scenes.coco import coco_truth
from tensortap.scenes.scene import (
    HELD_OUT_ACTIONS,
    HELD_OUT_BACKGROUNDS,
    SETTINGS,
    Scene,
    SceneFrame,
    Setting,
    Truth,
    random_setting,
)
from tensortap.scenes.url import SceneRequest, parse_scene

__all__ = [
    "HELD_OUT_ACTIONS",
    "HELD_OUT_BACKGROUNDS",
    "SETTINGS",
    "Scene",
    "SceneFrame",
    "SceneRequest",
    "Setting",
    "Truth",
    "coco_truth",
    "parse_scene",
    "random_setting",
]
