"""The double-buffered pipeline of jobs and transfers, and what one mapping of a GEMM costs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.base.jit import borrowing, jit
from accelsim.cost.compiled.array_timing import (
    array_counts,
    array_cycles,
    mapping_bounds,
    port_cycles,
    without_ports,
)
from accelsim.cost.compiled.loop_nest import (
    beside_job,
    end_cycles,
    first_bytes,
    largest_transfer,
    last_bytes,
    loads_of,
    representative,
    tiling_of,
    traffic_bytes,
    transfer_cycles,
)
from accelsim.cost.compiled.values import Costs, LoopOrder, M, Mnk, gemm_at, records, tiled_mapping_at, whole
from accelsim.cost.compiled.window_reads import loaded_bytes

JOBS = records([("number", np.int64), ("array_cycles", np.int64), ("beside_bytes", np.float64)])
"""Equal jobs: how many, the array cycles of each, and the DRAM bytes that pass beside each."""

MOST_JOBS = 68  # four classes of iterations of three loops, and corrections of the first and the last job

JOB_CLASSES = records(whole(("array_cycles", "both_cycles", "load_cycles", "store_cycles")))
"""A class of jobs: array cycles of a job and DRAM cycles beside it: of the load of the next job's tiles with the store
of the result before, of the load alone and of the store alone."""


class JobClasses(NamedTuple):
    """The jobs of a GEMM by class: trips; `JOB_CLASSES` (4, 4, 4) of each loop's classes of iterations, outermost loop
    first; DRAM cycles of the first load and of the last store."""

    trips: Mnk
    classes: NDArray[np.void]
    first_load: int
    last_store: int


class WordBytes(NamedTuple):
    """Bytes of a word of x, w and y."""

    x: float
    w: float
    y: float


@borrowing
def pipeline_cycles(count, of, tiling, order, compute, total, bytes_per_cycle, jobs):
    """Cycles of all copies of a GEMM, double buffered: first load + sum of max(compute of job j, load of job j+1
    with store of job j-1) + last store. `of`: its `ElementBytes` in these tiles. `compute[m, n, k]`: the job cycles
    with 1 at an edge, `total` their sum over a copy. Loads and stores share the DRAM. `jobs` is scratch, `MOST_JOBS` of
    `JOBS`.
    """
    ends = end_cycles(tiling, of, bytes_per_cycle)
    if least_of(compute) >= transfer_cycles(largest_transfer(tiling, of), bytes_per_cycle):
        return ends + count * total
    found = jobs_beside_transfers(count, of, tiling, order, compute, jobs)
    return ends + jobs_cycles(jobs[:found], bytes_per_cycle)


@borrowing
def least_of(compute):
    """The least of the job cycles by edge class."""
    least = compute[0, 0, 0]
    for a in range(2):
        for b in range(2):
            for c in range(2):
                least = min(least, compute[a, b, c])
    return least


@borrowing
def jobs_cycles(jobs, bytes_per_cycle):
    """Cycles of `JOBS` with the bytes that pass beside each."""
    cycles = np.int64(0)
    for index in range(jobs.shape[0]):
        job = jobs[index]
        cycles += job.number * max(job.array_cycles, transfer_cycles(job.beside_bytes, bytes_per_cycle))
    return cycles


@borrowing
def add_jobs(jobs, found, number, array_cycles, beside_bytes):
    """Write equal jobs to place `found`; return the next place."""
    job = jobs[found]
    job.number, job.array_cycles, job.beside_bytes = number, array_cycles, beside_bytes
    return found + 1


@borrowing
def jobs_beside_transfers(count, of, tiling, order, compute, jobs):
    """Fill in the jobs of all copies; return how many entries that takes. Iterations of a loop that cost the same are
    counted, not walked; copies are alike but for the first job of the first, which stores nothing, and the last job of
    the last, which loads nothing."""
    found = 0
    outer, mid, inner = tiling.trips[order.outer], tiling.trips[order.mid], tiling.trips[order.inner]
    for i in range(min(outer, 4)):
        at_outer, weight_i = representative(outer, i)
        for j in range(min(mid, 4)):
            at_mid, weight_j = representative(mid, j)
            for h in range(min(inner, 4)):
                at_inner, weight_h = representative(inner, h)
                beside = beside_job(LoopOrder(at_outer, at_mid, at_inner), tiling, order, of)
                busy, place = compute[beside.m_edge, beside.n_edge, beside.k_edge], found
                number, load, store = count * weight_i * weight_j * weight_h, beside.load, beside.store
                found = add_jobs(jobs, found, number, busy, load + store)
                if beside.first and beside.last and count == 1:
                    jobs[place].beside_bytes = 0.0
                    continue
                if beside.first:
                    jobs[place].number -= 1
                    found = add_jobs(jobs, found, 1, busy, load)
                if beside.last:
                    jobs[place].number -= 1
                    found = add_jobs(jobs, found, 1, busy, store)
    return found


@jit
def job_classes(gemm, machine, mapping):
    """The jobs of a GEMM by class, for engines that run them one by one (`JobClasses`)."""
    of = loaded_bytes(gemm, mapping.tile, mapping.taps_outer)
    tiling, order, bytes_per_cycle = tiling_of(gemm.shape, mapping.tile), mapping.order, machine.bytes_per_cycle
    compute = np.empty((2, 2, 2), np.int64)
    job_table(gemm.shape, tiling, machine.array, mapping.array, compute)
    classes = np.zeros((4, 4, 4), JOB_CLASSES)
    outer, mid, inner = tiling.trips[order.outer], tiling.trips[order.mid], tiling.trips[order.inner]
    for i in range(min(outer, 4)):
        at_outer, _ = representative(outer, i)
        for j in range(min(mid, 4)):
            at_mid, _ = representative(mid, j)
            for h in range(min(inner, 4)):
                at_inner, _ = representative(inner, h)
                beside = beside_job(LoopOrder(at_outer, at_mid, at_inner), tiling, order, of)
                own = classes[i, j, h]
                own.array_cycles = compute[beside.m_edge, beside.n_edge, beside.k_edge]
                own.both_cycles = transfer_cycles(beside.load + beside.store, bytes_per_cycle)
                own.load_cycles = transfer_cycles(beside.load, bytes_per_cycle)
                own.store_cycles = transfer_cycles(beside.store, bytes_per_cycle)
    return JobClasses(
        trips=tiling.trips,
        classes=classes,
        first_load=transfer_cycles(first_bytes(tiling.full, of), bytes_per_cycle),
        last_store=transfer_cycles(last_bytes(tiling.edge, of), bytes_per_cycle),
    )


@jit
def tile_at(tiling, m_edge, n_edge, k_edge):
    """The size of a tile that stands at some edges (1) or not (0)."""
    full, edge = tiling.full, tiling.edge
    return Mnk(m=edge.m if m_edge else full.m, n=edge.n if n_edge else full.n, k=edge.k if k_edge else full.k)


@jit
def jobs_at(tiling, m_edge, n_edge, k_edge):
    """How many tiles of a copy stand at some edges (1) or not (0)."""
    trips = tiling.trips
    return (1 if m_edge else trips.m - 1) * (1 if n_edge else trips.n - 1) * (1 if k_edge else trips.k - 1)


@borrowing
def job_table(shape, tiling, array, mapping, compute):
    """Fill in the array cycles of the jobs of a tiling by edge class [m, n, k] (huge where there is none); return
    their sum."""
    compute[:] = np.iinfo(np.int64).max
    trips, full, edge = tiling.trips, tiling.full, tiling.edge
    same_m, same_n = trips.m > 1 and edge.m == full.m, trips.n > 1 and edge.n == full.n
    same_k = trips.k > 1 and edge.k == full.k
    total = np.int64(0)
    for a in range(2):
        for b in range(2):
            for c in range(2):
                jobs = jobs_at(tiling, a, b, c)
                if jobs == 0:
                    continue
                if (same_m and a) or (same_n and b) or (same_k and c):  # the last is as large as the others
                    compute[a, b, c] = compute[0 if same_m else a, 0 if same_n else b, 0 if same_k else c]
                else:
                    compute[a, b, c] = array_cycles(
                        tile_at(tiling, a, b, c), shape.kept, shape.group, array, mapping
                    )  # fmt: skip
                total += jobs * compute[a, b, c]
    return total


@jit
def edge_word_bytes(shape, of):
    """Bytes of a word of x, w and y at the edge of the array. Words of w are kept values, while the width of a compact
    operand is by dense element."""
    w = of.buffered_w * (shape.group / shape.kept) if shape.kept > 0 else of.buffered_w
    return WordBytes(x=of.buffered_x, w=w, y=of.psum)


@jit
def evaluate(gemm, machine, mapping):
    """What one mapping costs (`Costs`)."""
    of = loaded_bytes(gemm, mapping.tile, mapping.taps_outer)
    shape, array, order = gemm.shape, machine.array, mapping.order
    kept, group, count, tiling = shape.kept, shape.group, shape.count, tiling_of(shape, mapping.tile)
    compute, scratch = np.empty((2, 2, 2), np.int64), np.empty(MOST_JOBS, JOBS)
    total = job_table(shape, tiling, array, mapping.array, compute)
    cycles = pipeline_cycles(count, of, tiling, order, compute, total, machine.bytes_per_cycle, scratch)
    issue, drain, port, jobs = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    op_slots, x_words, w_words, y_words = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    unlimited = without_ports(array)
    for a in range(2):
        for b in range(2):
            for c in range(2):
                alike = count * jobs_at(tiling, a, b, c)
                if alike == 0:
                    continue
                tile = tile_at(tiling, a, b, c)
                bounds = mapping_bounds(tile, kept, group, unlimited, mapping.array)
                counts = array_counts(tile, kept, group, array, mapping.array)
                issue += alike * bounds.issue
                drain += alike * bounds.drain
                port += alike * port_cycles(tile, kept, group, array, mapping.array)
                op_slots += alike * counts.op_slots
                x_words += alike * counts.x_words
                w_words += alike * counts.w_words
                y_words += alike * counts.y_words
                jobs += alike
    traffic = traffic_bytes(shape, tiling.trips, order, of)
    dram_bytes = count * traffic.x + count * traffic.w + count * traffic.y
    edge = edge_word_bytes(shape, of)
    edge_bytes = x_words * edge.x + w_words * edge.w + y_words * edge.y
    return Costs(
        cycles=cycles,
        array_cycles=count * total,
        issue_cycles=issue,
        drain_cycles=drain,
        port_cycles=port,
        fetches=count * loads_of(M, tiling.trips, order),
        op_slots=op_slots,
        jobs=jobs,
        x_bytes=count * traffic.x,
        w_bytes=count * traffic.w,
        y_bytes=count * traffic.y,
        dram_bytes=dram_bytes,
        buffer_bytes=edge_bytes + dram_bytes,
    )


@jit
def evaluate_all(gemms, machine, mappings, costs):
    """Fill in what each of `GEMMS` costs with its own of `TILED_MAPPINGS`, as an array of `COSTS`."""
    for g in range(gemms.shape[0]):
        own, made = costs[g], evaluate(gemm_at(gemms, g), machine, tiled_mapping_at(mappings, g))
        own.cycles, own.array_cycles, own.issue_cycles = made.cycles, made.array_cycles, made.issue_cycles
        own.drain_cycles, own.port_cycles, own.fetches = made.drain_cycles, made.port_cycles, made.fetches
        own.op_slots, own.jobs, own.dram_bytes, own.buffer_bytes = (
            made.op_slots, made.jobs, made.dram_bytes, made.buffer_bytes
        )  # fmt: skip
        own.x_bytes, own.w_bytes, own.y_bytes = made.x_bytes, made.w_bytes, made.y_bytes
