"""Why a row became a person or did not: what `inspect` says is what the decoder does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads import HEADS, Asked, People, draw_people, frame_of, frame_with
from tensortap.decode.base import PoseDecoder
from tensortap.decode.explain import Explanation, explain
from tensortap.decode.grids import grids_of, place_of
from tensortap.decode.region import HeatmapDecoder
from tensortap.geometry import letterbox
from tensortap.registry import DECODERS, load

BOX = letterbox("ultralytics", (640, 640), (640, 640))
# Two people, the first one again, somebody else, and one whose box will be none.
BOXES = np.array(
    [[100, 100, 200, 300], [300, 100, 400, 300], [102, 100, 202, 300], [500, 100, 600, 300], [10, 400, 50, 500]], float
)


def decoder_for(name: str, **settings: Any) -> PoseDecoder:
    head = HEADS[name]
    decoder: PoseDecoder = load("decoder", DECODERS, head.decoder)(**head.arguments, num_keypoints=3, **settings)
    return decoder


def explained(name: str, people: People, **settings: Any) -> Explanation:
    encoded = HEADS[name].encode(people, Asked((640, 640), 1, 3, np.random.default_rng(0), 50))
    return explain(
        decoder_for(name, **settings), frame_of({key: value.astype(np.float32) for key, value in encoded.items()}, BOX)
    )


def some_people(scores: list[float]) -> People:
    boxes = BOXES.copy()
    boxes[4, 2] = np.nan
    keypoints = np.full((5, 3, 3), 0.5)
    return People(boxes, keypoints, np.array(scores), np.zeros(5, int))


@pytest.mark.parametrize(
    "name", ["yolo-pose", "yolo-pose transposed", "deepstream-yolo-pose", "yolov7-pose rows", "yolo-nas-pose raw"]
)
def test_every_reason(name: str) -> None:
    told = explained(name, some_people([0.9, 0.8, 0.7, 0.2, 0.85]), max_det=1)
    assert told.num_rows == 50
    assert told.counts == {"kept": 1, "suppressed": 1, "max-det": 1, "broken": 1, "score": 46}
    best, second, third, fourth = told.rows[:4]
    assert (best.verdict, best.reason) == ("kept", "a person")
    assert (second.verdict, second.reason) == ("max-det", "1 are better (--max-det)")
    assert third.reason == f"suppressed by row {best.row}: IoU 0.96 is above --iou-thres 0.45"
    assert fourth.reason == "score not above 0.25 (--conf-thres)"
    assert told.rows[-1].reason == "boxes that are no numbers"
    np.testing.assert_allclose(best.box_xyxy, BOXES[0], atol=1e-3)
    assert told.summary == "50 rows: 1 kept, 1 suppressed, 1 over max-det, 1 broken, 46 below the score"
    assert len(told.poses) == 1


def test_a_broken_row_of_a_low_score_is_only_a_row_of_a_low_score() -> None:
    """As while decoding, where nobody looks at it."""
    told = explained("yolo-pose", some_people([0.9, 0.8, 0.7, 0.2, 0.01]))
    assert "broken" not in told.counts


def test_classes_do_not_suppress_each_other() -> None:
    people = some_people([0.9, 0.8, 0.7, 0.6, 0.5])._replace(class_ids=np.array([0, 0, 1, 0, 0]))
    encoded = HEADS["yolo-pose"].encode(people, Asked((640, 640), 2, 3, np.random.default_rng(0), 50))
    decoder = decoder_for("yolo-pose", num_classes=2)
    told = explain(decoder, frame_of({key: value.astype(np.float32) for key, value in encoded.items()}, BOX))
    assert told.counts == {"kept": 4, "broken": 1, "score": 45}
    assert [row.class_id for row in told.rows[:4]] == [0, 0, 1, 0]


def test_the_best_rows_are_shown_and_no_more() -> None:
    decoder = decoder_for("yolo-pose")
    encoded = HEADS["yolo-pose"].encode(
        some_people([0.9, 0.8, 0.7, 0.2, 0.85]), Asked((640, 640), 1, 3, np.random.default_rng(0), 50)
    )
    told = explain(decoder, frame_of(encoded, BOX), max_rows=2)
    assert [row.verdict for row in told.rows] == ["kept", "kept", "broken"]


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    share=st.sampled_from([0, 0.01, 0.3]),
    conf_thres=st.sampled_from([0.0, 0.25, 0.8]),
    iou_thres=st.sampled_from([0.1, 0.45, 0.9]),
    max_det=st.sampled_from([1, 3, 300]),
    clip=st.booleans(),
)
def test_the_people_are_those_of_the_decoder(
    name: str, seed: int, share: float, conf_thres: float, iou_thres: float, max_det: int, clip: bool
) -> None:
    generator = np.random.default_rng(seed)
    people = draw_people(generator, 6, 3, 1, (256, 256))
    tensors = {}
    for key, tensor in HEADS[name].encode(people, Asked((256, 256), 1, 3, generator, HEADS[name].num_rows)).items():
        noise = generator.choice([np.nan, np.inf, 0.5, 300, -5, 0.9], tensor.shape)
        tensors[key] = np.where(generator.random(tensor.shape) < share, noise, tensor).astype(np.float32)
    decoder = decoder_for(name, conf_thres=conf_thres, iou_thres=iou_thres, max_det=max_det, clip=clip)
    frame = frame_with(tensors, source_wh=(1280, 720), network_wh=(256, 256))
    poses, told = decoder(frame), explain(decoder, frame)
    for field in ("boxes_xyxy", "scores", "keypoints", "class_ids"):
        np.testing.assert_array_equal(getattr(told.poses, field), getattr(poses, field), err_msg=field)
    assert told.counts.get("kept", 0) == len(poses)
    assert sum(told.counts.values()) == told.num_rows


def test_a_region_has_one_row() -> None:
    maps = np.full((17, 64, 48), 0.1, np.float32)
    told = explain(HeatmapDecoder(), frame_of({"maps": maps}, letterbox("rtmo", (192, 256), (192, 256))))
    assert told.counts == {"score": 1}
    assert told.rows[0].place == ""


def test_nobody_at_all() -> None:
    told = explain(decoder_for("rtmo"), frame_of({"dets": np.empty((0, 5)), "keypoints": np.empty((0, 3, 3))}, BOX))
    assert (told.num_rows, told.rows, len(told.poses)) == (0, [], 0)
    assert told.summary == "0 rows: none"


def test_grids() -> None:
    assert [grid.stride for grid in grids_of(8400, (640, 640))] == [8, 16, 32]
    assert [grid.num_anchors for grid in grids_of(25500, (640, 640))] == [3, 3, 3, 3]
    assert [(grid.height, grid.width) for grid in grids_of(6300, (640, 480))] == [(60, 80), (30, 40), (15, 20)]
    assert [grid.stride for grid in grids_of(34000, (1280, 1280))] == [8, 16, 32, 64]
    assert grids_of(300, (640, 640)) == ()
    found = grids_of(25500, (640, 640))
    # Three anchors a cell: the second anchor of the second cell of the second line, at stride 16.
    row = 3 * 6400 + 1600 + 40 + 1
    grid, column, line = place_of(row, found) or (None, None, None)
    assert (grid and grid.stride, column, line) == (16, 1, 1)
    assert place_of(25500, found) is None


@pytest.mark.parametrize(("name", "num_rows"), [("yolo-pose", 8400), ("yolov7-pose rows", 25500), ("yolov7-pose grids", 0)])
def test_score_maps_show_the_best_anchor_of_a_cell(name: str, num_rows: int) -> None:
    people = draw_people(np.random.default_rng(0), 2, 3, 1, (640, 640))
    encoded = HEADS[name].encode(people, Asked((640, 640), 1, 3, np.random.default_rng(1), num_rows or 300))
    maps = decoder_for(name).score_maps(frame_of({key: value.astype(np.float32) for key, value in encoded.items()}, BOX))
    strides = [8, 16, 32, 64] if "v7" in name else [8, 16, 32]
    assert [(each.name, each.scores.shape) for each in maps] == [(f"stride {s}", (640 // s, 640 // s)) for s in strides]
    found = np.sort(np.concatenate([each.scores.ravel() for each in maps]))[::-1]
    np.testing.assert_allclose(found[:2], people.scores, atol=1e-6)
    assert found[2] < 0.1
    if "grids" in name:  # where their centres are
        centers = (people.boxes_xyxy[:, :2] + people.boxes_xyxy[:, 2:]) / 2
        for score, center in zip(people.scores, centers, strict=True):
            [(stride, place)] = [
                (640 // len(each.scores), np.argwhere(np.abs(each.scores - score) < 1e-6)[0])
                for each in maps
                if (np.abs(each.scores - score) < 1e-6).any()
            ]
            assert (np.abs(place[::-1] * stride + stride / 2 - center) <= stride).all()
