"""Ratios of times, and their mean."""

import math
from collections.abc import Iterable

__all__ = ["geometric_mean", "relative_speedup"]


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of positive numbers.

    >>> geometric_mean([2, 8])
    4.0
    """
    found = list(values)
    return math.exp(sum(map(math.log, found)) / len(found))


def relative_speedup(baseline_s: float, latency_s: float) -> float:
    """Return how many times faster something is that takes `latency_s` than what it is compared with.

    >>> relative_speedup(3.0, 1.5)
    2.0
    """
    return baseline_s / latency_s
