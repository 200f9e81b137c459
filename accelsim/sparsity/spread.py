"""How the density of a network spreads over its layers: uniform, Erdos-Renyi (ER), Erdos-Renyi-Kernel (ERK).

ER and ERK (Evci et al., ICML 2020) give a layer the density ``min(1, eps r)``, with

    r = (n_in + n_out) / (n_in n_out)                               ER
    r = (n_in + n_out + sum of kernel) / (n_in n_out prod kernel)   ERK

for n_in and n_out channels (of one group) and the sizes of the kernel. ``eps`` is such that the weights that are left
are those of the wanted sparsity S: ``eps = (sum of ones over open layers - sum of zeros over capped ones) / sum of r n
over open layers`` with zeros of a layer ``floor(S n)``. Where ``eps r`` would be above 1, the layers of the largest r
become dense (capped), and eps is found again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["RULES", "Densities", "spread"]

RULES = ("uniform", "er", "erk")


@dataclass(frozen=True, slots=True)
class Densities:
    """Density of each layer; `eps` of ER and ERK, None for uniform; `capped`: how many layers became dense."""

    densities: tuple[float, ...]
    eps: float | None
    capped: int


def spread(shapes: Sequence[Sequence[int]], sparsity: float, rule: str) -> Densities:
    """Spread a sparsity over layers.

    Args:
        shapes: of the weights of each layer: output channels, input channels of a group, kernel sizes if any.
        sparsity: share of all their weights that is zero, from 0 to below 1.
        rule: one of `RULES`.

    >>> [round(density, 3) for density in spread([(64, 3, 3, 3), (64, 64, 3, 3), (10, 64)], 0.5, "erk").densities]
    [1.0, 0.468, 1.0]
    """
    if rule == "uniform":
        return Densities(tuple(1 - sparsity for _ in shapes), None, 0)
    sizes = [math.prod(shape) for shape in shapes]
    raw = [_raw(shape, with_kernel=rule == "erk") for shape in shapes]
    zeros = [math.floor(sparsity * size) for size in sizes]
    capped: set[int] = set()
    while True:  # ends: a layer that is capped wanted more than all its weights, so some are left for the others
        left = [layer for layer in range(len(shapes)) if layer not in capped]
        ones = sum(sizes[layer] - zeros[layer] for layer in left) - sum(zeros[layer] for layer in capped)
        eps = ones / sum(raw[layer] * sizes[layer] for layer in left)
        top = max(raw[layer] for layer in left)
        if eps * top <= 1:
            break
        capped |= {layer for layer in left if raw[layer] == top}
    densities = (1.0 if layer in capped else eps * raw[layer] for layer in range(len(shapes)))
    return Densities(tuple(densities), eps, len(capped))


def _raw(shape: Sequence[int], *, with_kernel: bool) -> float:
    outputs, inputs, *kernel = shape
    if with_kernel:
        return (outputs + inputs + sum(kernel)) / math.prod(shape)
    return (outputs + inputs) / (outputs * inputs)
