"""The double-buffered pipeline of jobs and transfers, and what one mapping of a GEMM costs."""

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.array_timing import (
    UNLIMITED,
    array_counts,
    array_cycles,
    ceil_div,
    mapping_bounds,
    port_cycles,
)
from accelsim.cost.compiled.loop_nest import (
    beside_job,
    end_transfers,
    largest_transfer,
    loads_of,
    representative,
    traffic_bytes,
    transfer_cycles,
)


@jit
def pipeline_cycles(trips, full, edge, order, count, compute, total, per_element, bytes_per_cycle, jobs, beside):
    """Cycles of `count` copies of a GEMM, double buffered: first load + sum of max(compute of job j, load of job j+1
    with store of job j-1) + last store. `full` and `edge` are the tile sizes, `compute[m, n, k]` the job cycles with 1
    at an edge and `total` their sum over a copy. Loads and stores share the DRAM. `jobs` and `beside` are scratch of
    `JOBS` rows.
    """
    first_load, last_store = end_transfers(full, edge, per_element, bytes_per_cycle)
    ends = first_load + last_store
    if least_of(compute) >= transfer_cycles(largest_transfer(trips, full, per_element), bytes_per_cycle):
        return ends + count * total
    found = jobs_beside_transfers(trips, full, edge, order, count, compute, per_element, jobs, beside)
    return ends + jobs_cycles(found, jobs, beside, bytes_per_cycle)


@jit
def least_of(compute):
    """The least of the job cycles by edge class."""
    least = compute[0, 0, 0]
    for a in range(2):
        for b in range(2):
            for c in range(2):
                least = min(least, compute[a, b, c])
    return least


@jit
def jobs_cycles(found, jobs, beside, bytes_per_cycle):
    """Cycles of the first `found` jobs (number, array cycles) with the bytes that pass beside each."""
    cycles = np.int64(0)
    for index in range(found):
        cycles += jobs[index, 0] * max(jobs[index, 1], transfer_cycles(beside[index], bytes_per_cycle))
    return cycles


JOBS = 68  # four classes of iterations of three loops, and corrections of the first and the last job


@jit
def jobs_beside_transfers(trips, full, edge, order, count, compute, per_element, jobs, beside):
    """Fill in the jobs of `count` copies (number, array cycles) and the bytes that pass `beside` each; return how many
    entries that takes. Iterations of a loop that cost the same are counted, not walked; copies are alike but for the
    first job of the first, which stores nothing, and the last job of the last, which loads nothing."""
    found = 0
    outer, mid, inner = trips[order[0]], trips[order[1]], trips[order[2]]
    for i in range(min(outer, 4)):
        at_outer, weight_i = representative(outer, i)
        for j in range(min(mid, 4)):
            at_mid, weight_j = representative(mid, j)
            for h in range(min(inner, 4)):
                at_inner, weight_h = representative(inner, h)
                load, store, last, first, a, b, c = beside_job(
                    at_outer, at_mid, at_inner, trips, order, full, edge, per_element
                )
                busy, whole = compute[a, b, c], found
                jobs[found, 0], jobs[found, 1] = count * weight_i * weight_j * weight_h, busy
                beside[found] = load + store
                found += 1
                if first and last and count == 1:
                    beside[whole] = 0.0
                    continue
                if first:
                    jobs[whole, 0] -= 1
                    jobs[found, 0], jobs[found, 1], beside[found] = 1, busy, load
                    found += 1
                if last:
                    jobs[whole, 0] -= 1
                    jobs[found, 0], jobs[found, 1], beside[found] = 1, busy, store
                    found += 1
    return found


@jit
def job_classes(shape, per_element, machine, bytes_per_cycle, mapping, tile, order):
    """The jobs of a GEMM by class, for engines that run them one by one.

    Returns trips; for up to four classes of each loop, outermost first, the array cycles of a job and the DRAM cycles
    beside it: of the load of the next job with the store of the one before, of the load alone and of the store alone;
    and the DRAM cycles of the first load and of the last store.
    """
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    for d in range(3):
        trips[d] = ceil_div(shape[d], tile[d])
        edge[d] = shape[d] - (trips[d] - 1) * tile[d]
    compute = np.empty((2, 2, 2), np.int64)
    job_table(trips, tile, edge, shape[4], shape[5], machine, mapping, compute)
    jobs = np.zeros((4, 4, 4, 4), np.int64)
    outer, mid, inner = trips[order[0]], trips[order[1]], trips[order[2]]
    for i in range(min(outer, 4)):
        at_outer, _ = representative(outer, i)
        for j in range(min(mid, 4)):
            at_mid, _ = representative(mid, j)
            for h in range(min(inner, 4)):
                at_inner, _ = representative(inner, h)
                load, store, _, _, a, b, c = beside_job(
                    at_outer, at_mid, at_inner, trips, order, tile, edge, per_element
                )
                jobs[i, j, h, 0] = compute[a, b, c]
                jobs[i, j, h, 1] = transfer_cycles(load + store, bytes_per_cycle)
                jobs[i, j, h, 2] = transfer_cycles(load, bytes_per_cycle)
                jobs[i, j, h, 3] = transfer_cycles(store, bytes_per_cycle)
    first_load, last_store = end_transfers(tile, edge, per_element, bytes_per_cycle)
    return trips, jobs, first_load, last_store


@jit
def job_table(trips, full, edge, kept, group, machine, mapping, compute):
    """Fill in the array cycles of the jobs of a tiling by edge class [m, n, k] (huge where there is none); return
    their sum."""
    compute[:] = np.iinfo(np.int64).max
    same_m, same_n = trips[0] > 1 and edge[0] == full[0], trips[1] > 1 and edge[1] == full[1]
    same_k = trips[2] > 1 and edge[2] == full[2]
    total = np.int64(0)
    for a in range(2):
        m_jobs = 1 if a else trips[0] - 1
        for b in range(2):
            n_jobs = 1 if b else trips[1] - 1
            for c in range(2):
                k_jobs = 1 if c else trips[2] - 1
                jobs = m_jobs * n_jobs * k_jobs
                if jobs == 0:
                    continue
                if (same_m and a) or (same_n and b) or (same_k and c):  # the last is as large as the others
                    compute[a, b, c] = compute[0 if same_m else a, 0 if same_n else b, 0 if same_k else c]
                    total += jobs * compute[a, b, c]
                    continue
                cycles = array_cycles(
                    edge[0] if a else full[0],
                    edge[1] if b else full[1],
                    edge[2] if c else full[2],
                    machine[0],
                    machine[1],
                    machine[2],
                    machine[3],
                    kept,
                    group,
                    mapping[0],
                    mapping[1],
                    mapping[2],
                    mapping[3],
                    mapping[4],
                    machine[4] == 1,
                    machine[5],
                    machine[6],
                )
                compute[a, b, c] = cycles
                total += jobs * cycles
    return total


COSTS = 11  # whole numbers of `evaluate`, some of them at
ARRAY_CYCLES, FETCHES, SLOTS, X_WORDS = 1, 5, 6, 7


@jit
def evaluate(shape, per_element, machine, bytes_per_cycle, mapping, tile, order):
    """What one mapping costs: whole numbers (cycles, array cycles, issue, drain and port cycles, full fetches of w, op
    slots, words of x, w and y, jobs) for all copies, and the DRAM bytes of x, w and y.
    """
    kept, group, count = shape[4], shape[5], shape[3]
    whole = shape[:3]
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    for d in range(3):
        trips[d] = ceil_div(whole[d], tile[d])
        edge[d] = whole[d] - (trips[d] - 1) * tile[d]
    compute, jobs, beside = np.empty((2, 2, 2), np.int64), np.empty((JOBS, 2), np.int64), np.empty(JOBS)
    total = job_table(trips, tile, edge, kept, group, machine, mapping, compute)
    unlimited = machine.copy()
    unlimited[5], unlimited[6] = UNLIMITED, UNLIMITED
    numbers = np.zeros(COSTS, np.int64)
    numbers[0] = pipeline_cycles(
        trips, tile, edge, order, count, compute, total, per_element, bytes_per_cycle, jobs, beside
    )
    numbers[1] = count * total
    for a in range(2):
        for b in range(2):
            for c in range(2):
                jobs = (1 if a else trips[0] - 1) * (1 if b else trips[1] - 1) * (1 if c else trips[2] - 1)
                if jobs == 0:
                    continue
                jobs *= count
                mt, nt, kt = edge[0] if a else tile[0], edge[1] if b else tile[1], edge[2] if c else tile[2]
                issue, drain, _, _, _ = mapping_bounds(mt, nt, kt, kept, group, unlimited, mapping)
                slots, x, w, y, _ = array_counts(
                    mt,
                    nt,
                    kt,
                    machine[0],
                    machine[1],
                    machine[2],
                    kept,
                    group,
                    mapping[0],
                    mapping[1],
                    mapping[2],
                    mapping[3],
                )
                port = port_cycles(mt, nt, kt, kept, group, machine, mapping)
                numbers[2] += jobs * issue
                numbers[3] += jobs * drain
                numbers[4] += jobs * port
                numbers[6] += jobs * slots
                numbers[7] += jobs * x
                numbers[8] += jobs * w
                numbers[9] += jobs * y
                numbers[10] += jobs
    numbers[5] = count * loads_of(0, trips, order)
    x_bytes, w_bytes, y_bytes = traffic_bytes(whole[0], whole[1], whole[2], trips, order, per_element)
    return numbers, count * x_bytes, count * w_bytes, count * y_bytes
