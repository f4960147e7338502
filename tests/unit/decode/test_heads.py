"""Which head a model has, told by shapes, names and metadata, and why it is none or may be several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads import HEADS, Asked, draw_people, frame_with
from tensortap.decode.heads import recognise
from tensortap.decode.layouts import LAYOUTS
from tensortap.errors import ModelError
from tensortap.registry import DECODERS, load
from tensortap.types import Poses

POSE = {"task": "pose", "kpt_shape": [17, 3], "names": {0: "person"}}
V7_GRIDS = {"a": (3, 80, 80, 57), "b": (3, 40, 40, 57), "c": (3, 20, 20, 57), "d": (3, 10, 10, 57)}


@pytest.mark.parametrize(
    ("shape", "metadata", "expected"),
    [
        ((56, 8400), POSE, (17, 3, 1, False)),
        ((8400, 56), POSE, (17, 3, 1, True)),
        ((56, None), POSE, (17, 3, 1, False)),
        ((None, 56), POSE, (17, 3, 1, True)),
        ((56, 8400), {}, (17, 3, 1, False)),
        # The channels win over names that were inherited from a detection model.
        ((56, 8400), POSE | {"names": dict(enumerate("abcdefgh"))}, (17, 3, 1, False)),
        ((4 + 3 + 21 * 2, 2100), {"kpt_shape": [21, 2], "names": ["a", "b", "c"]}, (21, 2, 3, False)),
        # A tiny network input has fewer anchors than values.
        ((56, 21), POSE, (17, 3, 1, False)),
        ((21, 56), POSE, (17, 3, 1, True)),
        # Two classes in few rows are no end-to-end head.
        ((525, 57), POSE | {"names": {0: "adult", 1: "child"}}, (17, 3, 2, True)),
        ((300, 57), POSE | {"end2end": False}, (17, 3, 2, True)),
        # The exporter's name for its output, where an engine has lost the metadata.
        ((8400, 56), {}, (17, 3, 1, True)),
    ],
)
def test_yolo_pose(shape: tuple[int | None, ...], metadata: dict[str, Any], expected: tuple[int, int, int, bool]) -> None:
    head = recognise({"output0": shape}, metadata)
    assert head.decoder == "yolo-pose"
    assert tuple(head.arguments[key] for key in ("num_keypoints", "keypoint_dims", "num_classes", "transposed")) == expected
    assert "output0" in head.reason


@pytest.mark.parametrize(
    ("outputs", "about", "decoder", "arguments"),
    [
        ({"output0": (300, 57)}, {"metadata": POSE | {"end2end": True}}, "end2end", {}),
        ({"output0": (300, 57)}, {"metadata": POSE}, "end2end", {}),
        ({"output0": (300, 57)}, {}, "end2end", {}),
        ({"output0": (300, 6 + 42)}, {"metadata": POSE | {"kpt_shape": [21, 2]}}, "end2end", {"keypoint_dims": 2}),
        ({"out": (25500, 57)}, {"network_wh": (640, 640)}, "yolov7-pose", {"form": "rows"}),
        ({"out": (57375, 57)}, {}, "yolov7-pose", {"form": "rows"}),
        ({"out": (255, 57)}, {"network_wh": (64, 64)}, "yolov7-pose", {"form": "rows"}),
        ({"prob": (57001, 1, 1)}, {}, "yolov7-pose", {"form": "plugin"}),
        ({"prob": (57001,)}, {}, "yolov7-pose", {"form": "plugin"}),
        (V7_GRIDS, {}, "yolov7-pose", {"form": "grids", "outputs": ["a", "b", "c", "d"]}),
        ({"a": (171, 80, 80), "b": (171, 40, 40)}, {}, "yolov7-pose", {"form": "grids"}),
        ({"rows": (25500, 57), **V7_GRIDS}, {}, "yolov7-pose", {"form": "rows", "outputs": ["rows"]}),
        ({"a": (3, 80, 80, 27), "b": (3, 40, 40, 27)}, {}, "yolov7-pose", {"num_keypoints": 7}),
        ({"output": (8400, 56)}, {}, "deepstream-yolo-pose", {"num_classes": 1}),
        ({"output": (8400, 57)}, {"kpt_shape": (17, 3)}, "deepstream-yolo-pose", {"num_classes": 2}),
        ({"output": (8400, 26)}, {"kpt_shape": (7, 3)}, "deepstream-yolo-pose", {"num_keypoints": 7}),
        ({"anything": (25500, 56)}, {"network_wh": (640, 640)}, "deepstream-yolo-pose", {}),
        ({"dets": (None, 5), "keypoints": (None, 17, 3)}, {}, "rtmo", {"dets": "dets", "keypoints": "keypoints"}),
        ({"b": (20, 133, 3), "a": (20, 5)}, {}, "rtmo", {"dets": "a", "num_keypoints": 133}),
        (
            {"n": (1,), "b": (1000, 4), "s": (1000,), "j": (1000, 17, 3)},
            {},
            "yolo-nas-pose",
            {"count": "n", "boxes": "b", "scores": "s", "keypoints": "j", "keypoint_scores": None},
        ),
        (
            {"914": (8400, 4), "902": (8400, 1), "939": (8400, 17, 2), "940": (8400, 17)},
            {},
            "yolo-nas-pose",
            {"count": None, "boxes": "914", "scores": "902", "keypoints": "939", "keypoint_scores": "940"},
        ),
        ({"graph2_flat_predictions": (None, 57)}, {}, "yolo-nas-pose", {"flat": "graph2_flat_predictions"}),
        ({"simcc_x": (133, 576), "simcc_y": (133, 768)}, {}, "simcc", {"num_keypoints": 133}),
        ({"simcc_y": (17, 512), "simcc_x": (17, 384)}, {}, "simcc", {"simcc_x": "simcc_x", "simcc_y": "simcc_y"}),
        ({"1": (17, 384), "2": (17, 512)}, {"network_wh": (192, 256)}, "simcc", {"simcc_x": "1"}),
        ({"output": (17, 64, 48)}, {}, "heatmap", {"num_keypoints": 17}),
        ({"heatmaps": (21, 64, 64)}, {}, "heatmap", {"num_keypoints": 21}),
        ({"out": (21, 64, 64)}, {"kpt_shape": (21, 3)}, "heatmap", {"num_keypoints": 21}),
    ],
)
def test_other_heads(outputs: dict[str, Any], about: dict[str, Any], decoder: str, arguments: dict[str, Any]) -> None:
    head = recognise(outputs, about.pop("metadata", {}), **about)
    assert head.decoder == decoder, head.reason
    assert {key: head.arguments[key] for key in arguments} == arguments
    load("decoder", DECODERS, head.decoder)(**head.arguments)
    assert all(name in head.reason for name in head.arguments.get("outputs") or [])


@pytest.mark.parametrize(
    ("outputs", "metadata", "message"),
    [
        ({"output0": (84, 8400)}, {"task": "detect", "names": {}}, "is a detect model"),
        ({"output0": (84, 8400)}, {}, r"\(84, 8400\).*expects 56 rows.*detection export.*re-export the -pose.*--kpt-shape"),
        ({"output0": (84, 8400)}, {"names": dict(enumerate(range(80)))}, "detection export"),
        ({"output0": (5, 8400)}, {}, "expects 56 rows"),
        ({"output0": (57, 300)}, POSE | {"end2end": True}, r"\(57, 300\) should be an end-to-end head, \(people, 57\)"),
        ({"a": (56, 8400), "b": (1, 2)}, POSE, r"outputs \(a \(56, 8400\), b \(1, 2\)\) are those of no pose head"),
        ({"probabilities": (1000,)}, {}, "no pose head"),
        ({"dets": (100, 5), "labels": (100,)}, {}, "no pose head"),
        ({"dets": (9, 5), "keypoints": (9, 17, 3)}, POSE | {"kpt_shape": [5, 3]}, "no pose head"),
        ({"output0": (None, None)}, POSE, "neither axis is known"),
        ({"output0": (56, 8400)}, {"kpt_shape": "many"}, "kpt_shape 'many'"),
        ({"output0": (56, 8400)}, {"kpt_shape": ["17", 3]}, "kpt_shape"),
        ({}, {}, "no pose head"),
    ],
)
def test_other_models_are_explained(outputs: dict[str, Any], metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        recognise(outputs, metadata)


@pytest.mark.parametrize(
    ("shape", "network_wh", "decoders"),
    [
        ((8400, 56), None, ["yolo-pose", "deepstream-yolo-pose"]),
        ((120, 57), None, ["end2end", "yolov7-pose", "yolo-nas-pose"]),
        ((8400, 57), (640, 640), ["yolov7-pose"]),
        ((5, 64, 64), None, ["heatmap"]),
    ],
)
def test_doubts_are_explained_and_settled_by_asking(shape: tuple[int, ...], network_wh: Any, decoders: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        recognise({"out": shape}, {}, network_wh=network_wh)
    for name in decoders:
        assert f"--decoder {name} if" in str(caught.value)
        assert recognise({"out": shape}, {}, network_wh=network_wh, decoder=name).decoder == name
    assert str(caught.value).count("--decoder") == len(decoders)


def test_another_decoder_than_the_one_that_fits_is_explained() -> None:
    with pytest.raises(ModelError, match=r"--decoder rtmo: .*output0 \(56, 8400\).*expects \(people, 5\).*--decoder yolo-pose"):
        recognise({"output0": (56, 8400)}, POSE, decoder="rtmo")
    with pytest.raises(ModelError, match=r"--decoder yolo-pose: the outputs are x \(3, 4, 5\).*\(56, anchors\).*--kpt-shape"):
        recognise({"x": (3, 4, 5)}, {}, decoder="yolo-pose")


def test_keypoints_told_by_the_user() -> None:
    head = recognise({"output0": (4 + 2 + 21, 8400)}, {}, kpt_shape=(7, 3))
    assert (head.arguments["num_keypoints"], head.arguments["num_classes"]) == (7, 2)
    assert "--kpt-shape 7x3" in head.reason
    assert recognise({"output0": (56, 8400)}, POSE | {"kpt_shape": [51, 2]}, kpt_shape=(17, 3)).arguments["num_keypoints"] == 17


def test_every_decoder_has_a_layout() -> None:
    assert set(LAYOUTS) == set(DECODERS)


@pytest.mark.parametrize("name", HEADS)
def test_what_is_encoded_is_recognised_and_decoded(name: str) -> None:
    """From shapes alone to people, as a pipeline does it; K and the classes are told where shapes cannot say them."""
    layout = HEADS[name]
    generator = np.random.default_rng(0)
    num_rows = {"yolov7-pose rows": 25500, "yolov7-pose plugin": 1000, "end2end": 300}.get(name, 8400)
    people = draw_people(generator, 3, 17, 1, (640, 640))
    tensors = layout.encode(people, Asked((640, 640), 1, 3, generator, num_rows))
    metadata = POSE if layout.decoder == "yolo-pose" else {}
    head = recognise({key: tensor.shape for key, tensor in tensors.items()}, metadata, network_wh=(640, 640))
    assert head.decoder == layout.decoder
    poses = load("decoder", DECODERS, head.decoder)(**head.arguments)(frame_with(tensors, source_wh=(640, 640)))
    assert isinstance(poses, Poses)
    np.testing.assert_allclose(poses.keypoints[..., :2], people.keypoints[..., :2], atol=1e-3)


SIZES = st.sampled_from([None, 1, 2, 3, 4, 5, 6, 17, 51, 56, 57, 58, 80, 171, 192, 256, 300, 384, 1000, 8400, 25500, 57001])


@settings(max_examples=400, deadline=None)
@given(
    outputs=st.dictionaries(
        st.sampled_from(["output0", "output", "dets", "keypoints", "simcc_x", "simcc_y", "heatmap", "flat", "1"]),
        st.lists(SIZES, max_size=4).map(tuple),
        max_size=5,
    ),
    metadata=st.fixed_dictionaries(
        {},
        optional={
            "task": st.just("pose"),
            "kpt_shape": st.sampled_from([[17, 3], [17, 2], [5, 3], [1, 3]]),
            "names": st.sampled_from([{0: "person"}, {0: "a", 1: "b"}, []]),
            "end2end": st.booleans(),
        },
    ),
    network_wh=st.sampled_from([None, (640, 640), (192, 256), (64, 64)]),
    decoder=st.sampled_from([None, *sorted(LAYOUTS)]),
)
def test_any_outputs_give_a_head_that_can_be_made_or_an_explanation(
    outputs: dict[str, Any], metadata: dict[str, Any], network_wh: Any, decoder: str | None
) -> None:
    try:
        head = recognise(outputs, metadata, network_wh=network_wh, decoder=decoder)
    except ModelError:
        return
    assert decoder in (None, head.decoder)
    load("decoder", DECODERS, head.decoder)(**head.arguments)
