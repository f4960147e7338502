"""Pictures for those who watch: made once, of the newest result, and only while somebody does."""

from __future__ import annotations

import asyncio
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")

from tensortap.skeletons import COCO_17
from tensortap.types import Frame, FrameInfo, Poses, Result, StreamEvent, StreamState
from tensortap.web.gallery import Gallery, width_for


class Pixels:
    """Counts how often it is converted."""

    def __init__(self, size_wh: tuple[int, int] = (64, 48), *, gone: bool = False) -> None:
        self.converted = 0
        self._size_wh = size_wh
        self._gone = gone

    def bgr(self) -> np.ndarray | None:
        self.converted += 1
        return None if self._gone else np.full((self._size_wh[1], self._size_wh[0], 3), 128, np.uint8)


def result(pixels: Pixels | None, index: int = 0, source_id: int = 0) -> Result:
    return Result(Frame(FrameInfo(source_id, "door", index, index, (64, 48)), pixels), Poses.empty(COCO_17))


def newer(gallery: Gallery, has: int = 0, seconds: float = 5.0, width: int = 320) -> list[int]:
    """Indices of the frames that a viewer gets who has a version."""
    found = asyncio.run(gallery.newer({0: has}, width, seconds))
    return [each.result.info.index for each in found]


def test_nothing_is_made_while_nobody_watches() -> None:
    gallery, pixels = Gallery(), Pixels()
    for index in range(1000):
        gallery.put(result(pixels, index))
    assert pixels.converted == 0
    assert gallery.counts(0) == (0, 0)
    assert newer(gallery) == [999]
    assert pixels.converted == 1


def test_made_once_for_all_who_watch() -> None:
    gallery, pixels = Gallery(), Pixels()
    gallery.put(result(pixels))

    async def several() -> None:
        found = await asyncio.gather(*(gallery.newer({0: 0}, 320, 5.0) for _ in range(8)))
        assert len({id(each[0].jpeg) for each in found}) == 1

    asyncio.run(several())
    assert gallery.counts(0) == (1, 0)


def test_who_waits_gets_the_next_at_once() -> None:
    gallery = Gallery()

    async def wait_and_put() -> None:
        waiting = asyncio.create_task(gallery.newer({0: 0, 7: 0}, 320, 30.0))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await asyncio.to_thread(gallery.put, result(Pixels(), source_id=7))
        [picture] = await asyncio.wait_for(waiting, 10)
        assert picture.result.info.source_id == 7

    asyncio.run(wait_and_put())


def test_no_more_pictures_than_so_many_a_second() -> None:
    gallery = Gallery(pictures_a_second=0.5)
    gallery.put(result(Pixels()))
    assert newer(gallery) == [0]
    for index in range(1, 5):
        gallery.put(result(Pixels(), index))
    assert newer(gallery, has=1, seconds=0.1) == []
    assert newer(gallery, has=0) == [0]  # another viewer shares what there is
    gallery = Gallery(pictures_a_second=20)
    gallery.put(result(Pixels()))
    newer(gallery)
    gallery.put(result(Pixels(), 1))
    gallery.put(result(Pixels(), 2))
    assert newer(gallery, has=1) == [2]  # after a twentieth of a second
    assert gallery.counts(0) == (2, 1)


def test_nothing_new_is_said_in_time() -> None:
    gallery = Gallery()
    gallery.put(result(Pixels()))
    assert newer(gallery, has=1, seconds=0.05) == []
    assert newer(gallery, has=12345) == [0]  # a number of an earlier run


def test_wide_pictures_are_made_narrower_and_narrow_ones_stay() -> None:
    for size_wh, expected in (((1920, 1080), (320, 180)), ((64, 48), (64, 48))):
        gallery = Gallery()
        gallery.put(result(Pixels(size_wh)))
        [picture] = asyncio.run(gallery.newer({0: 0}, 320, 5.0))
        image = cv2.imdecode(np.frombuffer(picture.jpeg or b"", np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[1::-1] == expected
    assert [width_for(pixels) for pixels in (0, 320, 321, 960, 5000)] == [320, 320, 640, 960, 960]


@pytest.mark.parametrize("pixels", [None, Pixels(gone=True)])
def test_results_without_pictures(pixels: Pixels | None) -> None:
    gallery = Gallery()
    gallery.put(result(pixels))
    [picture] = asyncio.run(gallery.newer({0: 0}, 320, 5.0))
    assert picture.jpeg is None


def test_streams_that_ended_are_not_kept() -> None:
    gallery = Gallery()
    gallery.put(result(Pixels()))
    gallery.tell(StreamEvent(0, "door", StreamState.OFFLINE, "", 0, 1))
    assert newer(gallery) == [0]
    gallery.tell(StreamEvent(0, "door", StreamState.ENDED, "removed", 0, 1))
    assert newer(gallery, seconds=0.05) == []


def test_closing_lets_nobody_wait() -> None:
    gallery = Gallery()

    async def wait_and_close() -> None:
        waiting = asyncio.create_task(gallery.newer({0: 0}, 320, 60.0))
        await asyncio.sleep(0.05)
        gallery.close()
        assert await asyncio.wait_for(waiting, 10) == []

    started = time.monotonic()
    asyncio.run(wait_and_close())
    assert time.monotonic() - started < 30
