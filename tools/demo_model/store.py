"""Pictures kept on the GPU: drawing is slower than learning, so each is learned from several times, varied anew."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from functools import lru_cache

import torch
from data import FLIPPED
from torch import Tensor, nn


class Store:
    """The last `size` pictures that a loader drew, with their truth, on a device."""

    def __init__(self, batches: Iterator[tuple[Tensor, ...]], size: int, device: torch.device) -> None:
        self.drawn = 0
        self._size = size
        self._device = device
        self._available = torch.zeros((), device=device)
        self._arrived: queue.Queue[tuple[Tensor, ...]] = queue.Queue(maxsize=8)
        self._kept: tuple[Tensor, ...] = ()
        threading.Thread(target=self._read, args=(batches,), daemon=True).start()
        while self.drawn < min(size, 8192):
            self._keep(self._arrived.get())

    def refresh(self) -> None:
        """Take in what was drawn since."""
        while not self._arrived.empty():
            self._keep(self._arrived.get())

    def sample(self, count: int) -> tuple[Tensor, ...]:
        """Pictures (count, 3, H, W) float in 0..1 chosen by lot, varied, and their truth as `SceneBatches` gives it."""
        rows = (torch.rand(count, device=self._device) * self._available).long()
        return vary(*(kept[rows] for kept in self._kept))

    def _read(self, batches: Iterator[tuple[Tensor, ...]]) -> None:
        for batch in batches:
            self._arrived.put(batch)

    def _keep(self, batch: tuple[Tensor, ...]) -> None:
        if not self._kept:
            # In the order in which they come: to turn them about would keep the host busier than all else.
            pictures = torch.empty(
                (self._size, *batch[0].shape[1:]),
                dtype=batch[0].dtype,
                device=self._device,
                memory_format=torch.channels_last,
            )
            others = (torch.zeros((self._size, *part.shape[1:]), dtype=part.dtype, device=self._device) for part in batch[1:])
            self._kept = (pictures, *others)
        start = self.drawn % self._size
        for kept, part in zip(self._kept, batch, strict=True):
            fitting = min(len(part), self._size - start)
            kept[start : start + fitting].copy_(part[:fitting], non_blocking=True)
            kept[: len(part) - fitting].copy_(part[fitting:], non_blocking=True)
        self.drawn += len(batch[0])
        self._available.fill_(float(min(self.drawn, self._size)))


@lru_cache
def _flipped(device: torch.device) -> Tensor:
    return torch.tensor(FLIPPED, device=device)


def vary(images: Tensor, boxes: Tensor, keypoints: Tensor, areas: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
    """Mirrored, zoomed, shifted, in another light; what leaves the picture is no longer asked for."""
    count, _, height, width = images.shape
    device = images.device
    size = torch.cat((torch.full((1,), float(width), device=device), torch.full((1,), float(height), device=device)))
    moved = torch.rand(count, device=device) < 0.6
    zoom = torch.where(moved, torch.exp(torch.empty(count, device=device).uniform_(-0.3, 0.3)), 1.0)
    shift = torch.where(moved[:, None], torch.empty(count, 2, device=device).uniform_(-0.25, 0.25), 0.0)
    mirrored = torch.rand(count, device=device) < 0.5
    side = torch.where(mirrored, -1.0, 1.0)

    # From places in the varied picture to those in the kept one, both in -1..1.
    matrix = torch.zeros(count, 2, 3, device=device)
    matrix[:, 0, 0], matrix[:, 1, 1] = side / zoom, 1 / zoom
    matrix[:, 0, 2], matrix[:, 1, 2] = -shift[:, 0] * side / zoom, -shift[:, 1] / zoom
    grid = nn.functional.affine_grid(matrix, [count, 3, height, width], align_corners=False)
    grey = 114 / 255
    pictures = nn.functional.grid_sample(images.float() / 255 - grey, grid, mode="bilinear", align_corners=False) + grey
    recoloured = (torch.rand(count, 1, 1, 1, device=device) < 0.5).float()
    gain = 1 + recoloured * torch.empty(count, 3, 1, 1, device=device).uniform_(-0.2, 0.2)
    gain = gain * (1 + recoloured * torch.empty(count, 1, 1, 1, device=device).uniform_(-0.25, 0.25))
    offset = recoloured * torch.empty(count, 1, 1, 1, device=device).uniform_(-0.1, 0.1)
    noise = recoloured * torch.empty(count, 1, 1, 1, device=device).uniform_(0, 0.04)
    pictures = (pictures * gain + offset + noise * torch.randn_like(pictures)).clamp(0, 1)

    def place(points: Tensor) -> Tensor:
        centred = (points * 2 / size - 1) * zoom[:, None, None]
        centred = torch.stack((centred[..., 0] * side[:, None], centred[..., 1]), -1)
        return (centred + shift[:, None] + 1) / 2 * size

    people = boxes.shape[1]
    corners = place(boxes.reshape(count, people * 2, 2)).reshape(count, people, 2, 2)
    low, high = corners.amin(2).clamp(min=0), torch.minimum(corners.amax(2), size)
    places = place(keypoints[..., :2].reshape(count, -1, 2)).reshape(*keypoints.shape[:3], 2)
    seen = keypoints[..., 2] * ((places >= 0) & (places < size)).all(-1)
    mirror, flipped = mirrored[:, None, None], _flipped(device)
    places = torch.where(mirror[..., None], places.index_select(2, flipped), places)
    seen = torch.where(mirror, seen.index_select(2, flipped), seen)
    valid = valid & ((seen > 1.5).sum(-1) >= 3) & (high[..., 1] - low[..., 1] > 10) & (high[..., 0] - low[..., 0] > 3)
    return (
        pictures,
        torch.cat((low, high), -1),
        torch.cat((places, seen[..., None]), -1),
        areas * zoom[:, None] ** 2,
        valid,
    )
