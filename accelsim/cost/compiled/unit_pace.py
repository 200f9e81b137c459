"""The other units: SORE, WUVE and the vector unit work beside the DRAM, and the slower sets the pace."""

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.array_timing import ceil_div
from accelsim.cost.compiled.loop_nest import transfer_cycles
from accelsim.cost.compiled.values import records, whole

UPDATES = records(whole(("row", "elements", "words", "dense", "first_copy", "copies")))
"""Updates: row, elements, words moved in master precision, elements written dense, and which of `COPIES` follow."""

COPIES = records([*whole(("row", "elements", "passes", "group")), ("compact_bits", np.float64)])
"""Compact copies that SORE makes in the stream of an update: row, elements, passes, M and bits per dense element."""

VECTORS = records(whole(("row", "elements")))
"""Vector work: row, elements read and written."""


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
def update_rows(updates, copies, master_bits, operand_bits, wuve_lanes, sore_lanes, bandwidths, cycles, moved):
    """Fill in `cycles` and `moved` DRAM bytes by row and design, of `UPDATES` and of `COPIES` made in their stream."""
    for u in range(updates.shape[0]):
        update = updates[u]
        for p in range(bandwidths.shape[0]):
            total = update_bytes(update.words, update.dense, master_bits, operand_bits)
            wuve, sore = ceil_div(update.elements, wuve_lanes[p]), np.int64(0)
            pace = stream_pace(wuve, sore, total, bandwidths[p])
            cycles[update.row, p], moved[update.row, p] = pace, total
            for c in range(update.first_copy, update.first_copy + update.copies):
                copy = copies[c]
                written = compact_bytes(copy.elements, copy.compact_bits)
                sore += copy.passes * sore_cycles(copy.elements, copy.group, sore_lanes)
                total += written
                slowest = stream_pace(wuve, sore, total, bandwidths[p])
                cycles[copy.row, p], moved[copy.row, p] = slowest - pace, written
                pace = slowest


@jit
def vector_rows(vectors, operand_bits, lanes, bandwidths, cycles, moved):
    """Fill in `cycles` and `moved` DRAM bytes of `VECTORS`, by row and design."""
    for v in range(vectors.shape[0]):
        vector = vectors[v]
        total = vector_bytes(vector.elements, operand_bits)
        for p in range(bandwidths.shape[0]):
            cycles[vector.row, p] = stream_pace(ceil_div(vector.elements, lanes[p]), 0, total, bandwidths[p])
            moved[vector.row, p] = total
