"""Residual networks: ResNet (He et al., 2016; stride on the 3x3, "v1.5"), wide (Zagoruyko and Komodakis, 2016), ResNeXt
(Xie et al., 2017) and with squeeze and excitation (Hu et al., 2018); ResNet-9 (DAWNBench).
"""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size (over `stride`) and its batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class SqueezeExcitation(nn.Module):
    """Weigh each channel by a small network of the means of all channels."""

    def __init__(self, channels: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.expand = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        weights = self.expand(self.activation(self.squeeze(x.mean((2, 3))))).sigmoid()
        return x * weights[:, :, None, None]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, width, 3, stride)
        self.conv2, self.bn2 = conv_bn(width, width, 3)
        self.shortcut = conv_bn(inputs, width, 1, stride) if stride > 1 or inputs != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions around a shortcut."""

    expansion, widening, groups, squeezed = 4, 1, 1, False

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        inner, outputs = self.widening * width, self.expansion * width
        self.conv1, self.bn1 = conv_bn(inputs, inner, 1)
        self.conv2, self.bn2 = conv_bn(inner, inner, 3, stride, self.groups)
        self.conv3, self.bn3 = conv_bn(inner, outputs, 1)
        self.se = SqueezeExcitation(outputs, outputs // 16, nn.ReLU()) if self.squeezed else nn.Identity()
        self.shortcut = conv_bn(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.se(self.bn3(self.conv3(y))) + self.shortcut(x))


class WideBottleneck(Bottleneck):
    """A bottleneck that is half as narrow."""

    widening = 2


class GroupedBottleneck(WideBottleneck):
    """The bottleneck of ResNeXt "32x4d": 32 groups, of 4 channels each in the first stage."""

    groups = 32


class WideGroupedBottleneck(GroupedBottleneck):
    """The bottleneck of ResNeXt "32x8d": 32 groups, of 8 channels each in the first stage."""

    widening = 4


class SqueezedBottleneck(GroupedBottleneck):
    """The bottleneck of "32x4d" with squeeze and excitation by a 16th of the channels, before the sum."""

    squeezed = True


class ResNet(nn.Module):
    """Four stages of blocks; the stem is 7x7 with stride 2 and a pool, or 3x3 for small images."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: tuple[int, ...], classes: int, *, small_stem: bool = False
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 3) if small_stem else conv_bn(3, 64, 7, 2)
        self.maxpool = nn.Identity() if small_stem else nn.MaxPool2d(3, 2, padding=1)
        inputs = 64
        for stage, depth in enumerate(depths):
            blocks = []
            for position in range(depth):
                blocks.append(block(inputs, 64 << stage, 2 if stage and not position else 1))
                inputs = block.expansion * (64 << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class ResNet9(nn.Module):
    """The DAWNBench network: 3x3 convolutions, two residual pairs, max pooling, scaled logits."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.prep = self._conv(3, 64)
        self.layer1 = self._conv(64, 128, pool=True)
        self.residual1 = nn.Sequential(self._conv(128, 128), self._conv(128, 128))
        self.layer2 = self._conv(128, 256, pool=True)
        self.layer3 = self._conv(256, 512, pool=True)
        self.residual3 = nn.Sequential(self._conv(512, 512), self._conv(512, 512))
        self.pool = nn.MaxPool2d(4)
        self.fc = nn.Linear(512, classes, bias=False)

    @staticmethod
    def _conv(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
        layers = [*conv_bn(inputs, outputs, 3), nn.ReLU()]
        return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.prep(x))
        x = self.layer2(x + self.residual1(x))
        x = self.layer3(x)
        x = self.pool(x + self.residual3(x))
        return self.fc(x.flatten(1)) * 0.125


def resnet9_cifar10() -> nn.Module:
    """Return ResNet-9 for CIFAR-10."""
    return ResNet9()


def resnet18_cifar10() -> nn.Module:
    """Return ResNet-18 with the small stem for CIFAR-10."""
    return ResNet(BasicBlock, (2, 2, 2, 2), 10, small_stem=True)


def resnet18_tinyimagenet() -> nn.Module:
    """Return ResNet-18 with the ImageNet stem for Tiny-ImageNet (64x64)."""
    return ResNet(BasicBlock, (2, 2, 2, 2), 200)


def resnet18_tinyimagenet_3x3() -> nn.Module:
    """Return ResNet-18 with the small stem for Tiny-ImageNet (64x64)."""
    return ResNet(BasicBlock, (2, 2, 2, 2), 200, small_stem=True)


def resnet18_imagenet() -> nn.Module:
    """Return ResNet-18 for ImageNet."""
    return ResNet(BasicBlock, (2, 2, 2, 2), 1000)


def resnet50_imagenet() -> nn.Module:
    """Return ResNet-50 for ImageNet."""
    return ResNet(Bottleneck, (3, 4, 6, 3), 1000)


def resnet34_imagenet() -> nn.Module:
    """Return ResNet-34 for ImageNet."""
    return ResNet(BasicBlock, (3, 4, 6, 3), 1000)


def resnet101_imagenet() -> nn.Module:
    """Return ResNet-101 for ImageNet."""
    return ResNet(Bottleneck, (3, 4, 23, 3), 1000)


def resnet152_imagenet() -> nn.Module:
    """Return ResNet-152 for ImageNet."""
    return ResNet(Bottleneck, (3, 8, 36, 3), 1000)


def wide_resnet50_2_imagenet() -> nn.Module:
    """Return the ResNet-50 of twice the inner width for ImageNet."""
    return ResNet(WideBottleneck, (3, 4, 6, 3), 1000)


def resnext50_32x4d_imagenet() -> nn.Module:
    """Return ResNeXt-50 32x4d for ImageNet."""
    return ResNet(GroupedBottleneck, (3, 4, 6, 3), 1000)


def resnext101_32x4d_imagenet() -> nn.Module:
    """Return ResNeXt-101 32x4d for ImageNet."""
    return ResNet(GroupedBottleneck, (3, 4, 23, 3), 1000)


def se_resnext101_32x4d_imagenet() -> nn.Module:
    """Return ResNeXt-101 32x4d with squeeze and excitation for ImageNet."""
    return ResNet(SqueezedBottleneck, (3, 4, 23, 3), 1000)


def wide_resnet101_2_imagenet() -> nn.Module:
    """Return the ResNet-101 of twice the inner width for ImageNet."""
    return ResNet(WideBottleneck, (3, 4, 23, 3), 1000)


def resnext101_32x8d_imagenet() -> nn.Module:
    """Return ResNeXt-101 32x8d for ImageNet."""
    return ResNet(WideGroupedBottleneck, (3, 4, 23, 3), 1000)
