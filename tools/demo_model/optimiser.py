"""Muon for the weights of hidden layers, AdamW for everything else, without a word to the host, so that a GPU can replay it."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_BETAS = (0.9, 0.99)


class Optimiser:
    """Steps of all parameters; the rate is a tensor, 1 for the peak.

    Muon (https://kellerjordan.github.io/posts/muon/) moves a weight matrix by the orthogonal matrix nearest to its momentum, so
    that rare directions are learned as fast as common ones.
    """

    def __init__(self, net: nn.Module, muon_rate: float = 0.03, adam_rate: float = 3e-3, decay: float = 0.05) -> None:
        self._rates = (muon_rate, adam_rate)
        self._decay = decay
        shapes: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        self._others: list[Tensor] = []
        for name, parameter in net.named_parameters():
            # First and last layers have no hidden space on one side.
            hidden = parameter.ndim in (2, 4) and min(parameter.shape[:2]) > 3 and not name.startswith("parts")
            if hidden and not name.endswith(("box.weight", "score.weight", "keypoints.weight", "leave.weight")):
                shapes[parameter.shape[0], parameter[0].numel()].append(parameter)
            else:
                self._others.append(parameter)
        self._groups = [(parameters, [torch.zeros_like(p) for p in parameters]) for parameters in shapes.values()]
        self._first = [torch.zeros_like(p) for p in self._others]
        self._second = [torch.zeros_like(p) for p in self._others]
        self._steps = torch.zeros((), device=self._others[0].device)

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """Move all parameters along their gradients."""
        for parameters, momenta in self._groups:
            gradients = [p.grad for p in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
            wanted = torch.stack([g.lerp(m, _MOMENTUM).flatten(1) for g, m in zip(gradients, momenta, strict=True)])
            moves = _orthogonal(wanted) * (max(1.0, wanted.shape[1] / wanted.shape[2]) ** 0.5)
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.mul_(1 - rate * self._rates[0] * self._decay)
                parameter.sub_(rate * self._rates[0] * move.view_as(parameter))
        self._steps += 1
        gradients = [p.grad for p in self._others]
        torch._foreach_lerp_(self._first, gradients, 1 - _BETAS[0])
        torch._foreach_mul_(self._second, _BETAS[1])
        torch._foreach_addcmul_(self._second, gradients, gradients, 1 - _BETAS[1])
        known = [1 - beta**self._steps for beta in _BETAS]
        size = rate * self._rates[1] * known[1].sqrt() / known[0]
        for parameter, first, second in zip(self._others, self._first, self._second, strict=True):
            parameter.sub_(size * first / (second.sqrt() + 1e-8 * known[1].sqrt()))


def _orthogonal(matrices: Tensor) -> Tensor:
    """(N, R, C) -> nearly orthogonal ones with the same singular vectors: five steps of a quintic Newton-Schulz iteration."""
    turned = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if turned else matrices
    x = x.bfloat16() if x.is_cuda else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if turned else x).to(matrices.dtype)
