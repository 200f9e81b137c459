"""The walk over all mappings, tiles and loop orders of a GEMM: for the fastest, or for all that may be fast enough.

A candidate is a row of the array mappings (an array of `MAPPINGS`), a buffer tile and one of `ORDERS`. A dimension is
cut into tiles of whole array blocks, from the longest that fit the buffers on, each as short as its number of trips
lets it be; the number of trips doubles. Each full fetch of w costs another `fetch_cycles` (SORE in front of the GEMM).

A candidate is skipped only when a lower bound of its cycles exceeds a limit, in the search the best found, so the
result is that of the whole grid. The bounds: array issue, drain and per-job extra cycles (`mapping_bounds`), and DRAM
bytes / bandwidth. They never fall when a tile shrinks, so a bound that fails for Tm fails for all smaller Tm, and one
that fails for the largest Tm and any Tn that fit beside Tk fails for all smaller Tn. The issues of all cuts of k
(`stalls_of`) plus what the fewest jobs add to them exclude a Tk at once, and all smaller ones where cuts save no
stalls. Mappings are tried by rising bound. Of orders that differ in the place of loops of one trip alone, and of
mappings that hold more than there is to hold, which are the same, the first is looked at.
"""

from typing import NamedTuple

import numpy as np

from accelsim.base.jit import borrowing, jit
from accelsim.cost.compiled.array_timing import Bounds, ceil_div, mapping_bounds, slot_layout, stalls_of, tile_steps
from accelsim.cost.compiled.loop_nest import (
    dram_floor,
    end_cycles,
    first_bytes,
    largest_transfer,
    last_bytes,
    loads_of,
    tiling_of,
    traffic_of_orders,
)
from accelsim.cost.compiled.pipeline import JOBS, MOST_JOBS, job_table, pipeline_cycles
from accelsim.cost.compiled.values import IS, NO_WINDOW, ORDERS, OS, WS, M, Mnk, mapping_at, records, whole
from accelsim.cost.compiled.window_reads import loaded_bytes

EVERY_TRIP = 1  # up to here each number of trips is tried, from there on that part more each time: twice as many

TILES = records([
    *whole("mnk"), ("floor", np.float64), ("least_bytes", np.float64), ("order_bytes", np.float64, (6,)),
])  # fmt: skip
"""Buffer tiles with a lower bound of the cycles of all jobs, and the DRAM bytes of each order and of the least."""

RANKED = records([*whole(("row", "stall_free")), *((name, np.float64) for name in ("uncut", "saved", "each_cut"))])
"""Array mappings: row; issues of a copy without stalls; those with k in T tiles are no less than `uncut` - T `saved`;
what each cut adds to them at least."""

CANDIDATES = records([
    *whole(("row", "m", "n", "k", "order", "sore_cycles", "array_cycles")), ("compute", np.int64, (2, 2, 2)),
    *((name, np.float64) for name in ("moved", "first_bytes", "last_bytes", "largest_bytes")),
])  # fmt: skip
"""Kept candidates: mapping row, tile and order; cycles of SORE, of all jobs on the array, of a job by edge class
[m, n, k]; DRAM bytes, those of the first load, of the last store and the most beside a job."""

# By dimensions with more than one trip (1 for m, 2 for n, 4 for k) the first of the orders in which these stand alike.
FIRST_ALIKE = np.array(
    [
        [
            min(
                other
                for other in range(6)
                if [d for d in ORDERS[other] if many >> d & 1] == [d for d in ORDERS[order] if many >> d & 1]
            )
            for order in range(6)
        ]
        for many in range(8)
    ]
)


class Fastest(NamedTuple):
    """The fastest candidate, its cycles (-1 where nothing fits), array cycles and DRAM bytes; candidates evaluated and
    pruned."""

    row: int
    tile: Mnk
    order: int
    cycles: int
    array_cycles: int
    moved: float
    evaluated: int
    pruned: int


class Blocks(NamedTuple):
    """A dimension in blocks of the array: its size, the length of a block, how many there are, and whether the last
    tile of any cut surely holds whole blocks: no block is ragged, one holds all, or the dimension shapes no block."""

    size: int
    step: int
    number: int
    last_is_whole: bool


class Cut(NamedTuple):
    """A dimension in tiles: their length, how many there are (0: no tile), and how many surely hold whole blocks."""

    length: int
    trips: int
    whole: int


class Cuts(NamedTuple):
    """The dimensions of a GEMM in blocks."""

    m: Blocks
    n: Blocks
    k: Blocks


class Within(NamedTuple):
    """How many tiles of a Tk are within a limit, and how many were looked at that are not."""

    listed: int
    left_out: int


@jit
def blocks_of(size, step, shapes_blocks):
    """A dimension in blocks."""
    return Blocks(
        size=size, step=step, number=ceil_div(size, step),
        last_is_whole=not shapes_blocks or size <= step or size % step == 0,
    )  # fmt: skip


@jit
def cuts_of(shape, array, mapping):
    """The dimensions of a GEMM in the blocks of a mapping."""
    steps = tile_steps(shape.kept, shape.group, shape.k, array, mapping)
    return Cuts(
        m=blocks_of(shape.m, steps.m, mapping.dataflow != WS),
        n=blocks_of(shape.n, steps.n, mapping.dataflow != IS),
        k=blocks_of(shape.k, steps.k, mapping.dataflow != OS),
    )


@jit
def uncut(blocks):
    """All of a dimension in one tile."""
    return Cut(length=blocks.size, trips=np.int64(1), whole=np.int64(blocks.last_is_whole))


@jit
def cut_into(blocks, most):
    """The tiles with the fewest trips of at most `most` blocks each, no longer than these trips take."""
    if most < 1:
        return Cut(length=np.int64(0), trips=np.int64(0), whole=np.int64(0))
    trips = ceil_div(blocks.number, most)
    length = ceil_div(blocks.number, trips) * blocks.step
    return Cut(length=length, trips=trips, whole=trips if blocks.last_is_whole else trips - 1)


@jit
def largest_within(blocks, room):
    """The longest tiles of at most `room` elements."""
    return uncut(blocks) if blocks.size <= room else cut_into(blocks, np.int64(room // blocks.step))


@jit
def longest_k(cuts, of, buffers):
    """The longest tiles of k that fit beside the smallest of m and n."""
    m, n = min(cuts.m.size, cuts.m.step), min(cuts.n.size, cuts.n.step)
    return largest_within(cuts.k, min(buffers.x / (2 * of.buffered_x) // m, buffers.w / (2 * of.buffered_w) // n))


@jit
def next_shorter(blocks, cut, every):
    """The next shorter tiles, with more trips: each number of them up to `every`, then that part more each time."""
    more = cut.trips + max(1, cut.trips // every)
    most = blocks.number if cut.trips == 1 else cut.length // blocks.step
    return cut_into(blocks, min(most - 1, ceil_div(blocks.number, more)))


@jit
def most_lengths(size, every):
    """Room for the tile lengths of a dimension: no more than two roots of it, nor than all trips up to `every` and as
    many each time that they double."""
    doublings = np.int64(np.log2(np.float64(size))) + 2
    return min(np.int64(2 * np.sqrt(np.float64(size))) + 2, every * doublings + 2)


@jit
def holds_more(shape, array, mapping):
    """Whether a mapping has accumulators for more rows, columns or slots than there are: the one for as many as there
    are, which is among the mappings of a design, is the same."""
    if mapping.dataflow != OS:
        return mapping.ia > (shape.m if mapping.dataflow == WS else shape.n)
    slots = slot_layout(shape.k, array.macs_per_pe, shape.kept, shape.group).slots
    rows, cols = ceil_div(shape.m, array.rows), ceil_div(shape.n, array.cols)
    return mapping.ia > rows or mapping.ib > cols or mapping.split_k > slots


@jit
def ranked_mappings(gemm, machine, mappings):
    """The array mappings by a lower bound of the array cycles of a copy (`RANKED`)."""
    shape, array = gemm.shape, machine.array
    size, ranked = Mnk(shape.m, shape.n, shape.k), np.empty(mappings.shape[0], RANKED)
    jobs = np.ceil(np.float64(shape.m) * shape.n / (machine.buffers.y / (2 * gemm.element_bytes.psum)))
    rank, found = np.empty(mappings.shape[0], np.int64), 0
    for row in range(mappings.shape[0]):
        mapping, own = mapping_at(mappings, row), ranked[found]
        if holds_more(shape, array, mapping):
            continue
        bounds = mapping_bounds(size, shape.kept, shape.group, array, mapping)
        stalls = stalls_of(size, shape.kept, shape.group, array, mapping)
        rank[found] = max(bounds.issue + bounds.to_issue, bounds.drain + bounds.to_drain)
        own.row, own.stall_free, own.uncut, own.saved = row, bounds.stall_free, stalls.uncut, stalls.saved
        own.each_cut = jobs * bounds.to_any
        found += 1
    return ranked[np.argsort(rank[:found], kind="mergesort")]


@jit
def least_cycles(gemm, own, trips):
    """Cycles that no tiles with these trips of k go below, of one of `RANKED`."""
    issue = max(np.float64(own.stall_free), own.uncut - trips * own.saved)
    return gemm.shape.count * (issue + trips * own.each_cut + gemm.fetch_cycles)


@jit
def cuts_help(gemm, own, trips, limit):
    """Whether more trips of k may take at most `limit` cycles: fewer stalls, as yet, or no stalls and still within."""
    return own.uncut - trips * own.saved > own.stall_free or least_cycles(gemm, own, trips) <= limit


@jit
def bounds_of_k(shape, array, mapping, of_k):
    """`mapping_bounds` of a copy with k in the tiles `of_k`."""
    tk, whole_jobs = of_k.length, of_k.whole
    bounds = mapping_bounds(Mnk(shape.m, shape.n, tk), shape.kept, shape.group, array, mapping)
    before = of_k.trips - 1
    if before == 0:
        return Bounds(
            issue=bounds.issue, drain=bounds.drain, to_issue=whole_jobs * bounds.to_issue,
            to_drain=whole_jobs * bounds.to_drain, to_any=bounds.to_any, stall_free=bounds.stall_free,
        )  # fmt: skip
    last = mapping_bounds(Mnk(shape.m, shape.n, shape.k - before * tk), shape.kept, shape.group, array, mapping)
    return Bounds(
        issue=before * bounds.issue + last.issue,
        drain=before * bounds.drain + last.drain,
        to_issue=before * bounds.to_issue + (whole_jobs - before) * last.to_issue,
        to_drain=before * bounds.to_drain + (whole_jobs - before) * last.to_drain,
        to_any=of_k.trips * bounds.to_any,
        stall_free=before * bounds.stall_free + last.stall_free,
    )


@borrowing
def bytes_of_orders(shape, of, trips, order_bytes):
    """Fill in the DRAM bytes of all copies in each of `ORDERS`; return the least."""
    count, results = shape.count, np.float64(shape.m) * shape.n
    return traffic_of_orders(
        trips.m, trips.n, trips.k,
        count * (np.float64(shape.m) * shape.k * of.x), count * (np.float64(shape.k) * shape.n * of.w),
        count * (results * of.y), count * (results * of.psum), order_bytes,
    )  # fmt: skip


@jit
def bytes_in_tiles(gemm, tiling, tile):
    """The bytes of elements in these tiles (`loaded_bytes`); the tile gets those of its orders in place of bounds."""
    of = loaded_bytes(gemm, tiling.full, False)
    tile.least_bytes = bytes_of_orders(gemm.shape, of, tiling.trips, tile.order_bytes)
    return of


@borrowing
def tile_within(gemm, machine, m, n, k, bounds, limit, tile):
    """Fill in the bounds and bytes of the tile of the cuts m, n and k; say whether it may take `limit` cycles."""
    jobs = m.whole * n.whole
    issue = bounds.issue + bounds.to_issue * jobs + bounds.to_any * (m.trips * n.trips - jobs)
    floor = max(issue, bounds.drain + bounds.to_drain * jobs) + gemm.fetch_cycles
    tile.floor = np.float64(floor) * gemm.shape.count
    if tile.floor > limit:
        return False
    tile.least_bytes = bytes_of_orders(gemm.shape, gemm.element_bytes, Mnk(m.trips, n.trips, k.trips), tile.order_bytes)
    if dram_floor(tile.least_bytes, machine.bytes_per_cycle) > limit:
        return False
    tile.m, tile.n, tile.k = m.length, n.length, k.length
    return True


@borrowing
def tiles_within(gemm, machine, mapping, cuts, k, every, limit, tiles):
    """List in `tiles`, largest first, those of a cut of k that fit the buffers and may take at most `limit` cycles."""
    of, buffers = gemm.element_bytes, machine.buffers
    m_first = largest_within(cuts.m, buffers.x / (2 * of.buffered_x) // k.length)
    n = largest_within(cuts.n, buffers.w / (2 * of.buffered_w) // k.length)
    if m_first.trips == 0:
        return Within(0, 0)
    bounds, y_room = bounds_of_k(gemm.shape, machine.array, mapping, k), buffers.y / (2 * of.psum)
    listed, left_out = 0, 0
    while n.trips > 0:
        left_out += 1
        if not tile_within(gemm, machine, m_first, n, k, bounds, limit, tiles[listed]):
            break  # nor is any that is smaller
        m = largest_within(cuts.m, min(np.float64(m_first.length), y_room // n.length))
        while m.trips > 0 and tile_within(gemm, machine, m, n, k, bounds, limit, tiles[listed]):
            listed += 1
            m = next_shorter(cuts.m, m, every)
        n = next_shorter(cuts.n, n, every)
    return Within(listed, left_out)


@jit
def loops_of(trips):
    """The dimensions with more than one trip, as `FIRST_ALIKE` counts them."""
    return (trips.m > 1) + 2 * (trips.n > 1) + 4 * (trips.k > 1)


@jit
def fastest(gemm, machine, mappings, limit, every=EVERY_TRIP):
    """The fastest candidate (`Fastest`) of those that take at most `limit` cycles; ties go to fewer DRAM bytes, then to
    the first. The limit falls to the best found; a first value that some candidate reaches saves time and changes
    nothing. `every`: see `next_shorter`."""
    shape, bytes_per_cycle, windows = gemm.shape, machine.bytes_per_cycle, gemm.window.operand != NO_WINDOW
    row, order, size, cycles, array_cycles, moved = -1, -1, Mnk(0, 0, 0), np.int64(-1), np.int64(0), np.inf
    evaluated, pruned = np.int64(0), np.int64(0)
    compute, jobs = np.empty((2, 2, 2), np.int64), np.empty(MOST_JOBS, JOBS)
    ranked = ranked_mappings(gemm, machine, mappings)
    tiles = np.empty(most_lengths(shape.m, every) * most_lengths(shape.n, every), TILES)
    for place in range(ranked.shape[0]):
        one = ranked[place]
        v, mapping = one.row, mapping_at(mappings, one.row)
        cuts = cuts_of(shape, machine.array, mapping)
        k = longest_k(cuts, gemm.element_bytes, machine.buffers)
        while k.trips > 0 and cuts_help(gemm, one, k.trips, limit):
            if least_cycles(gemm, one, k.trips) > limit:
                k = next_shorter(cuts.k, k, every)
                continue
            within = tiles_within(gemm, machine, mapping, cuts, k, every, limit, tiles)
            k = next_shorter(cuts.k, k, every)
            pruned += len(ORDERS) * within.left_out
            for index in range(within.listed):
                tile = tiles[index]
                tiling = tiling_of(shape, Mnk(tile.m, tile.n, tile.k))
                ends = end_cycles(tiling, gemm.element_bytes, bytes_per_cycle)
                floor, least_bytes = tile.floor + ends, tile.least_bytes
                tied = floor == limit and least_bytes >= moved
                if floor > limit or tied or dram_floor(least_bytes, bytes_per_cycle) > limit:
                    pruned += len(ORDERS)
                    continue
                total = job_table(shape, tiling, machine.array, mapping, compute)
                if ends + shape.count * total > limit:
                    pruned += len(ORDERS)
                    continue
                of = gemm.element_bytes
                if windows:
                    of = bytes_in_tiles(gemm, tiling, tile)
                    ends = end_cycles(tiling, of, bytes_per_cycle)
                smooth, loops = ends + shape.count * total, loops_of(tiling.trips)
                for o in range(6):
                    order_bytes = tile.order_bytes[o]
                    generation = shape.count * gemm.fetch_cycles * loads_of(M, tiling.trips, ORDERS[o])
                    bound = generation + max(smooth, dram_floor(order_bytes, bytes_per_cycle))
                    tied = bound == limit and order_bytes >= moved
                    if FIRST_ALIKE[loops, o] != o or bound > limit or tied:
                        pruned += 1
                        continue
                    evaluated += 1
                    taken = generation + pipeline_cycles(
                        shape.count, of, tiling, ORDERS[o], compute, total, bytes_per_cycle, jobs
                    )  # fmt: skip
                    fewer = taken < cycles or (taken == cycles and order_bytes < moved)
                    if taken <= limit and (cycles < 0 or fewer):
                        row, size, order = v, tiling.full, o
                        cycles, array_cycles, moved = taken, shape.count * total, order_bytes
                        limit = np.float64(cycles)
    return Fastest(
        row=row, tile=size, order=order, cycles=cycles, array_cycles=array_cycles, moved=moved, evaluated=evaluated,
        pruned=pruned,
    )  # fmt: skip


@jit
def candidates_within(gemm, machine, mappings, limit, kept, every=EVERY_TRIP):
    """Keep in `kept` (`CANDIDATES`) all candidates with a bound of at most `limit` cycles, in the order of the walk, as
    many as there is room for; return their number or, where they exceed the room, that would have been."""
    shape, bytes_per_cycle, windows = gemm.shape, machine.bytes_per_cycle, gemm.window.operand != NO_WINDOW
    compute, stored = np.empty((2, 2, 2), np.int64), np.int64(0)
    ranked = ranked_mappings(gemm, machine, mappings)
    tiles = np.empty(most_lengths(shape.m, every) * most_lengths(shape.n, every), TILES)
    for place in range(ranked.shape[0]):
        one = ranked[place]
        v, mapping = one.row, mapping_at(mappings, one.row)
        cuts = cuts_of(shape, machine.array, mapping)
        k = longest_k(cuts, gemm.element_bytes, machine.buffers)
        while k.trips > 0 and cuts_help(gemm, one, k.trips, limit):
            if least_cycles(gemm, one, k.trips) > limit:
                k = next_shorter(cuts.k, k, every)
                continue
            within = tiles_within(gemm, machine, mapping, cuts, k, every, limit, tiles)
            k = next_shorter(cuts.k, k, every)
            for index in range(within.listed):
                tile = tiles[index]
                tiling = tiling_of(shape, Mnk(tile.m, tile.n, tile.k))
                ends = end_cycles(tiling, gemm.element_bytes, bytes_per_cycle)
                if tile.floor + ends > limit:
                    continue
                total = job_table(shape, tiling, machine.array, mapping, compute)
                if ends + shape.count * total > limit:
                    continue
                of = gemm.element_bytes
                if windows:
                    of = bytes_in_tiles(gemm, tiling, tile)
                    ends = end_cycles(tiling, of, bytes_per_cycle)
                smooth, loops = ends + shape.count * total, loops_of(tiling.trips)
                for o in range(6):
                    generation = shape.count * gemm.fetch_cycles * loads_of(M, tiling.trips, ORDERS[o])
                    bound = generation + max(smooth, dram_floor(tile.order_bytes[o], bytes_per_cycle))
                    if FIRST_ALIKE[loops, o] != o or bound > limit:
                        continue
                    if stored < kept.shape[0]:
                        own = kept[stored]
                        own.row, own.m, own.n, own.k, own.order = v, tile.m, tile.n, tile.k, o
                        own.sore_cycles, own.array_cycles = generation, shape.count * total
                        own.compute[:] = compute
                        own.moved = tile.order_bytes[o]
                        own.first_bytes = first_bytes(tiling.full, of)
                        own.last_bytes = last_bytes(tiling.edge, of)
                        own.largest_bytes = largest_transfer(tiling, of)
                    stored += 1
    return stored


@jit
def array_floor(gemm, machine, mappings):
    """Array cycles of all copies that no tiling of any mapping goes below, those outside of the grid included."""
    ranked, least = ranked_mappings(gemm, machine, mappings), np.inf
    for place in range(ranked.shape[0]):
        own = ranked[place]
        trips = 1.0  # those with the least of stalls and of what each cut adds
        if own.saved > own.each_cut:
            trips = max(1.0, (own.uncut - own.stall_free) / own.saved)
        issue = max(np.float64(own.stall_free), own.uncut - trips * own.saved)
        least = min(least, gemm.shape.count * (issue + trips * own.each_cut))
    return np.int64(np.ceil(least * (1 - 1e-12)))


@jit
def search(gemm, machine, mappings):
    """Exhaustive search for the fastest candidate (`Fastest`)."""
    return fastest(gemm, machine, mappings, np.inf)


@jit
def cycles_again(gemm, machine, mappings, row, tile, order):
    """Cycles of a candidate."""
    tiling = tiling_of(gemm.shape, tile)
    compute, jobs = np.empty((2, 2, 2), np.int64), np.empty(MOST_JOBS, JOBS)
    total = job_table(gemm.shape, tiling, machine.array, mapping_at(mappings, row), compute)
    of = loaded_bytes(gemm, tile, False)
    cycles = pipeline_cycles(
        gemm.shape.count, of, tiling, ORDERS[order], compute, total, machine.bytes_per_cycle, jobs
    )  # fmt: skip
    return np.float64(cycles + gemm.shape.count * gemm.fetch_cycles * loads_of(M, tiling.trips, ORDERS[order]))
