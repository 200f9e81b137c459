"""What the mapping search leaves out never changes what it finds: against the same walk with nothing left out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

from accelsim.cost.compiled import array_timing, bandwidth_search, loop_nest, mapping_search

EXAMPLES = 10 if config.DISABLE_JIT else 100
TABLE = np.array(
    [(0, 0, ia, ib, split) for ia in (1, 2, 4) for ib in (1, 2, 4) for split in (1, 2)]
    + [(1, 0, 1, 1, 1), (1, 1, 4, 1, 1), (1, 2, 1, 1, 1), (2, 0, 1, 1, 1), (2, 1, 2, 1, 1)]
)


@st.composite
def gemms(draw):
    """A GEMM on an array with buffers that often hold a part of it: shape, bytes, machine, buffers, SORE's cycles."""
    pattern = draw(st.sampled_from([(0, 0), (2, 4), (2, 8), (1, 8)]))
    sizes = [draw(st.one_of(st.integers(1, 40), st.sampled_from([32, 64, 96, 128, 196, 256]))) for _ in range(3)]
    shape = np.array([*sizes, draw(st.integers(1, 3)), *pattern], dtype=np.int64)
    shares = [draw(st.sampled_from([1.0, 2 / 9, 0.3, 0.0])), draw(st.sampled_from([1.0, 1 / 3]))]
    compact = 19 * pattern[0] / (8 * pattern[1]) if pattern[1] else 2.0
    written = draw(st.sampled_from([0.0, 2.0, 4.0]))
    per_element = np.array([2 * shares[0], compact * shares[1], written, 4.0, 2.0, compact])
    numbers = [(2, 8), (2, 8), (1, 3), (1, 8), (0, 1)]
    ports = [draw(st.sampled_from([0, 3])), draw(st.sampled_from([0, 2]))]
    machine = np.array([*(draw(st.integers(*limits)) for limits in numbers), *ports], dtype=np.int64)
    buffers = np.array([draw(st.sampled_from([600.0, 3000.0, 20000.0, 1e6])) for _ in range(3)])
    return shape, per_element, machine, buffers, draw(st.sampled_from([0, 40, 3000]))


def no_room():
    return np.empty((0, mapping_search.CODES), np.int64), np.empty((0, mapping_search.NUMBERS))


def whole_space(gemm, bandwidth):
    """The walk with every candidate evaluated."""
    *numbers, fetch = gemm
    return mapping_search.walk(*numbers, bandwidth, fetch, TABLE, np.inf, False, *no_room())


@given(gemms(), st.sampled_from([0.3, 1.7, 6.0, 50.0, 1000.0]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_pruning_changes_neither_the_mapping_nor_its_cost(gemm, bandwidth):
    best, cycles, compute, moved, evaluated, pruned, _ = whole_space(gemm, bandwidth)
    *numbers, fetch = gemm
    found = mapping_search.search(*numbers, bandwidth, fetch, TABLE)
    assert (found[0].tolist(), *found[1:4]) == (best.tolist(), cycles, compute, moved)
    assert pruned == 0
    assert found[4] + found[5] == evaluated


@given(gemms(), st.sampled_from([0.3, 6.0, 50.0]), st.integers(0, 3))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_limit_that_some_mapping_reaches_changes_nothing(gemm, bandwidth, slack):
    best, cycles, *_ = whole_space(gemm, bandwidth)
    *numbers, fetch = gemm
    limit = float(cycles + slack) if cycles >= 0 else np.inf
    limited = mapping_search.walk(*numbers, bandwidth, fetch, TABLE, limit, True, *no_room())
    assert (limited[0].tolist(), limited[1]) == (best.tolist(), cycles)


@given(
    gemms(),
    st.lists(st.floats(0.2, 60.0), min_size=1, max_size=12),
    st.sampled_from([1.0, 20.0]),
    st.sampled_from([4, 64, 4096]),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_many_bandwidths_find_what_each_alone_does(gemm, values, least, room):
    """Bandwidths close together share kept candidates, as many as there is room for; ties fall alike."""
    bandwidths = np.unique([least + value / 10 for value in values])
    total = len(bandwidths)
    *numbers, fetch = gemm
    best, cycles = np.zeros((total, 5), np.int64), np.zeros(total, np.int64)
    seen = np.zeros((total, 2), np.int64)
    kept = np.empty((room, mapping_search.CODES), np.int64), np.empty((room, mapping_search.NUMBERS))
    bandwidth_search.search_bandwidths(*numbers, bandwidths, fetch, TABLE, *kept, best, cycles, seen)
    for index, bandwidth in enumerate(bandwidths):
        alone = mapping_search.search(*numbers, bandwidth, fetch, TABLE)
        assert cycles[index] == alone[1]
        if alone[1] >= 0:
            assert best[index].tolist() == alone[0].tolist()
            assert seen[index].sum() == alone[4] + alone[5]


@given(gemms(), st.lists(st.floats(0.2, 300.0), min_size=2, max_size=6))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_mapping_never_takes_longer_with_more_bandwidth(gemm, values):
    """What sharing kept candidates rests on, here for every candidate of the space at once."""
    bandwidths = sorted(values)
    *numbers, fetch = gemm
    kept = np.empty((4096, mapping_search.CODES), np.int64), np.empty((4096, mapping_search.NUMBERS))
    stored = mapping_search.walk(*numbers, bandwidths[-1], fetch, TABLE, np.inf, False, *kept)[6]
    for code in kept[0][: min(stored, 40)]:
        taken = [
            mapping_search.cycles_again(numbers[0], numbers[1], numbers[2], bandwidth, fetch, TABLE, code[:5])
            for bandwidth in bandwidths
        ]
        assert taken == sorted(taken, reverse=True)


@given(st.lists(st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(1, 3)] * 3), max_size=30))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_kept_mapping_goes_where_an_earlier_one_is_as_fast_in_every_job(rows):
    """Rows of (Tm, order, three of the job cycles); the rest is the same for all."""
    codes = np.ones((len(rows), mapping_search.CODES), np.int64)
    for code, row in zip(codes, rows, strict=True):
        code[1], code[4], code[7], code[9], code[14] = row
    codes[:, 0] = np.arange(len(rows))
    numbers = np.repeat(np.arange(float(len(rows)))[:, None], mapping_search.NUMBERS, axis=1)
    want = [
        index
        for index, row in enumerate(rows)
        if not any(
            earlier[:2] == row[:2] and all(a <= b for a, b in zip(earlier[2:], row[2:], strict=True))
            for earlier in rows[:index]
        )
    ]
    found = bandwidth_search.undominated(codes, numbers)
    assert codes[:found, 0].tolist() == want
    assert numbers[:found, 0].tolist() == want


def test_orders_alike_are_those_with_the_same_loops_of_more_than_one_trip():
    many_of_m_and_k = mapping_search.FIRST_ALIKE[5]
    assert [loop_nest.ORDERS[first].tolist() for first in many_of_m_and_k] == [
        [0, 1, 2], [0, 1, 2], [0, 1, 2], [2, 0, 1], [2, 0, 1], [2, 0, 1],
    ]  # fmt: skip
    assert mapping_search.FIRST_ALIKE[0].tolist() == [0] * 6
    assert mapping_search.FIRST_ALIKE[7].tolist() == list(range(6))


def test_a_flat_mapping_whose_last_block_is_low_is_not_left_out():
    """Five PE rows and two slots per group: six slot rows are a block of five and one of one, with no skew to wait for;
    a bound with the skew of five would leave the fastest mapping out."""
    shape, per_element = np.array([12, 1, 17, 1, 2, 8]), np.array([2.0, 0.59375, 0.0, 4.0, 2.0, 0.59375])
    gemm = shape, per_element, np.array([5, 2, 1, 5, 1, 0, 0]), np.array([3000.0, 600.0, 600.0]), 0
    found = mapping_search.search(*gemm[:-1], 6.0, 0, TABLE)
    assert (TABLE[found[0][0]].tolist(), found[1]) == ([1, array_timing.FLAT, 1, 1, 1], whole_space(gemm, 6.0)[1])
