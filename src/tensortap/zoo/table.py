"""The models that have a name, with their official addresses.

Addresses, sizes and checksums were copied from the pages named beside them; nothing was downloaded when this table was
written. What no page said is `None`: such a file is taken as it comes, over HTTPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ZooModel:
    """One model that can be asked for by name."""

    name: str
    """What `--model` is given. The file in the cache is this and `.onnx`."""
    kind: Literal["bundled", "onnx", "zip", "checkpoint"]
    """A file of this package, a model as it is downloaded, an archive that holds it, or a `.pt` that Ultralytics exports."""
    licence: str
    """SPDX identifier of the weights' licence."""
    homepage: str
    """Where its authors describe it."""
    note: str
    """What it is, in half a line."""
    url: str = ""
    """Where it is downloaded; empty for a bundled model."""
    size_bytes: int | None = None
    """Size of the download, where a page says it."""
    sha256: str | None = None
    """Checksum of the download in hexadecimal, where a page says it."""
    member: str = ""
    """Of a zip: the file name of the model in it, in whatever folder."""

    @property
    def download_name(self) -> str:
        """File name of the download in the cache."""
        return self.file_name if self.kind == "onnx" else self.url.rpartition("/")[2]

    @property
    def file_name(self) -> str:
        """File name of the model in the cache, or in this package."""
        return f"{self.name}-pose.onnx" if self.kind == "bundled" else f"{self.name}.onnx"


def _ultralytics(name: str, release: str, note: str, size_bytes: int | None = None, sha256: str | None = None) -> ZooModel:
    return ZooModel(
        name=name,
        kind="checkpoint",
        licence="AGPL-3.0",
        homepage=f"https://docs.ultralytics.com/models/{name[:6]}/",
        note=note,
        url=f"https://github.com/ultralytics/assets/releases/download/{release}/{name}.pt",
        size_bytes=size_bytes,
        sha256=sha256,
    )


def _rtmo(name: str, archive: str, note: str) -> ZooModel:
    return ZooModel(
        name=name,
        kind="zip",
        licence="Apache-2.0",
        homepage="https://github.com/open-mmlab/mmpose/tree/main/projects/rtmo",
        note=note,
        url=f"https://download.openmmlab.com/mmpose/v1/projects/rtmo/onnx_sdk/{archive}",
        member="end2end.onnx",
    )


_MODELS = (
    ZooModel(
        name="demo",
        kind="bundled",
        licence="Apache-2.0",
        homepage="docs/models.md",
        note="comes with tensortap",
    ),
    # Names of the assets: ultralytics/utils/downloads.py (GITHUB_ASSETS_NAMES) of ultralytics/ultralytics. Release v8.3.0 for
    # YOLOv8 and YOLO11: docs/en/tasks/pose.md of the 8.3 series; v8.4.0 for YOLO26: the same page of the 8.4 series.
    # Sizes and checksums of YOLO11: the Git LFS pointers in https://huggingface.co/Ultralytics/YOLO11, Ultralytics' own copy.
    # Of yolov8n-pose and yolo26n-pose: several public projects pin these for the addresses below, and agree.
    _ultralytics(
        "yolov8n-pose",
        "v8.3.0",
        "YOLOv8-pose nano",
        6_832_633,
        "c6fa93dd1ee4a2c18c900a45c1d864a1c6f7aba75d84f91648a30b7fb641d212",
    ),
    _ultralytics("yolov8s-pose", "v8.3.0", "YOLOv8-pose small"),
    _ultralytics("yolov8m-pose", "v8.3.0", "YOLOv8-pose medium"),
    _ultralytics("yolov8l-pose", "v8.3.0", "YOLOv8-pose large"),
    _ultralytics("yolov8x-pose", "v8.3.0", "YOLOv8-pose extra large"),
    _ultralytics(
        "yolo11n-pose",
        "v8.3.0",
        "YOLO11-pose nano",
        6_255_593,
        "869e83fcdffdc7371fa4e34cd8e51c838cc729571d1635e5141e3075e9319dc0",
    ),
    _ultralytics(
        "yolo11s-pose",
        "v8.3.0",
        "YOLO11-pose small",
        20_373_161,
        "1060bda4a27012060eca246f9b2adeea22eabb045a1e58f8d229be29b7ebc2ba",
    ),
    _ultralytics(
        "yolo11m-pose",
        "v8.3.0",
        "YOLO11-pose medium",
        42_459_307,
        "29b17eaf3a3117cbea906090dbedf9159f7c6a49db58ec8b99ed2dfde1cf6eb2",
    ),
    _ultralytics(
        "yolo11l-pose",
        "v8.3.0",
        "YOLO11-pose large",
        53_164_402,
        "61921abe1f2ed930bf28328a16b3162278cdb239a1e8280b6ac827119f13cee0",
    ),
    _ultralytics(
        "yolo11x-pose",
        "v8.3.0",
        "YOLO11-pose extra large",
        118_481_010,
        "013c43543b0751b8918486ba96e01ee44a59040683a07f96cc22bcc2cb7785f8",
    ),
    _ultralytics(
        "yolo26n-pose",
        "v8.4.0",
        "YOLO26-pose nano, no NMS",
        7_878_574,
        "eb3bb8268828aeaf515cec23a4bfafd793944a86fe9af94ba7823609c14522a9",
    ),
    _ultralytics("yolo26s-pose", "v8.4.0", "YOLO26-pose small, no NMS"),
    _ultralytics("yolo26m-pose", "v8.4.0", "YOLO26-pose medium, no NMS"),
    _ultralytics("yolo26l-pose", "v8.4.0", "YOLO26-pose large, no NMS"),
    _ultralytics("yolo26x-pose", "v8.4.0", "YOLO26-pose extra large, no NMS"),
    # projects/rtmo/README.md of open-mmlab/mmpose, column "onnx". The hexadecimal part of the names is the checkpoint's
    # (tools/misc/publish_model.py names .pth files so), not the archive's, so it checks nothing here.
    _rtmo("rtmo-t", "rtmo-t_8xb32-600e_body7-416x416-f48f75cb_20231219.zip", "RTMO tiny, 416 x 416"),
    _rtmo("rtmo-s", "rtmo-s_8xb32-600e_body7-640x640-dac2bf74_20231211.zip", "RTMO small"),
    _rtmo("rtmo-m", "rtmo-m_16xb16-600e_body7-640x640-39e78cc4_20231211.zip", "RTMO medium"),
    _rtmo("rtmo-l", "rtmo-l_16xb16-600e_body7-640x640-b37118ce_20231211.zip", "RTMO large"),
)

ZOO: dict[str, ZooModel] = {model.name: model for model in sorted(_MODELS, key=lambda model: model.name)}
"""Name -> model, sorted by name."""
