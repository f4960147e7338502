"""tensortap against the way people do it today: one step after another, with the same model, engine, precision and output.

The plain loop is what tutorials and Ultralytics do: `cv2.VideoCapture`, letterbox, a float tensor, the engine, NumPy and
`cv2.dnn.NMSBoxes`, back to the frame, one line of JSON. Its decoding is vectorised, its engine the backend's default for one
picture at a time. Both write the same people: that is checked, and rounds alternate, so that a slow minute of a shared
machine meets both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import assets, machine

from tensortap.pipeline import Pipeline
from tensortap.portable.model import read_model
from tensortap.portable.quiet_openvino import import_openvino

NETWORK = 640
CONF_THRES, IOU_THRES = 0.25, 0.45
ASKED_FOR = {"bf16": 1.3, "int8": 1.4}
Infer = Callable[[np.ndarray], np.ndarray]


def openvino_engine(model: Path, precision: str) -> Infer:
    """OpenVINO as its tutorials have it: compiled for the CPU, called with an array."""
    ov = import_openvino()
    core = ov.Core()
    network = core.read_model(model)
    network.reshape([1, 3, NETWORK, NETWORK])
    hints = {} if precision == "auto" else {"INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(network, "CPU", hints)

    def infer(images: np.ndarray) -> np.ndarray:
        output: np.ndarray = compiled(images)[0]
        return output

    return infer


def onnxruntime_engine(model: Path, precision: str) -> Infer:
    """ONNX Runtime with its defaults."""
    import onnxruntime

    if precision not in ("auto", "f32"):
        sys.exit("ONNX Runtime computes in the types of the model.")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def infer(images: np.ndarray) -> np.ndarray:
        output: np.ndarray = session.run(None, {name: images})[0]
        return output

    return infer


def letterboxed(image: np.ndarray) -> tuple[np.ndarray, float, int, int]:
    """(1, 3, H, W) float32, the ratio, and the padding to the left and at the top."""
    height, width = image.shape[:2]
    ratio = min(NETWORK / width, NETWORK / height)
    new_width, new_height = round(width * ratio), round(height * ratio)
    left, top = round((NETWORK - new_width) / 2 - 0.1), round((NETWORK - new_height) / 2 - 0.1)
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    padded = cv2.copyMakeBorder(
        resized, top, NETWORK - new_height - top, left, NETWORK - new_width - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )
    # One pass for channel order, layout, type and scale: faster than the same in NumPy.
    return cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True), ratio, left, top


def people_in(output: np.ndarray, ratio: float, left: int, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4), scores (N,) and keypoints (N, 17, 3) in pixels of the frame, of (56, 8400)."""
    scores = output[4]
    columns = np.flatnonzero(scores > CONF_THRES)
    found, scores = output[:, columns], scores[columns]
    sizes = found[2:4].T
    corners = found[:2].T - sizes / 2
    kept = cv2.dnn.NMSBoxes(np.hstack((corners, sizes)).tolist(), scores.tolist(), CONF_THRES, IOU_THRES)
    kept = np.asarray(kept, int).reshape(-1)
    keypoints = found[5:, kept].T.reshape(-1, 17, 3).copy()
    keypoints[..., :2] = (keypoints[..., :2] - (left, top)) / ratio
    boxes = (np.hstack((corners[kept], corners[kept] + sizes[kept])) - (left, top, left, top)) / ratio
    return boxes, scores[kept], keypoints


def plain(video: Path, infer: Infer, output: Path, num_frames: int) -> tuple[float, int]:
    """Frames a second, and how many people were found."""
    capture = cv2.VideoCapture(str(video))
    people = frames = 0
    started = time.perf_counter()
    with output.open("w") as lines:
        while frames < num_frames:
            good, image = capture.read()
            if not good:
                break
            pixels, ratio, left, top = letterboxed(image)
            boxes, scores, keypoints = people_in(infer(pixels)[0], ratio, left, top)
            found = [
                {"bbox": box.tolist(), "score": float(score), "keypoints": points.tolist()}
                for box, score, points in zip(boxes, scores, keypoints, strict=True)
            ]
            lines.write(json.dumps({"frame": frames, "people": found}) + "\n")
            people += len(found)
            frames += 1
    seconds = time.perf_counter() - started
    capture.release()
    return frames / seconds, people


def ours(video: Path, model: Path, engine: str, precision: str, output: Path, num_frames: int) -> tuple[float, int, str]:
    """The same, and what the engine computes in. Loading is left out, as it is above."""
    arguments: dict[str, Any] = {"conf_thres": CONF_THRES, "iou_thres": IOU_THRES, "max_frames": num_frames, "tracker": None}
    pipeline = Pipeline(video, model, outputs=output, engine=engine, precision=precision, **arguments)
    started = time.perf_counter()
    summary = pipeline.run()
    return summary.frames / (time.perf_counter() - started), summary.people, pipeline.parts.engine.precision


def main() -> None:
    """Print both rates of each round and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", default="one-by-one-person-detection.mp4")
    parser.add_argument("--model", default="yolov8n-pose.onnx", help="or yolov8n-pose-int8-openvino")
    parser.add_argument("--engine", default="openvino", choices=["openvino", "onnxruntime"])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    video = assets() / "video" / arguments.video
    model = read_model(assets() / "models" / arguments.model).path
    create = {"openvino": openvino_engine, "onnxruntime": onnxruntime_engine}[arguments.engine]
    infer = create(model, arguments.precision)
    what = f"{arguments.model}, {arguments.engine} {arguments.precision}, {arguments.video}"
    print(f"{machine()}\n{what}, {arguments.frames} frames")
    ratios = []
    computed = ""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "plain.jsonl"), Path(folder, "ours.jsonl")
        plain(video, infer, lines[0], 10)  # to warm up
        for number in range(arguments.rounds):
            before, people = plain(video, infer, lines[0], arguments.frames)
            rate, found, computed = ours(video, model, arguments.engine, arguments.precision, lines[1], arguments.frames)
            after, _ = plain(video, infer, lines[0], arguments.frames)
            # Another decoder's chroma and rounding move a score over the threshold now and then.
            if abs(found - people) > 0.05 * max(people, 20):
                sys.exit(f"They do not find the same: {people} people by the plain loop, {found} by tensortap.")
            ratios.append(rate / ((before + after) / 2))
            print(
                f"round {number + 1}: plain {before:6.1f} and {after:6.1f} frames/s ({people} people), "
                f"tensortap {rate:6.1f} ({found}), ratio {ratios[-1]:.2f}"
            )
    asked = next((limit for name, limit in ASKED_FOR.items() if computed.startswith(name)), None)
    print(
        f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) in {computed}"
        + (f"; asked for: {asked} on two cores" if asked else "")
    )


if __name__ == "__main__":
    main()
