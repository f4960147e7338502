"""Train the bundled model on scenes. On one GPU and 16 cores this takes under ten minutes; see README.md.

python tools/demo_model/train.py --out runs/demo --minutes 8
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
from data import SceneBatches
from network import NUM_KEYPOINTS, PoseNet, decode
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tensortap.skeletons import COCO_17

_TOP = 10
"""Cells that learn to find one person."""


def main() -> None:
    """Train for a time, save the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights.pt and the log")
    parser.add_argument("--minutes", type=float, default=85.0)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights.pt to go on from")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True

    net = PoseNet().to(device, memory_format=torch.channels_last)
    if options.start:
        net.load_state_dict(torch.load(options.start, map_location=device, weights_only=True))
    average = copy.deepcopy(net).eval()
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": weights, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], lr=0.0)
    loader = iter(
        DataLoader(
            SceneBatches(options.batch, options.seed),
            batch_size=None,
            num_workers=options.workers,
            prefetch_factor=3 if options.workers else None,
            pin_memory=device.type == "cuda",
        )
    )
    started, step, running = time.monotonic(), 0, torch.zeros(4, device=device)
    while (spent := (time.monotonic() - started) / 60) < options.minutes:
        # The rate follows the clock: whatever the machine, the last minutes are the calmest.
        share = spent / options.minutes
        rate = options.rate * min(1.0, (step + 1) / 300) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, *truth = (tensor.to(device, non_blocking=True) for tensor in next(loader))
        pictures = images.to(memory_format=torch.channels_last).float() / 255
        with torch.autocast(device.type, torch.bfloat16):
            maps = net(pictures)
        losses = loss_of(maps, *truth)
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        _follow(average, net, min(0.999, (1 + step) / (20 + step)))
        running += losses.detach()
        step += 1
        if step % 100 == 0:
            box, score, place, sure = (running / 100).tolist()
            running.zero_()
            line = (
                f"step {step}  {step * options.batch / (time.monotonic() - started):.0f} images/s  {spent:.1f} min  "
                f"box {box:.3f}  score {score:.3f}  keypoints {place:.3f}  visible {sure:.3f}"
            )
            print(line, flush=True)
            with (options.out / "log.txt").open("a") as log:
                log.write(line + "\n")
        if step % 500 == 0:
            torch.save(average.state_dict(), options.out / "weights.pt")
    torch.save(average.state_dict(), options.out / "weights.pt")
    print(f"{step} steps, {step * options.batch} images")


def _follow(average: torch.nn.Module, net: torch.nn.Module, decay: float) -> None:
    with torch.no_grad():
        ours = [value for value in average.state_dict().values() if value.dtype.is_floating_point]
        theirs = [value for value in net.state_dict().values() if value.dtype.is_floating_point]
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for mine, other in zip(average.buffers(), net.buffers(), strict=True):
            if not mine.dtype.is_floating_point:
                mine.copy_(other)


def loss_of(maps: list[Tensor], boxes: Tensor, keypoints: Tensor, areas: Tensor, valid: Tensor) -> Tensor:
    """Losses of boxes (CIoU), scores, keypoints (1 - OKS) and their visibility, weighted; (4,).

    Which cells learn to find whom follows task alignment (TOOD, arXiv:2108.07755): those inside a person's box whose score
    and overlap are best together; and the better the overlap, the higher the score that they are to give.
    """
    found, logits, places, sure, cells = decode(maps)
    with torch.no_grad():
        owner, target = _assign(found.detach(), logits.detach().sigmoid(), boxes, valid, cells)
    chosen = target > 0
    total = target.sum().clamp(min=1.0)
    score_loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / total
    if not chosen.any():
        return torch.stack((found.sum() * 0, score_loss, places.sum() * 0, sure.sum() * 0))
    batch = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(owner)[chosen]
    person, weight = owner[chosen], target[chosen]
    box_loss = ((1 - _ciou(found[chosen], boxes[batch, person])) * weight).sum() / total

    truth = keypoints[batch, person]
    labelled = (truth[..., 2] > 0).float()
    # Hidden keypoints count for less: where they are is partly a guess.
    trust = labelled * torch.where(truth[..., 2] > 1.5, 1.0, 0.5)
    sigmas = torch.from_numpy(COCO_17.sigmas).to(truth.device)
    distance = (places[chosen] - truth[..., :2]).square().sum(-1)
    ratio = distance / (2 * (2 * sigmas).square() * areas[batch, person][:, None].clamp(min=64.0))
    # OKS is flat far from the truth; the logarithm is not.
    miss = (1 - torch.exp(-ratio)) + 0.1 * torch.log1p(ratio)
    place_loss = ((miss * trust).sum(-1) / trust.sum(-1).clamp(min=1e-3) * weight).sum() / total
    seen = nn.functional.binary_cross_entropy_with_logits(sure[chosen], labelled, reduction="none").mean(-1)
    sure_loss = (seen * weight).sum() / total
    return torch.stack((7.5 * box_loss, score_loss, 15.0 * place_loss, sure_loss))


def _assign(found: Tensor, scores: Tensor, boxes: Tensor, valid: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Who each cell learns to find, (B, A), and the score that it is to give, 0 for nobody."""
    centre = cells[:, :2]
    inside = (
        (centre > boxes[:, :, None, :2]).all(-1) & (centre < boxes[:, :, None, 2:]).all(-1) & valid[:, :, None]
    )  # (B, M, A)
    overlap = _iou(boxes[:, :, None], found[:, None]).clamp(min=0)
    fit = scores[:, None].sqrt() * overlap.pow(6) * inside
    # Somebody too small to hold a cell's centre is left to the cells that overlap.
    threshold = fit.topk(_TOP, dim=-1).values[..., -1:]
    candidate = inside & (fit >= threshold) & (fit > 0)
    best, owner = (overlap * candidate).max(dim=1)
    mine = candidate & nn.functional.one_hot(owner, boxes.shape[1]).permute(0, 2, 1).bool()
    fit = fit * mine
    norm = fit / fit.amax(-1, keepdim=True).clamp(min=1e-9) * (overlap * mine).amax(-1, keepdim=True)
    return owner, norm.amax(dim=1) * (best > 0)


def _iou(first: Tensor, second: Tensor) -> Tensor:
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1)
    return shared / (areas - shared).clamp(min=1e-6)


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

if __name__ == "__main__":
    main()
