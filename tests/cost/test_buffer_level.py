"""Traffic, double buffering and mapping search against plain walks over the loop nest."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.cost.compiled import array_timing, loop_nest, mapping_search, pipeline
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
    MachineNumbers,
    MappingNumbers,
    Mnk,
    mapping_table,
)
from accelsim.engines.buffer_walk import walk_buffers


@given(
    whole=st.tuples(*[st.integers(1, 40)] * 3),
    tile=st.tuples(*[st.integers(1, 17)] * 3),
    order=st.sampled_from(ORDERS),
    count=st.integers(1, 3),
    bandwidth=st.sampled_from([0.5, 2.0, 16.0, 1000.0]),
    sparse=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_traffic_and_pipeline_equal_a_walk_over_all_jobs(whole, tile, order, count, bandwidth, sparse):
    tile = Mnk(*map(min, whole, tile))
    shape = GemmShape(*whole, count, kept=1 if sparse else 0, group=4 if sparse else 0)
    of = ElementBytes(x=2.0, w=0.5, y=2.0, psum=4.0, buffered_x=2.0, buffered_w=0.5)
    array = ArrayNumbers(rows=2, cols=3, macs_per_pe=1, adder_latency=2, overlapped=True, row_port=0, col_port=0)
    mapping = ArrayMapping(OS, SPLIT, ia=2, ib=1, split_k=1)

    def job_cycles(m, n, k):
        return array_timing.os_cycles(Mnk(m, n, k), shape.kept, shape.group, array, mapping)

    want = walk_buffers(whole, tile, order, count, of, job_cycles, bandwidth)
    costs = pipeline.evaluate(
        GemmNumbers(shape, of, 0), MachineNumbers(array, BufferBytes(0.0, 0.0, 0.0), bandwidth),
        MappingNumbers(mapping, tile, order),
    )  # fmt: skip
    for name in ("x_bytes", "w_bytes", "y_bytes", "cycles"):
        assert getattr(costs, name) == getattr(want, name), name
    assert want.hits + want.misses == 2 * count * math.prod(-(-w // t) for w, t in zip(whole, tile, strict=True))


@given(trips=st.tuples(*[st.integers(1, 5)] * 3))
@settings(max_examples=60, deadline=None)
def test_traffic_written_out_per_order_equals_the_general_rule(trips):
    written = np.empty(6)
    shape = GemmShape(m=7, n=11, k=13, count=1, kept=0, group=0)
    of = ElementBytes(x=2.0, w=3.0, y=5.0, psum=4.0, buffered_x=0.0, buffered_w=0.0)
    bytes_of = (7 * 13 * of.x, 13 * 11 * of.w, 7 * 11 * of.y, 7 * 11 * of.psum)
    least = loop_nest.traffic_of_orders(*trips, *bytes_of, written)
    general = [sum(loop_nest.traffic_bytes(shape, Mnk(*trips), order, of)) for order in ORDERS]
    assert written.tolist() == general
    assert least == min(general)


MAPPINGS = [ArrayMapping(OS, SPLIT, ia, ib, split_k) for ia in (1, 2, 3, 4) for ib in (1, 2) for split_k in (1, 2)]
MAPPINGS += [ArrayMapping(WS, SPLIT, 1, 1, 1), ArrayMapping(WS, FLAT, 1, 1, 1), ArrayMapping(IS, SPLIT, 1, 1, 1)]
MAPPINGS += [ArrayMapping(WS, CHAIN, depth, 1, 1) for depth in (1, 2, 3, 4)]
MAPPINGS += [ArrayMapping(IS, CHAIN, depth, 1, 1) for depth in (1, 2)]


@st.composite
def search_cases(draw):
    kept, group = draw(st.sampled_from([(0, 0), (2, 4), (2, 8), (1, 8)]))
    shape = GemmShape(
        m=draw(st.integers(1, 60)), n=draw(st.integers(1, 60)), k=draw(st.integers(1, 90)),
        count=draw(st.integers(1, 3)), kept=kept, group=group,
    )  # fmt: skip
    array = ArrayNumbers(
        rows=draw(st.integers(2, 4)), cols=draw(st.integers(2, 4)), macs_per_pe=draw(st.integers(1, 3)),
        adder_latency=draw(st.integers(1, 6)), overlapped=draw(st.booleans()),
        row_port=draw(st.sampled_from([0, 3])), col_port=draw(st.sampled_from([0, 2])),
    )  # fmt: skip
    buffers = BufferBytes(*(draw(st.sampled_from([400.0, 2000.0, 1e6])) for _ in range(3)))
    of = ElementBytes(x=2.0, w=1.5, y=2.0, psum=4.0, buffered_x=2.0, buffered_w=1.5)
    gemm = GemmNumbers(shape, of, fetch_cycles=draw(st.sampled_from([0, 40])))
    return gemm, MachineNumbers(array, buffers, draw(st.sampled_from([0.5, 4.0, 64.0])))


@given(search_cases())
@settings(max_examples=120, deadline=None)
def test_search_finds_the_best_of_the_whole_space(case):
    """Every mapping, tile and order is timed here without any bound; the search must reach the same optimum, here with
    every number of trips."""
    gemm, machine = case
    shape, buffers = gemm.shape, machine.buffers
    found = mapping_search.fastest(gemm, machine, mapping_table(MAPPINGS), np.inf, 2**30)
    seen, optimum = 0, (math.inf, math.inf)
    for mapping in MAPPINGS:
        steps = array_timing.tile_steps(shape.kept, shape.group, shape.k, machine.array, mapping)
        for tile in itertools.product(*map(_sizes, (shape.m, shape.n, shape.k), steps)):
            tm, tn, tk = tile
            if 4 * tm * tk > buffers.x or 3 * tk * tn > buffers.w or 8 * tm * tn > buffers.y:
                continue
            for order in ORDERS:
                seen += 1
                costs = pipeline.evaluate(gemm, machine, MappingNumbers(mapping, Mnk(*tile), order))
                moved = costs.x_bytes + costs.w_bytes + costs.y_bytes
                optimum = min(optimum, (costs.cycles + costs.fetches * gemm.fetch_cycles, moved))
    if seen == 0:
        assert found.cycles == -1
        return
    assert (found.cycles, found.moved) == (optimum[0], pytest.approx(optimum[1]))


def _sizes(whole, step):
    """All of a dimension, and for each number of trips the fewest whole blocks that take no more."""
    blocks = -(-whole // step)
    return sorted({min(whole, step * -(-blocks // trips)) for trips in range(1, blocks + 1)})
