"""What the network is to learn: who is found by which cell, and how far off boxes, scores and keypoints are.

All shapes are fixed by the batch, so that a GPU can run a whole step as one graph.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from network import NUM_KEYPOINTS, STRIDES, PoseNet, decode
from torch import Tensor, nn

from tensortap.skeletons import COCO_17

NAMES = ("box", "score", "coarse", "refined", "visible", "quality", "parts")
_CELLS = 10
"""Cells that learn to find one person."""
_REFINED = 4
"""Of these, the best ones, which learn to refine."""
_MOST_REFINED = 20
"""In one picture."""


def losses_of(net: PoseNet, pictures: Tensor, boxes: Tensor, keypoints: Tensor, areas: Tensor, valid: Tensor) -> Tensor:
    """Weighted losses, float32 (len(NAMES),).

    Args:
        net: the network, in training.
        pictures: (B, 3, H, W) RGB in 0..1.
        boxes: (B, M, 4) xyxy in pixels.
        keypoints: (B, M, 17, 3): x, y, COCO visibility.
        areas: (B, M) in pixels.
        valid: bool (B, M).
    """
    with torch.autocast(pictures.device.type, torch.bfloat16, cache_enabled=False):
        maps, looks = net(pictures)
        parts = net.parts(looks)
    found, logits, places, sure, cells = decode(maps)
    with torch.no_grad():
        slots, weight, target = _assign(found.detach(), logits.detach().sigmoid(), boxes, valid, cells)
    score_loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / target.sum().clamp(min=1.0)

    people = valid.shape[1]
    flat = slots.flatten(1)

    def at(values: Tensor) -> Tensor:
        """(B, A, ...) -> (B, M, cells, ...): what the cells of each person say."""
        index = flat.reshape(*flat.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:])
        return values.gather(1, index).unflatten(1, (people, _CELLS))

    found, places, sure = at(found), at(places), at(sure)
    box_loss = _mean(1 - _ciou(found, boxes[:, :, None]), weight)
    coarse, seen = _keypoint_losses(places, sure, keypoints, areas)
    coarse_loss, seen_loss = _mean(coarse, weight), _mean(seen, weight)

    # The best cells of each person go on to be refined, each time from where the step before left them. Most pictures show few
    # people, so only the best of all go.
    weight, chosen = weight[:, :, :_REFINED].flatten(1).topk(_MOST_REFINED, dim=1)
    owner = chosen // _REFINED

    def of(values: Tensor, which: Tensor) -> Tensor:
        """(B, K, ...) -> (B, N, ...)."""
        return values.gather(1, which.reshape(*which.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:]))

    rough = of(found[:, :, :_REFINED].detach().flatten(1, 2), chosen)
    better = of(places[:, :, :_REFINED].flatten(1, 2), chosen)
    truth, size = of(keypoints, owner), of(areas, owner)
    middle, sides = (rough[..., :2] + rough[..., 2:]) / 2, rough[..., 2:] - rough[..., :2]
    root = _area(sides).clamp(min=16.0).sqrt()
    half = (cells.amin(0) + cells.amax(0))[:2] / 2
    near = (better - middle[:, :, None]) / root[..., None, None]
    refined_loss = quality_loss = box_loss * 0
    for refiner in net.looking():
        with torch.autocast(pictures.device.type, torch.bfloat16, cache_enabled=False):
            moves, surer, quality = refiner(looks, near.detach(), middle - half, root)
        near = near.detach() + moves
        better = middle[:, :, None] + near * root[..., None, None]
        miss, seen = (loss[..., 0] for loss in _keypoint_losses(better[:, :, None], surer[:, :, None], truth, size))
        refined_loss = refined_loss + _mean(miss, weight)
        seen_loss = seen_loss + _mean(seen, weight)
        good = _oks(better.detach()[:, :, None], truth, size)[..., 0]
        doubt = nn.functional.binary_cross_entropy_with_logits(quality, good, reduction="none")
        quality_loss = quality_loss + _mean(doubt, weight)
    part_loss = _part_loss(parts, keypoints, areas, valid)
    return torch.stack(
        (7.5 * box_loss, score_loss, 8 * coarse_loss, 8 * refined_loss, 0.4 * seen_loss, 0.3 * quality_loss, part_loss)
    )


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def _ratio(places: Tensor, keypoints: Tensor, areas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of places (B, M, N, 17, 2): squared distances to the truth in OKS' units and in sizes, and who counts (B, M, 1, 17)."""
    truth = keypoints[:, :, None]
    labelled = (truth[..., 2] > 0).float()
    sigmas = _sigmas(places.device)
    area = areas[:, :, None, None].clamp(min=64.0)
    distance = (places - truth[..., :2]).square().sum(-1)
    return distance / (2 * (2 * sigmas).square() * area), distance / area, labelled


@lru_cache
def _sigmas(device: torch.device) -> Tensor:
    return torch.tensor(COCO_17.sigmas.tolist(), device=device)


def _oks(places: Tensor, keypoints: Tensor, areas: Tensor) -> Tensor:
    """(B, M, N): Object Keypoint Similarity as COCO has it."""
    ratio, _, labelled = _ratio(places, keypoints, areas)
    return (torch.exp(-ratio) * labelled).sum(-1) / labelled.sum(-1).clamp(min=1.0)


def _keypoint_losses(places: Tensor, sure: Tensor, keypoints: Tensor, areas: Tensor) -> tuple[Tensor, Tensor]:
    """(B, M, N) each: 1 - OKS plus the distance in sizes of the person, and the cross entropy of visibility."""
    ratio, distance, labelled = _ratio(places, keypoints, areas)
    # Hidden keypoints count for less: where they are is partly a guess.
    trust = labelled * torch.where(keypoints[:, :, None, :, 2] > 1.5, 1.0, 0.8)
    # OKS is flat far from the truth; the plain distance is not.
    miss = (1 - torch.exp(-ratio)) + distance.clamp(min=1e-6).sqrt()
    place_loss = (miss * trust).sum(-1) / trust.sum(-1).clamp(min=1e-3)
    seen = nn.functional.binary_cross_entropy_with_logits(sure, labelled.expand_as(sure), reduction="none").mean(-1)
    return place_loss, seen


def _part_loss(logits: Tensor, keypoints: Tensor, areas: Tensor, valid: Tensor) -> Tensor:
    """Of heat maps of all visible keypoints at stride 8, whoever they belong to, against Gaussians of the person's size."""
    stride = STRIDES[0]
    height, width = logits.shape[2:]
    x = (torch.arange(width, device=logits.device) + 0.5) * stride
    y = (torch.arange(height, device=logits.device) + 0.5) * stride
    spread = (0.07 * areas.sqrt()).clamp(min=0.7 * stride, max=2.5 * stride)[:, :, None, None]
    across = torch.exp(-((keypoints[..., 0, None] - x) ** 2) / (2 * spread**2))
    down = torch.exp(-((keypoints[..., 1, None] - y) ** 2) / (2 * spread**2))
    seen = (keypoints[..., 2] > 1.5) & valid[:, :, None]
    across = across * seen[..., None]
    target = (down[..., :, None] * across[..., None, :]).amax(dim=1)
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none") * (1 + 4 * target)
    return 0.1 * loss.sum() / seen.sum().clamp(min=1)


def _assign(found: Tensor, scores: Tensor, boxes: Tensor, valid: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which cells learn to find whom: task alignment (TOOD, arXiv:2108.07755).

    Those inside a person's box whose score and overlap are best together; and the better the overlap, the higher the score that
    they are to give.

    Returns:
        cells of each person, best first, (B, M, 10); their weights, 0 for none; and the score of every cell, (B, A).
    """
    centre = cells[:, :2]
    inside = (
        (centre > boxes[:, :, None, :2]).all(-1) & (centre < boxes[:, :, None, 2:]).all(-1) & valid[:, :, None]
    )  # (B, M, A)
    overlap = _iou(boxes[:, :, None], found[:, None]).clamp(min=0)
    fit, slots = (scores[:, None].sqrt() * overlap.pow(6) * inside).topk(_CELLS, dim=-1)
    overlap = overlap.gather(-1, slots)
    # A cell that two people want goes to the one whom it overlaps more.
    empty = torch.zeros_like(scores)
    most = empty.scatter_reduce(1, slots.flatten(1), (overlap * (fit > 0)).flatten(1), "amax")
    mine = (fit > 0) & (overlap >= most.gather(1, slots.flatten(1)).view_as(slots))
    fit = fit * mine
    weight = fit / fit.amax(-1, keepdim=True).clamp(min=1e-12) * (overlap * mine).amax(-1, keepdim=True)
    return slots, weight, empty.scatter_reduce(1, slots.flatten(1), weight.flatten(1), "amax")


def _iou(first: Tensor, second: Tensor) -> Tensor:
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = _area((high - low).clamp(min=0))
    areas = _area(first[..., 2:] - first[..., :2]) + _area(second[..., 2:] - second[..., :2])
    return shared / (areas - shared).clamp(min=1e-6)


def _area(size: Tensor) -> Tensor:
    return size[..., 0] * size[..., 1]  # prod() would ask the device for zeros


def _ciou(first: Tensor, second: Tensor) -> Tensor:
    """Complete IoU, arXiv:1911.08287."""
    iou = _iou(first, second)
    outer = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    apart = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]).square().sum(-1) / 4
    first_wh, second_wh = (box[..., 2:] - box[..., :2] for box in (first, second))
    shape = torch.atan(second_wh[..., 0] / second_wh[..., 1].clamp(min=1e-6)) - torch.atan(
        first_wh[..., 0] / first_wh[..., 1].clamp(min=1e-6)
    )
    aspect = (4 / math.pi**2) * shape.square()
    with torch.no_grad():
        alpha = aspect / (1 - iou + aspect).clamp(min=1e-6)
    return iou - apart / outer.square().sum(-1).clamp(min=1e-6) - alpha * aspect


assert COCO_17.num_keypoints == NUM_KEYPOINTS
