"""The other units: SORE, WUVE and the vector unit work beside the DRAM, and the slower sets the pace.

Updates, copies and vector work are handed in one by one as named tuples, or many at once as arrays of records with the
same names; so are the units of a design.
"""

from typing import NamedTuple

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.array_timing import ceil_div
from accelsim.cost.compiled.loop_nest import transfer_cycles
from accelsim.cost.compiled.values import records, whole


class UnitNumbers(NamedTuple):
    """The units of a design beside its array: elements per cycle, bits of an element, DRAM bytes per cycle."""

    wuve_lanes: int
    sore_lanes: int
    vector_lanes: int
    master_bits: int
    operand_bits: int
    bytes_per_cycle: float


class UpdateNumbers(NamedTuple):
    """An update: elements, words moved in master precision, elements written dense in the operands' precision."""

    elements: int
    words: int
    dense: int


class CopyNumbers(NamedTuple):
    """A compact copy that SORE makes in the stream of an update: passes over elements, M, bits per dense element."""

    elements: int
    passes: int
    group: int
    compact_bits: float


class VectorNumbers(NamedTuple):
    """Vector work: operations, one per lane and cycle, and the bits that pass the DRAM."""

    operations: int
    moved_bits: int


class Pace(NamedTuple):
    """WUVE, SORE and the DRAM side by side: cycles of each, and of the slowest; DRAM bytes."""

    wuve: int
    sore: int
    dram: int
    slowest: int
    moved: float


UNITS = records([*whole(UnitNumbers._fields[:-1]), ("bytes_per_cycle", np.float64)])
UPDATES = records(whole(("row", *UpdateNumbers._fields, "first_copy", "copies")))
"""Updates in their rows, and which of `COPIES` follow each."""
COPIES = records([*whole(("row", *CopyNumbers._fields[:-1])), ("compact_bits", np.float64)])
VECTORS = records(whole(("row", *VectorNumbers._fields)))


@jit
def sore_cycles(elements, group, lanes):
    """Cycles in which `lanes` lanes reduce `elements` in groups: one group takes as many cycles as it has elements."""
    return ceil_div(ceil_div(elements, group), lanes) * group


@jit
def pace_of(wuve, sore, moved, units):
    """Cycles of WUVE, SORE (0 where it has nothing to do) and `moved` bytes side by side."""
    dram = transfer_cycles(moved, units.bytes_per_cycle)
    return Pace(wuve=wuve, sore=sore, dram=dram, slowest=max(wuve, sore, dram), moved=moved)


@jit
def update_pace(update, units):
    """An update alone."""
    moved = update.words * units.master_bits / 8 + update.dense * units.operand_bits / 8
    return pace_of(ceil_div(update.elements, units.wuve_lanes), np.int64(0), moved, units)


@jit
def copy_bytes(copy):
    """Bytes of a compact copy."""
    return copy.elements * copy.compact_bits / 8


@jit
def with_copy(pace, copy, units):
    """A stream in which SORE makes one more copy."""
    sore = pace.sore + copy.passes * sore_cycles(copy.elements, copy.group, units.sore_lanes)
    return pace_of(pace.wuve, sore, pace.moved + copy_bytes(copy), units)


@jit
def vector_pace(vector, units):
    """Vector work, whose unit takes the place of WUVE."""
    return pace_of(ceil_div(vector.operations, units.vector_lanes), np.int64(0), vector.moved_bits / 8, units)


@jit
def charge_first(row, p, pace, charges):
    """Charge a row with a stream that has no copies."""
    charges.serial[row, p], charges.unit[row, p], charges.dram[row, p] = pace.slowest, pace.wuve, pace.dram
    charges.waits_for_dram[row, p], charges.dram_bytes[row, p] = pace.dram > pace.wuve, pace.moved


@jit
def charge_updates(updates, copies, units, charges):
    """Charge the rows of `UPDATES`, and those of their `COPIES` with what each adds to the stream, on each of `UNITS`.

    `charges`: arrays by row and design (`accelsim.cost.charges.UnitCharges`).
    """
    for u in range(updates.shape[0]):
        update = updates[u]
        for p in range(units.shape[0]):
            pace = update_pace(update, units[p])
            charge_first(update.row, p, pace, charges)
            for c in range(update.first_copy, update.first_copy + update.copies):
                row, longer = copies[c].row, with_copy(pace, copies[c], units[p])
                charges.serial[row, p] = longer.slowest - pace.slowest
                charges.unit[row, p] = longer.sore - pace.sore
                charges.dram[row, p] = longer.dram - pace.dram
                charges.waits_for_dram[row, p] = longer.sore <= longer.moved / units[p].bytes_per_cycle
                charges.dram_bytes[row, p] = copy_bytes(copies[c])
                pace = longer


@jit
def charge_vectors(vectors, units, charges):
    """Charge the rows of `VECTORS` on each of `UNITS`; `charges` as in `charge_updates`."""
    for v in range(vectors.shape[0]):
        for p in range(units.shape[0]):
            charge_first(vectors[v].row, p, vector_pace(vectors[v], units[p]), charges)
