"""Score maps over the frame: every cell lies where it looks."""

from __future__ import annotations

import numpy as np
import pytest

from heads import HEADS, Asked, draw_people, frame_of
from tensortap.decode.explain import explain
from tensortap.decode.grids import ScoreMap
from tensortap.decode.yolo_pose import YoloPoseDecoder
from tensortap.geometry import LETTERBOX_POLICIES, letterbox
from tensortap.plot import plot_scores

TITLE = 30


def explanation(box: object = None) -> tuple[object, object]:
    """Of some people in an input of 640 x 640."""
    placed = letterbox("ultralytics", (640, 360), (640, 640))
    people = draw_people(np.random.default_rng(0), 3, 17, 1, (640, 640))
    encoded = HEADS["yolo-pose"].encode(people, Asked((640, 640), 1, 3, np.random.default_rng(0), 8400))
    decoder = YoloPoseDecoder()
    frame = frame_of(encoded, placed)
    return explain(decoder, frame), decoder.score_maps(frame)


@pytest.mark.parametrize("policy", sorted(LETTERBOX_POLICIES))
@pytest.mark.parametrize("source_wh", [(800, 450), (450, 800)])
def test_a_cell_lies_where_it_looks(policy: str, source_wh: tuple[int, int]) -> None:
    told, _ = explanation()
    box = letterbox(policy, source_wh, (640, 640))
    cells = np.zeros((20, 20), np.float32)
    cells[9, 8] = 1  # 256 to 288 across, 288 to 320 down
    image = np.full((source_wh[1], source_wh[0], 3), 128, np.uint8)
    sheet = plot_scores(image, box, [ScoreMap("stride 32", cells)], told, 0.25)  # type: ignore[arg-type]
    width, height = source_wh  # the longer side is 800: panels are as large as the frame
    panel = sheet[TITLE : TITLE + height, width + 6 :].astype(int)
    warm = np.argwhere(panel[..., 2] - panel[..., 0] > 60)
    warm = warm[warm[:, 0] < height - 30]  # without the legend
    expected = box.points_to_source(np.array([[256, 288], [288, 320]], np.float32))
    np.testing.assert_allclose(warm.min(axis=0)[::-1], expected[0], atol=1.5)
    np.testing.assert_allclose(warm.max(axis=0)[::-1] + 1, expected[1], atol=1.5)


def test_a_panel_for_the_people_and_one_for_each_stride() -> None:
    told, maps = explanation()
    image = np.full((360, 640, 3), 90, np.uint8)
    before = image.copy()
    sheet = plot_scores(image, letterbox("ultralytics", (640, 360), (640, 640)), maps, told, 0.25)  # type: ignore[arg-type]
    assert sheet.shape == (2 * (450 + TITLE) + 6, 2 * 800 + 6, 3)
    np.testing.assert_array_equal(image, before)
    alone = plot_scores(image, letterbox("ultralytics", (640, 360), (640, 640)), [], told, 0.25)  # type: ignore[arg-type]
    assert alone.shape == (450 + TITLE, 800, 3)


def test_what_is_no_number_is_seen() -> None:
    told, _ = explanation()
    cells = np.zeros((10, 10), np.float32)
    cells[:5] = np.nan
    cells[5, 5] = np.inf
    image = np.zeros((100, 100, 3), np.uint8)
    sheet = plot_scores(image, letterbox("ultralytics", (100, 100), (640, 640)), [ScoreMap("stride 64", cells)], told, 0.25)  # type: ignore[arg-type]
    panel = sheet[TITLE:, 806:]
    assert (panel[:390] == (255, 0, 255)).all()
    assert not (panel[490:760] == (255, 0, 255)).all(axis=-1).any()
