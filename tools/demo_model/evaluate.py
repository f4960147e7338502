"""Keypoint AP of a model on held-out scenes: seeds, backgrounds and actions that training never saw.

    python tools/demo_model/evaluate.py src/tensortap/zoo/demo-pose.onnx

Pictures go to a folder, through `tensortap.Pipeline` with its `coco` output, and into pycocotools with the scenes' truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import tensortap
from tensortap.scenes import HELD_OUT_ACTIONS, HELD_OUT_BACKGROUNDS, Scene, SceneFrame, coco_truth, random_setting

SIZES_WH = ((1280, 720), (960, 720), (640, 360), (1920, 1080))


def main() -> None:
    """Draw, run, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--frames", type=int, default=5, help="frames of each scene, spread over a minute")
    parser.add_argument("--seed", type=int, default=0, help="below 1,000,000: training uses those above")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--keep", type=Path, help="folder to keep pictures, truth and results in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        evaluate(options, folder)


def evaluate(options: argparse.Namespace, folder: Path) -> float:
    """AP over all people who can be recognised."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    frames = held_out_frames(options.seed, options.scenes, options.frames)
    for number, frame in enumerate(frames, start=1):
        cv2.imwrite(str(images / f"{number:06d}.png"), frame.image)
    truth = coco_truth(frames, file_name="{image_id:06d}.png")
    (folder / "truth.json").write_text(json.dumps(truth))
    results = folder / "results.coco.json"
    pipeline = tensortap.Pipeline(
        images,
        model=options.model,
        outputs=results,
        conf_thres=0.001,
        iou_thres=0.7,
        engine=options.engine,
        precision=options.precision,
    )
    with pipeline:
        print(f"{pipeline.parts.engine.name} ({pipeline.parts.engine.precision})")
        pipeline.run()
    reference = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(reference, reference.loadRes(str(results)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    people = sum(annotation["num_keypoints"] > 0 for annotation in truth["annotations"])
    print(f"{len(frames)} pictures, {people} people, seeds {options.seed} to {options.seed + options.scenes - 1}")
    print(f"AP {evaluation.stats[0]:.3f}")
    return float(evaluation.stats[0])


def held_out_frames(seed: int, num_scenes: int, frames_each: int) -> list[SceneFrame]:
    """Frames of scenes with held-out backgrounds and actions, in several sizes."""
    frames = []
    for number in range(num_scenes):
        rng = np.random.default_rng((seed + number, 77))
        setting = random_setting(rng, backgrounds=HELD_OUT_BACKGROUNDS, actions=HELD_OUT_ACTIONS)
        scene = Scene(setting, int(rng.integers(1, 9)), seed + number, SIZES_WH[number % len(SIZES_WH)], 25.0)
        frames += [scene.frame(int(index)) for index in rng.integers(0, 1500, frames_each)]
    return frames


if __name__ == "__main__":
    main()
