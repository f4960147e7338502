"""Which head a model has, told by shapes and metadata, and why it is none."""

from __future__ import annotations

from typing import Any

import pytest

from tensortap.decode.heads import recognise
from tensortap.errors import ModelError

POSE = {"task": "pose", "kpt_shape": [17, 3], "names": {0: "person"}}


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
    ],
)
def test_pose_heads(shape: tuple[int | None, ...], metadata: dict[str, Any], expected: tuple[int, int, int, bool]) -> None:
    head = recognise({"output0": shape}, metadata)
    assert head.decoder == "yolo-pose"
    assert tuple(head.arguments[key] for key in ("num_keypoints", "keypoint_dims", "num_classes", "transposed")) == expected
    assert "output0" in head.reason


@pytest.mark.parametrize(
    ("outputs", "metadata", "message"),
    [
        ({"output0": (84, 8400)}, {"task": "detect", "names": {}}, "is a detect model"),
        ({"output0": (84, 8400)}, {}, r"\(84, 8400\).*expects 56 rows.*detection export.*re-export the -pose"),
        ({"output0": (84, 8400)}, {"names": dict(enumerate(range(80)))}, "detection export"),
        ({"output0": (5, 8400)}, {}, "expects 56 rows"),
        ({"output0": (300, 57)}, POSE | {"end2end": True}, "end-to-end head"),
        ({"output0": (300, 57)}, POSE, "end-to-end head"),
        ({"a": (56, 8400), "b": (1, 2)}, POSE, r"2 outputs \(a \(56, 8400\), b"),
        ({"output0": (17, 64, 48)}, {}, "pose head has two axes"),
        ({"output0": (None, None)}, POSE, "neither axis is known"),
        ({"output0": (56, 8400)}, {"kpt_shape": "many"}, "kpt_shape 'many'"),
        ({"output0": (56, 8400)}, {"kpt_shape": ["17", 3]}, "kpt_shape"),
    ],
)
def test_other_models_are_explained(outputs: dict[str, Any], metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        recognise(outputs, metadata)
