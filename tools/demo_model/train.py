"""Train the bundled model on scenes, on one or several GPUs, or on CPUs; see README.md.

python tools/demo_model/train.py --out runs/demo --minutes 22
torchrun --nproc-per-node 4 tools/demo_model/train.py --out runs/demo --minutes 22
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from data import SceneBatches
from losses import NAMES, losses_of
from network import PoseNet
from optimiser import Optimiser
from store import Store
from torch import Tensor, distributed
from torch.utils.data import DataLoader

_WARM_UP_STEPS = 300
_AGREE_STEPS = 10
"""After so many steps all processes ask what time it is."""


def main() -> None:
    """Train for a time, save the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights.pt and the log")
    parser.add_argument("--minutes", type=float, default=22.0)
    parser.add_argument("--batch", type=int, default=512, help="pictures a step, on all devices together")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw pictures, for each device")
    parser.add_argument("--keep", type=int, default=8192, help="pictures to keep on each device and learn from again, varied")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the optimiser's rates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights.pt to go on from")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train(options)


def train(options: argparse.Namespace) -> None:  # noqa: PLR0915 - one loop and what it needs
    """The rate follows the clock: whatever the machine, the last minutes are the calmest."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    loader = DataLoader(
        SceneBatches(64, options.seed, rank * max(1, options.workers)),
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
        pin_memory=device.type == "cuda",
    )
    began = time.monotonic()
    store = Store(iter(loader), options.keep, device)
    if world > 1:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    net = PoseNet().to(device, memory_format=torch.channels_last).train()
    if options.start:
        net.load_state_dict(torch.load(options.start, map_location=device, weights_only=True))
    torch.manual_seed(options.seed + rank)  # from here on each process goes its own way
    average = copy.deepcopy(net)
    optimiser = Optimiser(net)
    rate, decay, running = (torch.zeros(shape, device=device) for shape in ((), (), (len(NAMES),)))
    parameters = list(net.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    gradients = torch.zeros(sum(sizes), device=device)

    def learn() -> None:
        pictures, *truth = store.sample(options.batch // world)
        losses = losses_of(net, pictures.contiguous(memory_format=torch.channels_last), *truth)
        for parameter in parameters:
            parameter.grad = None
        losses.sum().backward()
        torch.cat([parameter.grad.flatten() for parameter in parameters], out=gradients)
        running.add_(losses.detach())

    def move() -> None:
        for parameter, part in zip(parameters, (gradients / world).split(sizes), strict=True):
            parameter.grad = part.view_as(parameter)
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step(rate)
        _follow(average, net, decay)

    if device.type == "cuda":
        learn, move = _captured(learn), _captured(move)
    running.zero_()
    if rank == 0:
        print(f"ready after {time.monotonic() - began:.0f} s, {store.drawn} pictures drawn", flush=True)
    step, share, saved, said, said_at = 0, 0.0, began, 0, time.monotonic()
    while share < 1.0:
        if step % _AGREE_STEPS == 0:
            share = _agreed((time.monotonic() - began) / 60 / options.minutes, device, world)
        rate.fill_(options.rate * min(1.0, (step + 1) / _WARM_UP_STEPS, 0.5 + 0.5 * math.cos(math.pi * min(share, 1.0))))
        decay.fill_(min(0.9993, (1 + step) / (20 + step)))
        learn()
        if world > 1:
            distributed.all_reduce(gradients)
        move()
        store.refresh()
        step += 1
        if rank == 0 and (step % 100 == 0 or share >= 1.0):
            means = (running / (step - said)).tolist()  # waits for the device
            running.zero_()
            now = time.monotonic()
            speed = (step - said) * options.batch / (now - said_at)
            said, said_at = step, now
            terms = "  ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, means, strict=True))
            drawn = store.drawn * world
            line = f"step {step}  {speed:.0f} images/s  {(now - began) / 60:.1f} min  drawn {drawn}  {terms}"
            print(line, flush=True)
            with (options.out / "log.txt").open("a") as log:
                log.write(line + "\n")
            if now - saved > 60 or share >= 1.0:
                saved = now
                _save(average, options.out / "weights.pt")
    if rank == 0:
        print(f"{step} steps, {step * options.batch} pictures", flush=True)
    if world > 1:
        _agreed(share, device, world)  # nobody leaves while others still add up
        distributed.destroy_process_group()


def _agreed(share: float, device: torch.device, world: int) -> float:
    """What the first process says: all must stop after the same step."""
    if world == 1:
        return share
    said = torch.tensor([share], dtype=torch.float64, device=device)
    distributed.broadcast(said, 0)
    return float(said.item())


def _captured(advance: Callable[[], None]) -> Callable[[], None]:
    """A step as one CUDA graph: the network is so small that starting its kernels one by one takes longer than they do."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(5):
            advance()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="relaxed"):  # another thread pins memory for pictures meanwhile
        advance()
    return graph.replay


def _save(net: PoseNet, path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save(net.state_dict(), part)
    part.replace(path)


@torch.no_grad()
def _follow(average: torch.nn.Module, net: torch.nn.Module, decay: Tensor) -> None:
    ours = [value for value in average.state_dict().values() if value.dtype.is_floating_point]
    theirs = [value for value in net.state_dict().values() if value.dtype.is_floating_point]
    moves = torch._foreach_sub(theirs, ours)
    torch._foreach_mul_(moves, 1 - decay)
    torch._foreach_add_(ours, moves)
    for mine, other in zip(average.buffers(), net.buffers(), strict=True):
        if not mine.dtype.is_floating_point:
            mine.copy_(other)


if __name__ == "__main__":
    main()
