"""A picture of what a network sees: its scores at each stride over the frame, beside the people that were made of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tensortap.decode.explain import Explanation, Row
from tensortap.decode.grids import ScoreMap
from tensortap.geometry import Letterbox
from tensortap.sinks.draw import draw_poses

_SIDE = 800
"""Longer side of a panel in pixels."""
_BAR = 30
"""Height of a panel's title."""
_GAP = 6
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)
_NOT_A_NUMBER = (255, 0, 255)
_COLORS = {"suppressed": (0, 200, 255), "score": (170, 170, 170), "max-det": (255, 160, 0), "broken": _NOT_A_NUMBER}
"""Of the boxes that were dropped, BGR."""


def plot_scores(
    image: np.ndarray, box: Letterbox, maps: Sequence[ScoreMap], explanation: Explanation, conf_thres: float
) -> np.ndarray:
    """People and dropped rows in one panel, then one for each score map.

    Args:
        image: uint8 (H, W, 3) BGR, the frame.
        box: how it was placed in the network input.
        maps: of the decoder; none for heads whose rows lie on no grid.
        explanation: of the same frame.
        conf_thres: cells above it are counted in the titles.

    Returns:
        uint8 (h, w, 3) BGR.
    """
    panels = [
        _people(image, explanation),
        *(_titled(draw_scores(image, box, each), caption(each, conf_thres)) for each in maps),
    ]
    height, width = panels[0].shape[:2]
    columns = 1 if len(panels) == 1 else 2
    lines = -(-len(panels) // columns)
    sheet = np.full((lines * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 24, np.uint8)
    for number, panel in enumerate(panels):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = panel
    return sheet


def _people(image: np.ndarray, explanation: Explanation) -> np.ndarray:
    """The people, over the boxes of the best rows that did not become any."""
    size_wh = _size(image)
    canvas = cv2.resize(draw_poses(image, explanation.poses), size_wh, interpolation=cv2.INTER_AREA)
    labels: list[tuple[int, int]] = []
    for row in explanation.rows:
        if row.verdict != "kept" and np.isfinite(row.box_xyxy).all():
            _draw_dropped(canvas, row, size_wh[0] / image.shape[1], labels)
    return _titled(canvas, explanation.summary)


def _draw_dropped(canvas: np.ndarray, row: Row, scale: float, labels: list[tuple[int, int]]) -> None:
    """A thin box, with row and score where no better row has its label already."""
    left, top, right, bottom = (int(value) for value in (row.box_xyxy.clip(-1e4, 1e4) * scale))
    color = _COLORS[row.verdict]
    cv2.rectangle(canvas, (left, top), (right, bottom), color, 1, cv2.LINE_AA)
    place = (min(max(left + 2, 2), canvas.shape[1] - 80), min(max(bottom - 4, 12), canvas.shape[0] - 4))
    if any(abs(place[0] - x) < 80 and abs(place[1] - y) < 14 for x, y in labels):
        return
    labels.append(place)
    for thickness, ink in ((3, (0, 0, 0)), (1, color)):
        cv2.putText(canvas, f"{row.row}: {row.score:.2g}", place, _FONT, 0.38, ink, thickness, cv2.LINE_AA)


def draw_scores(image: np.ndarray, box: Letterbox, score_map: ScoreMap) -> np.ndarray:
    """Every cell where it looks: the surer, the warmer and the denser its colour.

    Args:
        image: uint8 (H, W, 3) BGR, the frame.
        box: how it was placed in the network input.
        score_map: of the decoder.

    Returns:
        uint8 (h, w, 3) BGR, with a legend.
    """
    width, height = _size(image)
    grey = cv2.cvtColor(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    cells = score_map.scores[_cells(box, score_map, 1, height)][:, _cells(box, score_map, 0, width)]
    likely = np.sqrt(np.nan_to_num(cells, nan=0, posinf=1, neginf=0).clip(0, 1))  # low scores are to be seen as well
    warm = _warm(likely)
    density = (0.15 + 0.7 * likely)[..., None]
    canvas = (grey[..., None] * 0.6 * (1 - density) + warm * density).astype(np.uint8)
    canvas[~np.isfinite(cells)] = _NOT_A_NUMBER
    return _with_legend(canvas)


def caption(score_map: ScoreMap, conf_thres: float) -> str:
    """`stride 8: 80 x 80 cells, highest 0.91, 12 above 0.25`."""
    scores = score_map.scores
    numbers = scores[np.isfinite(scores)]
    highest = f"highest {numbers.max():.2g}" if numbers.size else "no number"
    odd = f", {scores.size - numbers.size} no number" if numbers.size < scores.size else ""
    lines, columns = scores.shape
    return (
        f"{score_map.name}: {columns} x {lines} cells, {highest}, {int((numbers > conf_thres).sum())} above {conf_thres:g}{odd}"
    )


def _warm(likely: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) BGR of 0..1: blue, green, yellow, red."""
    colors: np.ndarray = cv2.applyColorMap((25 + likely * 200).astype(np.uint8), cv2.COLORMAP_TURBO)  # its ends are dark
    return colors


def _cells(box: Letterbox, score_map: ScoreMap, axis: int, num_pixels: int) -> np.ndarray:
    """intp (num_pixels,): the line (axis 1) or column (axis 0) of the map that is seen in each pixel of a panel."""
    source = (np.arange(num_pixels) + 0.5) / num_pixels * box.source_wh[axis]
    network = (source - box.crop_xyxy[axis]) * box.ratio_xy[axis] + box.offset_xy[axis]
    num_cells = score_map.scores.shape[1 - axis]
    cells: np.ndarray = (network / box.network_wh[axis] * num_cells).astype(np.intp).clip(0, num_cells - 1)
    return cells


def _size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = _SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _titled(panel: np.ndarray, title: str) -> np.ndarray:
    """The panel below its title, which is made to fit."""
    bar = np.full((_BAR, panel.shape[1], 3), 48, np.uint8)
    size = 0.5
    (width, _), _ = cv2.getTextSize(title, _FONT, size, 1)
    size = min(size, size * (panel.shape[1] - 16) / width)
    cv2.putText(bar, title, (8, 20), _FONT, size, _WHITE, 1, cv2.LINE_AA)
    return np.concatenate((bar, panel))


def _with_legend(panel: np.ndarray) -> np.ndarray:
    """The colours from 0 to 1 at the lower right."""
    height, width = panel.shape[:2]
    length = min(160, width // 3)
    ramp = np.sqrt(np.linspace(0, 1, length))
    left = width - length - 24
    panel[height - 26 : height - 2, left - 16 : width - 4] = 24
    panel[height - 18 : height - 10, left : left + length] = _warm(ramp[None])
    cv2.putText(panel, "0", (left - 12, height - 10), _FONT, 0.38, _WHITE, 1, cv2.LINE_AA)
    cv2.putText(panel, "1", (left + length + 6, height - 10), _FONT, 0.38, _WHITE, 1, cv2.LINE_AA)
    return panel
