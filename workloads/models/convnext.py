"""ConvNeXt (Liu et al., 2022) for ImageNet: depthwise 7x7 convolutions and MLPs over the channels."""

import torch
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A depthwise convolution, a normalisation and an MLP, scaled per channel, around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))) * self.scale
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """A 4x4 stem, stages of blocks with 2x2 convolutions between them, and a classifier."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0])]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if stage:
                layers += [ChannelNorm(widths[stage - 1]), nn.Conv2d(widths[stage - 1], width, 2, 2)]
            layers += [Block(width) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.norm, self.head = nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(x).mean((2, 3))))


def convnext_tiny_imagenet() -> nn.Module:
    """Return ConvNeXt-T."""
    return ConvNeXt((96, 192, 384, 768), (3, 3, 9, 3), 1000)


def convnext_small_imagenet() -> nn.Module:
    """Return ConvNeXt-S."""
    return ConvNeXt((96, 192, 384, 768), (3, 3, 27, 3), 1000)


def convnext_base_imagenet() -> nn.Module:
    """Return ConvNeXt-B."""
    return ConvNeXt((128, 256, 512, 1024), (3, 3, 27, 3), 1000)
