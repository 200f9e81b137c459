"""Ratios of times, and their mean."""

import math
from collections.abc import Iterable

__all__ = ["gain_words", "geometric_mean", "relative_speedup"]


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


def gain_words(ratio: float, better: str, worse: str, same: str) -> str:
    """Return a gain in words, the way round that is above one.

    >>> [gain_words(ratio, "faster", "slower", "as fast") for ratio in (1.472, 0.991, 1.004)]
    ['1.47x faster', '1.01x slower', 'as fast']
    """
    if f"{ratio:.2f}" == "1.00":
        return same
    return f"{ratio:.2f}x {better}" if ratio > 1 else f"{1 / ratio:.2f}x {worse}"
