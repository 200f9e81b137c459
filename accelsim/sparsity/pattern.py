"""N:M patterns: `kept` of every `group` consecutive elements along the reduction axis are nonzero."""

import math
import re
from dataclasses import dataclass
from functools import total_ordering

from accelsim.base.errors import InputError

__all__ = ["Pattern", "by_chance"]

_SYNTAX = re.compile(r"([0-9]{1,4}):([0-9]{1,4})")
_LARGEST_GROUP = 1024
_BY_CHANCE = 1e-6


@total_ordering
@dataclass(frozen=True, slots=True)
class Pattern:
    """An N:M pattern.

    Args:
        kept: N, how many elements of a group are kept, from 1 to `group`.
        group: M, how many consecutive elements along the reduced axis form a group, up to 1,024.

    >>> Pattern.parse("2:8").density
    0.25
    >>> str(Pattern(kept=2, group=8))
    '2:8'
    """

    kept: int
    group: int

    def __post_init__(self) -> None:
        if not 1 <= self.kept <= self.group <= _LARGEST_GROUP:
            raise InputError(
                f"pattern {self.kept}:{self.group}: N of every M elements are kept, so 1 <= N <= M <= {_LARGEST_GROUP}"
                " is needed, as in 2:8"
            )

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read ``"N:M"``. Raises `InputError` for anything else."""
        match = _SYNTAX.fullmatch(text)
        if match is None:
            raise InputError(f"pattern '{text}': expected N:M with two whole numbers, as in 2:8")
        return cls(kept=int(match[1]), group=int(match[2]))

    @property
    def density(self) -> float:
        """Share of elements that are kept, N/M."""
        return self.kept / self.group

    def kept_in(self, length: int) -> int:
        """Return how many of `length` elements are kept at most; the last group may be short.

        >>> Pattern.parse("2:8").kept_in(17)
        5
        """
        groups, rest = divmod(length, self.group)
        return groups * self.kept + min(rest, self.kept)

    @property
    def index_bits(self) -> int:
        """Bits of one kept element's position in its group, ceil(log2 M)."""
        return (self.group - 1).bit_length()

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    def __lt__(self, other: "Pattern") -> bool:
        return (self.group, self.kept) < (other.group, other.kept)


def by_chance(pattern: Pattern, density: float, groups: float) -> bool:
    """Whether so many groups could obey a pattern without being meant to.

    So: zeros that fall independently, with the `density` of nonzeros, leave no group with more than N nonzeros with a
    probability of at least one in a million.

    >>> by_chance(Pattern(kept=2, group=8), 0.25, 1000), by_chance(Pattern(kept=7, group=8), 0.25, 1000)
    (False, True)
    """
    ways = range(pattern.kept + 1)
    one = sum(math.comb(pattern.group, i) * density**i * (1 - density) ** (pattern.group - i) for i in ways)
    return one >= 1 or groups * math.log(one) > math.log(_BY_CHANCE)
