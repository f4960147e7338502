"""The network: a small one-stage pose detector in PyTorch, with the output layout of a YOLOv8-pose export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NUM_KEYPOINTS = 17
STRIDES = (8, 16, 32)


class Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
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

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.where = nn.Sequential(Conv(inputs, 64), Conv(64, 64))
        self.who = Conv(inputs, 32)
        self.box = nn.Conv2d(64, 4, 1)
        self.score = nn.Conv2d(32, 1, 1)
        self.keypoints = nn.Conv2d(64, NUM_KEYPOINTS * 3, 1)
        nn.init.constant_(self.score.bias, -5.0)
        nn.init.constant_(self.box.bias, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        where, who = self.where(x), self.who(x)
        # Half precision is too coarse for places: at stride 32 it rounds to whole pixels.
        with torch.autocast(x.device.type, enabled=False):
            where, who = where.float(), who.float()
            return torch.cat((self.box(where), self.score(who), self.keypoints(where)), 1)


class PoseNet(nn.Module):
    """Pictures (B, 3, H, W) RGB in 0..1 -> raw maps at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.to_4 = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 24, 3, 2))
        self.to_8 = nn.Sequential(Conv(24, 48, 3, 2), Block(48, 48, 1))
        self.to_16 = nn.Sequential(Conv(48, 96, 3, 2), Block(96, 96, 2))
        self.to_32 = nn.Sequential(Conv(96, 144, 3, 2), Block(144, 144, 1), Pool(144))
        self.up_16 = Block(144 + 96, 96, 1)
        self.up_8 = Block(96 + 48, 48, 1)
        self.down_16 = Conv(48, 48, 3, 2)
        self.join_16 = Block(48 + 96, 96, 1)
        self.down_32 = Conv(96, 96, 3, 2)
        self.join_32 = Block(96 + 144, 144, 1)
        self.heads = nn.ModuleList((Head(48), Head(96), Head(144)))
        # For training only: which keypoint is where, whoever it belongs to, teaches the network to tell parts of the body.
        self.parts = nn.Conv2d(48, NUM_KEYPOINTS, 1)
        nn.init.constant_(self.parts.bias, -4.0)

    def forward(self, x: Tensor) -> list[Tensor]:
        at_8 = self.to_8(self.to_4(x))
        at_16 = self.to_16(at_8)
        at_32 = self.to_32(at_16)
        up_16 = self.up_16(torch.cat((nn.functional.interpolate(at_32, scale_factor=2.0), at_16), 1))
        out_8 = self.up_8(torch.cat((nn.functional.interpolate(up_16, scale_factor=2.0), at_8), 1))
        out_16 = self.join_16(torch.cat((self.down_16(out_8), up_16), 1))
        out_32 = self.join_32(torch.cat((self.down_32(out_16), at_32), 1))
        maps = [head(part) for head, part in zip(self.heads, (out_8, out_16, out_32), strict=True)]
        return [*maps, self.parts(out_8)] if self.training else maps


def decode(maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Raw maps -> what they mean, in network pixels.

    Returns:
        boxes (B, A, 4) xyxy; score logits (B, A); keypoints (B, A, 17, 2); their logits (B, A, 17); cell centres (A, 3) of
        x, y and stride.
    """
    rows, cells = [], []
    for part, stride in zip(maps, STRIDES, strict=True):
        height, width = part.shape[2:]
        y = (torch.arange(height, device=part.device) + 0.5) * stride
        x = (torch.arange(width, device=part.device) + 0.5) * stride
        grid = torch.stack((x[None].expand(height, -1), y[:, None].expand(-1, width)), -1).reshape(-1, 2)
        cells.append(nn.functional.pad(grid, (0, 1), value=float(stride)))
        rows.append(part.flatten(2).transpose(1, 2))
    row, cell = torch.cat(rows, 1).float(), torch.cat(cells)
    centre, stride = cell[:, :2], cell[:, 2:]
    sides = nn.functional.softplus(row[..., :4]) * stride
    boxes = torch.cat((centre - sides[..., :2], centre + sides[..., 2:]), -1)
    points = row[..., 5:].unflatten(-1, (NUM_KEYPOINTS, 3))
    places = centre[:, None] + 2.0 * points[..., :2] * stride[:, None]
    return boxes, row[..., 4], places, points[..., 2], cell


class Exported(nn.Module):
    """The network as it is shipped: (B, 3, H, W) -> (B, 56, A), rows as those of a YOLOv8-pose export."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        boxes, scores, places, sure, _ = decode(self.net(images))
        centre, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        keypoints = torch.cat((places, sure.sigmoid()[..., None]), -1).flatten(2)
        return torch.cat((centre, size, scores.sigmoid()[..., None], keypoints), -1).transpose(1, 2)
