"""A correct nvinfer file for a model, with a word on each key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Wanted:
    """What a network wants; see `tensortap.decode.layouts.Feeding`."""

    onnx_file: str
    """As it is to stand in the file: from its folder."""
    imgsz: tuple[int, int]
    """Height, width."""
    letterbox: str
    """Policy of the network's authors; those of Ultralytics and RTMO have their nearest relatives in nvinfer."""
    color: Literal["rgb", "bgr"] = "rgb"
    scale: float | tuple[float, float, float] = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    is_nhwc: bool = False
    batch_size: int = 1
    interval: int = 0
    precision: Literal["f32", "f16"] = "f16"
    conf_thres: float = 0.25
    iou_thres: float = 0.45
    max_det: int = 300
    head: str = ""
    """What was recognised, for a comment."""


def as_ini(wanted: Wanted) -> str:
    """The file. Every trap that a key guards against is named beside it."""
    height, width = wanted.imgsz
    scale = wanted.scale if isinstance(wanted.scale, float) else sum(wanted.scale) / 3
    mode = {"f32": 0, "f16": 2}[wanted.precision]
    keeps_aspect = "stretch" not in wanted.letterbox
    is_centred = wanted.letterbox == "ultralytics" or "symmetric" in wanted.letterbox
    engine = f"{wanted.onnx_file}_b{wanted.batch_size}_gpu0_{'fp16' if mode == 2 else 'fp32'}.engine"
    lines = [
        f"# nvinfer for {wanted.onnx_file}{f' ({wanted.head})' if wanted.head else ''}, written by `tensortap nvinfer-config`.",
        "# Paths are looked for from the folder of this file. A # behind a value would belong to the value.",
        "",
        "[property]",
        "# Which GPU; Jetson has one.",
        "gpu-id=0",
        "# What tensors of several networks are told apart by.",
        "gie-unique-id=1",
        "# Whole frames. 2: the objects of another network (operate-on-gie-id).",
        "process-mode=1",
        "",
        "# What the engine is built from.",
        f"onnx-file={wanted.onnx_file}",
        "# Built on the first start, which takes minutes, and kept under the name that nvinfer itself would give it.",
        f"model-engine-file={engine}",
        "# 0 FP32, 1 INT8, 2 FP16. Inputs and outputs keep the types of the ONNX file.",
        f"network-mode={mode}",
        "# As many as streams; the engine is built for up to so many.",
        f"batch-size={wanted.batch_size}",
        "# Batches that pass without inference after each inferred one.",
        f"interval={wanted.interval}",
        "# Channels;height;width. Without it, an ONNX file with dynamic height and width does not build.",
        f"infer-dims=3;{height};{width}",
        "# 0 NCHW, 1 NHWC, as the ONNX file has it.",
        f"network-input-order={int(wanted.is_nhwc)}",
        "",
        "# The network gets net-scale-factor * (pixel - offsets). The default of 1 gives a 0..1 network nonsense.",
        f"net-scale-factor={scale:.17g}",
    ]
    if not isinstance(wanted.scale, float):
        lines.append("# WARNING: this network wants a factor for each channel; nvinfer has one. Export it with them folded in.")
    if any(wanted.mean):
        order = "blue;green;red" if wanted.color == "bgr" else "red;green;blue"
        lines += [f"# {order}: the network's own order.", f"offsets={';'.join(f'{value:g}' for value in wanted.mean)}"]
    lines += [
        "# 0 RGB, 1 BGR.",
        f"model-color-format={int(wanted.color == 'bgr')}",
        "",
        "# 1: keep the shape. nvinfer pads with black and truncates sizes; tensortap's taps report what it did.",
        f"maintain-aspect-ratio={int(keeps_aspect)}",
        "# 1: in the middle. 0: top left.",
        f"symmetric-padding={int(is_centred and keeps_aspect)}",
        "# Bilinear. The default is the nearest pixel, which costs accuracy.",
        "scaling-filter=1",
        "# On the GPU: Jetson's VIC gives other pixels.",
        "scaling-compute-hw=1",
        "",
        "# Hand the output out as it is: 100 is no kind of network that nvinfer would parse.",
        "network-type=100",
        "# Attach the tensors to the frame. Without it no tap is ever called with any.",
        "output-tensor-meta=1",
        "# Batches of outputs in flight; nvinfer raises it to 6 by itself.",
        "tensor-meta-pool-size=6",
        "# disable-output-host-copy=1 would leave the host's copy of the tensors stale: never with tensortap.",
        "# 4: no clustering; the decoder does its own.",
        "cluster-mode=4",
        "",
        "# nvinfer ignores these for network-type=100; tensortap's decoder takes them, in every runtime.",
        "[class-attrs-all]",
        "# People with a score above it are kept.",
        f"pre-cluster-threshold={wanted.conf_thres:g}",
        "# Of boxes that overlap by more, the best one stays; heads without doubles need none.",
        f"nms-iou-threshold={wanted.iou_thres:g}",
        "# At most so many people a frame.",
        f"topk={wanted.max_det}",
    ]
    return "\n".join(lines) + "\n"
