"""What models give when they are broken, or of another head: counted, reported once a stream, and never made into people."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads import HEADS, Asked, People, draw_people, frame_of
from tensortap.decode.base import PoseDecoder
from tensortap.errors import DecodeError
from tensortap.geometry import LETTERBOX_POLICIES, letterbox
from tensortap.registry import DECODERS, load
from tensortap.types import Poses

BOX = letterbox("ultralytics", (640, 480), (640, 640))


def decoder_for(name: str, num_keypoints: int = 17, **settings: Any) -> PoseDecoder:
    head = HEADS[name]
    decoder: PoseDecoder = load("decoder", DECODERS, head.decoder)(**head.arguments, num_keypoints=num_keypoints, **settings)
    return decoder


def encode(name: str, people: People, dtype: type = np.float32) -> dict[str, np.ndarray]:
    encoded = HEADS[name].encode(people, Asked((640, 640), 1, 3, np.random.default_rng(0), HEADS[name].num_rows))
    return {key: tensor.astype(dtype) for key, tensor in encoded.items()}


def filled(name: str, value: float, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """The tensors of a head, all of one value."""
    people = draw_people(np.random.default_rng(0), 3, 17, 1, (640, 480))
    with np.errstate(over="ignore"):
        return {key: np.full(tensor.shape, value, np.float64).astype(dtype) for key, tensor in encode(name, people).items()}


def check_sane(poses: Poses, decoder: PoseDecoder) -> None:
    assert len(poses) <= decoder.max_det
    for array in (poses.boxes_xyxy, poses.scores, poses.keypoints):
        assert np.isfinite(array).all()
        assert array.dtype == np.float32
    assert (poses.scores > decoder.conf_thres).all()
    assert (poses.scores <= 1.1).all()
    assert (poses.boxes_xyxy[:, 2:] >= poses.boxes_xyxy[:, :2]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 70_000.0, 1e6])
@pytest.mark.parametrize("name", HEADS)
def test_broken_values_are_nobody(name: str, value: float, dtype: type) -> None:
    decoder = decoder_for(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(decoder(frame_of(filled(name, value, dtype), BOX))) == 0
    # -inf is a very low score, and more people than fit a count with scores of -1e30.
    if value > 0 or np.isnan(value):
        assert decoder.rejected[0], "nothing was reported"


@pytest.mark.parametrize("name", HEADS)
def test_zeros_are_reported_where_a_sound_network_gives_none(name: str, caplog: pytest.LogCaptureFixture) -> None:
    decoder = decoder_for(name)
    frame = frame_of(filled(name, 0), BOX)
    assert len(decoder(frame)) == len(decoder(frame)) == 0
    if name in ("rtmo", "yolov7-pose plugin", "yolo-nas-pose batch", "yolo-nas-pose flat"):
        assert not decoder.rejected  # after NMS, that is nobody
    else:
        if "grids" in name:  # a logit of 0 is a score of 1/4 for both, no more than the threshold
            assert decoder.conf_thres == 0.25
        assert dict(decoder.rejected[0]) == {"outputs that are zero throughout": 2}
        assert len(caplog.records) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
@pytest.mark.parametrize("where", ["box", "score", "keypoint"])
@pytest.mark.parametrize("name", [name for name in HEADS if "grids" not in name])
def test_one_broken_person_costs_nobody_else(name: str, where: str, value: float) -> None:
    people = draw_people(np.random.default_rng(0), 4, 17, 1, (640, 480))
    broken = people._replace(
        boxes_xyxy=people.boxes_xyxy.copy(), scores=people.scores.copy(), keypoints=people.keypoints.copy()
    )
    if where == "box":
        broken.boxes_xyxy[1, 2] = value
    elif where == "score":
        broken.scores[1] = value
    else:
        broken.keypoints[1, 3, 1] = value
    decoder = decoder_for(name)
    with np.errstate(all="ignore"):
        tensors = encode(name, broken)
    poses = decoder(frame_of(tensors, letterbox("ultralytics", (640, 640), (640, 640))))
    check_sane(poses, decoder)
    np.testing.assert_allclose(poses.scores, np.delete(people.scores, 1), atol=1e-6)
    np.testing.assert_allclose(poses.keypoints[..., :2], np.delete(people.keypoints[..., :2], 1, axis=0), atol=1e-3)
    assert sum(decoder.rejected[0].values()) == 1
    [reason] = decoder.rejected[0]
    assert where in reason


@pytest.mark.parametrize("name", [name for name in HEADS if decoder_for(name).suppress and "grids" not in name])
def test_who_was_suppressed_by_a_broken_pose_has_its_place(name: str) -> None:
    boxes = np.array([[100.0, 100, 200, 300], [102, 100, 202, 300], [300, 100, 400, 300]])
    keypoints = np.full((3, 17, 3), 0.5)
    keypoints[0, 4, 0] = np.nan
    people = People(boxes, keypoints, np.array([0.9, 0.8, 0.7]), np.zeros(3, int))
    decoder = decoder_for(name)
    poses = decoder(frame_of(encode(name, people), BOX))
    np.testing.assert_allclose(poses.scores, [0.8, 0.7], atol=1e-6)
    assert dict(decoder.rejected[0]) == {"keypoints that are no numbers": 1}


def test_boxes_of_another_layout_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """Corners read as centre and size may pass; centre and size read as corners end left of where they begin."""
    people = draw_people(np.random.default_rng(0), 3, 17, 1, (640, 480))
    rows = encode("yolo-pose transposed", people)["output0"]
    decoder = decoder_for("deepstream-yolo-pose")
    decoder(frame_of({"output": rows}, BOX))
    assert decoder.rejected[0]["boxes turned inside out"] > 0
    assert "or its head is not deepstream-yolo-pose" in caplog.text


@pytest.mark.parametrize(("score", "is_told"), [(0.2, False), (0.3, True)])
def test_a_box_turned_inside_out_that_nobody_believes_in_is_left_out_quietly(
    score: float, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    people = draw_people(np.random.default_rng(0), 2, 17, 1, (640, 480))._replace(scores=np.array([0.9, score]))
    people.boxes_xyxy[1, 2] = people.boxes_xyxy[1, 0] - 5
    decoder = decoder_for("end2end", conf_thres=0.001)
    tensors = encode("end2end", people)
    tensors["output0"][:, 4] = np.where(tensors["output0"][:, 4] < 0.1, 0, tensors["output0"][:, 4])
    np.testing.assert_allclose(decoder(frame_of(tensors, BOX)).scores, [0.9])
    assert dict(decoder.rejected[0]) == {"boxes turned inside out": 1}
    assert bool(caplog.records) is is_told


def test_percentages_are_no_scores() -> None:
    decoder = decoder_for("end2end")
    people = draw_people(np.random.default_rng(0), 3, 17, 1, (640, 480))
    tensors = encode("end2end", people._replace(scores=people.scores * 100))
    assert len(decoder(frame_of(tensors, BOX))) == 0
    assert decoder.rejected[0]["scores above 1.1"] == 3


@pytest.mark.parametrize("index", [np.nan, -3, 1e12])
def test_classes_that_are_none(index: float) -> None:
    people = draw_people(np.random.default_rng(0), 3, 17, 1, (640, 480))
    tensors = encode("end2end", people)
    tensors["output0"][:, 5] = index
    decoder = decoder_for("end2end")
    assert len(decoder(frame_of(tensors, BOX))) == 0
    assert decoder.rejected[0]["classes that are no index"] == 3


@pytest.mark.parametrize("count", [np.nan, -1, np.inf])
@pytest.mark.parametrize("name", ["yolov7-pose plugin", "yolo-nas-pose batch"])
def test_counts_that_are_none(name: str, count: float) -> None:
    tensors = encode(name, draw_people(np.random.default_rng(0), 3, 17, 1, (640, 480)))
    next(iter(tensors.values())).reshape(-1)[0] = count
    decoder = decoder_for(name)
    assert len(decoder(frame_of(tensors, BOX))) == 0
    assert dict(decoder.rejected[0]) == {"a count of people that is no number": 1}


def test_every_stream_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    decoder = decoder_for("yolo-pose")
    tensors = filled("yolo-pose", np.nan)
    with caplog.at_level(logging.WARNING):
        for source_id in (0, 1, 0, 1, 0):
            decoder(frame_of(tensors, BOX, source_id=source_id))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["camera0", "camera1"]
    assert "scores that are no numbers" in caplog.text
    assert "tensortap inspect" in caplog.text
    assert decoder.rejected[0] == {"scores that are no numbers": 900}
    assert decoder.rejected[1] == {"scores that are no numbers": 600}


ODD = st.sampled_from([0, -1, 0.5, 1, 3, 300, 640, 1e5, -1e5, 1e30, np.nan, np.inf, -np.inf])
TYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64])


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    odd=st.lists(ODD, min_size=1, max_size=6),
    share=st.sampled_from([0.001, 0.05, 0.5, 1]),
    dtype=TYPES,
    policy=st.sampled_from(sorted(LETTERBOX_POLICIES)),
    source_wh=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    num_keypoints=st.sampled_from([1, 5, 17, 133]),
    conf_thres=st.sampled_from([0.0, 0.25, 1.0]),
    max_det=st.sampled_from([1, 300]),
    clip=st.booleans(),
)
def test_noise_never_becomes_nonsense(
    name: str,
    seed: int,
    odd: list[float],
    share: float,
    dtype: type,
    policy: str,
    source_wh: tuple[int, int],
    num_keypoints: int,
    conf_thres: float,
    max_det: int,
    clip: bool,
) -> None:
    generator = np.random.default_rng(seed)
    people = draw_people(generator, 4, num_keypoints, 1, (640, 640))
    tensors = {}
    for key, tensor in encode(name, people, np.float64).items():
        noisy = np.where(generator.random(tensor.shape) < share, generator.choice(odd, tensor.shape), tensor)
        with np.errstate(all="ignore"):
            tensors[key] = noisy.astype(dtype)
    decoder = decoder_for(name, num_keypoints, conf_thres=conf_thres, max_det=max_det, clip=clip)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        poses = decoder(frame_of(tensors, letterbox(policy, source_wh, (640, 640))))
        decoder.score_maps(frame_of(tensors, letterbox(policy, source_wh, (640, 640))))
    check_sane(poses, decoder)


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 17, 57]), max_size=4).map(tuple), min_size=4, max_size=4),
    missing=st.booleans(),
)
def test_any_shape_is_decoded_or_explained(name: str, shapes: list[tuple[int, ...]], missing: bool) -> None:
    keys = list(filled(name, 0))
    tensors = {key: np.zeros(shape, np.float32) for key, shape in zip(keys[int(missing) :], shapes, strict=False)}
    decoder = decoder_for(name)
    try:
        poses = decoder(frame_of(tensors, BOX))
    except DecodeError:
        return
    assert len(poses) == 0
