"""The walk over all mappings, tiles and loop orders of a GEMM: for the fastest, or for all that may be fast enough.

A candidate is a row of the array mappings (an array of `MAPPINGS`), a buffer tile and one of `ORDERS`. Tiles run over
the whole dimension and the array block times powers of two, as far as they fit the buffers. Each full fetch of w costs
another `fetch_cycles` (SORE in front of the GEMM).

A candidate is skipped only when a lower bound of its cycles exceeds a limit, in the search the best found, so the
result is that of the whole space. The bounds: array issue, drain and per-job extra cycles (`mapping_bounds`), and DRAM
bytes / bandwidth. They never fall when a tile shrinks, so a bound that fails for Tm fails for all smaller Tm, and one
that fails for the largest Tm and Tn that fit beside Tk fails for that Tk. The issues without stalls plus what the
fewest jobs add exclude all smaller Tk, too. Mappings are tried by rising bound. Of orders that differ in the place of
loops of one trip alone, which are the same, the first is looked at.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.base.jit import borrowing, jit
from accelsim.cost.compiled.array_timing import Bounds, ceil_div, mapping_bounds, tile_steps
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
from accelsim.cost.compiled.values import IS, ORDERS, OS, WS, K, M, Mnk, N, mapping_at, records, whole

MOST_SIZES = 64  # tile sizes of a dimension

TILE_SIZES = records(whole(("length", "trips", "whole")))
"""Tile sizes of a dimension: with each its trips, and how many of them surely hold whole array blocks."""

TILES = records([
    *whole("mnk"), ("floor", np.float64), ("least_bytes", np.float64), ("order_bytes", np.float64, (6,)),
])  # fmt: skip
"""Buffer tiles with a lower bound of the cycles of all jobs, and the DRAM bytes of each order and of the least."""

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


class TileGrid(NamedTuple):
    """The tile sizes of m, n and k (`TILE_SIZES`); how many there are of each is in `found`."""

    m: NDArray[np.void]
    n: NDArray[np.void]
    k: NDArray[np.void]
    found: Mnk


class Ranked(NamedTuple):
    """Mapping rows by rising bound, and by row the issues of a copy without stalls."""

    rows: NDArray[np.int64]
    stall_free: NDArray[np.int64]


class Within(NamedTuple):
    """Tiles of a Tk that are within a limit, those that are not, and cycles that no tile of a smaller Tk goes below."""

    listed: int
    left_out: int
    least_cycles: int


@borrowing
def tile_candidates(size, step, shapes_blocks, tiles):
    """Fill in the tile sizes of a dimension, largest first: all of it, then `step` times powers of two; their number.

    The last tile holds whole array blocks when no block is ragged, when one block holds all, or when the dimension does
    not shape the array's blocks.
    """
    last_is_whole = not shapes_blocks or size <= step or size % step == 0
    found = 1
    tiles[0].length = size
    cut = step
    while cut * 2 < size:
        cut *= 2
    while cut >= step and cut < size:
        tiles[found].length = cut
        found += 1
        cut //= 2
    for index in range(found):
        tile = tiles[index]
        tile.trips = ceil_div(size, tile.length)
        tile.whole = tile.trips if last_is_whole else tile.trips - 1
    return found


@jit
def grid_of(shape, array, mapping, room):
    """The tile sizes of a mapping, written to `room` (3, `MOST_SIZES`)."""
    steps = tile_steps(shape.kept, shape.group, shape.k, array, mapping)
    m, n, k = room[M], room[N], room[K]
    found = Mnk(
        m=tile_candidates(shape.m, steps.m, mapping.dataflow != WS, m),
        n=tile_candidates(shape.n, steps.n, mapping.dataflow != IS, n),
        k=tile_candidates(shape.k, steps.k, mapping.dataflow != OS, k),
    )
    return TileGrid(m=m, n=n, k=k, found=found)


@borrowing
def first_fitting(tiles, found, room):
    """Index of the largest of the tile sizes that is at most `room`; `found` if none is."""
    index = 0
    while index < found and tiles[index].length > room:
        index += 1
    return index


@jit
def ranked_mappings(shape, array, mappings):
    """Order the array mappings by a lower bound of the array cycles of a copy."""
    rank, stall_free = np.empty(mappings.shape[0], np.int64), np.empty(mappings.shape[0], np.int64)
    size = Mnk(shape.m, shape.n, shape.k)
    for row in range(mappings.shape[0]):
        bounds = mapping_bounds(size, shape.kept, shape.group, array, mapping_at(mappings, row))
        rank[row] = max(bounds.issue + bounds.to_issue, bounds.drain + bounds.to_drain)
        stall_free[row] = bounds.stall_free
    return Ranked(rows=np.argsort(rank, kind="mergesort"), stall_free=stall_free)


@jit
def bounds_of_k(shape, array, mapping, of_k):
    """`mapping_bounds` of a copy with k in tiles `of_k`, one of `TILE_SIZES`."""
    tk, whole_jobs = of_k.length, of_k.whole
    bounds = mapping_bounds(Mnk(shape.m, shape.n, tk), shape.kept, shape.group, array, mapping)
    before = of_k.trips - 1
    if before == 0:
        return Bounds(
            issue=bounds.issue, drain=bounds.drain, to_issue=whole_jobs * bounds.to_issue,
            to_drain=whole_jobs * bounds.to_drain, stall_free=bounds.stall_free,
        )  # fmt: skip
    last = mapping_bounds(Mnk(shape.m, shape.n, shape.k - before * tk), shape.kept, shape.group, array, mapping)
    return Bounds(
        issue=before * bounds.issue + last.issue,
        drain=before * bounds.drain + last.drain,
        to_issue=before * bounds.to_issue + (whole_jobs - before) * last.to_issue,
        to_drain=before * bounds.to_drain + (whole_jobs - before) * last.to_drain,
        stall_free=before * bounds.stall_free + last.stall_free,
    )


@borrowing
def tile_within(gemm, machine, grid, at, bounds, limit, tile):
    """Fill in the bounds and bytes of the tile at indices `at` of the grid; say whether it may take `limit` cycles."""
    shape, count, of = gemm.shape, gemm.shape.count, gemm.element_bytes
    jobs = grid.m[at.m].whole * grid.n[at.n].whole
    floor = max(bounds.issue + bounds.to_issue * jobs, bounds.drain + bounds.to_drain * jobs) + gemm.fetch_cycles
    tile.floor = np.float64(floor) * count
    if tile.floor > limit:
        return False
    results = np.float64(shape.m) * shape.n
    tile.least_bytes = traffic_of_orders(
        grid.m[at.m].trips, grid.n[at.n].trips, grid.k[at.k].trips,
        count * (np.float64(shape.m) * shape.k * of.x), count * (np.float64(shape.k) * shape.n * of.w),
        count * (results * of.y), count * (results * of.psum), tile.order_bytes,
    )  # fmt: skip
    if dram_floor(tile.least_bytes, machine.bytes_per_cycle) > limit:
        return False
    tile.m, tile.n, tile.k = grid.m[at.m].length, grid.n[at.n].length, grid.k[at.k].length
    return True


@borrowing
def tiles_within(gemm, machine, mapping, grid, k_index, least_cycles, stall_free, limit, tiles):
    """List in `tiles`, largest first, those with a Tk that fit the buffers and may take at most `limit` cycles.

    No tile goes below `least_cycles`, no mapping below the issues `stall_free` of a copy.
    """
    shape, of, buffers, found = gemm.shape, gemm.element_bytes, machine.buffers, grid.found
    y_room, of_k = buffers.y / (2 * of.psum), grid.k[k_index]
    m_first = first_fitting(grid.m, found.m, buffers.x / (2 * of.buffered_x) / of_k.length)
    n_first = first_fitting(grid.n, found.n, buffers.w / (2 * of.buffered_w) / of_k.length)
    if m_first == found.m or n_first == found.n:
        return Within(0, 0, least_cycles)
    bounds = Bounds(np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0))
    excluded = least_cycles > limit
    if not excluded:
        bounds = bounds_of_k(shape, machine.array, mapping, of_k)
        fewest = bounds.to_issue * grid.m[0].whole * grid.n[0].whole
        least_cycles = shape.count * (stall_free + fewest + gemm.fetch_cycles)
        largest = Mnk(m_first, n_first, k_index)
        excluded = not tile_within(gemm, machine, grid, largest, bounds, limit, tiles[0])
    listed, fitting = 0, 0
    for n_index in range(n_first, found.n):
        m_index = max(m_first, first_fitting(grid.m, found.m, y_room / grid.n[n_index].length))
        fitting += found.m - m_index
        while m_index < found.m and not excluded:
            at = Mnk(m_index, n_index, k_index)
            if not tile_within(gemm, machine, grid, at, bounds, limit, tiles[listed]):
                break
            listed += 1
            m_index += 1
    return Within(listed, fitting - listed, least_cycles)


@jit
def loops_of(trips):
    """The dimensions with more than one trip, as `FIRST_ALIKE` counts them."""
    return (trips.m > 1) + 2 * (trips.n > 1) + 4 * (trips.k > 1)


@jit
def fastest(gemm, machine, mappings, limit):
    """The fastest candidate (`Fastest`) of those that take at most `limit` cycles; ties go to fewer DRAM bytes, then to
    the first. The limit falls to the best found; a first value that some candidate reaches saves time and changes
    nothing."""
    shape, bytes_per_cycle = gemm.shape, machine.bytes_per_cycle
    row, order, size, cycles, array_cycles, moved = -1, -1, Mnk(0, 0, 0), np.int64(-1), np.int64(0), np.inf
    evaluated, pruned = np.int64(0), np.int64(0)
    compute, jobs = np.empty((2, 2, 2), np.int64), np.empty(MOST_JOBS, JOBS)
    room = np.empty((3, MOST_SIZES), TILE_SIZES)
    ranked = ranked_mappings(shape, machine.array, mappings)
    for v in ranked.rows:
        mapping = mapping_at(mappings, v)
        grid = grid_of(shape, machine.array, mapping, room)
        tiles = np.empty(grid.found.m * grid.found.n, TILES)
        least_cycles = shape.count * (ranked.stall_free[v] + gemm.fetch_cycles)
        for k_index in range(grid.found.k):
            within = tiles_within(
                gemm, machine, mapping, grid, k_index, least_cycles, ranked.stall_free[v], limit, tiles
            )  # fmt: skip
            least_cycles = within.least_cycles
            pruned += 6 * within.left_out
            for index in range(within.listed):
                tile = tiles[index]
                tiling = tiling_of(shape, Mnk(tile.m, tile.n, tile.k))
                ends = end_cycles(tiling, gemm.element_bytes, bytes_per_cycle)
                floor, least_bytes = tile.floor + ends, tile.least_bytes
                tied = floor == limit and least_bytes >= moved
                if floor > limit or tied or dram_floor(least_bytes, bytes_per_cycle) > limit:
                    pruned += 6
                    continue
                total = job_table(shape, tiling, machine.array, mapping, compute)
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
                        gemm, tiling, ORDERS[o], compute, total, bytes_per_cycle, jobs
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
def candidates_within(gemm, machine, mappings, limit, kept):
    """Keep in `kept` (`CANDIDATES`) all candidates with a bound of at most `limit` cycles, in the order of the walk, as
    many as there is room for; return their number or, where they exceed the room, that would have been."""
    shape, bytes_per_cycle = gemm.shape, machine.bytes_per_cycle
    compute, room, stored = np.empty((2, 2, 2), np.int64), np.empty((3, MOST_SIZES), TILE_SIZES), np.int64(0)
    ranked = ranked_mappings(shape, machine.array, mappings)
    for v in ranked.rows:
        mapping = mapping_at(mappings, v)
        grid = grid_of(shape, machine.array, mapping, room)
        tiles = np.empty(grid.found.m * grid.found.n, TILES)
        least_cycles = shape.count * (ranked.stall_free[v] + gemm.fetch_cycles)
        for k_index in range(grid.found.k):
            within = tiles_within(
                gemm, machine, mapping, grid, k_index, least_cycles, ranked.stall_free[v], limit, tiles
            )  # fmt: skip
            least_cycles = within.least_cycles
            for index in range(within.listed):
                tile = tiles[index]
                tiling = tiling_of(shape, Mnk(tile.m, tile.n, tile.k))
                ends = end_cycles(tiling, gemm.element_bytes, bytes_per_cycle)
                if tile.floor + ends > limit:
                    continue
                total = job_table(shape, tiling, machine.array, mapping, compute)
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
                        own.first_bytes = first_bytes(tiling.full, gemm.element_bytes)
                        own.last_bytes = last_bytes(tiling.edge, gemm.element_bytes)
                        own.largest_bytes = largest_transfer(tiling, gemm.element_bytes)
                    stored += 1
    return stored


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
    cycles = pipeline_cycles(gemm, tiling, ORDERS[order], compute, total, machine.bytes_per_cycle, jobs)
    return np.float64(cycles + gemm.shape.count * gemm.fetch_cycles * loads_of(M, tiling.trips, ORDERS[order]))
