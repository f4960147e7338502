"""A head that tensortap does not know, in one class: python examples/new_head.py

CenterNet's pose head, of "Objects as Points": maps a quarter as wide and high as the network input, of which a cell says how
likely somebody's centre is there (`hm`), where in the cell exactly (`reg`), how large the person is (`wh`), and how far
away the K keypoints are (`hps`). Layout: `multi_pose_decode` in src/lib/models/decode.py of xingyizhou/CenterNet, without the
second look at heat maps of the keypoints.

    tensortap run -i street.mp4 -m centernet.onnx --decoder examples/new_head.py:CenterNetPose --conf-thres 0.3 -o out.mp4 \
        --color bgr --mean 104.01,114.03,119.92 --scale 0.01359,0.01431,0.0141
"""

import cv2
import numpy as np

from tensortap import Frame, FrameInfo, TensorFrame
from tensortap.decode.base import Candidates, PoseDecoder, above, corners, sigmoid
from tensortap.geometry import letterbox

STRIDE = 4


class CenterNetPose(PoseDecoder):
    """Gives the candidates in network pixels; thresholds, broken rows, NMS and the way back to the frame are the base's."""

    suppress = False  # of neighbours, only one is a peak

    def __init__(self, **settings):
        super().__init__(**{**settings, "keypoint_dims": 2})

    def candidates(self, frame: TensorFrame, threshold: float) -> Candidates | None:
        """The cells that are surer than their neighbours, and than the threshold."""
        heat = sigmoid(frame.tensors["hm"][0].astype(np.float32))  # (h, w)
        peaks = np.where(heat < cv2.dilate(heat, np.ones((3, 3), np.uint8)), 0, heat)
        cells = above(peaks.ravel(), threshold)
        if not len(cells):
            return None
        reg, wh, hps = (frame.tensors[name].reshape(-1, heat.size)[:, cells] for name in ("reg", "wh", "hps"))
        y, x = np.divmod(cells, heat.shape[1])
        corner = np.stack([x, y]).astype(np.float32)  # (2, M)
        keypoints = hps.reshape(self.num_keypoints, 2, -1) + corner  # (K, 2, M)
        return Candidates(
            rows=cells,
            boxes_xyxy=corners(np.concatenate([corner + reg, wh]) * STRIDE),
            scores=peaks.ravel()[cells],
            class_ids=None,
            keypoints=lambda kept: (keypoints[..., kept] * STRIDE).transpose(2, 0, 1),
        )


def main() -> None:
    """Write one known person into the head's layout, and read it back."""
    box = letterbox("ultralytics", (1280, 720), (512, 512))
    person = np.random.default_rng(1).uniform((500, 200), (700, 600), (17, 2))  # keypoints in pixels of the frame
    in_network = box.points_to_network(person) / STRIDE  # in cells
    center = in_network.mean(axis=0)
    x, y = center.astype(int)
    tensors = {name: np.zeros((n, 128, 128), np.float32) for name, n in (("hm", 1), ("reg", 2), ("wh", 2), ("hps", 34))}
    tensors["hm"][...] = -9
    tensors["hm"][0, y, x] = 3
    tensors["reg"][:, y, x] = center - (x, y)
    tensors["wh"][:, y, x] = np.ptp(in_network, axis=0)
    tensors["hps"][:, y, x] = (in_network - (x, y)).ravel()

    poses = CenterNetPose()(TensorFrame(Frame(FrameInfo(0, "drawn", 0, 0, (1280, 720)), None), tensors, box))
    error = np.abs(poses.keypoints[0, :, :2] - person).max()
    print(f"{len(poses)} person of score {poses.scores[0]:.2f}, at most {error:.6f} pixels from where it was put")


if __name__ == "__main__":
    main()
