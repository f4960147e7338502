"""A decoder from scratch, and a tap: python examples/own_decoder.py VIDEO MODEL

The decoder keeps the surest person of a YOLOv8-pose head. It runs wherever tensors come from.
"""

import sys

import numpy as np

import tensortap
from tensortap import COCO_17, Poses, TensorFrame


def decode(frame: TensorFrame) -> Poses:
    """The surest person, if there is any."""
    rows = frame.tensors["output0"]  # (56, A), read-only
    best = int(rows[4].argmax())
    if rows[4, best] < 0.25:
        return Poses.empty(COCO_17)
    center, size = rows[0:2, best], rows[2:4, best]
    return Poses(
        boxes_xyxy=frame.letterbox.boxes_to_source(np.concatenate([center - size / 2, center + size / 2])[None]),
        scores=rows[4, best : best + 1].copy(),  # tensors are borrowed: copy what is kept
        class_ids=np.zeros(1, np.int64),
        keypoints=frame.letterbox.points_to_source(rows[5:, best].reshape(1, 17, 3)),
        skeleton=COCO_17,
    )


def main(video: str, model: str) -> None:
    """Print the score that the tap saw beside the box that the decoder made."""
    pipeline = tensortap.Pipeline(video, model=model, decoder=decode, max_frames=20)

    @pipeline.tap
    def look(frame: TensorFrame) -> None:
        print(f"frame {frame.info.index}: best score {frame.tensors['output0'][4].max():.2f}", end="  ")

    for result in pipeline:
        print("box", result.poses.boxes_xyxy.round().tolist())


if __name__ == "__main__":
    main(*sys.argv[1:3])
