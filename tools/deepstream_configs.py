"""Write deploy/deepstream/*.txt: nvinfer files for the networks that people bring, by our own writer.

python tools/deepstream_configs.py
"""

from __future__ import annotations

from pathlib import Path

from tensortap.nvinfer.writer import Wanted, as_ini

FOLDER = Path(__file__).parents[1] / "deploy" / "deepstream"
CONFIGS = {
    "yolov7-w6-pose.txt": Wanted("yolov7-w6-pose.onnx", (960, 960), "ultralytics", batch_size=12, head="yolov7-pose"),
    "yolov8-pose.txt": Wanted("yolov8n-pose.onnx", (640, 640), "ultralytics", batch_size=12, head="yolo-pose"),
    "yolo11-pose.txt": Wanted("yolo11n-pose.onnx", (640, 640), "ultralytics", batch_size=12, head="yolo-pose"),
    "yolo26-pose.txt": Wanted("yolo26n-pose.onnx", (640, 640), "ultralytics", batch_size=12, head="end2end"),
}


def main() -> None:
    """Write them all."""
    for name, wanted in CONFIGS.items():
        (FOLDER / name).write_text(as_ini(wanted), encoding="utf-8")


if __name__ == "__main__":
    main()
