"""A pattern covers another where every operand of the other obeys it: beside all operands of a short axis."""

from itertools import product
from math import lcm

import pytest

from accelsim.sparsity.pattern import Pattern, covering_modes

PATTERNS = [Pattern(kept, group) for group in range(1, 7) for kept in range(1, group + 1)]


def obeys(operand: tuple[int, ...], pattern: Pattern) -> bool:
    groups = (operand[start : start + pattern.group] for start in range(0, len(operand), pattern.group))
    return all(sum(group) <= pattern.kept for group in groups)


@pytest.mark.parametrize("other", PATTERNS, ids=str)
def test_covers_is_what_it_says_of_every_operand(other: Pattern) -> None:
    for length in {lcm(other.group, pattern.group) for pattern in PATTERNS} - set(range(13, 100)):
        operands = [operand for operand in product((0, 1), repeat=length) if obeys(operand, other)]
        for pattern in PATTERNS:
            if length % lcm(pattern.group, other.group) == 0:
                assert pattern.covers(other) == all(obeys(operand, pattern) for operand in operands), pattern


def test_covering_modes_are_denser_and_the_sparsest_come_first() -> None:
    modes = [Pattern.parse(text) for text in ("1:2", "4:16", "8:16", "4:8", "2:4", "1:4", "2:8")]
    assert [str(mode) for mode in covering_modes(Pattern(2, 8), modes)] == ["2:4", "4:8", "8:16"]
    assert covering_modes(Pattern(1, 2), modes) == ()
