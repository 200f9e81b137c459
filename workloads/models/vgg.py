"""VGG-19 with batch normalisation for 32x32 images (Simonyan and Zisserman, 2015)."""

from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of 3x3 convolutions before each 2x2 pool (configuration E)."""


class VGG(nn.Module):
    """Stages of convolutions and pools; on 32x32 images one linear layer classifies what is left, 512 features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, depth in STAGES:
            for _ in range(depth):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def vgg19_cifar100() -> nn.Module:
    """Return VGG-19 for CIFAR-100."""
    return VGG(100)
