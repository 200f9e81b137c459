"""The mapping search at many bandwidths: candidates that may be fastest in a range are kept and timed again."""

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.array_timing import ceil_div
from accelsim.cost.compiled.loop_nest import ORDERS, dram_floor, transfer_cycles
from accelsim.cost.compiled.mapping_search import CODES, NUMBERS, cycles_again, walk
from accelsim.cost.compiled.pipeline import JOBS, evaluate, jobs_beside_transfers, jobs_cycles


@jit
def undominated(codes, numbers):
    """Move to the front, in their order, the kept candidates (`walk`) that no earlier one with the same tile and order
    equals or beats in every job; return their number. Their transfers being the same, no other can be the fastest."""
    heads, links = np.full(2 * codes.shape[0] + 1, -1), np.empty(codes.shape[0], np.int64)
    found = 0
    for index in range(codes.shape[0]):
        code = codes[index]
        place = (code[1] * 31 + code[2] * 961 + code[3] * 29791 + code[4]) % heads.shape[0]
        other, beaten = heads[place], False
        while other >= 0 and not beaten:
            beaten = True
            for field in range(1, 5):
                beaten &= codes[other, field] == code[field]
            for field in range(7, CODES):
                beaten &= codes[other, field] <= code[field]
            other = links[other]
        if beaten:
            continue
        codes[found], numbers[found] = code, numbers[index]
        links[found], heads[place] = heads[place], found
        found += 1
    return found


@jit
def fastest_kept(kept, codes, numbers, starts, jobs, beside, bytes_per_cycle, limit, best):
    """Find the fastest of `kept` candidates, as `search` would find it among them, and write it to `best`.

    `starts`: where the jobs of each candidate begin in `jobs` and `beside`. `limit`: cycles that one of them reaches.
    Returns its cycles and the number of candidates evaluated.
    """
    best_cycles, best_bytes, evaluated = np.int64(-1), np.inf, np.int64(0)
    for index in range(kept):
        code, moved = codes[index], numbers[index, 0]
        ends = transfer_cycles(numbers[index, 1], bytes_per_cycle) + transfer_cycles(numbers[index, 2], bytes_per_cycle)
        smooth = code[5] + ends + code[6]
        bound = max(np.float64(smooth), code[5] + dram_floor(moved, bytes_per_cycle))
        if bound > limit or (bound == limit and moved >= best_bytes):
            continue
        evaluated += 1
        cycles = smooth
        if code[7:].min() < transfer_cycles(numbers[index, 3], bytes_per_cycle):
            first, found = starts[index], starts[index + 1] - starts[index]
            cycles = code[5] + ends + jobs_cycles(found, jobs[first:], beside[first:], bytes_per_cycle)
        fewer = cycles < best_cycles or (cycles == best_cycles and moved < best_bytes)
        if cycles <= limit and (best_cycles < 0 or fewer):
            best_cycles, best_bytes, limit = cycles, moved, np.float64(cycles)
            best[:] = code[:5]
    return best_cycles, evaluated


@jit
def jobs_of_kept(shape, per_element, codes, starts, jobs, beside):
    """Fill in the jobs of kept candidates (`jobs_beside_transfers`), equal ones counted together."""
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    starts[0] = 0
    for index in range(codes.shape[0]):
        code, first = codes[index], starts[index]
        for d in range(3):
            trips[d] = ceil_div(shape[d], code[1 + d])
            edge[d] = shape[d] - (trips[d] - 1) * code[1 + d]
        found = jobs_beside_transfers(
            trips, code[1:4], edge, ORDERS[code[4]], shape[3], code[7:].reshape((2, 2, 2)), per_element, jobs[first:],
            beside[first:],
        )  # fmt: skip
        end = first
        for job in range(first, first + found):
            same = first
            while same < end and not (jobs[same, 1] == jobs[job, 1] and beside[same] == beside[job]):
                same += 1
            if same < end:
                jobs[same, 0] += jobs[job, 0]
            elif jobs[job, 0] != 0:
                jobs[end], beside[end] = jobs[job], beside[job]
                end += 1
        starts[index + 1] = end


SHARED_RANGE = 1.25  # of bandwidths that share kept candidates
LEAST_SHARED = 4  # bandwidths for which keeping candidates pays
ROOM = 4096  # candidates kept


@jit
def search_bandwidths(
    shape, per_element, machine, buffers, bandwidths, fetch_cycles, mappings, codes, numbers, best, cycles, seen
):
    """`search` at each of some rising `bandwidths` (bytes per cycle): same mappings, less work.

    The cycles of a candidate never grow with the bandwidth b, nor does its lower bound L(b), that of `search`. So a
    candidate that is fastest at b in [lo, hi] has L(hi) <= L(b) <= cycles(b) = fastest(b) <= fastest(lo). All with
    L(hi) <= fastest(lo) are kept, in the order in which `search` meets them, and for each b the same choice is made
    among them. A single bandwidth is searched, from the cycles that the best mapping before takes there.

    `codes` and `numbers` are the room for kept candidates (`walk`); where it is too small, the range is halved. Fills
    in, by bandwidth, `best` (mapping row, Tm, Tn, Tk, order), `cycles` (-1 where nothing fits) and `seen` (candidates
    evaluated, pruned).
    """
    none_codes, none_numbers, room = codes[:0], numbers[:0], codes.shape[0]
    index, total = 0, bandwidths.shape[0]
    while index < total:
        here, limit = bandwidths[index], np.inf
        if index > 0:
            limit = cycles_again(shape, per_element, machine, here, fetch_cycles, mappings, best[index - 1])
        found, least, _, _, evaluated, pruned, _ = walk(
            shape, per_element, machine, buffers, here, fetch_cycles, mappings, limit, True, none_codes, none_numbers
        )
        best[index], cycles[index], seen[index, 0], seen[index, 1] = found, least, evaluated, pruned
        if least < 0:
            cycles[:], seen[:] = -1, 0
            return
        space = evaluated + pruned
        last = index
        while last + 1 < total and bandwidths[last + 1] <= here * SHARED_RANGE:
            last += 1
        stored = room + 1
        while last - index + 1 >= LEAST_SHARED:
            walked = walk(
                shape, per_element, machine, buffers, bandwidths[last], fetch_cycles, mappings, np.float64(least),
                False, codes, numbers,
            )  # fmt: skip
            stored = walked[6]
            if stored <= room:
                break
            last = (index + last) // 2
        index += 1
        if stored > room:
            continue
        kept = undominated(codes[:stored], numbers[:stored])
        starts, jobs, beside = np.empty(kept + 1, np.int64), np.empty((kept * JOBS, 2), np.int64), np.empty(kept * JOBS)
        jobs_of_kept(shape, per_element, codes[:kept], starts, jobs, beside)
        while index <= last:
            here = bandwidths[index]
            limit = cycles_again(shape, per_element, machine, here, fetch_cycles, mappings, best[index - 1])
            cycles[index], seen[index, 0] = fastest_kept(
                kept, codes, numbers, starts, jobs, beside, here, limit, best[index]
            )
            seen[index, 1] = space - seen[index, 0]
            index += 1


@jit
def search_step(
    shapes, per_element, fetch_cycles, machine, buffers, bandwidths, dense_mappings, sparse_mappings, whole, moved, seen
):
    """Search and evaluate the GEMMs of a step at rising `bandwidths`: `search_bandwidths` and `evaluate` for each.

    Fills in by GEMM and bandwidth `whole` (the numbers of `evaluate`; the cycles are -1 where nothing fits) and `moved`
    (DRAM bytes), and by bandwidth `seen` (candidates evaluated, pruned).
    """
    total = bandwidths.shape[0]
    codes, numbers = np.empty((ROOM, CODES), np.int64), np.empty((ROOM, NUMBERS))
    best, cycles, counts = np.empty((total, 5), np.int64), np.empty(total, np.int64), np.zeros((total, 2), np.int64)
    for g in range(shapes.shape[0]):
        mappings = sparse_mappings if shapes[g, 4] > 0 else dense_mappings
        search_bandwidths(
            shapes[g], per_element[g], machine, buffers, bandwidths, fetch_cycles[g], mappings, codes, numbers, best,
            cycles, counts,
        )  # fmt: skip
        seen += counts
        if cycles[0] < 0:
            whole[g, :, 0] = -1
            continue
        for index in range(total):
            found = best[index]
            if index > 0 and (found == best[index - 1]).all():
                whole[g, index], moved[g, index] = whole[g, index - 1], moved[g, index - 1]
                whole[g, index, 0] = cycles[index] - whole[g, index, 5] * fetch_cycles[g]
                continue
            whole[g, index], x_bytes, w_bytes, y_bytes = evaluate(
                shapes[g], per_element[g], machine, bandwidths[index], mappings[found[0]], found[1:4], ORDERS[found[4]]
            )
            moved[g, index] = x_bytes + w_bytes + y_bytes
