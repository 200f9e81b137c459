"""SSD300 (Liu et al., 2016) on ResNet-50, with the sizes of NVIDIA's implementation: 8732 boxes, 81 classes of COCO."""

import torch
import torch.nn.functional as F
from resnet import Bottleneck, ResNet
from torch import Tensor, nn

CLASSES = 81
MAPS = ((1024, 4), (512, 6), (512, 6), (256, 6), (256, 4), (256, 4))
"""Channels and boxes per pixel of each feature map, 38x38 to 1x1."""


def backbone() -> nn.Sequential:
    """Return ResNet-50 up to its third stage, which keeps the size."""
    net = ResNet(Bottleneck, (3, 4, 6), CLASSES)
    net.layer3[0].conv2.stride = net.layer3[0].shortcut[0].stride = (1, 1)
    return nn.Sequential(net.conv1, net.bn1, nn.ReLU(), net.maxpool, net.layer1, net.layer2, net.layer3)


def shrinking(inputs: int, hidden: int, outputs: int, *, strided: bool) -> nn.Sequential:
    """Return a 1x1 and a 3x3 convolution that lead to the next smaller feature map."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
        nn.Conv2d(hidden, outputs, 3, 2 if strided else 1, padding=int(strided), bias=False),
        *(nn.BatchNorm2d(outputs), nn.ReLU()),
    )


class SSD300(nn.Module):
    """Offsets (4 x 8732) and class scores (81 x 8732) of boxes on six feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone()
        self.extra = nn.ModuleList(
            shrinking(MAPS[i][0], hidden, MAPS[i + 1][0], strided=i < 3)
            for i, hidden in enumerate((256, 256, 128, 128, 128))
        )
        self.loc = nn.ModuleList(nn.Conv2d(channels, 4 * boxes, 3, padding=1) for channels, boxes in MAPS)
        self.conf = nn.ModuleList(nn.Conv2d(channels, CLASSES * boxes, 3, padding=1) for channels, boxes in MAPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = [self.backbone(x)]
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        offsets = [conv(x).unflatten(1, (4, -1)).flatten(2) for conv, x in zip(self.loc, maps, strict=True)]
        scores = [conv(x).unflatten(1, (CLASSES, -1)).flatten(2) for conv, x in zip(self.conf, maps, strict=True)]
        return torch.cat(offsets, 2), torch.cat(scores, 2)


def loss(out: tuple[Tensor, Tensor]) -> Tensor:
    """Return the loss against random boxes: offsets of the boxes with an object, classes of those and the hardest."""
    offsets, scores = out
    classes = torch.randint(CLASSES, (len(scores), scores.shape[2]), device=scores.device)
    found = (classes > 0).to(scores.dtype)
    of_offsets = F.smooth_l1_loss(offsets, torch.randn_like(offsets), reduction="none").sum(1) * found
    of_classes = F.cross_entropy(scores, classes, reduction="none")
    rank = (of_classes.detach() * (1 - found)).argsort(1, descending=True).argsort(1)
    hardest = (rank < 3 * found.sum(1, keepdim=True)).to(scores.dtype)
    total = of_offsets.sum(1) + (of_classes * (found + hardest)).sum(1)
    return (total / found.sum(1)).mean()


def ssd300_resnet50() -> nn.Module:
    """Return SSD300 on ResNet-50."""
    return SSD300()
