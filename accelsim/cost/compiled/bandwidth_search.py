"""The mapping search at many bandwidths: candidates that may be fastest in a range are kept and timed again."""

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.loop_nest import dram_floor, tiling_of, transfer_cycles
from accelsim.cost.compiled.mapping_search import CANDIDATES, candidates_within, cycles_again, fastest
from accelsim.cost.compiled.pipeline import JOBS, MOST_JOBS, evaluate, jobs_beside_transfers, jobs_cycles
from accelsim.cost.compiled.values import (
    ORDERS,
    MachineNumbers,
    MappingNumbers,
    Mnk,
    gemm_at,
    mapping_at,
    records,
    whole,
)
from accelsim.cost.compiled.window_reads import loaded_bytes

CHOICES = records(whole(("row", "m", "n", "k", "order", "cycles", "evaluated", "pruned")))
"""By bandwidth the fastest mapping: row, tile and order, cycles (-1 where nothing fits); candidates evaluated and
pruned."""

BEST = records([
    *whole(("cycles", "array_cycles", "fetches", "op_slots")),
    ("dram_bytes", np.float64), ("buffer_bytes", np.float64),
])  # fmt: skip
"""What a GEMM costs at a bandwidth with its best mapping, as in `Costs`; the cycles are -1 where nothing fits."""

SEEN = records(whole(("evaluated", "pruned")))
"""Candidates evaluated and pruned at a bandwidth."""

SHARED_RANGE = 1.25  # of bandwidths that share kept candidates
LEAST_SHARED = 4  # bandwidths for which keeping candidates pays
ROOM = 4096  # candidates kept


@jit
def nowhere_slower(compute, other):
    """Whether job cycles by edge class are in none above those of another."""
    for a in range(2):
        for b in range(2):
            for c in range(2):
                if compute[a, b, c] > other[a, b, c]:
                    return False
    return True


@jit
def undominated(kept):
    """Move to the front, in their order, the kept candidates that no earlier one with the same tile and order equals or
    beats in every job; return their number. Their transfers being the same, no other can be the fastest."""
    heads, links = np.full(2 * kept.shape[0] + 1, -1), np.empty(kept.shape[0], np.int64)
    found = 0
    for index in range(kept.shape[0]):
        own = kept[index]
        place = (own.m * 31 + own.n * 961 + own.k * 29791 + own.order) % heads.shape[0]
        other, beaten = heads[place], False
        while other >= 0 and not beaten:
            earlier = kept[other]
            beaten = earlier.m == own.m and earlier.n == own.n and earlier.k == own.k and earlier.order == own.order
            beaten = beaten and nowhere_slower(earlier.compute, own.compute)
            other = links[other]
        if beaten:
            continue
        kept[found] = own
        links[found], heads[place] = heads[place], found
        found += 1
    return found


@jit
def fastest_kept(kept, starts, jobs, bytes_per_cycle, limit, best):
    """Find the fastest of the candidates `kept`, as `search` would find it among them, and write it to `best`, one of
    `CHOICES`. `starts`: where the jobs of each candidate begin in `jobs`. `limit`: cycles that one of them reaches."""
    best.cycles, best.evaluated = -1, 0
    best_bytes = np.inf
    for index in range(kept.shape[0]):
        own = kept[index]
        ends = transfer_cycles(own.first_bytes, bytes_per_cycle) + transfer_cycles(own.last_bytes, bytes_per_cycle)
        cycles = own.sore_cycles + ends + own.array_cycles
        bound = max(np.float64(cycles), own.sore_cycles + dram_floor(own.moved, bytes_per_cycle))
        if bound > limit or (bound == limit and own.moved >= best_bytes):
            continue
        best.evaluated += 1
        if own.compute.min() < transfer_cycles(own.largest_bytes, bytes_per_cycle):
            own_jobs = jobs[starts[index] : starts[index + 1]]
            cycles = own.sore_cycles + ends + jobs_cycles(own_jobs, bytes_per_cycle)
        fewer = cycles < best.cycles or (cycles == best.cycles and own.moved < best_bytes)
        if cycles <= limit and (best.cycles < 0 or fewer):
            best.row, best.m, best.n, best.k, best.order = own.row, own.m, own.n, own.k, own.order
            best.cycles, best_bytes, limit = cycles, own.moved, np.float64(cycles)


@jit
def jobs_of_kept(gemm, kept, starts, jobs):
    """Fill in the jobs of kept candidates (`jobs_beside_transfers`), equal ones counted together."""
    starts[0] = 0
    for index in range(kept.shape[0]):
        own, first = kept[index], starts[index]
        tiling = tiling_of(gemm.shape, Mnk(own.m, own.n, own.k))
        of = loaded_bytes(gemm, tiling.full, False)
        found = jobs_beside_transfers(gemm.shape.count, of, tiling, ORDERS[own.order], own.compute, jobs[first:])
        end = first
        for place in range(first, first + found):
            job, same = jobs[place], first
            while same < end and not (
                jobs[same].array_cycles == job.array_cycles and jobs[same].beside_bytes == job.beside_bytes
            ):
                same += 1
            if same < end:
                jobs[same].number += job.number
            elif job.number != 0:
                jobs[end] = job
                end += 1
        starts[index + 1] = end


@jit
def at_bandwidth(machine, bytes_per_cycle):
    """The machine at another bandwidth."""
    return MachineNumbers(array=machine.array, buffers=machine.buffers, bytes_per_cycle=bytes_per_cycle)


@jit
def cycles_of_choice(gemm, machine, mappings, choice):
    """Cycles of one of `CHOICES` on a machine of another bandwidth."""
    tile = Mnk(choice.m, choice.n, choice.k)
    return cycles_again(gemm, machine, mappings, choice.row, tile, choice.order)


@jit
def search_bandwidths(gemm, machine, bandwidths, mappings, kept, choices):
    """`search` at each of some rising `bandwidths` (bytes per cycle): same mappings, less work.

    The cycles of a candidate never grow with the bandwidth b, nor does its lower bound L(b), that of `search`. So a
    candidate that is fastest at b in [lo, hi] has L(hi) <= L(b) <= cycles(b) = fastest(b) <= fastest(lo). All with
    L(hi) <= fastest(lo) are kept, in the order in which `search` meets them, and for each b the same choice is made
    among them. A single bandwidth is searched, from the cycles that the best mapping before takes there.

    `kept` is the room for `CANDIDATES`; where it is too small, the range is halved. Fills in `choices`, by bandwidth.
    """
    room = kept.shape[0]
    index, total = 0, bandwidths.shape[0]
    while index < total:
        here, limit = at_bandwidth(machine, bandwidths[index]), np.inf
        if index > 0:
            limit = cycles_of_choice(gemm, here, mappings, choices[index - 1])
        found, choice = fastest(gemm, here, mappings, limit), choices[index]
        choice.row, choice.order = found.row, found.order
        choice.m, choice.n, choice.k = found.tile.m, found.tile.n, found.tile.k
        choice.cycles, choice.evaluated, choice.pruned = found.cycles, found.evaluated, found.pruned
        if found.cycles < 0:
            for other in range(total):
                none = choices[other]
                none.cycles, none.evaluated, none.pruned = -1, 0, 0
            return
        last = index
        while last + 1 < total and bandwidths[last + 1] <= bandwidths[index] * SHARED_RANGE:
            last += 1
        stored = room + 1
        while last - index + 1 >= LEAST_SHARED:
            highest = at_bandwidth(machine, bandwidths[last])
            stored = candidates_within(gemm, highest, mappings, np.float64(found.cycles), kept)
            if stored <= room:
                break
            last = (index + last) // 2
        index += 1
        if stored > room:
            continue
        fast = kept[: undominated(kept[:stored])]
        starts, jobs = np.empty(fast.shape[0] + 1, np.int64), np.empty(fast.shape[0] * MOST_JOBS, JOBS)
        jobs_of_kept(gemm, fast, starts, jobs)
        while index <= last:
            here = at_bandwidth(machine, bandwidths[index])
            limit = cycles_of_choice(gemm, here, mappings, choices[index - 1])
            fastest_kept(fast, starts, jobs, bandwidths[index], limit, choices[index])
            choices[index].pruned = fast.shape[0] - choices[index].evaluated
            index += 1


@jit
def search_step(gemms, machine, bandwidths, dense_mappings, sparse_mappings, costs, seen):
    """Search and evaluate the GEMMs of a step (`GEMMS`) at rising `bandwidths`: `search_bandwidths` and `evaluate` for
    each. Fills in `costs` (`BEST`, by GEMM and bandwidth) and `seen` (`SEEN`, by bandwidth)."""
    total = bandwidths.shape[0]
    kept, choices = np.empty(ROOM, CANDIDATES), np.empty(total, CHOICES)
    for g in range(gemms.shape[0]):
        gemm = gemm_at(gemms, g)
        mappings = sparse_mappings if gemm.shape.kept > 0 else dense_mappings
        search_bandwidths(gemm, machine, bandwidths, mappings, kept, choices)
        for index in range(total):
            choice, own = choices[index], costs[g, index]
            seen[index].evaluated += choice.evaluated
            seen[index].pruned += choice.pruned
            if choice.cycles < 0:
                own.cycles = -1
                continue
            before = choices[max(index - 1, 0)]
            same_tile = choice.m == before.m and choice.n == before.n and choice.k == before.k
            if index > 0 and choice.row == before.row and same_tile and choice.order == before.order:
                costs[g, index] = costs[g, index - 1]
                own.cycles = choice.cycles - own.fetches * gemm.fetch_cycles
                continue
            mapping = MappingNumbers(
                mapping_at(mappings, choice.row), Mnk(choice.m, choice.n, choice.k), ORDERS[choice.order], False
            )
            made = evaluate(gemm, at_bandwidth(machine, bandwidths[index]), mapping)
            own.cycles, own.array_cycles, own.fetches = made.cycles, made.array_cycles, made.fetches
            own.op_slots, own.dram_bytes, own.buffer_bytes = made.op_slots, made.dram_bytes, made.buffer_bytes
