"""How each head is recognised: by names, shapes and metadata of the outputs. The layouts within are the decoders'."""

from __future__ import annotations

from collections.abc import Callable

from tensortap.decode.outputs import Feeding, Head, Layout, Match, Outputs, Shape, text_of

_MAX_PEOPLE = 1000
"""Heads that have had their NMS give at most so many rows; grids of anchors have more."""

_MMDET = Feeding(letterbox="rtmo", color="bgr", scale=1.0)
"""`PoseDataPreprocessor` with mean 0 and standard deviation 1 in the configurations of RTMO and YOLOX-Pose."""
_NAS = Feeding(letterbox="rtmo", color="bgr")
"""`default_yolo_nas_pose_coco_processing_params` of super-gradients; whose exports that take bytes do it themselves."""
_IMAGENET = Feeding("nvinfer-symmetric-bilinear", scale=1 / 57.38, mean=(123.675, 116.28, 103.53))
"""ImageNet's mean, with the mean of its standard deviations (58.395, 57.12, 57.375): engines have one factor."""


def _yolo_pose(asked: Outputs) -> Match | None:
    keypoints = asked.keypoints
    if asked.rows is None or asked.metadata.get("end2end") is True:
        return None
    name, first, second = asked.rows
    in_columns = _values_come_first(first, second, 4 + (asked.num_names or 1) + keypoints.num_values)
    channels = first if in_columns else second
    # The channels decide: metadata of some exports list the classes of the model that they were trained from.
    num_classes = (channels or 0) - 4 - keypoints.num_values
    is_confirmed = keypoints.is_told or num_classes == (asked.num_names or 1)
    if num_classes < 1 or not is_confirmed or (not in_columns and _are_people(asked)):
        return None
    how = "column" if in_columns else "row"
    head = Head(
        "yolo-pose",
        {
            "num_keypoints": keypoints.num,
            "keypoint_dims": keypoints.dims,
            "num_classes": num_classes,
            "output": name,
            "transposed": not in_columns,
        },
        f"{name} {text_of((first, second))} has {channels} = 4 box + {num_classes} class + {keypoints.num} x {keypoints.dims} "
        f"keypoint values in each {how}; keypoints {keypoints.source}",
    )
    if in_columns or asked.is_ultralytics or name == "output0":
        return Match(head)
    if name == _DEEPSTREAM_NAME or asked.are_three_a_cell(first):
        return None
    return Match(head, "each row begins with a box's centre and size (Ultralytics, transposed)")


def _values_come_first(first: int | None, second: int | None, expected: int) -> bool:
    """Whether a tensor is (values, anchors) rather than (anchors, values). There are always more anchors than values."""
    if first is None or second is None:
        return first is not None
    if expected in (first, second):
        return first == expected
    return first <= second


def _are_people(asked: Outputs) -> bool:
    """Whether rows of 6 + K*d are people after an end-to-end head: few, and no classes that explain the two more."""
    assert asked.rows is not None
    _, rows, values = asked.rows
    if values != 6 + asked.keypoints.num_values or asked.metadata.get("end2end") is False or asked.num_names == 2:
        return False
    return rows is not None and rows <= _MAX_PEOPLE


def _end2end(asked: Outputs) -> Match | None:
    keypoints = asked.keypoints
    if asked.rows is None or asked.rows[2] != 6 + keypoints.num_values:
        return None
    name, rows, values = asked.rows
    is_told = asked.metadata.get("end2end") is True
    if not is_told and (asked.is_ultralytics or (rows or 0) > _MAX_PEOPLE) and not _are_people(asked):
        return None
    head = Head(
        "end2end",
        {"num_keypoints": keypoints.num, "keypoint_dims": keypoints.dims, "output": name},
        f"{name} {text_of((rows, values))} has rows of {values} = 4 box + score + class + {keypoints.num} x {keypoints.dims} "
        f"keypoint values, people after an end-to-end head; keypoints {keypoints.source}",
    )
    if is_told or asked.is_ultralytics:
        return Match(head)
    if "flat" in name or asked.are_three_a_cell(rows):
        return None
    # 300 is what Ultralytics' exporter keeps; an engine made of its ONNX has lost the metadata.
    return Match(head, "" if rows == 300 else "each row is corners, score, class and keypoints of a person")


def _yolov7_pose(asked: Outputs) -> Match | None:
    return _yolov7_plugin(asked) or _yolov7_grids(asked) or _yolov7_rows(asked)


def _yolov7_plugin(asked: Outputs) -> Match | None:
    found = asked.only(3) or asked.only(1)
    if found is None or found[1][0] is None or tuple(found[1][1:]) not in ((), (1, 1)):
        return None
    name, shape = found
    values = 6 + 3 * asked.keypoints.num
    capacity, rest = divmod(found[1][0] - 1, values)
    if rest or capacity < 10:
        return None
    reason = (
        f"{name} {text_of(shape)} is a count and {capacity} rows of {values} = 4 box + 2 scores + {asked.keypoints.num} x 3 "
        f"keypoint values, as TensorRT's YoloLayer plugin writes them; keypoints {asked.keypoints.source}"
    )
    return Match(Head("yolov7-pose", {"num_keypoints": asked.keypoints.num, "form": "plugin", "outputs": [name]}, reason))


def _yolov7_grids(asked: Outputs) -> Match | None:
    """Grids alone, or the decoded rows with the grids that they were made of."""
    found: dict[str, int] = {}
    rows: list[str] = []
    for name, shape in asked.shapes.items():
        values = None
        if len(shape) == 4 and shape[0] == 3:
            values = shape[3]
        elif len(shape) == 3 and shape[0] is not None and shape[0] % 3 == 0:
            values = shape[0] // 3
        elif len(shape) == 2:
            rows.append(name)
            continue
        if values is None or values < 9 or (values - 6) % 3:
            return None
        found[name] = values
    if len(found) < 2 or len(set(found.values())) != 1 or len(rows) > 1:
        return None
    values = next(iter(found.values()))
    num_keypoints = (values - 6) // 3
    if not asked.fits(num_keypoints) or any(asked.shapes[name][1] != values for name in rows):
        return None
    described = ", ".join(text_of(asked.shapes[name]) for name in (rows or found))
    reason = f"{', '.join(rows or found)} {described}: "
    reason += (
        f"rows of {values} = 4 box + 2 scores + {num_keypoints} x 3 keypoint values, beside the grids that they come from"
        if rows
        else f"{len(found)} grids of 3 anchors with {values} = 4 box + 2 scores + {num_keypoints} x 3 keypoint values"
    )
    arguments = {"num_keypoints": num_keypoints, "form": "rows" if rows else "grids", "outputs": rows or list(found)}
    return Match(Head("yolov7-pose", arguments, reason))


def _yolov7_rows(asked: Outputs) -> Match | None:
    keypoints = asked.keypoints
    if asked.rows is None or asked.is_ultralytics or keypoints.dims != 3:
        return None
    name, rows, values = asked.rows
    if values != 6 + keypoints.num_values or "flat" in name:
        return None
    head = Head(
        "yolov7-pose",
        {"num_keypoints": keypoints.num, "form": "rows", "outputs": [name]},
        f"{name} {text_of((rows, values))} has rows of {values} = 4 box + 2 scores + {keypoints.num} x 3 keypoint values, "
        f"three for each cell of the strides 8 to 64; keypoints {keypoints.source}",
    )
    fits = asked.are_three_a_cell(rows)
    if fits or (fits is None and rows is not None and rows > _MAX_PEOPLE):
        return Match(head)
    if rows == 300:
        return None
    return Match(head, "each row is centre, size, box score, class score and keypoints of an anchor")


_DEEPSTREAM_NAME = "output"
"""What all exporters of DeepStream-Yolo-Pose call their output."""


def _deepstream_yolo_pose(asked: Outputs) -> Match | None:
    keypoints = asked.keypoints
    if asked.rows is None or asked.is_ultralytics or keypoints.dims != 3:
        return None
    name, rows, values = asked.rows
    if values is None or _values_come_first(rows, values, 0):
        return None
    num_classes = values - 4 - keypoints.num_values
    if num_classes < 1 or (num_classes > 1 and not keypoints.is_told):
        return None
    head = Head(
        "deepstream-yolo-pose",
        {"num_keypoints": keypoints.num, "num_classes": num_classes, "output": name},
        f"{name} {text_of((rows, values))} has rows of {values} = 4 corners + {num_classes} class + {keypoints.num} x 3 "
        f"keypoint values and no metadata, as DeepStream-Yolo-Pose exports it; keypoints {keypoints.source}",
    )
    if name == _DEEPSTREAM_NAME or (num_classes == 1 and asked.are_three_a_cell(rows)):
        return Match(head)
    if name == "output0":
        return None
    return Match(head, "each row begins with a box's corners (DeepStream-Yolo-Pose)")


def _rtmo(asked: Outputs) -> Match | None:
    if len(asked.shapes) != 2:
        return None
    [(dets, boxes), (keypoints, points)] = sorted(asked.shapes.items(), key=lambda item: len(item[1]))
    if not (len(boxes) == 2 and boxes[1] == 5 and len(points) == 3 and points[2] in (2, 3) and _agree(boxes[0], points[0])):
        return None
    num_keypoints, dims = points[1], points[2]
    if not asked.fits(num_keypoints, dims or 3):
        return None
    return Match(
        Head(
            "rtmo",
            {"num_keypoints": num_keypoints, "keypoint_dims": dims, "dets": dets, "keypoints": keypoints},
            f"{dets} {text_of(boxes)} has boxes with scores, {keypoints} {text_of(points)} {num_keypoints} keypoints of each",
            _MMDET,
        )
    )


def _yolo_nas_pose(asked: Outputs) -> Match | None:
    if asked.rows is not None:
        return _yolo_nas_flat(asked)
    left = dict(asked.shapes)

    def take(fits: Callable[[Shape], bool]) -> str | None:
        name = next((name for name, shape in left.items() if fits(shape)), None)
        if name is not None:
            del left[name]
        return name

    keypoints = take(lambda shape: len(shape) == 3 and shape[2] in (2, 3))
    if keypoints is None:
        return None
    _, num_keypoints, dims = asked.shapes[keypoints]
    boxes = take(lambda shape: len(shape) == 2 and shape[1] == 4)
    keypoint_scores = take(lambda shape: len(shape) == 2 and shape[1] == num_keypoints) if dims == 2 else None
    scores = take(lambda shape: len(shape) == 2 and shape[1] == 1) or take(lambda shape: len(shape) == 1 and shape[0] != 1)
    count = take(lambda shape: tuple(shape) in ((), (1,)))
    if left or boxes is None or scores is None or (dims == 2 and keypoint_scores is None) or not asked.fits(num_keypoints):
        return None
    when = f"with their number in {count}" if count else "before NMS"
    return Match(
        Head(
            "yolo-nas-pose",
            {
                "num_keypoints": num_keypoints,
                "boxes": boxes,
                "scores": scores,
                "keypoints": keypoints,
                "keypoint_scores": keypoint_scores,
                "count": count,
            },
            f"{boxes} {text_of(asked.shapes[boxes])} has boxes, {scores} {text_of(asked.shapes[scores])} scores and "
            f"{keypoints} {text_of(asked.shapes[keypoints])} keypoints of people, {when}",
            _NAS,
        )
    )


def _yolo_nas_flat(asked: Outputs) -> Match | None:
    keypoints = asked.keypoints
    assert asked.rows is not None
    name, rows, values = asked.rows
    if values != 6 + 3 * keypoints.num or keypoints.dims != 3 or asked.is_ultralytics:
        return None
    head = Head(
        "yolo-nas-pose",
        {"num_keypoints": keypoints.num, "flat": name},
        f"{name} {text_of((rows, values))} has rows of {values} = image + 4 box + score + {keypoints.num} x 3 keypoint values, "
        f"the flat format; keypoints {keypoints.source}",
        _NAS,
    )
    if "flat" in name:
        return Match(head)
    if rows == 300 or asked.are_three_a_cell(rows) or (rows or 0) > _MAX_PEOPLE:
        return None
    return Match(head, "each row is image, corners, score and keypoints of a person (YOLO-NAS-Pose's flat format)")


def _simcc(asked: Outputs) -> Match | None:
    if len(asked.shapes) != 2 or any(len(shape) != 2 for shape in asked.shapes.values()):
        return None
    names = list(asked.shapes)
    if names[0].endswith("y") and names[1].endswith("x"):
        names.reverse()
    (num_keypoints, columns), (other, rows) = (asked.shapes[name] for name in names)
    if num_keypoints != other or not asked.fits(num_keypoints) or min(columns or 99, rows or 99) < 32:
        return None
    head = Head(
        "simcc",
        {"num_keypoints": num_keypoints, "simcc_x": names[0], "simcc_y": names[1]},
        f"{names[0]} {text_of((num_keypoints, columns))} and {names[1]} {text_of((other, rows))} have the columns and rows of "
        f"{num_keypoints} keypoints of the one person in a region",
        _IMAGENET,
    )
    named = all("simcc" in name for name in names)
    return Match(head, "" if named or _split(asked, columns, rows) else "they are SimCC's columns and rows, in this order")


def _split(asked: Outputs, columns: int | None, rows: int | None) -> bool:
    """Whether there are as many bins for a pixel across as there are down, and a whole number of them."""
    if asked.network_wh is None or columns is None or rows is None:
        return False
    (across, rest_x), (down, rest_y) = divmod(columns, asked.network_wh[0]), divmod(rows, asked.network_wh[1])
    return across == down >= 1 and rest_x == rest_y == 0


def _heatmap(asked: Outputs) -> Match | None:
    found = asked.only(3)
    if found is None:
        return None
    name, (num_keypoints, height, width) = found
    if not asked.fits(num_keypoints) or min(height or 99, width or 99) < 8:
        return None
    head = Head(
        "heatmap",
        {"num_keypoints": num_keypoints, "output": name},
        f"{name} {text_of(found[1])} has a map for each of {num_keypoints} keypoints of the one person in a region",
        _IMAGENET,
    )
    is_pose = "heatmap" in name or num_keypoints == 17 or asked.keypoints.is_told
    return Match(head, "" if is_pose else f"it has a heat map for each of {num_keypoints} keypoints")


def _agree(first: int | None, second: int | None) -> bool:
    """Whether two axes may have the same size."""
    return first is None or second is None or first == second


LAYOUTS = {
    "yolo-pose": Layout(
        _yolo_pose, lambda k: f"({5 + k.num_values}, anchors) or (anchors, {5 + k.num_values}), one more for each further class"
    ),
    "end2end": Layout(_end2end, lambda k: f"(people, {6 + k.num_values})"),
    "yolov7-pose": Layout(
        _yolov7_pose,
        lambda k: f"(anchors, {6 + 3 * k.num}), grids (3, h, w, {6 + 3 * k.num}), or ({6 + 3 * k.num} x M + 1, 1, 1)",
    ),
    "deepstream-yolo-pose": Layout(_deepstream_yolo_pose, lambda k: f"(anchors, {5 + 3 * k.num}) without metadata"),
    "yolo-nas-pose": Layout(
        _yolo_nas_pose, lambda k: f"boxes (N, 4), scores (N,) and keypoints (N, {k.num}, 3), or (people, {6 + 3 * k.num})"
    ),
    "rtmo": Layout(_rtmo, lambda k: f"(people, 5) and (people, {k.num}, {k.dims})"),
    "simcc": Layout(_simcc, lambda k: f"({k.num}, columns) and ({k.num}, rows)"),
    "heatmap": Layout(_heatmap, lambda k: f"({k.num}, height, width)"),
}
"""Name of the decoder -> how its head is recognised."""
