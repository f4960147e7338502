"""The network input against a plain reference: BGR first, then letterbox."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from media import picture, rotate_by_metadata, write_video
from tensortap.geometry import LETTERBOX_POLICIES, letterbox
from tensortap.portable.pixels import BgrPixels, wrap
from tensortap.portable.preprocess import Preprocessor, _resizing_quickly
from tensortap.portable.sources.video import VideoSource
from tensortap.types import Frame, FrameInfo


def reference(frame: Frame, policy: str, network_wh: tuple[int, int]) -> np.ndarray:
    """The same by the long way: full BGR, crop, resize, pad, RGB."""
    box = letterbox(policy, frame.info.size_wh, network_wh)
    assert frame.image is not None
    left, top, right, bottom = box.crop_xyxy
    interpolation = cv2.INTER_NEAREST if box.interpolation == "nearest" else cv2.INTER_LINEAR
    resized = cv2.resize(frame.image[top:bottom, left:right], box.resized_wh, interpolation=interpolation)
    canvas = np.full((network_wh[1], network_wh[0], 3), box.pad_value, np.uint8)
    x, y = box.offset_xy
    canvas[y : y + box.resized_wh[1], x : x + box.resized_wh[0]] = resized
    return canvas[..., ::-1]


def frame_of(image: np.ndarray, pix_fmt: str, *, colorspace: int | None = None, full_range: bool = False) -> Frame:
    """A frame in a pixel format, tagged with a matrix and range."""
    decoded = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pix_fmt, dst_colorspace=colorspace)
    if colorspace is not None:
        decoded.colorspace = colorspace
    if full_range:
        decoded.color_range = 2
    info = FrameInfo(0, "made", 0, 0, (image.shape[1], image.shape[0]))
    return Frame(info, wrap(decoded, 0))


def written(frame: Frame, policy: str, network_wh: tuple[int, int]) -> np.ndarray:
    slot = np.empty((network_wh[1], network_wh[0], 3), np.uint8)
    Preprocessor(network_wh, policy).write(frame, slot)
    return slot


@pytest.mark.parametrize("policy", LETTERBOX_POLICIES)
@pytest.mark.parametrize("size_wh", [(320, 180), (180, 320), (161, 121), (640, 640), (50, 30)])
def test_every_policy_and_shape(policy: str, size_wh: tuple[int, int]) -> None:
    frame = frame_of(picture(*size_wh), "yuv420p")
    difference = np.abs(written(frame, policy, (256, 192)).astype(int) - reference(frame, policy, (256, 192)))
    # Chroma is interpolated at another place of the path, which shows at the edges of the squares only.
    assert difference.mean() < 2.5
    assert np.median(difference) <= 2


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "p010le", "yuv420p10le", "yuv444p12le", "rgb24", "gray", "gbrp"],
)
def test_pixel_formats(pix_fmt: str) -> None:
    frame = frame_of(picture(320, 180), pix_fmt)
    difference = np.abs(written(frame, "ultralytics", (256, 256)).astype(int) - reference(frame, "ultralytics", (256, 256)))
    assert difference.mean() < 1.5


@pytest.mark.parametrize("colorspace", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("full_range", [False, True])
def test_matrix_and_range_are_honoured(colorspace: int, full_range: bool) -> None:
    flat = np.full((64, 64, 3), (40, 160, 220), np.uint8)
    frame = frame_of(flat, "yuv444p", colorspace=colorspace, full_range=full_range)
    assert frame.image is not None
    found = written(frame, "nvinfer-stretch", (64, 64))[32, 32].astype(int)
    assert np.abs(found - frame.image[32, 32, ::-1]).max() <= 3


def test_the_matrix_matters() -> None:
    frames = [frame_of(picture(64, 64), "yuv444p") for _ in range(2)]
    frames[1].pixels.frame.colorspace = 1  # type: ignore[union-attr]
    assert np.abs(written(frames[0], "rtmo", (64, 64)).astype(int) - written(frames[1], "rtmo", (64, 64))).max() > 8


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_video(tmp_path: Path, degrees: int) -> None:
    source = VideoSource(0, "a", str(rotate_by_metadata(write_video(tmp_path / "a.mp4", size_wh=(162, 98)), degrees)))
    frame = source.read()
    assert frame is not None
    difference = np.abs(written(frame, "nvinfer", (128, 128)).astype(int) - reference(frame, "nvinfer", (128, 128)))
    assert difference.mean() < 2.5
    source.close()


def test_a_slot_that_held_another_letterbox_is_padded_anew() -> None:
    preprocessor = Preprocessor((64, 64), "ultralytics")
    slot = np.empty((64, 64, 3), np.uint8)
    wide, tall = frame_of(picture(160, 80), "yuv420p"), frame_of(picture(80, 160), "yuv420p")
    for frame in (wide, tall, wide, wide):
        preprocessor.write(frame, slot)
        np.testing.assert_array_equal(slot, written(frame, "ultralytics", (64, 64)))


def test_bgr_networks_get_bgr() -> None:
    for frame in (
        frame_of(picture(64, 64), "yuv420p"),
        Frame(FrameInfo(0, "a", 0, 0, (64, 64)), BgrPixels(picture(64, 64))),
    ):
        rgb, bgr = np.empty((2, 64, 64, 3), np.uint8)
        Preprocessor((64, 64), "ultralytics", "rgb").write(frame, rgb)
        Preprocessor((64, 64), "ultralytics", "bgr").write(frame, bgr)
        np.testing.assert_array_equal(rgb, bgr[..., ::-1])


def test_still_images_are_exact() -> None:
    frame = Frame(FrameInfo(0, "a", 0, 0, (161, 121)), BgrPixels(picture(161, 121)))
    np.testing.assert_array_equal(written(frame, "ultralytics", (128, 128)), reference(frame, "ultralytics", (128, 128)))


@pytest.mark.parametrize("size_wh", [(640, 360), (768, 432), (800, 500), (256, 144)])
def test_planes_are_resized_as_opencv_does_but_for_rounding(size_wh: tuple[int, int]) -> None:
    plane = cv2.cvtColor(picture(768, 432), cv2.COLOR_BGR2GRAY)
    before = cv2.ipp.useIPP_NotExact()
    with _resizing_quickly():
        found = cv2.resize(plane, size_wh)
    assert cv2.absdiff(found, cv2.resize(plane, size_wh)).max() <= 1
    assert cv2.ipp.useIPP_NotExact() == before


@pytest.mark.parametrize(
    ("width", "policy", "quickly"), [(96, "ultralytics", True), (128, "ultralytics", False), (96, "nvinfer", False)]
)
def test_who_is_resized_quickly(monkeypatch: pytest.MonkeyPatch, width: int, policy: str, quickly: bool) -> None:
    seen: list[bool] = []
    resize = cv2.resize
    monkeypatch.setattr(cv2, "resize", lambda *a, **more: seen.append(cv2.ipp.useIPP_NotExact()) or resize(*a, **more))
    cv2.ipp.setUseIPP_NotExact(True)
    can = cv2.ipp.useIPP_NotExact()
    cv2.ipp.setUseIPP_NotExact(False)
    Preprocessor((64, 64), policy).write(frame_of(picture(width, width), "yuv420p"), np.empty((64, 64, 3), np.uint8))
    assert seen == [quickly and can] * 3
    assert not cv2.ipp.useIPP_NotExact()
