"""VGG (Simonyan and Zisserman, 2015): as published for ImageNet, and with batch normalisation."""

from torch import Tensor, nn

A, B, D, E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
"""Number of 3x3 convolutions before each 2x2 pool (configurations A, B, D and E: 11, 13, 16 and 19 layers)."""
WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Stages of convolutions and pools, and a classifier of what is left."""

    def __init__(self, depths: tuple[int, ...], classifier: nn.Module, *, normalised: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, depth in zip(WIDTHS, depths, strict=True):
            for _ in range(depth):
                norm = [nn.BatchNorm2d(width)] if normalised else []
                layers += [nn.Conv2d(inputs, width, 3, padding=1), *norm, nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def imagenet(depths: tuple[int, ...], *, normalised: bool = False) -> nn.Module:
    """Return a network for 224x224 images, with two hidden layers of 4096."""
    classifier = nn.Sequential(
        *(nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(4096, 1000),
    )
    return VGG(depths, classifier, normalised=normalised)


def vgg11_imagenet() -> nn.Module:
    """Return VGG-11 for ImageNet."""
    return imagenet(A)


def vgg13_imagenet() -> nn.Module:
    """Return VGG-13 for ImageNet."""
    return imagenet(B)


def vgg16_imagenet() -> nn.Module:
    """Return VGG-16 for ImageNet."""
    return imagenet(D)


def vgg16_bn_imagenet() -> nn.Module:
    """Return VGG-16 with batch normalisation for ImageNet."""
    return imagenet(D, normalised=True)


def vgg19_imagenet() -> nn.Module:
    """Return VGG-19 for ImageNet."""
    return imagenet(E)


def vgg19_bn_imagenet() -> nn.Module:
    """Return VGG-19 with batch normalisation for ImageNet."""
    return imagenet(E, normalised=True)


def vgg19_cifar100() -> nn.Module:
    """Return VGG-19 for CIFAR-100; one linear layer classifies the 512 features that 32x32 pixels leave."""
    return VGG(E, nn.Linear(512, 100), normalised=True)
