"""Decode with NMS and mapping back of one real output, for 0, 1, 5 and 30 people in view, in every layout; and NMS alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from common import assets, machine, median_ms

from tensortap.decode.base import PoseDecoder, above
from tensortap.decode.deepstream_yolo_pose import DeepStreamYoloPoseDecoder
from tensortap.decode.end2end import End2EndDecoder
from tensortap.decode.nms import nms
from tensortap.decode.rtmo import RtmoDecoder
from tensortap.decode.yolo_nas_pose import YoloNasPoseDecoder
from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.decode.yolov7_pose import ANCHORS, YoloV7PoseDecoder
from tensortap.geometry import Letterbox, letterbox
from tensortap.types import Frame, FrameInfo, TensorFrame

ASKED_FOR = {0: 0.04, 1: 0.04, 5: 0.06, 30: 0.2}
NMS_ASKED_FOR = 1.0
_V7_ROWS = 25500
"""Anchors of YOLOv7-w6 in an input of 640 x 640."""

Layout = tuple[PoseDecoder, Mapping[str, np.ndarray], int, int]
"""Decoder, tensors, rows in all, candidates."""


def main() -> None:
    """Print medians beside what was asked for."""
    print(machine())
    with np.load(assets() / "tensors" / "real_outputs_56x8400.npz") as stored:
        for people, limit in ASKED_FOR.items():
            source_wh = tuple(int(side) for side in stored[f"shape{people}"][1::-1])
            box = letterbox("ultralytics", source_wh, (640, 640))
            print(f"\n{people} people{'':<22} ms   us/candidate     ns/row   candidates   rows")
            for name, (decoder, tensors, rows, candidates) in layouts(stored[f"n{people}"]).items():
                frame = frame_of(tensors, box)
                milliseconds = median_ms(lambda frame=frame, decoder=decoder: decoder(frame))
                each = f"{milliseconds * 1e3 / candidates:12.2f}" if candidates else f"{'-':>12}"
                per_row = milliseconds * 1e6 / rows
                asked = f"   asked for: {limit}" if name == "yolo-pose" else ""
                print(f"  {name:<22} {milliseconds:8.4f} {each} {per_row:10.1f} {candidates:12d} {rows:6d}{asked}")
    print("\nReading the scores alone: searched, and only copied to where they lie one after the other; ns a row")
    for name, scores in (
        ("yolo-pose", np.zeros((56, 8400), np.float32)[4]),
        ("yolov7-pose rows", np.zeros((_V7_ROWS, 57), np.float32)[:, 4]),
    ):
        kept = np.empty_like(scores)
        searched = median_ms(lambda scores=scores: above(scores, 0.25))
        copied = median_ms(lambda scores=scores, kept=kept: np.copyto(kept, scores))
        print(f"  {name:<22} {searched * 1e6 / len(scores):.2f}, {copied * 1e6 / len(scores):.2f}")
    print("\nNMS of 2000 candidates")
    for people in (5, 30, 100, 300, 1000, 2000):
        boxes, scores = crowd(people)
        print(f"  of {people:4d} people: {median_ms(lambda boxes=boxes, scores=scores: nms(boxes, scores, 0.45), 200):.3f} ms; "
              f"asked for: {NMS_ASKED_FOR}")  # fmt: skip


def layouts(tensor: np.ndarray) -> dict[str, Layout]:
    """One real output in the layouts of the other heads, with the same candidates in each."""
    columns = YoloPoseDecoder()
    candidates = int((tensor[4] > columns.conf_thres).sum())
    rows = np.ascontiguousarray(tensor.T)
    cornered = rows.copy()
    cornered[:, :2], cornered[:, 2:4] = rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2
    found: dict[str, Layout] = {
        "yolo-pose": (columns, {"output0": tensor}, 8400, candidates),
        "yolo-pose transposed": (YoloPoseDecoder(transposed=True), {"output0": rows}, 8400, candidates),
        "deepstream-yolo-pose": (DeepStreamYoloPoseDecoder(), {"output": cornered}, 8400, candidates),
        "yolo-nas-pose": (
            YoloNasPoseDecoder(boxes="b", scores="s", keypoints="k"),
            {"b": cornered[:, :4].copy(), "s": rows[:, 4:5].copy(), "k": rows[:, 5:].reshape(-1, 17, 3).copy()},
            8400,
            candidates,
        ),
        "yolov7-pose rows": (YoloV7PoseDecoder(), {"output": v7_rows(rows)}, _V7_ROWS, candidates),
    }
    grids = v7_grids(rows, columns.conf_thres)
    found["yolov7-pose grids"] = (YoloV7PoseDecoder(form="grids"), grids, _V7_ROWS, candidates)
    ended = after_nms(cornered, columns.conf_thres)
    found["end2end"] = (End2EndDecoder(), {"output0": ended}, 300, candidates)
    dets = {"dets": ended[:, :5].copy(), "keypoints": ended[:, 6:].reshape(-1, 17, 3).copy()}
    found["rtmo"] = (RtmoDecoder(), dets, 300, candidates)
    return found


def v7_rows(rows: np.ndarray) -> np.ndarray:
    """The same candidates among three times as many rows, as YOLOv7-w6 has them."""
    found = np.full((_V7_ROWS, 57), 0.001, np.float32)
    found[: len(rows)] = np.insert(rows, 5, 1, axis=1)
    return found


def v7_grids(rows: np.ndarray, conf_thres: float) -> dict[str, np.ndarray]:
    """The same candidates on raw grids: each in its cell of the finest stride with an anchor that is large enough."""
    grids = {stride: np.full((3, 640 // stride, 640 // stride, 57), -8, np.float32) for stride in ANCHORS}
    for row in rows[rows[:, 4] > conf_thres].astype(np.float64):
        fits = [
            (s, each) for s, anchors in ANCHORS.items() for each in range(3) if (row[2:4] < 3.5 * np.array(anchors[each])).all()
        ]
        for stride, anchor in fits:
            cell = (row[:2] // stride).astype(int).clip(0, 640 // stride - 1)
            raw = grids[stride][anchor, cell[1], cell[0]]
            if raw[4] < 0:
                break
        likely = np.concatenate(((row[:2] / stride - cell + 0.5) / 2, np.sqrt(row[2:4] / ANCHORS[stride][anchor]) / 2))
        raw[:4] = np.log(likely / (1 - likely))
        raw[4:6] = 9, np.log(row[4] / (1 - row[4]))
        raw[6::3], raw[7::3] = ((row[5 + axis :: 3] / stride - cell[axis] + 0.5) / 2 for axis in (0, 1))
    return {f"grid{stride}": grid for stride, grid in grids.items()}


def after_nms(rows: np.ndarray, conf_thres: float) -> np.ndarray:
    """float32 (300, 57): the same candidates, as if NMS had left them all, so that as many rows are read."""
    best = rows[rows[:, 4] > conf_thres]
    found = np.full((300, 57), 0.01, np.float32)
    found[: len(best)] = np.insert(best, 5, 0, axis=1)
    return found


def frame_of(tensors: Mapping[str, np.ndarray], box: Letterbox) -> TensorFrame:
    """A frame with these tensors."""
    return TensorFrame(Frame(FrameInfo(0, "stored", 0, 0, box.source_wh), None), tensors, box)


def crowd(people: int) -> tuple[np.ndarray, np.ndarray]:
    """2000 boxes of so many people, with their scores."""
    generator = np.random.default_rng(0)
    centers = generator.uniform(0, 640, (people, 2))[np.arange(2000) % people] + generator.normal(0, 3, (2000, 2))
    sizes = np.array([40, 100]) * generator.uniform(0.9, 1.1, (2000, 2))
    boxes = np.concatenate((centers - sizes / 2, centers + sizes / 2), axis=1).astype(np.float32)
    return boxes, generator.uniform(0.25, 1, 2000).astype(np.float32)


if __name__ == "__main__":
    main()
