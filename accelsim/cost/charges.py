"""What each task costs by itself: cycles of its unit, cycles of DRAM, and the events that cost energy.

All engines charge the same; they differ in what they let run at the same time. A charge is `serial` when the task runs
alone: GEMMs as the buffer pipeline of `accelsim.cost.compiled`, everything else as the longer of its unit and its DRAM
traffic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.cost.compiled import pipeline, unit_pace
from accelsim.cost.compiled.unit_pace import CopyNumbers, UnitNumbers, UpdateNumbers, VectorNumbers
from accelsim.cost.compiled.values import (
    COSTS,
    Costs,
    GemmNumbers,
    GemmShape,
    MachineNumbers,
    MappingNumbers,
    gemm_table,
    tiled_mapping_table,
)
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Generation, Update, VectorWork

__all__ = [
    "Bound",
    "Charge",
    "Events",
    "GemmCharge",
    "UnitCharges",
    "UnitRows",
    "WordBits",
    "charge_gemms",
    "charge_online",
    "charge_units",
    "copy_numbers",
    "slot_bits",
    "unit_numbers",
    "unit_table",
    "update_cycles",
    "update_numbers",
    "vector_cycles",
    "vector_numbers",
    "word_bits",
]

_WORDS_OF_A_SUM = 3
"""A sum of gradients reads two and writes one."""

Ints = NDArray[np.int64]
Records = NDArray[np.void]


class Bound(StrEnum):
    """What a task waits for most: op issue (or its engine), DRAM, an input port, the drain of results, other ranks."""

    COMPUTE = "compute"
    DRAM = "dram"
    PORT = "port"
    DRAIN = "drain"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Countable events that cost energy; a selection picks the activation of a kept weight out of its group."""

    macs: int = 0
    selections: int = 0
    register_bits: float = 0.0
    buffer_bytes: float = 0.0
    sore_elements: int = 0
    wuve_weights: int = 0
    vector_elements: int = 0
    dram_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A task alone: cycles in all, of its unit (array, SORE, WUVE or vector unit), and of the whole DRAM."""

    serial: int
    unit: int
    dram: int
    bound: Bound
    events: Events = field(default_factory=Events)


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmCharge(Charge):
    """A GEMM, all copies; `fetches` of its weight operand in full."""

    fetches: int


class WordBits(NamedTuple):
    """Bits of what moves through the registers of a PE: an operand, a partial sum, of what names a kept weight (-1: as
    many as name its position in a group)."""

    operand: int
    accumulator: int
    metadata: int


def word_bits(design: Design) -> WordBits:
    """Return the widths of a design's words."""
    index = design.array.metadata_bits_per_value
    bits = design.precision
    return WordBits(bits.operand_bits, bits.accumulator_bits, -1 if index == "log2" else int(index))


def slot_bits(kept: int, group: int, macs_per_pe: int, widths: WordBits) -> float:
    """Return the mean bits that an op takes from the registers of a PE and leaves there, its empty lanes included.

    Each of its V lanes takes a weight, in a product with N:M weights (`kept` of `group`; 0: dense) with its index. So
    many activations pass as its groups have elements: V of a dense one; a group's M are spread over the ceil(N/V) ops
    that it takes. Products are summed at the width of an operand, and leave in the partial sum.
    """
    index, activations = 0, float(macs_per_pe)
    if kept:
        index = (group - 1).bit_length() if widths.metadata < 0 else widths.metadata
        activations = max(1, macs_per_pe // kept) * group / ceil(kept / macs_per_pe)
    weights = macs_per_pe * (widths.operand + index)
    return activations * widths.operand + weights + (macs_per_pe - 1) * widths.operand + widths.accumulator


def charge_gemms(
    gemms: Sequence[tuple[GemmNumbers, MappingNumbers]], machine: MachineNumbers, widths: WordBits
) -> list[GemmCharge]:
    """Return what GEMMs cost with their mappings, without the generation of their weight operands."""
    numbers, mappings = [own for own, _ in gemms], [own for _, own in gemms]
    costs = np.zeros(len(gemms), COSTS)
    pipeline.evaluate_all(gemm_table(numbers), machine, tiled_mapping_table(mappings), costs)
    charged = zip(numbers, costs.tolist(), strict=True)
    return [_gemm_charge(own.shape, Costs._make(found), machine, widths) for own, found in charged]


def _gemm_charge(shape: GemmShape, costs: Costs, machine: MachineNumbers, widths: WordBits) -> GemmCharge:
    dram, lanes = costs.dram_bytes / machine.bytes_per_cycle, machine.array.macs_per_pe
    macs = costs.op_slots * lanes
    limits = {Bound.COMPUTE: costs.issue_cycles, Bound.DRAIN: costs.drain_cycles, Bound.PORT: costs.port_cycles}
    return GemmCharge(
        serial=costs.cycles,
        unit=costs.array_cycles,
        dram=ceil(dram),
        bound=Bound.DRAM if dram > costs.array_cycles else max(limits, key=lambda kind: limits[kind]),
        events=Events(
            macs=macs,
            selections=macs if shape.kept else 0,
            register_bits=costs.op_slots * slot_bits(shape.kept, shape.group, lanes, widths),
            buffer_bytes=costs.buffer_bytes,
            dram_bytes=costs.dram_bytes,
        ),
        fetches=costs.fetches,
    )


def charge_online(elements: int, fetches: int, fetch_cycles: int) -> Charge:
    """Return what SORE costs in front of a GEMM: its operand, reduced again for each full fetch."""
    cycles = fetches * fetch_cycles
    return Charge(
        serial=cycles, unit=cycles, dram=0, bound=Bound.COMPUTE, events=Events(sore_elements=fetches * elements)
    )


def unit_numbers(design: Design) -> UnitNumbers:
    """Return the numbers of a design's units beside its array."""
    return UnitNumbers(
        wuve_lanes=design.wuve.lanes,
        sore_lanes=design.sore.lanes,
        vector_lanes=design.vector.lanes,
        master_bits=design.precision.master_bits,
        operand_bits=design.precision.operand_bits,
        bytes_per_cycle=design.dram_bytes_per_cycle,
    )


def update_numbers(update: Update, optimizer: Optimizer, *, dense: int, resident: int = 0) -> UpdateNumbers:
    """Return the numbers of an update; `dense` elements are written in the operands' precision, and the gradients of
    `resident` elements are on the chip already. A sum reads two gradients and writes one."""
    words = _WORDS_OF_A_SUM if update.sums else optimizer.words
    return UpdateNumbers(elements=update.elements, words=update.elements * words - resident, dense=dense)


def copy_numbers(copy: Generation, design: Design) -> CopyNumbers:
    """Return the numbers of a compact copy that SORE makes in the stream of an update."""
    bits = design.compact_bits(copy.pattern)
    return CopyNumbers(elements=copy.elements, passes=copy.passes, group=copy.pattern.group, compact_bits=bits)


def vector_numbers(work: VectorWork, *, resident: int = 0) -> VectorNumbers:
    """Return the numbers of vector work; `resident` of the elements that it reads are on the chip already."""
    moved = work.reads + work.writes
    return VectorNumbers(elements=moved + work.repeats, moved=moved - resident)


def update_cycles(update: UpdateNumbers, copies: Sequence[CopyNumbers], units: UnitNumbers) -> int:
    """Return the cycles of an update with the copies that are made in its stream."""
    pace = unit_pace.update_pace(update, units)
    for copy in copies:
        pace = unit_pace.with_copy(pace, copy, units)
    return int(pace.slowest)


def vector_cycles(work: VectorNumbers, units: UnitNumbers) -> int:
    """Return the cycles of vector work."""
    return int(unit_pace.vector_pace(work, units).slowest)


@dataclass(frozen=True, slots=True, eq=False)
class UnitRows:
    """Rows that WUVE, SORE behind it and the vector unit work on, each with its place among all rows of a step: arrays
    of `UPDATES`, `COPIES` and `VECTORS` of `accelsim.cost.compiled.unit_pace`."""

    updates: Records
    copies: Records
    vectors: Records


class UnitCharges(NamedTuple):
    """What WUVE, SORE behind it and the vector unit take, as `Charge` has it of one row: arrays by row and design.

    `waits_for_dram`: whether the bound is DRAM, or else compute. Rows of others are 0.
    """

    serial: Ints
    unit: Ints
    dram: Ints
    waits_for_dram: NDArray[np.bool_]
    dram_bytes: NDArray[np.float64]


def unit_table(designs: Sequence[Design]) -> Records:
    """Return the numbers of designs as an array of `UNITS` of `accelsim.cost.compiled.unit_pace`."""
    return np.array([unit_numbers(design) for design in designs], unit_pace.UNITS)


def charge_units(own: UnitRows, rows: int, units: Records) -> UnitCharges:
    """Return what some of the `rows` of a step take on each of some designs, as of `unit_table`.

    WUVE, SORE behind it and the DRAM work side by side as a stream whose slowest sets the pace; a copy is charged with
    what it adds. So are the vector unit and the DRAM.
    """
    shape = rows, len(units)
    serial, unit, dram = (np.zeros(shape, np.int64) for _ in range(3))
    charges = UnitCharges(serial, unit, dram, np.zeros(shape, np.bool_), np.zeros(shape))
    unit_pace.charge_updates(own.updates, own.copies, units, charges)
    unit_pace.charge_vectors(own.vectors, units, charges)
    return charges
