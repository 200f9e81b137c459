"""MobileNetV2 (Sandler et al., 2018): inverted residuals with depthwise convolutions, width 1.0."""

import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, depth and first stride of each stage (table 2)."""


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size (over `stride`) and its batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel by 3x3, project back; a shortcut where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.expand = nn.Sequential(conv_bn(inputs, hidden, 1), nn.ReLU6()) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Sequential(conv_bn(hidden, hidden, 3, stride, hidden), nn.ReLU6())
        self.project = conv_bn(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """A strided stem, seven stages of inverted residuals, a wide 1x1 convolution and a classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 32, 3, 2), nn.ReLU6())
        blocks, inputs = [], 32
        for expansion, outputs, depth, stride in STAGES:
            for position in range(depth):
                blocks.append(InvertedResidual(inputs, outputs, 1 if position else stride, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(conv_bn(inputs, 1280, 1), nn.ReLU6())
        self.dropout, self.classifier = nn.Dropout(0.2), nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))


def mobilenet_v2() -> nn.Module:
    """Return MobileNetV2 for ImageNet."""
    return MobileNetV2(1000)
