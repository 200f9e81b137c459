"""DenseNet (Huang et al., 2017) for ImageNet, with bottlenecks and halving transitions ("BC")."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """1x1 and 3x3 convolutions, each after a normalisation and ReLU, of all that came before in the block."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(x)))


class DenseBlock(nn.Module):
    """Layers that each append `growth` channels."""

    def __init__(self, inputs: int, growth: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(inputs + growth * position, growth) for position in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Module):
    """Half the channels and half the size."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """A strided stem and pool, four dense blocks with transitions between them, and a classifier."""

    def __init__(self, growth: int, stem: int, depths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, stem, 7, 2, padding=3, bias=False), nn.BatchNorm2d(stem), nn.ReLU()),
            nn.MaxPool2d(3, 2, padding=1),
        )
        channels, blocks = stem, []
        for stage, depth in enumerate(depths):
            if stage:
                blocks.append(Transition(channels))
                channels //= 2
            blocks.append(DenseBlock(channels, growth, depth))
            channels += growth * depth
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.classifier = nn.BatchNorm2d(channels), nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.blocks(self.stem(x))))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


def densenet121_imagenet() -> nn.Module:
    """Return DenseNet-121."""
    return DenseNet(32, 64, (6, 12, 24, 16), 1000)


def densenet161_imagenet() -> nn.Module:
    """Return DenseNet-161."""
    return DenseNet(48, 96, (6, 12, 36, 24), 1000)


def densenet169_imagenet() -> nn.Module:
    """Return DenseNet-169."""
    return DenseNet(32, 64, (6, 12, 32, 32), 1000)


def densenet201_imagenet() -> nn.Module:
    """Return DenseNet-201."""
    return DenseNet(32, 64, (6, 12, 48, 32), 1000)
