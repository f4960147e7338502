"""Decode with NMS and mapping back of one real `(56, 8400)` output, for 0, 1, 5 and 30 people in view."""

from __future__ import annotations

import numpy as np
from common import assets, machine, median_ms

from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.geometry import letterbox
from tensortap.types import Frame, FrameInfo, TensorFrame

ASKED_FOR = {0: 0.04, 1: 0.04, 5: 0.06, 30: 0.2}


def main() -> None:
    """Print medians beside what was asked for."""
    decoder = YoloPoseDecoder()
    print(machine())
    with np.load(assets() / "tensors" / "real_outputs_56x8400.npz") as stored:
        for people, limit in ASKED_FOR.items():
            tensor = stored[f"n{people}"]
            size_wh = tuple(int(side) for side in stored[f"shape{people}"][1::-1])
            frame = TensorFrame(
                Frame(FrameInfo(0, "stored", 0, 0, size_wh), None),
                {"output0": tensor},
                letterbox("ultralytics", size_wh, (640, 640)),
            )
            candidates = int((tensor[4] > decoder.conf_thres).sum())
            milliseconds = median_ms(lambda frame=frame: decoder(frame))
            transposed = YoloPoseDecoder(transposed=True)
            turned = TensorFrame(frame.frame, {"output0": np.ascontiguousarray(tensor.T)}, frame.letterbox)
            milliseconds_turned = median_ms(lambda frame=turned, decoder=transposed: decoder(frame))
            print(
                f"{people:2d} people, {candidates:3d} candidates: {milliseconds:.4f} ms "
                f"(transposed {milliseconds_turned:.4f}); asked for: {limit}"
            )


if __name__ == "__main__":
    main()
