"""Frames and their images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from media import picture, write_video
from tensortap.portable.pixels import BgrPixels
from tensortap.types import Frame, FrameInfo

# In a process of its own, because what is tested here ends in a segmentation fault where it fails.
_EIGHT_THREADS_ASK_AT_ONCE = """
import sys, threading
import av
from tensortap.portable.pixels import wrap
from tensortap.types import Frame, FrameInfo

sys.setswitchinterval(1e-5)
for _ in range(30):
    with av.open(sys.argv[1]) as container:
        for decoded in container.decode(video=0):
            frame = Frame(FrameInfo(0, "a", 0, 0, (decoded.width, decoded.height)), wrap(decoded, 0))
            barrier, images = threading.Barrier(8), []
            def ask():
                barrier.wait()
                images.append(frame.image)
            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert len({id(image) for image in images}) == 1, "converted more than once"
print("done")
"""


def test_an_image_is_made_once_and_cannot_be_written_to() -> None:
    frame = Frame(FrameInfo(0, "a", 0, 0, (8, 6)), BgrPixels(picture(8, 6)))
    assert frame.image is frame.image
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(frame.image)[0, 0] = 1


def test_a_frame_without_pixels_has_no_image() -> None:
    assert Frame(FrameInfo(0, "a", 0, 0, (8, 6)), None).image is None


def test_an_image_may_be_asked_for_by_many_threads_at_once(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", size_wh=(320, 240), num_frames=10)
    command = [sys.executable, "-c", _EIGHT_THREADS_ASK_AT_ONCE, str(video)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, f"exit code {run.returncode}: {run.stderr}"
    assert run.stdout.strip() == "done"
