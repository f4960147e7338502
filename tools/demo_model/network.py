"""The network: a small one-stage pose detector in PyTorch, with the output layout of a YOLOv8-pose export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NUM_KEYPOINTS = 17
STRIDES = (8, 16, 32)
LOOKS = 64
"""Channels of the map that refinement looks at."""
REFINED = 40
"""At most so many cells of a picture have their keypoints refined: the peaks of the score."""


class Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Block(nn.Module):
    """Half of the channels pass through residual 3 x 3 convolutions, all are joined at the end (cross-stage partial)."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = Conv(inputs, outputs, 1)
        self.steps = nn.ModuleList(nn.Sequential(Conv(half, half), Conv(half, half)) for _ in range(depth))
        self.leave = Conv(half * (2 + depth), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for step in self.steps:
            parts.append(parts[-1] + step(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pool(nn.Module):
    """Maxima over three sizes of surroundings, for a view of the whole picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = Conv(channels, channels // 2, 1)
        self.leave = Conv(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(nn.functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.leave(torch.cat(parts, 1))


class Head(nn.Module):
    """Boxes, score and keypoints of one scale: (B, 4 + 1 + 17 * 3, h, w), raw."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.where = nn.Sequential(Conv(inputs, hidden), Conv(hidden, hidden))
        self.who = Conv(inputs, 32)
        self.box = nn.Conv2d(hidden, 4, 1)
        self.score = nn.Conv2d(32, 1, 1)
        self.keypoints = nn.Conv2d(hidden, NUM_KEYPOINTS * 3, 1)
        nn.init.constant_(self.score.bias, -5.0)
        nn.init.constant_(self.box.bias, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        where, who = self.where(x), self.who(x)
        # Half precision is too coarse for places: at stride 32 it rounds to whole pixels.
        with torch.autocast(x.device.type, enabled=False):
            where, who = where.float(), who.float()
            return torch.cat((self.box(where), self.score(who), self.keypoints(where)), 1)


class Refiner(nn.Module):
    """Looks about the places where a person's keypoints seem to be, and moves all of them together, so that they agree."""

    def __init__(self, hidden: int = 256, own: int = 32) -> None:
        super().__init__()
        # Where to look, seen from each keypoint, in sizes of the person: at it, and on four sides. Training moves these.
        sides = torch.tensor([[0.0, 0.0], [0.12, 0.0], [-0.12, 0.0], [0.0, 0.12], [0.0, -0.12]])
        self.sides = nn.Parameter(sides.repeat(NUM_KEYPOINTS, 1, 1))
        # Each keypoint has weights of its own for what is seen about it.
        seen = len(sides) * LOOKS
        self.feel = nn.Parameter(torch.empty(NUM_KEYPOINTS, seen, own).uniform_(-1, 1) * seen**-0.5)
        self.enter = nn.Linear(NUM_KEYPOINTS * (own + 2), hidden)
        self.norm = nn.LayerNorm(hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.leave = nn.Linear(hidden, NUM_KEYPOINTS * 3 + 1)
        nn.init.normal_(self.leave.weight, std=0.002)
        nn.init.zeros_(self.leave.bias)

    def forward(self, looks: Tensor, near: Tensor, middle: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Better places of N people.

        Places are seen from the middle of the person's box, in sizes of the person, because half precision is too coarse for
        places in the picture: in an input of 800 pixels it would round them to fours.

        Args:
            looks: (B, C, h, w), a map at stride 8.
            near: (B, N, 17, 2), where keypoints seem to be.
            middle: (B, N, 2) of the boxes, in network pixels from the middle of the picture.
            size: (B, N) of the boxes, the roots of their areas.

        Returns:
            how to move them (B, N, 17, 2), their visibility logits (B, N, 17), and a logit of how good they are (B, N).
        """
        scale = 1.0 / STRIDES[0]
        around = (near[..., None, :] + self.sides).flatten(2, 3) * (size * scale)[..., None, None]  # (B, N, 17 * 5, 2)
        seen = _sampled(looks.float(), middle[..., None, :] * scale + around, gather=self.training)  # (B, N, 17 * 5, C)
        seen = seen.unflatten(2, (NUM_KEYPOINTS, -1)).flatten(3).permute(2, 0, 1, 3).flatten(1, 2)  # (17, B * N, 5 * C)
        felt = nn.functional.relu(seen @ self.feel).transpose(0, 1).reshape(*near.shape[:3], -1)
        hidden = self.enter(torch.cat((felt, near), -1).flatten(2))
        hidden = nn.functional.relu(self.norm(hidden))
        hidden = hidden + nn.functional.relu(self.middle(hidden))
        with torch.autocast(looks.device.type, enabled=False):
            row = self.leave(hidden.float())
        moves = row[..., : NUM_KEYPOINTS * 2].unflatten(-1, (NUM_KEYPOINTS, 2))
        return moves, row[..., NUM_KEYPOINTS * 2 : -1], row[..., -1]


def _sampled(maps: Tensor, places: Tensor, *, gather: bool) -> Tensor:
    """Maps (B, C, h, w) at places (B, N, P, 2), in cells from the map's middle, interpolated: (B, N, P, C).

    To gather rows says the same as `grid_sample`, whose gradient takes a GPU a hundred times longer.
    """
    count, channels, height, width = maps.shape
    if not gather:
        grid = torch.stack((places[..., 0] * (2.0 / width), places[..., 1] * (2.0 / height)), -1)
        seen = nn.functional.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return seen.permute(0, 2, 3, 1)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    x = (places[..., 0] + (width - 1) / 2).clamp(0, width - 1)
    y = (places[..., 1] + (height - 1) / 2).clamp(0, height - 1)
    left, top = x.detach().long().clamp(max=width - 2), y.detach().long().clamp(max=height - 2)
    right, down = (x - left)[..., None], (y - top)[..., None]
    first = torch.arange(count, device=maps.device)[:, None, None] * (height * width) + top * width + left
    corners = [rows.index_select(0, (first + step).flatten()).view(*first.shape, -1) for step in (0, 1, width, width + 1)]
    above = corners[0] + right * (corners[1] - corners[0])
    below = corners[2] + right * (corners[3] - corners[2])
    return above + down * (below - above)


class PoseNet(nn.Module):
    """Pictures (B, 3, H, W) RGB in 0..1 -> raw maps at strides 8, 16 and 32, and one to look at again at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.to_4 = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 24, 3, 2))
        self.to_8 = nn.Sequential(Conv(24, 48, 3, 2), Block(48, 48, 1))
        self.to_16 = nn.Sequential(Conv(48, 96, 3, 2), Block(96, 96, 3))
        self.to_32 = nn.Sequential(Conv(96, 176, 3, 2), Block(176, 176, 3), Pool(176))
        self.up_16 = Block(176 + 96, 96, 1)
        self.up_8 = Block(96 + 48, 48, 1)
        self.down_16 = Conv(48, 48, 3, 2)
        self.join_16 = Block(48 + 96, 96, 1)
        self.down_32 = Conv(96, 96, 3, 2)
        self.join_32 = Block(96 + 176, 160, 1)
        self.heads = nn.ModuleList((Head(48, 48), Head(96, 80), Head(160, 96)))
        self.look = Conv(48, LOOKS)
        self.refiners = nn.ModuleList((Refiner(), Refiner()))
        # For training only: which keypoint is where, whoever it belongs to, teaches the network to tell parts of the body.
        self.parts = nn.Conv2d(LOOKS, NUM_KEYPOINTS, 1)
        nn.init.constant_(self.parts.bias, -4.0)

    def looking(self) -> list[Refiner]:
        """Who refines, one after the other; the last looks twice."""
        return [*self.refiners, self.refiners[-1]]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        at_8 = self.to_8(self.to_4(x))
        at_16 = self.to_16(at_8)
        at_32 = self.to_32(at_16)
        up_16 = self.up_16(torch.cat((nn.functional.interpolate(at_32, scale_factor=2.0), at_16), 1))
        out_8 = self.up_8(torch.cat((nn.functional.interpolate(up_16, scale_factor=2.0), at_8), 1))
        out_16 = self.join_16(torch.cat((self.down_16(out_8), up_16), 1))
        out_32 = self.join_32(torch.cat((self.down_32(out_16), at_32), 1))
        return [head(part) for head, part in zip(self.heads, (out_8, out_16, out_32), strict=True)], self.look(out_8)


def decode(maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Raw maps -> what they mean, in network pixels.

    Returns:
        boxes (B, A, 4) xyxy; score logits (B, A); keypoints (B, A, 17, 2); their logits (B, A, 17); cell centres (A, 3) of
        x, y and stride.
    """
    row = torch.cat([part.flatten(2).transpose(1, 2) for part in maps], 1).float()
    cell = centres(maps)
    centre, stride = cell[:, :2], cell[:, 2:]
    sides = nn.functional.softplus(row[..., :4]) * stride
    boxes = torch.cat((centre - sides[..., :2], centre + sides[..., 2:]), -1)
    points = row[..., 5:].unflatten(-1, (NUM_KEYPOINTS, 3))
    places = centre[:, None] + 2.0 * points[..., :2] * stride[:, None]
    return boxes, row[..., 4], places, points[..., 2], cell


def centres(maps: list[Tensor]) -> Tensor:
    """(A, 3): x and y of the middle of each cell of the maps, and its stride."""
    cells = []
    for part, stride in zip(maps, STRIDES, strict=True):
        height, width = part.shape[2:]
        y = (torch.arange(height, device=part.device) + 0.5) * stride
        x = (torch.arange(width, device=part.device) + 0.5) * stride
        grid = torch.stack((x[None].expand(height, -1), y[:, None].expand(-1, width)), -1).reshape(-1, 2)
        cells.append(nn.functional.pad(grid, (0, 1), value=float(stride)))
    return torch.cat(cells)


class Exported(nn.Module):
    """The network as it is shipped: (B, 3, H, W) -> (B, 56, A), rows as those of a YOLOv8-pose export."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        maps, looks = self.net(images)
        raw = torch.cat([part.flatten(2) for part in maps], 2)  # (B, 56, A); to turn it about would cost time
        cells = centres(maps)
        x, y, stride = cells[:, 0], cells[:, 1], cells[:, 2]
        sides = nn.functional.softplus(raw[:, :4]) * stride
        near, far = sides[:, :2], sides[:, 2:]
        middle = cells[:, :2].T + (far - near) / 2
        points = raw[:, 5:].unflatten(1, (NUM_KEYPOINTS, 3))
        places = points[:, :, :2] * (2.0 * stride) + torch.stack((x, y))
        scores = raw[:, 4:5].sigmoid()
        keypoints = torch.cat((places, points[:, :, 2:].sigmoid()), 2).flatten(1, 2)
        rows = torch.cat((middle, near + far, scores * 0.3, keypoints), 1)

        # Of neighbours that found the same person only the surest can come through, so only peaks are worth a second look.
        peaks = torch.cat([self._peaks(part[:, 4]) for part in maps], 1)
        _, best = peaks.topk(torch.sym_min(REFINED, peaks.shape[1]), dim=1)
        index = best[:, None].expand(-1, rows.shape[1], -1)
        chosen = rows.gather(2, index).transpose(1, 2)  # (B, N, 56)
        # What goes into the refiners is computed apart from what comes out, and from places seen from near by: OpenVINO
        # halves the precision of all that leads to a product of matrices.
        own = raw.gather(2, index).transpose(1, 2)
        sides, stride = nn.functional.softplus(own[..., :4]), stride[best]
        size = ((sides[..., 0] + sides[..., 2]) * (sides[..., 1] + sides[..., 3])).clamp(min=1e-4).sqrt()
        offset = (sides[..., 2:] - sides[..., :2]) / 2
        near = (own[..., 5:].unflatten(-1, (NUM_KEYPOINTS, 3))[..., :2] * 2.0 - offset[..., None, :]) / size[..., None, None]
        size = size * stride
        middle = (cells - (cells.amin(0) + cells.amax(0)) / 2)[:, :2][best] + offset * stride[..., None]
        better = chosen[..., 5:].unflatten(-1, (NUM_KEYPOINTS, 3))[..., :2]
        for refiner in self.net.looking():
            moves, surer, quality = refiner(looks, near, middle, size)
            near, better = near + moves, better + moves * size[..., None, None]
        # Most sure is who is sure of the keypoints; a cell that was not refined stays below its neighbour that was.
        score = (chosen[..., 4:5] / 0.3) ** 0.3 * quality.sigmoid()[..., None] ** 0.7
        keypoints = torch.cat((better, surer.sigmoid()[..., None]), -1).flatten(2)
        refined = torch.cat((chosen[..., :4], score, keypoints), -1).transpose(1, 2)
        return rows.scatter(2, index, refined)

    @staticmethod
    def _peaks(logits: Tensor) -> Tensor:
        """Logits (B, h, w), flat, where none of the eight neighbours has a greater one; far below zero elsewhere."""
        greatest = nn.functional.max_pool2d(logits[:, None], 3, 1, 1)[:, 0]
        return torch.where(logits >= greatest, logits, logits - 100.0).flatten(1)
