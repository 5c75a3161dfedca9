"""Residual networks (He et al., "Deep Residual Learning for Image Recognition", 2016), in torchvision's names.

``resnet50`` and ``resnet18`` take the weights of torchvision's networks of that name; ``resnet-small`` has one block a
stage, half of the width and no max-pooling: for pictures of 64 pixels or so, on a processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """What a network is made of: blocks a stage, channels of the first stage, and whether blocks are bottlenecks."""

    blocks: tuple[int, int, int, int]
    width: int
    bottleneck: bool
    pools: bool = True


NETWORKS: Mapping[str, Shape] = {
    "resnet50": Shape((3, 4, 6, 3), 64, True),
    "resnet18": Shape((2, 2, 2, 2), 64, False),
    "resnet-small": Shape((1, 1, 1, 1), 32, False, pools=False),
}


def _conv(inner: int, outer: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1 with four times the channels, and the way around them."""

    def __init__(self, inner: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outer = 4 * width if bottleneck else width
        self.conv1 = _conv(inner, width, 1) if bottleneck else _conv(inner, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outer, 1) if bottleneck else None
        self.bn3 = nn.BatchNorm2d(outer) if bottleneck else None
        self.downsample = (
            nn.Sequential(_conv(inner, outer, 1, stride), nn.BatchNorm2d(outer))
            if stride > 1 or inner != outer
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.conv3 is not None and self.bn3 is not None:
            x = self.bn3(self.conv3(torch.relu(x)))
        return torch.relu(x + around)


class ResidualNetwork(nn.Module):
    """Pictures (n, 3, H, W), normalised, to logits (n, outputs).

    Args:
        name: a key of :data:`NETWORKS`.
        outputs: how many.
    """

    def __init__(self, name: str, outputs: int) -> None:
        super().__init__()
        shape = NETWORKS[name]
        self.conv1, self.bn1 = nn.Conv2d(3, shape.width, 7, 2, 3, bias=False), nn.BatchNorm2d(shape.width)
        self.pool = nn.MaxPool2d(3, 2, 1) if shape.pools else nn.Identity()
        channels, stages = shape.width, []
        for i, count in enumerate(shape.blocks):
            width, blocks = shape.width * 2**i, []
            for j in range(count):
                blocks.append(Block(channels, width, 2 if i and not j else 1, shape.bottleneck))
                channels = 4 * width if shape.bottleneck else width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def trunk(self, x: Tensor) -> Tensor:
        """What the last layer sees: (n, channels), averaged over the picture."""
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.trunk(x))
        return logits
