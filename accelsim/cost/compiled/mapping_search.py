"""The walk over all mappings, tiles and loop orders of a GEMM for the fastest."""

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.array_timing import OS, WS, ceil_div, mapping_bounds, tile_steps
from accelsim.cost.compiled.loop_nest import (
    ORDERS,
    dram_floor,
    end_bytes,
    end_transfers,
    largest_transfer,
    loads_of,
    traffic_of_orders,
)
from accelsim.cost.compiled.pipeline import JOBS, job_table, pipeline_cycles


@jit
def tile_candidates(whole, step, shapes_blocks, sizes, trips, jobs):
    """Fill in the tile sizes of a dimension, largest first: all of it, then `step` times powers of two; their number.

    With each size its trips, and how many of them surely hold whole array blocks: the last one does when no block is
    ragged, when one block holds all, or when the dimension does not shape the array's blocks.
    """
    last_is_whole = not shapes_blocks or whole <= step or whole % step == 0
    found = 1
    sizes[0] = whole
    size = step
    while size * 2 < whole:
        size *= 2
    while size >= step and size < whole:
        sizes[found] = size
        found += 1
        size //= 2
    for index in range(found):
        trips[index] = ceil_div(whole, sizes[index])
        jobs[index] = trips[index] if last_is_whole else trips[index] - 1
    return found


@jit
def first_fitting(sizes, found, room):
    """Index of the largest of the sizes that is at most `room`; `found` if none is."""
    index = 0
    while index < found and sizes[index] > room:
        index += 1
    return index


@jit
def search(shape, per_element, machine, buffers, bytes_per_cycle, fetch_cycles, mappings):
    """Exhaustive search for the fastest mapping of one GEMM; ties go to fewer DRAM bytes, then to the first found.

    shape: m, n, k, count, kept, group. machine: rows, cols, lanes, latency, overlapped, row port, column port.
    mappings: one row (dataflow, variant, ia, ib, split) each. Tiles run over the whole dimension and the array block
    times powers of two, as far as they fit the buffers; orders over all six. Each full fetch of w costs another
    `fetch_cycles` (SORE in front of the GEMM).

    A candidate is skipped only when a lower bound of its cycles exceeds the best found, so the result is that of the
    whole space. The bounds: array issue, drain and per-job extra cycles (`mapping_bounds`), and DRAM bytes / bandwidth.
    They never fall when a tile shrinks, so a bound that fails for Tm fails for all smaller Tm, and one
    that fails for the largest Tm and Tn that fit beside Tk fails for that Tk. The issues without stalls plus what the
    fewest jobs add exclude all smaller Tk, too. Mappings are tried by rising bound. Of orders that differ in the place
    of loops of one trip alone, which are the same, the first is evaluated.

    Returns the best (mapping row, Tm, Tn, Tk, order), its cycles, array cycles and DRAM bytes, and the numbers of
    candidates evaluated and pruned; cycles -1 when nothing fits.
    """
    none_codes, none_numbers = np.empty((0, CODES), np.int64), np.empty((0, NUMBERS))
    return walk(
        shape, per_element, machine, buffers, bytes_per_cycle, fetch_cycles, mappings, np.inf, True, none_codes,
        none_numbers,
    )[:6]  # fmt: skip


CODES, NUMBERS = 15, 4  # of a kept candidate

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


@jit
def walk(
    shape, per_element, machine, buffers, bytes_per_cycle, fetch_cycles, mappings, limit, lowering, codes, numbers
):
    """Walk the space of `search`: for its fastest candidate, or for all that may take at most `limit` cycles.

    Only candidates with a bound of at most `limit` are looked at. With `lowering` that falls to the best found; a first
    value that some candidate reaches saves time and changes nothing. Without, the limit stays; an infinite one
    evaluates the whole space, whatever is alike in it. Where `codes` has rows, candidates are not evaluated but kept,
    in the order of the walk: `codes` (mapping row, Tm, Tn, Tk, order, cycles of SORE, of all jobs, of a job by edge
    class m, n, k) and `numbers` (DRAM bytes; bytes of the first load, of the last store, the most beside a job), as
    many as there is room for.

    Returns as `search`, and the number of candidates kept or, where they exceed the room, that would have been.
    """
    stored, evaluate_all = np.int64(0), not lowering and codes.shape[0] == 0
    m, n, k, count, kept, group = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    best = np.zeros(5, np.int64)
    best_cycles, best_compute, best_bytes = np.int64(-1), np.int64(0), np.inf
    evaluated, pruned = np.int64(0), np.int64(0)
    trips, full, edge, whole = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64), shape[:3]
    order_bytes, compute = np.empty(6), np.empty((2, 2, 2), np.int64)
    jobs, beside = np.empty((JOBS, 2), np.int64), np.empty(JOBS)
    x_bytes = count * (np.float64(m) * k * per_element[0])
    w_bytes = count * (np.float64(k) * n * per_element[1])
    y_bytes, psum_bytes = count * (np.float64(m) * n * per_element[2]), count * (np.float64(m) * n * per_element[3])
    sizes, trips_of, jobs_of = np.empty((3, 64), np.int64), np.empty((3, 64), np.int64), np.empty((3, 64), np.int64)
    found = np.empty(3, np.int64)
    x_capacity, w_capacity = buffers[0] / (2 * per_element[4]), buffers[1] / (2 * per_element[5])
    y_capacity = buffers[2] / (2 * per_element[3])
    rank, stall_free = np.empty(mappings.shape[0], np.int64), np.empty(mappings.shape[0], np.int64)
    for v in range(mappings.shape[0]):
        issue, drain, to_issue, to_drain, ops = mapping_bounds(m, n, k, kept, group, machine, mappings[v])
        rank[v], stall_free[v] = max(issue + to_issue, drain + to_drain), ops
    for v in np.argsort(rank, kind="mergesort"):
        mapping = mappings[v]
        steps = tile_steps(kept, group, k, machine, mapping)
        free = 2 if mapping[0] == OS else (0 if mapping[0] == WS else 1)
        for d in range(3):
            found[d] = tile_candidates(whole[d], steps[d], d != free, sizes[d], trips_of[d], jobs_of[d])
        hopeless = count * (stall_free[v] + fetch_cycles) > limit
        for k_index in range(found[2]):
            tk, k_trips, k_jobs = sizes[2, k_index], trips_of[2, k_index], jobs_of[2, k_index]
            m_first = first_fitting(sizes[0], found[0], x_capacity / tk)
            n_first = first_fitting(sizes[1], found[1], w_capacity / tk)
            if m_first == found[0] or n_first == found[1]:
                continue
            if hopeless:
                for n_index in range(n_first, found[1]):
                    m_index = max(m_first, first_fitting(sizes[0], found[0], y_capacity / sizes[1, n_index]))
                    pruned += 6 * (found[0] - m_index)
                continue
            issue, drain, to_issue, to_drain, _ = mapping_bounds(m, n, tk, kept, group, machine, mapping)
            if k_trips > 1:
                k_last = k - (k_trips - 1) * tk
                before, last = k_trips - 1, mapping_bounds(m, n, k_last, kept, group, machine, mapping)
                issue, drain = before * issue + last[0], before * drain + last[1]
                to_issue = before * to_issue + (k_jobs - before) * last[2]
                to_drain = before * to_drain + (k_jobs - before) * last[3]
            else:
                to_issue, to_drain = k_jobs * to_issue, k_jobs * to_drain
            fewest_jobs = to_issue * jobs_of[0, 0] * jobs_of[1, 0]
            hopeless = count * (stall_free[v] + fewest_jobs + fetch_cycles) > limit
            whole_jobs = jobs_of[0, m_first] * jobs_of[1, n_first]
            floor = np.float64(max(issue + to_issue * whole_jobs, drain + to_drain * whole_jobs) + fetch_cycles) * count
            if floor <= limit:
                least = traffic_of_orders(
                    trips_of[0, m_first],
                    trips_of[1, n_first],
                    k_trips,
                    x_bytes,
                    w_bytes,
                    y_bytes,
                    psum_bytes,
                    order_bytes,
                )
                floor = max(floor, dram_floor(least, bytes_per_cycle))
            excluded = floor > limit
            for n_index in range(n_first, found[1]):
                tn = sizes[1, n_index]
                m_index = max(m_first, first_fitting(sizes[0], found[0], y_capacity / tn))
                while m_index < found[0] and not excluded:
                    whole_jobs = jobs_of[0, m_index] * jobs_of[1, n_index]
                    floor = np.float64(max(issue + to_issue * whole_jobs, drain + to_drain * whole_jobs) + fetch_cycles)
                    floor *= count
                    if floor > limit:
                        break
                    least = traffic_of_orders(
                        trips_of[0, m_index],
                        trips_of[1, n_index],
                        k_trips,
                        x_bytes,
                        w_bytes,
                        y_bytes,
                        psum_bytes,
                        order_bytes,
                    )
                    if dram_floor(least, bytes_per_cycle) > limit:
                        break
                    full[0], full[1], full[2] = sizes[0, m_index], tn, tk
                    trips[0], trips[1], trips[2] = trips_of[0, m_index], trips_of[1, n_index], k_trips
                    for d in range(3):
                        edge[d] = whole[d] - (trips[d] - 1) * full[d]
                    m_index += 1
                    first_load, last_store = end_transfers(full, edge, per_element, bytes_per_cycle)
                    ends = first_load + last_store
                    if floor + ends > limit or (floor + ends == limit and least >= best_bytes):
                        pruned += 6
                        continue
                    total = job_table(trips, full, edge, kept, group, machine, mapping, compute)
                    many = (trips[0] > 1) + 2 * (trips[1] > 1) + 4 * (trips[2] > 1)
                    for o in range(6):
                        if FIRST_ALIKE[many, o] != o and not evaluate_all:
                            pruned += 1
                            continue
                        generation = count * fetch_cycles * loads_of(0, trips, ORDERS[o])
                        bound = generation + max(ends + count * total, dram_floor(order_bytes[o], bytes_per_cycle))
                        if bound > limit or (bound == limit and order_bytes[o] >= best_bytes):
                            pruned += 1
                            continue
                        if codes.shape[0] > 0:
                            if stored < codes.shape[0]:
                                row = codes[stored]
                                row[0], row[1], row[2], row[3], row[4] = v, full[0], full[1], full[2], o
                                row[5], row[6] = generation, count * total
                                row[7:] = compute.ravel()
                                bytes_in, bytes_out = end_bytes(full, edge, per_element)
                                numbers[stored, 0], numbers[stored, 1] = order_bytes[o], bytes_in
                                numbers[stored, 2] = bytes_out
                                numbers[stored, 3] = largest_transfer(trips, full, per_element)
                            stored += 1
                            continue
                        evaluated += 1
                        cycles = generation + pipeline_cycles(
                            trips, full, edge, ORDERS[o], count, compute, total, per_element, bytes_per_cycle, jobs,
                            beside,
                        )  # fmt: skip
                        fewer = cycles < best_cycles or (cycles == best_cycles and order_bytes[o] < best_bytes)
                        if cycles <= limit and (best_cycles < 0 or fewer):
                            best_cycles, best_compute, best_bytes = cycles, count * total, order_bytes[o]
                            best[0], best[1], best[2], best[3], best[4] = v, full[0], full[1], full[2], o
                            if lowering:
                                limit = np.float64(cycles)
                pruned += 6 * (found[0] - m_index)
    return best, best_cycles, best_compute, best_bytes, evaluated, pruned, stored


@jit
def cycles_again(shape, per_element, machine, bytes_per_cycle, fetch_cycles, mappings, found):
    """Cycles of what `search` found, at another bandwidth."""
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    tile, order = found[1:4], ORDERS[found[4]]
    for d in range(3):
        trips[d] = ceil_div(shape[d], tile[d])
        edge[d] = shape[d] - (trips[d] - 1) * tile[d]
    compute, jobs, beside = np.empty((2, 2, 2), np.int64), np.empty((JOBS, 2), np.int64), np.empty(JOBS)
    total = job_table(trips, tile, edge, shape[4], shape[5], machine, mappings[found[0]], compute)
    cycles = pipeline_cycles(
        trips, tile, edge, order, shape[3], compute, total, per_element, bytes_per_cycle, jobs, beside
    )
    return np.float64(cycles + shape[3] * fetch_cycles * loads_of(0, trips, order))
