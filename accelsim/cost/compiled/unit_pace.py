"""The other units: SORE, WUVE and the vector unit work beside the DRAM, and the slower sets the pace."""

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.array_timing import ceil_div
from accelsim.cost.compiled.loop_nest import transfer_cycles


@jit
def sore_cycles(elements, group, lanes):
    """Cycles in which `lanes` lanes reduce `elements` in groups: one group takes as many cycles as it has elements."""
    return ceil_div(ceil_div(elements, group), lanes) * group


@jit
def stream_pace(wuve, sore, moved, bytes_per_cycle):
    """Cycles of WUVE, SORE (0 where it has nothing to do) and `moved` bytes of DRAM traffic side by side."""
    return max(wuve, sore, transfer_cycles(moved, bytes_per_cycle))


@jit
def update_bytes(words, dense, master_bits, operand_bits):
    """DRAM bytes of an update that moves `words` of master precision and writes `dense` in the operands' precision."""
    return words * master_bits / 8 + dense * operand_bits / 8


@jit
def compact_bytes(elements, compact_bits):
    """Bytes of a compact copy."""
    return elements * compact_bits / 8


@jit
def vector_bytes(elements, operand_bits):
    """DRAM bytes of the elements that vector work reads and writes."""
    return elements * operand_bits / 8


@jit
def update_rows(
    updates, copies, compact_bits, master_bits, operand_bits, wuve_lanes, sore_lanes, bandwidths, cycles, moved
):
    """Fill in `cycles` and `moved` DRAM bytes of updates and of the copies made in their stream, by row and design.

    updates: row, elements, words, dense elements, first copy, copies. copies: row, elements, passes, group;
    `compact_bits` per element.
    """
    for u in range(updates.shape[0]):
        row, first, last = updates[u, 0], updates[u, 4], updates[u, 4] + updates[u, 5]
        for p in range(bandwidths.shape[0]):
            total = update_bytes(updates[u, 2], updates[u, 3], master_bits, operand_bits)
            wuve, sore = ceil_div(updates[u, 1], wuve_lanes[p]), np.int64(0)
            pace = stream_pace(wuve, sore, total, bandwidths[p])
            cycles[row, p], moved[row, p] = pace, total
            for c in range(first, last):
                written = compact_bytes(copies[c, 1], compact_bits[c])
                sore += copies[c, 2] * sore_cycles(copies[c, 1], copies[c, 3], sore_lanes)
                total += written
                slowest = stream_pace(wuve, sore, total, bandwidths[p])
                cycles[copies[c, 0], p], moved[copies[c, 0], p] = slowest - pace, written
                pace = slowest


@jit
def vector_rows(vectors, operand_bits, lanes, bandwidths, cycles, moved):
    """Fill in `cycles` and `moved` DRAM bytes of vector work (row, elements), by row and design."""
    for v in range(vectors.shape[0]):
        row, elements = vectors[v, 0], vectors[v, 1]
        total = vector_bytes(elements, operand_bits)
        for p in range(bandwidths.shape[0]):
            cycles[row, p] = stream_pace(ceil_div(elements, lanes[p]), 0, total, bandwidths[p])
            moved[row, p] = total
