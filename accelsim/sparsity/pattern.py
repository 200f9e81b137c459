"""N:M patterns: `kept` of every `group` consecutive elements along the reduction axis are nonzero."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, total_ordering
from itertools import pairwise

from accelsim.base.errors import InputError

__all__ = ["Pattern", "by_chance", "covering_modes"]

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

    @property
    def index_bits(self) -> int:
        """Bits of one kept element's position in its group, ceil(log2 M)."""
        return (self.group - 1).bit_length()

    def covers(self, other: "Pattern") -> bool:
        """Whether every operand that obeys `other` obeys this pattern as well.

        So: no group of this pattern can hold more elements kept under `other` than this one keeps. Groups of both begin
        with the axis.

        >>> Pattern.parse("4:8").covers(Pattern.parse("2:4")), Pattern.parse("2:4").covers(Pattern.parse("4:8"))
        (True, False)
        """
        return _most_kept(other, self.group) <= self.kept

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    def __lt__(self, other: "Pattern") -> bool:
        return (self.group, self.kept) < (other.group, other.kept)


@cache
def _most_kept(pattern: Pattern, group: int) -> int:
    """The most elements that `pattern` can keep in a group of another length, wherever that lies on the axis."""
    kept, length = pattern.kept, pattern.group
    most = 0
    for start in range(0, math.lcm(length, group), group):
        edges = [start, *range(start - start % length + length, start + group, length), start + group]
        most = max(most, sum(min(kept, end - begin) for begin, end in pairwise(edges)))
    return most


def covering_modes(pattern: Pattern, modes: Iterable[Pattern]) -> tuple[Pattern, ...]:
    """Return those of `modes` that are denser than `pattern` and cover it, the sparsest first: an operand that obeys it
    can run in them.

    >>> modes = map(Pattern.parse, ("1:4", "2:4", "4:8", "1:8", "4:16"))
    >>> [str(mode) for mode in covering_modes(Pattern.parse("2:8"), modes)]
    ['2:4', '4:8']
    """
    found = (mode for mode in modes if mode.density > pattern.density and mode.covers(pattern))
    return tuple(sorted(found, key=lambda mode: (mode.density, mode)))


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
