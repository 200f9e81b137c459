"""What each task costs by itself: cycles of its unit, cycles of DRAM, and the events that cost energy.

All engines charge the same; they differ in what they let run at the same time. A charge is `serial` when the task runs
alone: GEMMs as the buffer pipeline of `accelsim.cost.compiled`, everything else as the longer of its unit and its DRAM
traffic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import Any, NamedTuple, Protocol

from accelsim.base.jit import plain
from accelsim.cost.compiled import pipeline, unit_pace
from accelsim.cost.compiled.values import GemmNumbers, MachineNumbers, MappingNumbers
from accelsim.cost.gemm import sore_cycles
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Generation, Update, VectorWork

__all__ = [
    "Bound",
    "Charge",
    "EdgeWork",
    "Events",
    "GemmCharge",
    "WordBytes",
    "charge_gemm",
    "charge_online",
    "charge_update",
    "charge_vector",
    "gemm_events",
    "word_bytes",
]


class Bound(StrEnum):
    """What a task waits for most: op issue (or its engine), DRAM, an input port, the drain of results, other ranks."""

    COMPUTE = "compute"
    DRAM = "dram"
    PORT = "port"
    DRAIN = "drain"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Countable events that cost energy."""

    macs: int = 0
    register_words: int = 0
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


def charge_gemm(numbers: GemmNumbers, mapping: MappingNumbers, machine: MachineNumbers, design: Design) -> GemmCharge:
    """Return what a GEMM costs with a mapping, without the generation of its weight operand."""
    costs = plain(pipeline.evaluate(numbers, machine, mapping))
    dram_bytes = costs.x_bytes + costs.w_bytes + costs.y_bytes
    dram = dram_bytes / machine.bytes_per_cycle
    limits = {Bound.COMPUTE: costs.issue_cycles, Bound.DRAIN: costs.drain_cycles, Bound.PORT: costs.port_cycles}
    return GemmCharge(
        serial=costs.cycles,
        unit=costs.array_cycles,
        dram=ceil(dram),
        bound=Bound.DRAM if dram > costs.array_cycles else max(limits, key=lambda kind: limits[kind]),
        events=gemm_events(costs, dram_bytes, word_bytes(numbers, design), design.array.macs_per_pe),
        fetches=costs.fetches,
    )


class EdgeWork(Protocol):
    """Op slots and words at the array's edge, of a GEMM or in arrays of many."""

    @property
    def op_slots(self) -> Any:
        """Ops, empty ones included."""

    @property
    def x_words(self) -> Any:
        """Words of x."""

    @property
    def w_words(self) -> Any:
        """Words of w."""

    @property
    def y_words(self) -> Any:
        """Words of y."""


class WordBytes(NamedTuple):
    """Bytes of a word of x, w and y at the array's edge."""

    x: Any
    w: Any
    y: Any


def word_bytes(numbers: GemmNumbers, design: Design) -> WordBytes:
    """Return the bytes of the words of a GEMM at the array's edge."""
    shape, of = numbers.shape, numbers.element_bytes
    # w words count kept values; a compact operand's width is per dense element
    w_width = of.buffered_w * (shape.group / shape.kept) if shape.kept else of.buffered_w
    return WordBytes(x=of.buffered_x, w=w_width, y=design.precision.accumulator_bits / 8)


def gemm_events(costs: EdgeWork, dram_bytes: Any, word: WordBytes, macs_per_pe: Any) -> Events:
    """Return the events of a GEMM from what passes the array's edge, the bytes of its words, and its DRAM traffic.

    Works on arrays of GEMMs and designs as well.
    """
    edge_bytes = costs.x_words * word.x + costs.w_words * word.w + costs.y_words * word.y
    return Events(
        macs=costs.op_slots * macs_per_pe,
        register_words=3 * costs.op_slots * macs_per_pe,
        buffer_bytes=edge_bytes + dram_bytes,
        dram_bytes=dram_bytes,
    )


def charge_online(elements: int, fetches: int, fetch_cycles: int) -> Charge:
    """Return what SORE costs in front of a GEMM: its operand, reduced again for each full fetch."""
    cycles = fetches * fetch_cycles
    return Charge(
        serial=cycles, unit=cycles, dram=0, bound=Bound.COMPUTE, events=Events(sore_elements=fetches * elements)
    )


def charge_update(
    update: Update,
    copies: Sequence[Generation],
    design: Design,
    optimizer: Optimizer,
    *,
    dense: int,
    resident: int = 0,
) -> list[Charge]:
    """Return what an update costs, and what each compact copy adds that SORE makes of it in the same stream.

    WUVE, SORE and DRAM work side by side, and the slowest sets the pace. `dense` elements are written in the operands'
    precision; the gradients of `resident` elements are on the chip already.
    """
    bits, per_cycle = design.precision, design.dram_bytes_per_cycle
    words = update.elements * optimizer.words - resident
    moved = float(unit_pace.update_bytes(words, dense, bits.master_bits, bits.operand_bits))
    wuve = -(-update.elements // design.wuve.lanes)
    dram = moved / per_cycle
    pace = int(unit_pace.stream_pace(wuve, 0, moved, per_cycle))
    charges = [
        Charge(
            serial=pace,
            unit=wuve,
            dram=ceil(dram),
            bound=Bound.DRAM if dram > wuve else Bound.COMPUTE,
            events=Events(wuve_weights=update.elements, dram_bytes=moved),
        )
    ]
    sore = 0
    for copy in copies:
        written = float(unit_pace.compact_bytes(copy.elements, design.compact_bits(copy.pattern)))
        own = copy.passes * sore_cycles(copy.elements, copy.pattern.group, design.sore.lanes)
        sore += own
        before, moved = ceil(dram), moved + written
        dram = moved / per_cycle
        slowest = int(unit_pace.stream_pace(wuve, sore, moved, per_cycle))
        charges.append(
            Charge(
                serial=slowest - pace,
                unit=own,
                dram=ceil(dram) - before,
                bound=Bound.COMPUTE if sore > dram else Bound.DRAM,
                events=Events(sore_elements=copy.passes * copy.elements, dram_bytes=written),
            )
        )
        pace = slowest
    return charges


def charge_vector(work: VectorWork, design: Design, *, resident: int = 0) -> Charge:
    """Return what vector work costs; `resident` of the elements that it reads are on the chip already."""
    elements, per_cycle = work.reads + work.writes, design.dram_bytes_per_cycle
    moved = float(unit_pace.vector_bytes(elements - resident, design.precision.operand_bits))
    unit, dram = -(-elements // design.vector.lanes), moved / per_cycle
    return Charge(
        serial=int(unit_pace.stream_pace(unit, 0, moved, per_cycle)),
        unit=unit,
        dram=ceil(dram),
        bound=Bound.DRAM if dram > unit else Bound.COMPUTE,
        events=Events(vector_elements=elements, dram_bytes=moved),
    )
