"""What the tasks of a plan cost, in the form that engines execute: rows as they would run alone, grouped by task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from accelsim.cost.charges import (
    Bound,
    Charge,
    Events,
    GemmCharge,
    charge_gemms,
    charge_online,
    charge_units,
    unit_table,
    word_bits,
)
from accelsim.cost.compiled.values import GemmNumbers, MappingNumbers
from accelsim.cost.gemm import machine_numbers
from accelsim.engines.layout import Layout, TaskRow, lay_out
from accelsim.engines.timing import TaskTiming
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Stage
from accelsim.schedule.edges import Edge
from accelsim.schedule.offline import kept_edges
from accelsim.schedule.plan import Mapping, Plan

__all__ = ["TaskWork", "works_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWork:
    """A task as an engine executes it: its rows with their charges, in order.

    A GEMM has a row for the generation in front of it, if any, and one of its own; an update has its own and one for
    each copy generated in its stream. `gemm`: numbers and mapping of a GEMM. `taken`, `handed`: tensors that it takes
    from the chip and leaves there.
    """

    task: int
    rows: tuple[TaskTiming, ...]
    charges: tuple[Charge, ...]
    gemm: tuple[GemmNumbers, MappingNumbers] | None = None
    taken: Edge | None = None
    handed: Edge | None = None

    @property
    def has_sore_in_front(self) -> bool:
        """Whether SORE generates the operand of this GEMM while it is fetched: then that is the first row."""
        return self.gemm is not None and self.rows[0].stage is Stage.GENERATE


def works_of(plan: Plan, design: Design, optimizer: Optimizer) -> Iterator[TaskWork]:
    """Yield the tasks of `plan` as they were lowered; generations come with their update."""
    gemms: dict[GemmNumbers, Gemm] = {}
    layout = lay_out(plan, design, optimizer, gemms)
    unit_charge, products = _unit_charges(layout, design), _products(plan, design, layout, list(gemms))
    kept = kept_edges(plan, design)
    taken = {edge.consumer: edge for edge in kept.values()}
    for start, end in pairwise((*layout.starts, len(layout.rows))):
        own, product = layout.rows[start:end], None
        if isinstance(plan.step.tasks[own[0].task], Gemm):
            product = next(products)
            charges = *product.online(own[:-1]), product.charge
            rows = *map(_row, own[:-1], charges), product.row(own[-1])
        else:
            charges = tuple(map(unit_charge, range(start, end)))
            rows = tuple(map(_row, own, charges))
        index = own[0].task
        yield TaskWork(
            task=index, rows=rows, charges=charges, gemm=product and product.numbers, taken=taken.get(index),
            handed=kept.get(index),
        )  # fmt: skip


class _MappedGemm(NamedTuple):
    """A GEMM with its mapping and what it costs."""

    gemm: Gemm
    mapping: Mapping
    macs_executed: int
    numbers: tuple[GemmNumbers, MappingNumbers]
    charge: GemmCharge

    def online(self, rows: Iterable[TaskRow]) -> Iterator[Charge]:
        """Yield what the generation in front of it costs, if it has a row."""
        for row in rows:
            yield charge_online(row.sore_elements, self.charge.fetches, self.numbers[0].fetch_cycles)

    def row(self, row: TaskRow) -> TaskTiming:
        """Return its own row, timed."""
        gemm, charge = self.gemm, self.charge
        return TaskTiming(
            name=row.name,
            operation=row.operation,
            stage=row.stage,
            m=gemm.m,
            n=gemm.n,
            k=gemm.k,
            count=gemm.count,
            pattern=row.pattern,
            mapping=self.mapping,
            cycles=charge.serial,
            array_cycles=charge.unit,
            bound=charge.bound,
            macs_dense=gemm.macs,
            macs_executed=self.macs_executed,
            events=charge.events,
        )


def _products(plan: Plan, design: Design, layout: Layout, gemms: Sequence[GemmNumbers]) -> Iterator[_MappedGemm]:
    """Yield the GEMMs; those with equal numbers and mappings are charged once."""
    mapped = [_mapped(plan, layout.rows[own.row].task) for own in layout.gemms]
    keys = [(own.place, mapping) for own, (_, mapping) in zip(layout.gemms, mapped, strict=True)]
    numbers = {(place, mapping): (gemms[place], mapping.numbers) for place, mapping in dict.fromkeys(keys)}
    found = charge_gemms(list(numbers.values()), machine_numbers(design), word_bits(design))
    charges = dict(zip(numbers, found, strict=True))
    for own, key, (gemm, mapping) in zip(layout.gemms, keys, mapped, strict=True):
        yield _MappedGemm(gemm, mapping, own.macs, numbers[key], charges[key])


def _mapped(plan: Plan, task: int) -> tuple[Gemm, Mapping]:
    gemm, mapping = plan.step.tasks[task], plan.mappings[task]
    assert isinstance(gemm, Gemm), "GEMMs only"
    assert mapping is not None, f"the plan maps no GEMM {gemm.name}"
    return gemm, mapping


def _unit_charges(layout: Layout, design: Design) -> Callable[[int], Charge]:
    """Return what gives the charge of a row of WUVE, SORE behind it, or the vector unit."""
    charges = charge_units(layout.units, len(layout.rows), unit_table([design]))
    serial, unit, dram, waits_for_dram, dram_bytes = (column[:, 0].tolist() for column in charges)

    def charge(at: int) -> Charge:
        row = layout.rows[at]
        return Charge(
            serial=serial[at],
            unit=unit[at],
            dram=dram[at],
            bound=Bound.DRAM if waits_for_dram[at] else Bound.COMPUTE,
            events=Events(
                sore_elements=row.sore_elements,
                wuve_weights=row.wuve_weights,
                vector_elements=row.vector_elements,
                dram_bytes=dram_bytes[at],
            ),
        )

    return charge


def _row(row: TaskRow, charge: Charge) -> TaskTiming:
    return TaskTiming(
        name=row.name, operation=row.operation, stage=row.stage, count=1, pattern=row.pattern, cycles=charge.serial,
        bound=charge.bound, events=charge.events,
    )  # fmt: skip
