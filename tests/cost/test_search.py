"""What the mapping search leaves out never changes what it finds: against the same walk with nothing left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

import accelsim as acs
from accelsim.cost.compiled.bandwidth_search import CHOICES, search_bandwidths, undominated
from accelsim.cost.compiled.mapping_search import (
    CANDIDATES,
    FIRST_ALIKE,
    candidates_within,
    cycles_again,
    fastest,
    search,
)
from accelsim.cost.compiled.values import (
    CHAIN,
    FLAT,
    IS,
    ORDERS,
    OS,
    SPLIT,
    WS,
    ArrayMapping,
    ArrayNumbers,
    BufferBytes,
    ElementBytes,
    GemmNumbers,
    GemmShape,
    K,
    LoopOrder,
    M,
    MachineNumbers,
    Mnk,
    N,
    mapping_table,
)
from accelsim.cost.gemm import gemm_numbers, machine_numbers
from accelsim.lowering.builder import lower_case
from accelsim.lowering.case import case_of
from accelsim.lowering.tasks import Gemm
from accelsim.schedule.mapping import array_mappings

EXAMPLES = 10 if config.DISABLE_JIT else 100
MAPPINGS = [ArrayMapping(OS, SPLIT, ia, ib, split_k) for ia in (1, 2, 3) for ib in (1, 2, 3) for split_k in (1, 2)]
MAPPINGS += [ArrayMapping(WS, SPLIT, 1, 1, 1), ArrayMapping(WS, FLAT, 1, 1, 1), ArrayMapping(IS, SPLIT, 1, 1, 1)]
MAPPINGS += [ArrayMapping(flow, CHAIN, depth, 1, 1) for flow in (WS, IS) for depth in (1, 2, 3)]
TABLE = mapping_table(MAPPINGS)


@st.composite
def gemms(draw):
    """A GEMM on an array with buffers that often hold a part of it; the bandwidth is that of each test."""
    kept, group = draw(st.sampled_from([(0, 0), (2, 4), (2, 8), (1, 8)]))
    sizes = [draw(st.one_of(st.integers(1, 40), st.sampled_from([32, 64, 96, 128, 196, 256]))) for _ in range(3)]
    compact = 19 * kept / (8 * group) if group else 2.0
    of = ElementBytes(
        x=2 * draw(st.sampled_from([1.0, 2 / 9, 0.3, 0.0])),
        w=compact * draw(st.sampled_from([1.0, 1 / 3])),
        y=draw(st.sampled_from([0.0, 2.0, 4.0])),
        psum=4.0,
        buffered_x=2.0,
        buffered_w=compact,
    )
    shape = GemmShape(*sizes, count=draw(st.integers(1, 3)), kept=kept, group=group)
    array = ArrayNumbers(
        rows=draw(st.integers(2, 8)),
        cols=draw(st.integers(2, 8)),
        macs_per_pe=draw(st.integers(1, 3)),
        adder_latency=draw(st.integers(1, 8)),
        overlapped=draw(st.booleans()),
        row_port=draw(st.sampled_from([0, 3])),
        col_port=draw(st.sampled_from([0, 2])),
    )
    buffers = BufferBytes(*(draw(st.sampled_from([600.0, 3000.0, 20000.0, 1e6])) for _ in range(3)))
    return GemmNumbers(shape, of, draw(st.sampled_from([0, 40, 3000]))), MachineNumbers(array, buffers, 1.0)


def all_candidates(gemm, machine):
    """Every candidate of the space, but for orders that are alike."""
    kept = np.empty(1 << 15, CANDIDATES)
    while (stored := candidates_within(gemm, machine, TABLE, np.inf, kept)) > len(kept):
        kept = np.empty(stored, CANDIDATES)
    return kept[:stored]


def timed(gemm, machine, one):
    return cycles_again(gemm, machine, TABLE, int(one.row), Mnk(int(one.m), int(one.n), int(one.k)), int(one.order))


def whole_space(gemm, machine):
    """The first of the fastest of all candidates, each timed, as (row, tile, order, cycles, moved)."""
    kept = all_candidates(gemm, machine)
    if not len(kept):
        return None
    costs = [(timed(gemm, machine, one), one.moved) for one in kept]
    best = kept[costs.index(min(costs))]
    return best.row, (best.m, best.n, best.k), best.order, *min(costs)


@given(gemms(), st.sampled_from([0.3, 1.7, 6.0, 50.0, 1000.0]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_pruning_changes_neither_the_mapping_nor_its_cost(case, bandwidth):
    gemm, machine = case[0], case[1]._replace(bytes_per_cycle=bandwidth)
    best, found = whole_space(gemm, machine), search(gemm, machine, TABLE)
    if best is None:
        assert found.cycles == -1
    else:
        assert (found.row, found.tile, found.order, found.cycles, found.moved) == best


@given(gemms(), st.sampled_from([0.3, 6.0, 50.0]), st.integers(0, 3))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_limit_that_some_mapping_reaches_changes_nothing(case, bandwidth, slack):
    gemm, machine = case[0], case[1]._replace(bytes_per_cycle=bandwidth)
    best = whole_space(gemm, machine)
    limited = fastest(gemm, machine, TABLE, np.inf if best is None else float(best[3] + slack))
    assert (limited.cycles == -1) if best is None else (limited[:4] == best[:4])


@given(
    gemms(),
    st.lists(st.floats(0.2, 60.0), min_size=1, max_size=12),
    st.sampled_from([1.0, 20.0]),
    st.sampled_from([4, 64, 4096]),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_many_bandwidths_find_what_each_alone_does(case, values, least, room):
    """Bandwidths close together share kept candidates, as many as there is room for; ties fall alike."""
    gemm, machine = case
    bandwidths = np.unique([least + value / 10 for value in values])
    choices = np.zeros(len(bandwidths), CHOICES)
    search_bandwidths(gemm, machine, bandwidths, TABLE, np.empty(room, CANDIDATES), choices)
    for choice, bandwidth in zip(choices, bandwidths, strict=True):
        alone = search(gemm, machine._replace(bytes_per_cycle=float(bandwidth)), TABLE)
        assert choice.cycles == alone.cycles
        if alone.cycles >= 0:
            assert (choice.row, (choice.m, choice.n, choice.k), choice.order) == alone[:3]


@given(gemms(), st.lists(st.floats(0.2, 300.0), min_size=2, max_size=6))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_mapping_never_takes_longer_with_more_bandwidth(case, values):
    """What sharing kept candidates rests on, here for every candidate of the space at once."""
    gemm, machine = case
    machines = [machine._replace(bytes_per_cycle=bandwidth) for bandwidth in sorted(values)]
    for one in all_candidates(gemm, machines[-1])[:40]:
        taken = [timed(gemm, each, one) for each in machines]
        assert taken == sorted(taken, reverse=True)


@given(st.lists(st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(1, 3)] * 3), max_size=30))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_kept_mapping_goes_where_an_earlier_one_is_as_fast_in_every_job(rows):
    """Rows of (Tm, order, three of the job cycles); the rest is the same for all."""
    kept = np.ones(len(rows), CANDIDATES)
    for index, (one, row) in enumerate(zip(kept, rows, strict=True)):
        one.m, one.order, one.compute[0, 0, 0], one.compute[0, 1, 0], one.compute[1, 1, 1] = row
        one.row = one.moved = index
    want = [
        index
        for index, row in enumerate(rows)
        if not any(
            earlier[:2] == row[:2] and all(a <= b for a, b in zip(earlier[2:], row[2:], strict=True))
            for earlier in rows[:index]
        )
    ]
    found = undominated(kept)
    assert kept["row"][:found].tolist() == want
    assert kept["moved"][:found].tolist() == want


def test_orders_alike_are_those_with_the_same_loops_of_more_than_one_trip():
    many_of_m_and_k = FIRST_ALIKE[5]
    assert [ORDERS[first] for first in many_of_m_and_k] == 3 * [LoopOrder(M, N, K)] + 3 * [LoopOrder(K, M, N)]
    assert FIRST_ALIKE[0].tolist() == [0] * 6
    assert FIRST_ALIKE[7].tolist() == list(range(6))


def test_a_flat_mapping_whose_last_block_is_low_is_not_left_out():
    """Five PE rows and two slots per group: six slot rows are a block of five and one of one, with no skew to wait for;
    a bound with the skew of five would leave the fastest mapping out."""
    of = ElementBytes(x=2.0, w=0.59375, y=0.0, psum=4.0, buffered_x=2.0, buffered_w=0.59375)
    gemm = GemmNumbers(GemmShape(m=12, n=1, k=17, count=1, kept=2, group=8), of, fetch_cycles=0)
    array = ArrayNumbers(
        rows=5, cols=2, macs_per_pe=1, adder_latency=5, overlapped=True, row_port=0, col_port=0
    )  # fmt: skip
    machine = MachineNumbers(array, BufferBytes(3000.0, 600.0, 600.0), 6.0)
    found = search(gemm, machine, TABLE)
    assert MAPPINGS[found.row] == ArrayMapping(WS, FLAT, 1, 1, 1)
    assert found[:4] == whole_space(gemm, machine)[:4]


@pytest.mark.skipif(config.DISABLE_JIT, reason="minutes without compilation")
@pytest.mark.parametrize("name", ["sat_vcu1525", "sat_edge_zcu104", "sat_asic_28nm"])
def test_the_trips_that_are_left_out_cost_little(name):
    """A step with tiles for 1, 2, 4, ... times the fewest trips against one with tiles for every number of them."""
    design = acs.load_design(name)
    machine = machine_numbers(design)
    for workload in ("resnet18_tinyimagenet", "resnet9_cifar10", "vit_cifar100"):
        for method in ("dense", "bdwp"):
            grid, every = 0, 0
            step = lower_case(acs.load_trace(workload), design, case_of(method=method))
            for task in step.tasks:
                if isinstance(task, Gemm):
                    gemm = gemm_numbers(task, design, online=False)
                    table = mapping_table(array_mappings(design, sparse=task.pattern is not None))
                    grid += search(gemm, machine, table).cycles
                    every += fastest(gemm, machine, table, np.inf, 2**30).cycles
            assert every <= grid <= 1.002 * every


def test_accumulators_are_shared_out_in_all_ways():
    """Twelve of them hide an adder of twelve cycles as 3 x 4 or 1 x 12 of them do; eight, the power of two below, do not."""
    changes = {"array.adder_latency_cycles": 12, "array.accumulators_per_pe": 12, "dram.efficiency": 1}
    trace = acs.load_trace("resnet50_imagenet")
    twelve, eight = (
        acs.simulate(trace, acs.load_design("sat_vcu1525", {**changes, "array.accumulators_per_pe": count}))
        for count in (12, 8)
    )
    used = [layer.interleave for layer in twelve.layers if layer.interleave]
    assert "3x4" in used
    assert twelve.step.latency_s < 0.93 * eight.step.latency_s
