"""Train the bundled model on scenes, on CPUs or a GPU; see README.md.

python tools/demo_model/train.py --out runs/demo --minutes 8
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from data import SceneBatches
from network import NUM_KEYPOINTS, STRIDES, PoseNet, decode
from store import Store
from torch import Tensor, distributed, nn
from torch import multiprocessing as mp
from torch.utils.data import DataLoader

from tensortap.skeletons import COCO_17

_TOP = 10
"""Cells that learn to find one person."""


def main() -> None:
    """Train for a time, save the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights.pt and the log")
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--batch", type=int, default=24, help="pictures a step and process")
    parser.add_argument("--processes", type=int, default=1, help="on CPUs: as many as cores, each with one thread")
    parser.add_argument("--workers", type=int, default=0, help="on a GPU: processes that draw pictures")
    parser.add_argument("--keep", type=int, default=0, help="on a GPU: pictures to keep there and learn from again, varied")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights.pt to go on from")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.processes > 1:
        rendezvous = options.out / "rendezvous"
        rendezvous.unlink(missing_ok=True)
        mp.spawn(train, (options, rendezvous), nprocs=options.processes)
    else:
        train(0, options, None)


def train(rank: int, options: argparse.Namespace, rendezvous: Path | None) -> None:
    """One process of the training. All of them take the same steps, with the mean of their gradients."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if rendezvous:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo", init_method=f"file://{rendezvous.absolute()}", rank=rank, world_size=options.processes
        )
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    net = PoseNet().to(device, memory_format=torch.channels_last)
    if options.start:
        net.load_state_dict(torch.load(options.start, map_location=device, weights_only=True), strict=False)
    average = copy.deepcopy(net).eval()
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": weights, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], lr=0.0)
    batches = _batches(options, rank, device)
    started, step, share, running = time.monotonic(), 0, 0.0, torch.zeros(5, device=device)
    while share < 1.0:
        # The rate follows the clock: whatever the machine, the last minutes are the calmest.
        rate = options.rate * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        pictures, *truth = next(batches)
        with torch.autocast(device.type, torch.bfloat16):
            maps = net(pictures.to(memory_format=torch.channels_last))
        losses = torch.cat((loss_of(maps[:-1], *truth), part_loss(maps[-1], *truth[1:])[None]))
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        share = (time.monotonic() - started) / 60 / options.minutes
        if rendezvous:
            share = _agree(net, share)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        _follow(average, net, min(0.999, (1 + step) / (20 + step)))
        running += losses.detach()
        step += 1
        if rank == 0 and step % 100 == 0:
            seen = step * options.batch * options.processes
            box, score, place, sure, parts = (running / 100).tolist()
            running.zero_()
            line = (
                f"step {step}  {seen / (time.monotonic() - started):.0f} images/s  {share * options.minutes:.1f} min  "
                f"box {box:.3f}  score {score:.3f}  keypoints {place:.3f}  visible {sure:.3f}  parts {parts:.3f}"
            )
            print(line, flush=True)
            with (options.out / "log.txt").open("a") as log:
                log.write(line + "\n")
        if rank == 0 and step % 200 == 0:
            torch.save(average.state_dict(), options.out / "weights.pt")
    if rank == 0:
        torch.save(average.state_dict(), options.out / "weights.pt")
        print(f"{step} steps, {step * options.batch * options.processes} pictures")


def _batches(options: argparse.Namespace, rank: int, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
    """Pictures (B, 3, H, W) float in 0..1 and their truth on the device, for ever."""
    loader = DataLoader(
        SceneBatches(options.batch, options.seed, rank),
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=3 if options.workers else None,
        pin_memory=device.type == "cuda",
    )
    if options.keep:
        store = Store(iter(loader), options.keep, device)
        while True:
            yield store.sample(options.batch)
    for batch in loader:
        images, *truth = (part.to(device, non_blocking=True) for part in batch)
        yield images.float() / 255, *truth


def _agree(net: nn.Module, share: float) -> float:
    """Replace gradients by the mean over all processes; the mean of `share` comes back, so that all stop at the same step."""
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in net.parameters()]
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), torch.tensor([share])])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    position = 0
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        parameter.grad = flat[position : position + gradient.numel()].view_as(gradient)
        position += gradient.numel()
    return float(flat[-1])


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
    # OKS is flat far from the truth; the plain distance, in sizes of the person, is not.
    far = distance.clamp(min=1e-4).sqrt() / areas[batch, person][:, None].clamp(min=64.0).sqrt()
    miss = (1 - torch.exp(-ratio)) + far
    place_loss = ((miss * trust).sum(-1) / trust.sum(-1).clamp(min=1e-3) * weight).sum() / total
    seen = nn.functional.binary_cross_entropy_with_logits(sure[chosen], labelled, reduction="none").mean(-1)
    sure_loss = (seen * weight).sum() / total
    return torch.stack((7.5 * box_loss, score_loss, 15.0 * place_loss, sure_loss))


def part_loss(logits: Tensor, keypoints: Tensor, areas: Tensor, valid: Tensor) -> Tensor:
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
