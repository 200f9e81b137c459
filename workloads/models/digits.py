"""A narrow ResNet-9 for the 8x8 handwritten digits of scikit-learn, trained in seconds under any method.

accelsim trace workloads/models/digits.py:resnet9_digits_bdwp --input 1x8x8 -o digits.json
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

import accelsim

HELD_OUT = 360
BATCH = 64
EPOCHS = 6
LEARNING_RATE = 0.2


@dataclass(frozen=True, slots=True)
class Digits:
    """1,797 images of 1 x 8 x 8, from 0 to 1, and their classes: some to learn from, some held out."""

    images: Tensor
    classes: Tensor
    held_out_images: Tensor
    held_out_classes: Tensor

    @classmethod
    def load(cls) -> "Digits":
        """Return the data that scikit-learn carries, split at random, always alike."""
        from sklearn.datasets import load_digits  # noqa: PLC0415 - the network is of use without it

        data = load_digits()
        order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
        images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)[order] / 16
        classes = torch.tensor(data.target)[order]
        return cls(images[HELD_OUT:], classes[HELD_OUT:], images[:HELD_OUT], classes[:HELD_OUT])


def conv(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    """Return a 3x3 convolution with batch normalisation and ReLU, pooled 2x2 if asked to."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


class NarrowResNet9(nn.Module):
    """ResNet-9 (DAWNBench) with 16 to 64 channels, one pooling less, for images of 1x8x8."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.prep = conv(1, width)
        self.layer1 = conv(width, 2 * width, pool=True)
        self.residual1 = nn.Sequential(conv(2 * width, 2 * width), conv(2 * width, 2 * width))
        self.layer2 = conv(2 * width, 4 * width, pool=True)
        self.layer3 = conv(4 * width, 4 * width)
        self.residual3 = nn.Sequential(conv(4 * width, 4 * width), conv(4 * width, 4 * width))
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(4 * width, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.prep(x))
        x = self.layer2(x + self.residual1(x))
        x = self.layer3(x)
        x = self.pool(x + self.residual3(x))
        return self.fc(x.flatten(1)) * 0.125


def train(method: str = "dense", pattern: str = "2:8", seed: int = 0, epochs: int = EPOCHS) -> nn.Module:
    """Return the network after `epochs` of stochastic gradient descent under a method of `accelsim.torch`.

    Two calls with the same arguments return the same weights, on one thread of one machine.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NarrowResNet9()
        if method != "dense":
            getattr(accelsim.torch, method.replace("-", "_"))(model, pattern)
        learn(model, epochs, LEARNING_RATE)
    return model


def learn(model: nn.Module, epochs: int, rate: float) -> None:
    """Train a model for some more epochs, with a learning rate that rises to `rate` and falls again."""
    data = Digits.load()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    steps = epochs * (len(data.images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(data.images))
        for batch in order[: len(order) - len(order) % BATCH].split(BATCH):
            loss = F.cross_entropy(model(data.images[batch]), data.classes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def pruned(share: float = 0.5, seed: int = 0) -> nn.Module:
    """Return the network trained dense, without the `share` of its weights of least magnitude, and trained on."""
    model = train("dense", seed=seed)
    layers = [(layer, "weight") for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.in_channels > 1]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=share)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learn(model, 2, LEARNING_RATE / 4)
    for layer, name in layers:
        prune.remove(layer, name)
    return model


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Return the share of the held-out digits that a model tells right, 0 to 1."""
    data = Digits.load()
    was_training = model.training
    found = model.eval()(data.held_out_images).argmax(1)
    model.train(was_training)
    return float((found == data.held_out_classes).float().mean())


def resnet9_digits() -> nn.Module:
    """Return the network with random weights."""
    return NarrowResNet9()


def resnet9_digits_sr_ste() -> nn.Module:
    """Return the network trained with SR-STE 2:8."""
    return train("sr-ste")


def resnet9_digits_bdwp() -> nn.Module:
    """Return the network trained with BDWP 2:8."""
    return train("bdwp")


def resnet9_digits_2of4() -> nn.Module:
    """Return the network trained with SR-STE 2:4."""
    return train("sr-ste", "2:4")


def resnet9_digits_pruned() -> nn.Module:
    """Return the network with half of its weights pruned by magnitude, without any pattern."""
    return pruned()
