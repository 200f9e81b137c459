"""What zeros at random cost on machines that skip in lockstep: lanes that wait, and groups that fit a mode.

All of it is exact for a mask in which every position is kept with the same probability, independently.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accelsim.sparsity.pattern import Pattern

__all__ = ["cover_share", "imbalance"]


@lru_cache(maxsize=65536)
def imbalance(reduction: int, density: float, lanes: int) -> float:
    """Return lambda = E[max over lanes] / (K d): how much longer the fullest lane works than an average one.

    Args:
        reduction: K, positions that a lane passes before all wait for each other.
        density: d, share of them that is kept, above 0 up to 1.
        lanes: P, lanes that wait for each other.

    The work of a lane is Binomial(K, d); E[max] is the sum over x from 0 of 1 - F(x)^P. Above a million positions it
    is carried on from there.

    >>> round(imbalance(1152, 0.1, 32), 2), imbalance(1152, 0.1, 1), imbalance(64, 1.0, 32)
    (1.19, 1.0, 1.0)
    """
    if density >= 1 or lanes == 1:
        return 1.0
    if reduction > _LARGEST_EXACT:  # what it is above 1 falls with the root of K, like the spread of a binomial
        return 1 + (imbalance(_LARGEST_EXACT, density, lanes) - 1) * math.sqrt(_LARGEST_EXACT / reduction)
    below = np.minimum(np.cumsum(_binomial(reduction, density)), 1.0)
    return float(np.sum(1 - below**lanes) / (reduction * density))


_LARGEST_EXACT = 1 << 20


def _binomial(trials: int, density: float) -> NDArray[np.float64]:
    """Return the probability of each number of successes, by the recurrence of its logarithm."""
    counts = np.arange(1, trials + 1)
    steps = np.log((trials - counts + 1) / counts) + np.log(density / (1 - density))
    logs = trials * np.log1p(-density) + np.concatenate(([0.0], np.cumsum(steps)))
    chances: NDArray[np.float64] = np.exp(logs)
    return chances


@lru_cache(maxsize=65536)
def cover_share(density: float, groups: int, modes: tuple[Pattern, ...]) -> float:
    """Return the share of multiplications left where each row runs in the smallest mode that holds all its groups.

    Args:
        density: of a mask at random, above 0 up to 1.
        groups: G, groups of a row, all of which have to fit.
        modes: patterns of one group size M that the machine has; a row that fits none runs dense.

    A group fits N:M with probability F_N, the binomial distribution function, and a row with F_N^G.

    >>> modes = tuple(map(Pattern.parse, ("1:4", "2:4")))
    >>> round(1 / cover_share(0.1, 16, modes), 3)
    2.364
    """
    share, fitted = 0.0, 0.0
    for mode in sorted(modes, key=lambda mode: mode.kept):
        ways = range(mode.kept + 1)
        one = sum(math.comb(mode.group, kept) * density**kept * (1 - density) ** (mode.group - kept) for kept in ways)
        fits = min(one, 1.0) ** groups
        share += (fits - fitted) * mode.density
        fitted = fits
    return share + (1 - fitted)
