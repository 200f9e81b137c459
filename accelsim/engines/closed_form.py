"""The closed-form engine: executes a plan task after task.

GEMMs cost what the array and the buffer pipeline take (`accelsim.cost`). Units work one after another with one
exception that the plan asks for: with pre-generation SORE follows WUVE as a stream, so generation costs only what it
adds to the update. Without it, and for pruned gradients, SORE works before the GEMM, once for each full fetch of the
operand.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

import numpy as np

from accelsim.cost import _kernels
from accelsim.cost.gemm import GemmNumbers, MachineNumbers, gemm_numbers, generated_online, machine_numbers, sore_cycles
from accelsim.engines.timing import Bound, Events, TaskTiming, Timing
from accelsim.hardware.design import Design
from accelsim.schedule.plan import Mapping, Plan
from accelsim.step import Gemm, Generation, Stage, Task, Update, VectorWork
from accelsim.update import Optimizer

__all__ = ["run"]


def run(plan: Plan, design: Design, optimizer: Optimizer) -> Timing:
    """Return what every task of `plan` takes on `design`, in order of execution."""
    machine = machine_numbers(design)
    seen: dict[tuple[GemmNumbers, Mapping], _GemmCost] = {}
    rows: list[TaskTiming] = []
    tasks = plan.step.tasks
    for index, task in enumerate(tasks):
        if isinstance(task, Gemm):
            mapping = plan.mappings[index]
            assert mapping is not None, f"the plan maps no GEMM {task.name}"
            numbers = gemm_numbers(task, design, plan.pregenerate)
            if (numbers, mapping) not in seen:
                seen[numbers, mapping] = _gemm_cost(numbers, mapping, machine, design)
            cost = seen[numbers, mapping]
            if generated_online(task, plan.pregenerate):
                rows.append(_online_generation(task, numbers, cost))
            rows.append(_gemm_row(task, mapping, cost))
        elif isinstance(task, Update):
            copies = list(takewhile(lambda later: isinstance(later, Generation), islice(tasks, index + 1, None)))
            rows.extend(_update_rows(task, copies, plan.pregenerate, design, optimizer))
        elif isinstance(task, VectorWork):
            rows.append(_vector_row(task, design))
    return Timing(rows=tuple(rows))


class _GemmCost:
    """What one GEMM with one mapping takes, all copies."""

    __slots__ = ("array_cycles", "bound", "cycles", "dram_bytes", "events", "fetches")

    def __init__(
        self, cycles: int, array_cycles: int, fetches: int, dram_bytes: float, bound: Bound, events: Events
    ) -> None:
        self.cycles, self.array_cycles, self.fetches = cycles, array_cycles, fetches
        self.dram_bytes, self.bound, self.events = dram_bytes, bound, events


def _gemm_cost(numbers: GemmNumbers, mapping: Mapping, machine: MachineNumbers, design: Design) -> _GemmCost:
    whole, x_bytes, w_bytes, y_bytes = _kernels.evaluate(
        np.array(numbers.shape, dtype=np.int64),
        np.array(numbers.per_element),
        machine.machine,
        machine.bytes_per_cycle,
        np.array(mapping.codes, dtype=np.int64),
        np.array(mapping.tile, dtype=np.int64),
        np.array(["mnk".index(letter) for letter in mapping.order], dtype=np.int64),
    )
    cycles, array_cycles, issue, drain, port, fetches, slots, x_words, w_words, y_words, _ = (int(v) for v in whole)
    dram_bytes = float(x_bytes + w_bytes + y_bytes)
    limits = {
        Bound.COMPUTE: issue,
        Bound.DRAIN: drain,
        Bound.PORT: port,
    }
    bound = max(limits, key=lambda kind: limits[kind])
    if dram_bytes / machine.bytes_per_cycle > array_cycles:
        bound = Bound.DRAM
    bits = design.precision
    x_width, w_width, psum_width = numbers.per_element[4], numbers.per_element[5], bits.accumulator_bits / 8
    if numbers.shape[4]:  # w words count kept values; a compact operand's width is per dense element
        w_width *= numbers.shape[5] / numbers.shape[4]
    edge_bytes = x_words * x_width + w_words * w_width + y_words * psum_width
    events = Events(
        macs=slots * design.array.macs_per_pe,
        register_words=3 * slots * design.array.macs_per_pe,
        buffer_bytes=edge_bytes + dram_bytes,
        dram_bytes=dram_bytes,
    )
    return _GemmCost(cycles, array_cycles, fetches, dram_bytes, bound, events)


def _gemm_row(gemm: Gemm, mapping: Mapping, cost: _GemmCost) -> TaskTiming:
    return TaskTiming(
        name=gemm.name,
        operation=gemm.operation,
        stage=gemm.stage,
        m=gemm.m,
        n=gemm.n,
        k=gemm.k,
        count=gemm.count,
        pattern=gemm.pattern,
        mapping=mapping,
        cycles=cost.cycles,
        array_cycles=cost.array_cycles,
        bound=cost.bound,
        macs_dense=gemm.macs,
        macs_executed=_executed(gemm),
        events=cost.events,
    )


def _executed(gemm: Gemm) -> int:
    """Multiply-accumulates with kept weights, padding of whole groups included."""
    if gemm.pattern is None:
        return gemm.macs
    groups, rest = divmod(gemm.k, gemm.pattern.group)
    return gemm.count * gemm.m * gemm.n * (groups * gemm.pattern.kept + min(rest, gemm.pattern.kept))


def _online_generation(gemm: Gemm, numbers: GemmNumbers, cost: _GemmCost) -> TaskTiming:
    elements = cost.fetches * gemm.w_elements
    return TaskTiming(
        name=f"{gemm.name}[{gemm.stage} online]",
        operation=gemm.operation,
        stage=Stage.GENERATE,
        count=1,
        pattern=gemm.pattern,
        cycles=cost.fetches * numbers.fetch_cycles,
        bound=Bound.COMPUTE,
        events=Events(sore_elements=elements),
    )


def _update_rows(
    update: Update, copies: Sequence[Task], pregenerate: bool, design: Design, optimizer: Optimizer
) -> Iterator[TaskTiming]:
    """The update, then what each compact copy adds when SORE follows WUVE in a stream: both share the DRAM, and the
    slower of WUVE, SORE and DRAM sets the pace. Without pre-generation the update writes every weight dense instead."""
    bits = design.precision
    dense = update.dense_elements if pregenerate else update.elements
    moved = update.elements * optimizer.words * bits.master_bits / 8 + dense * bits.operand_bits / 8
    wuve = -(-update.elements // design.wuve.lanes)
    dram = moved / design.dram_bytes_per_cycle
    pace = max(wuve, int(np.ceil(dram)))
    yield TaskTiming(
        name=update.name,
        operation=update.operation,
        stage=Stage.UPDATE,
        count=1,
        cycles=pace,
        bound=Bound.DRAM if dram > wuve else Bound.COMPUTE,
        events=Events(wuve_weights=update.elements, dram_bytes=moved),
    )
    sore = 0
    for copy in copies if pregenerate else ():
        assert isinstance(copy, Generation)
        written = copy.elements * design.compact_bits(copy.pattern) / 8
        sore += copy.passes * sore_cycles(copy.elements, copy.pattern.group, design.sore.lanes)
        moved += written
        dram = moved / design.dram_bytes_per_cycle
        slowest = max(wuve, sore, int(np.ceil(dram)))
        yield TaskTiming(
            name=copy.name,
            operation=copy.operation,
            stage=Stage.GENERATE,
            count=1,
            pattern=copy.pattern,
            cycles=slowest - pace,
            bound=Bound.COMPUTE if sore > dram else Bound.DRAM,
            events=Events(sore_elements=copy.passes * copy.elements, dram_bytes=written),
        )
        pace = slowest


def _vector_row(work: VectorWork, design: Design) -> TaskTiming:
    elements = work.reads + work.writes
    moved = elements * design.precision.operand_bits / 8
    unit, dram = -(-elements // design.vector.lanes), moved / design.dram_bytes_per_cycle
    return TaskTiming(
        name=f"{work.name}[{work.direction}]",
        operation=work.operation,
        stage=Stage.VECTOR,
        count=1,
        cycles=max(unit, int(np.ceil(dram))),
        bound=Bound.DRAM if dram > unit else Bound.COMPUTE,
        events=Events(vector_elements=elements, dram_bytes=moved),
    )
