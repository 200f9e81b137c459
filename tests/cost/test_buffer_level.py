"""Traffic, double buffering and mapping search against plain walks over the loop nest."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.cost.compiled import array_timing, loop_nest, mapping_search, pipeline
from accelsim.engines.buffer_walk import walk_buffers

ORDERS = [tuple(order) for order in loop_nest.ORDERS]


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
    tile = tuple(min(size, step) for size, step in zip(whole, tile, strict=True))
    per_element = np.array([2.0, 0.5, 2.0, 4.0, 2.0, 0.5])
    shape = np.array([*whole, count, 1 if sparse else 0, 4 if sparse else 0], dtype=np.int64)
    machine = np.array([2, 3, 1, 2, 1, 0, 0], dtype=np.int64)
    mapping = np.array([0, 0, 2, 1, 1], dtype=np.int64)

    def job_cycles(m, n, k):
        return array_timing.os_cycles(m, n, k, 2, 3, 1, 2, shape[4], shape[5], 2, 1, 1, True, 0, 0)

    want = walk_buffers(whole, tile, order, count, per_element, job_cycles, bandwidth)
    numbers, x_bytes, w_bytes, y_bytes = pipeline.evaluate(
        shape, per_element, machine, bandwidth, mapping, np.array(tile), np.array(order)
    )
    assert (x_bytes, w_bytes, y_bytes, numbers[0]) == (want.x_bytes, want.w_bytes, want.y_bytes, want.cycles)
    assert want.hits + want.misses == 2 * count * math.prod(-(-w // t) for w, t in zip(whole, tile, strict=True))


@given(trips=st.tuples(*[st.integers(1, 5)] * 3))
@settings(max_examples=60, deadline=None)
def test_traffic_written_out_per_order_equals_the_general_rule(trips):
    written = np.empty(6)
    m, n, k = 7, 11, 13
    per_element = np.array([2.0, 3.0, 5.0, 4.0, 0.0, 0.0])
    least = loop_nest.traffic_of_orders(*trips, m * k * 2.0, k * n * 3.0, m * n * 5.0, m * n * 4.0, written)
    general = [sum(loop_nest.traffic_bytes(m, n, k, np.array(trips), order, per_element)) for order in loop_nest.ORDERS]
    assert written.tolist() == general
    assert least == min(general)


@st.composite
def search_cases(draw):
    pattern = draw(st.sampled_from([(0, 0), (2, 4), (2, 8), (1, 8)]))
    shape = [draw(st.integers(1, 60)), draw(st.integers(1, 60)), draw(st.integers(1, 90)), draw(st.integers(1, 3))]
    machine = [
        draw(st.integers(2, 4)),
        draw(st.integers(2, 4)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 6)),
        draw(st.integers(0, 1)),
        draw(st.sampled_from([0, 3])),
        draw(st.sampled_from([0, 2])),
    ]
    buffers = [draw(st.sampled_from([400.0, 2000.0, 1e6])) for _ in range(3)]
    return [*shape, *pattern], machine, buffers, draw(st.sampled_from([0.5, 4.0, 64.0])), draw(st.sampled_from([0, 40]))


@given(search_cases())
@settings(max_examples=120, deadline=None)
def test_search_finds_the_best_of_the_whole_space(case):
    """Every mapping, tile and order is timed here without any bound; the search must reach the same optimum."""
    shape, machine, buffers, bandwidth, fetch = (np.array(item) for item in case)
    per_element = np.array([2.0, 1.5, 2.0, 4.0, 2.0, 1.5])
    table = [(0, 0, ia, ib, z) for ia in (1, 2, 4) for ib in (1, 2) for z in (1, 2)]
    table += [(1, 0, 1, 1, 1), (1, 1, 4, 1, 1), (1, 2, 1, 1, 1), (2, 0, 1, 1, 1), (2, 1, 2, 1, 1)]
    mappings = np.array(table)
    _, cycles, _, moved, evaluated, pruned = mapping_search.search(
        shape, per_element, machine, buffers, float(bandwidth), int(fetch), mappings
    )
    whole, seen, optimum = shape[:3], 0, (math.inf, math.inf)
    for mapping in mappings:
        steps = array_timing.tile_steps(shape[4], shape[5], shape[2], machine, mapping)
        for tile in itertools.product(*(_sizes(int(w), int(s)) for w, s in zip(whole, steps, strict=True))):
            tm, tn, tk = tile
            if 4 * tm * tk > buffers[0] or 3 * tk * tn > buffers[1] or 8 * tm * tn > buffers[2]:
                continue
            for order in loop_nest.ORDERS:
                seen += 1
                numbers, *traffic = pipeline.evaluate(
                    shape, per_element, machine, float(bandwidth), mapping, np.array(tile), order
                )
                optimum = min(optimum, (numbers[0] + numbers[5] * fetch, sum(traffic)))
    if seen == 0:
        assert cycles == -1
        return
    assert (cycles, moved) == (optimum[0], pytest.approx(optimum[1]))
    assert evaluated + pruned == seen


def _sizes(whole, step):
    steps = [step * 2**i for i in range(12)]
    return [whole, *(size for size in steps if size < whole)]
