"""EfficientNet (Tan and Le, 2019): inverted residuals with squeeze and excitation, scaled in width and depth."""

from math import ceil

import torch.nn.functional as F
from resnet import SqueezeExcitation, conv_bn
from torch import Tensor, nn

STAGES = (
    *((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2)),
    *((6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)),
)
"""Expansion, kernel, output channels, depth and first stride of each stage of B0 (table 1)."""


def scaled(channels: int, factor: float) -> int:
    """Return the multiple of 8 nearest to `factor` times the channels, at least nine tenths of it."""
    exact = channels * factor
    nearest = max(8, int(exact + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * exact else nearest + 8


class MBConv(nn.Module):
    """Expand by a 1x1 convolution, filter and weigh each channel, project back; a shortcut where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.expand = nn.Sequential(conv_bn(inputs, hidden, 1), nn.SiLU()) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Sequential(conv_bn(hidden, hidden, kernel, stride, hidden), nn.SiLU())
        self.se = SqueezeExcitation(hidden, max(1, inputs // 4), nn.SiLU())
        self.project = conv_bn(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return x + y if self.shortcut else y


class EfficientNet(nn.Module):
    """A strided stem, seven stages, a wide 1x1 convolution and a classifier."""

    def __init__(self, width: float, depth: float, dropout: float, classes: int) -> None:
        super().__init__()
        inputs = scaled(32, width)
        self.stem = nn.Sequential(conv_bn(3, inputs, 3, 2), nn.SiLU())
        blocks = []
        for expansion, kernel, channels, repeats, stride in STAGES:
            outputs = scaled(channels, width)
            for position in range(ceil(repeats * depth)):
                blocks.append(MBConv(inputs, outputs, kernel, 1 if position else stride, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(conv_bn(inputs, 4 * inputs, 1), nn.SiLU())
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(4 * inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))


def efficientnet_b0_imagenet() -> nn.Module:
    """Return EfficientNet-B0."""
    return EfficientNet(1.0, 1.0, 0.2, 1000)


def efficientnet_b4_imagenet() -> nn.Module:
    """Return EfficientNet-B4."""
    return EfficientNet(1.4, 1.8, 0.4, 1000)
