"""Known people, written into the layout of every head as a network would give them. Written from the heads' sources, in
float64 and without any of the code that reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tensortap.geometry import Letterbox, letterbox
from tensortap.types import Frame, FrameInfo, TensorFrame

Tensors = dict[str, np.ndarray]


class People(NamedTuple):
    """Best first; boxes that do not overlap."""

    boxes_xyxy: np.ndarray
    """float64 (N, 4)."""
    keypoints: np.ndarray
    """float64 (N, K, 3)."""
    scores: np.ndarray
    """float64 (N,)."""
    class_ids: np.ndarray
    """int (N,)."""

    def placed(self, place: Callable[[np.ndarray], np.ndarray]) -> People:
        """With all points moved by a function of (..., 2)."""
        boxes = place(self.boxes_xyxy.reshape(-1, 2, 2)).reshape(-1, 4)
        keypoints = np.concatenate((place(self.keypoints[..., :2]), self.keypoints[..., 2:]), axis=-1)
        return People(boxes, keypoints, self.scores, self.class_ids)


def to_network(people: People, box: Letterbox) -> People:
    """From pixels of the source to those of the network input, in float64."""
    ratio, offset, origin = (np.array(each, np.float64) for each in (box.ratio_xy, box.offset_xy, box.crop_xyxy[:2]))
    return people.placed(lambda points: (points - origin) * ratio + offset)


def to_source(people: People, box: Letterbox) -> People:
    """From pixels of the network input to those of the source, in float64."""
    ratio, offset, origin = (np.array(each, np.float64) for each in (box.ratio_xy, box.offset_xy, box.crop_xyxy[:2]))
    return people.placed(lambda points: (points - offset) / ratio + origin)


def frame_of(
    tensors: Tensors, box: Letterbox, *, source_id: int = 0, roi: tuple[float, float, float, float] | None = None
) -> TensorFrame:
    """A frame with these tensors, which nobody can write to."""
    shown = {}
    for name, tensor in tensors.items():
        shown[name] = tensor.view()
        shown[name].flags.writeable = False
    return TensorFrame(Frame(FrameInfo(source_id, f"camera{source_id}", 0, 0, box.source_wh), None), shown, box, roi)


def frame_with(
    encoded: Tensors,
    *,
    policy: str = "ultralytics",
    source_wh: tuple[int, int] = (767, 433),
    network_wh: tuple[int, int] = (640, 640),
) -> TensorFrame:
    """The same, with a letterbox by name."""
    return frame_of(encoded, letterbox(policy, source_wh, network_wh))


def draw_people(
    generator: np.random.Generator, num_people: int, num_keypoints: int, num_classes: int, source_wh: tuple[int, int]
) -> People:
    """People side by side, so that NMS keeps all, taller than the frame; keypoints anywhere, also far outside of it."""
    width, height = source_wh
    left = np.arange(num_people) * width / max(num_people, 1)
    right = left + width / max(num_people, 1) * generator.uniform(0.5, 0.9, num_people)
    top = generator.uniform(-0.2, 0.2, num_people) * height
    bottom = generator.uniform(0.6, 1.1, num_people) * height
    keypoints = generator.uniform(-0.3, 1.3, (num_people, num_keypoints, 3))
    keypoints[..., :2] *= source_wh
    keypoints[..., 2] = generator.uniform(0.01, 0.99, (num_people, num_keypoints))
    return People(
        np.stack((left, top, right, bottom), axis=1),
        keypoints,
        np.sort(generator.uniform(0.3, 0.99, num_people))[::-1],
        generator.integers(0, num_classes, num_people),
    )


@dataclass(frozen=True)
class Asked:
    """What an encoder has to know besides the people."""

    network_wh: tuple[int, int]
    num_classes: int
    dims: int
    generator: np.random.Generator
    num_rows: int = 300

    def places(self, people: People, num_rows: int | None = None) -> np.ndarray:
        """Rows for the people, anywhere among the others."""
        return self.generator.permutation(num_rows or self.num_rows)[: len(people.scores)]


@dataclass(frozen=True)
class Head:
    """One layout of one decoder."""

    decoder: str
    encode: Callable[[People, Asked], Tensors]
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of the decoder, besides K, d and the classes."""
    dims: tuple[int, ...] = (3,)
    many_classes: bool = False
    takes_classes: bool = False
    """Whether its decoder is told how many there are."""
    num_rows: int = 300


def _center_size(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), axis=1)


def _one_hot(people: People, asked: Asked) -> np.ndarray:
    scores = np.zeros((len(people.scores), asked.num_classes))
    scores[np.arange(len(scores)), people.class_ids] = people.scores
    return scores


def _flat_keypoints(people: People, asked: Asked) -> np.ndarray:
    return people.keypoints[..., : asked.dims].reshape(len(people.scores), people.keypoints.shape[1] * asked.dims)


def _rows(people: People, asked: Asked, *columns: np.ndarray) -> np.ndarray:
    values = np.concatenate((*columns, _flat_keypoints(people, asked)), axis=1)
    rows = np.full((asked.num_rows, values.shape[1]), 0.01)  # nobody, as networks say it
    rows[asked.places(people)] = values
    return rows


def yolo_pose(people: People, asked: Asked) -> Tensors:
    """(4 + nc + K*d, A)."""
    return {"output0": np.ascontiguousarray(yolo_pose_transposed(people, asked)["output0"].T)}


def yolo_pose_transposed(people: People, asked: Asked) -> Tensors:
    """(A, 4 + nc + K*d)."""
    return {"output0": _rows(people, asked, _center_size(people.boxes_xyxy), _one_hot(people, asked))}


def deepstream(people: People, asked: Asked) -> Tensors:
    """(A, 4 + nc + 3K)."""
    return {"output": _rows(people, asked, people.boxes_xyxy, _one_hot(people, asked))}


def end2end(people: People, asked: Asked) -> Tensors:
    """(300, 6 + K*d)."""
    return {"output0": _rows(people, asked, people.boxes_xyxy, people.scores[:, None], people.class_ids[:, None])}


def yolov7_rows(people: People, asked: Asked) -> Tensors:
    """(A, 6 + 3K); the class confidence is what the box confidence leaves."""
    box_scores = np.sqrt(people.scores)[:, None]
    rows = _rows(people, asked, _center_size(people.boxes_xyxy), box_scores, people.scores[:, None] / box_scores)
    return {"output": rows}


def yolov7_plugin(people: People, asked: Asked) -> Tensors:
    """(1 + M * (6 + 3K), 1, 1): a count, then the people, then what earlier frames left."""
    values = np.concatenate(
        (
            _center_size(people.boxes_xyxy),
            people.scores[:, None],
            people.class_ids[:, None],
            _flat_keypoints(people, asked),
        ),
        axis=1,
    )
    stale = np.full((asked.num_rows - len(values), values.shape[1]), 0.9)
    flat = np.concatenate(([len(values)], values.ravel(), stale.ravel()))
    return {"output0": flat.reshape(-1, 1, 1)}


_ANCHORS = {
    8: [(19, 27), (44, 40), (38, 94)],
    16: [(96, 68), (86, 152), (180, 137)],
    32: [(140, 301), (303, 264), (238, 542)],
    64: [(436, 615), (739, 380), (925, 792)],
}


def _logit(probability: np.ndarray | float) -> Any:
    return np.log(probability) - np.log1p(-np.asarray(probability))


def yolov7_grids(people: People, asked: Asked) -> Tensors:
    """Four of (3, h, w, 6 + 3K), in any order."""
    width, height = asked.network_wh
    num_values = 6 + 3 * people.keypoints.shape[1]
    grids = {stride: np.full((3, height // stride, width // stride, num_values), -9.0) for stride in _ANCHORS}
    for box, score, keypoints in zip(_center_size(people.boxes_xyxy), people.scores, people.keypoints, strict=True):
        # A free cell and anchor that can say this box, on any stride.
        for stride in asked.generator.permutation(list(_ANCHORS)).tolist():
            limits = (width // stride - 1, height // stride - 1)
            column, line = (int(min(max(value // stride, 0), limit)) for value, limit in zip(box[:2], limits, strict=True))
            shift = (box[:2] / stride - (column, line) + 0.5) / 2
            free = [
                anchor
                for anchor, size in enumerate(_ANCHORS[stride])
                if (box[2:] < 3.9 * np.array(size)).all() and grids[stride][anchor, line, column, 4] < -8
            ]
            if free and (shift > 0).all() and (shift < 1).all():
                break
        else:
            raise AssertionError(f"no anchor for {box}")
        row = grids[stride][free[0], line, column]
        row[:2] = _logit(shift)
        row[2:4] = _logit(np.sqrt(box[2:] / np.array(_ANCHORS[stride][free[0]])) / 2)
        row[4:6] = _logit(np.sqrt(score))
        row[6::3] = (keypoints[:, 0] / stride - column + 0.5) / 2
        row[7::3] = (keypoints[:, 1] / stride - line + 0.5) / 2
        row[8::3] = _logit(keypoints[:, 2])
    order = asked.generator.permutation(list(_ANCHORS)).tolist()
    return {f"grid{stride}": grids[stride] for stride in order}


def yolov7_grids_in_channels(people: People, asked: Asked) -> Tensors:
    """Four of (3 * (6 + 3K), h, w)."""
    grids = yolov7_grids(people, asked)
    return {
        name: np.ascontiguousarray(grid.transpose(0, 3, 1, 2)).reshape(-1, *grid.shape[1:3]) for name, grid in grids.items()
    }


def rtmo(people: People, asked: Asked) -> Tensors:
    """(N, 5) and (N, K, d), with the rows of zeros that TensorRT's export pads with."""
    dets = np.zeros((len(people.scores) + 2, 5))
    keypoints = np.zeros((len(dets), people.keypoints.shape[1], asked.dims))
    places = asked.places(people, len(dets))
    dets[places] = np.concatenate((people.boxes_xyxy, people.scores[:, None]), axis=1)
    keypoints[places] = people.keypoints[..., : asked.dims]
    return {"dets": dets, "keypoints": keypoints}


def nas_batch(people: People, asked: Asked) -> Tensors:
    """Count, boxes, scores, keypoints; beyond the count, what NMS took away."""
    num_people, num_keypoints = people.keypoints.shape[:2]
    boxes, scores = np.tile([0.0, 0, 9, 9], (asked.num_rows, 1)), np.full(asked.num_rows, 0.95)
    keypoints = np.full((asked.num_rows, num_keypoints, 3), 0.5)
    boxes[:num_people], scores[:num_people], keypoints[:num_people] = people.boxes_xyxy, people.scores, people.keypoints
    return {"count": np.array([num_people]), "boxes": boxes, "scores": scores, "joints": keypoints}


def nas_raw(people: People, asked: Asked) -> Tensors:
    """Boxes (A, 4), scores (A, 1), coordinates (A, K, 2) and their scores (A, K)."""
    rows = _rows(people, asked, people.boxes_xyxy, people.scores[:, None])
    keypoints = rows[:, 5:].reshape(len(rows), -1, 3)
    return {"boxes": rows[:, :4], "scores": rows[:, 4:5], "joints": keypoints[..., :2], "joint_scores": keypoints[..., 2]}


def nas_flat(people: People, asked: Asked) -> Tensors:
    """(N, 6 + 3K), nobody but the people."""
    image = np.zeros((len(people.scores), 1))
    columns = (image, people.boxes_xyxy, people.scores[:, None], _flat_keypoints(people, asked))
    return {"flat": np.concatenate(columns, axis=1)}


HEADS = {
    "yolo-pose": Head("yolo-pose", yolo_pose, {"output": "output0"}, (2, 3), True, True),
    "yolo-pose transposed": Head("yolo-pose", yolo_pose_transposed, {"transposed": True}, (2, 3), True, True),
    "deepstream-yolo-pose": Head("deepstream-yolo-pose", deepstream, {}, (3,), True, True),
    "end2end": Head("end2end", end2end, {}, (2, 3), True),
    "yolov7-pose rows": Head("yolov7-pose", yolov7_rows, {"form": "rows"}),
    "yolov7-pose plugin": Head("yolov7-pose", yolov7_plugin, {"form": "plugin"}, num_rows=1000),
    "yolov7-pose grids": Head("yolov7-pose", yolov7_grids, {"form": "grids"}),
    "yolov7-pose grids in channels": Head("yolov7-pose", yolov7_grids_in_channels, {"form": "grids"}),
    "rtmo": Head("rtmo", rtmo, {}, (2, 3)),
    "yolo-nas-pose batch": Head(
        "yolo-nas-pose", nas_batch, {"boxes": "boxes", "scores": "scores", "keypoints": "joints", "count": "count"}
    ),
    "yolo-nas-pose raw": Head(
        "yolo-nas-pose",
        nas_raw,
        {"boxes": "boxes", "scores": "scores", "keypoints": "joints", "keypoint_scores": "joint_scores"},
    ),
    "yolo-nas-pose flat": Head("yolo-nas-pose", nas_flat, {"flat": "flat"}),
}
"""Every layout of a whole frame."""
