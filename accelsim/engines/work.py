"""What the tasks of a plan cost, in the form that engines execute: rows as they would run alone, grouped by task."""

from collections.abc import Iterator
from dataclasses import dataclass

from accelsim.cost.charges import Charge, charge_gemm, charge_online, charge_update, charge_vector
from accelsim.cost.compiled.values import GemmNumbers, MachineNumbers, MappingNumbers
from accelsim.cost.gemm import gemm_numbers, machine_numbers
from accelsim.engines.timing import TaskTiming
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Generation, Stage, Update, VectorWork
from accelsim.schedule.edges import Edge
from accelsim.schedule.offline import kept_edges
from accelsim.schedule.plan import Mapping, Plan

__all__ = ["TaskWork", "executed_macs", "works_of"]


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
    machine, tasks = machine_numbers(design), plan.step.tasks
    kept = kept_edges(plan, design)
    taken = {edge.consumer: edge for edge in kept.values()}
    known: dict[tuple[GemmNumbers, MappingNumbers], tuple[Charge, int]] = {}
    for index, task in enumerate(tasks):
        comes_in, stays = taken.get(index), kept.get(index)
        if isinstance(task, Gemm):
            yield _gemm_work(index, task, plan, design, machine, known, comes_in, stays)
        elif isinstance(task, Update):
            yield _update_work(index, task, plan, design, optimizer, comes_in)
        elif isinstance(task, VectorWork):
            resident = 0 if comes_in is None else comes_in.elements
            charge = charge_vector(task, design, resident=resident)
            row = _row(f"{task.name}[{task.direction}]", task.operation, Stage.VECTOR, charge)
            yield TaskWork(task=index, rows=(row,), charges=(charge,), taken=comes_in, handed=stays)


def _row(name: str, operation: str, stage: Stage, charge: Charge) -> TaskTiming:
    return TaskTiming(
        name=name, operation=operation, stage=stage, count=1, cycles=charge.serial, bound=charge.bound,
        events=charge.events,
    )  # fmt: skip


def _gemm_work(
    index: int,
    gemm: Gemm,
    plan: Plan,
    design: Design,
    machine: MachineNumbers,
    known: dict[tuple[GemmNumbers, MappingNumbers], tuple[Charge, int]],
    taken: Edge | None,
    handed: Edge | None,
) -> TaskWork:
    mapping, online = plan.mappings[index], index in plan.online
    assert mapping is not None, f"the plan maps no GEMM {gemm.name}"
    y_resident = handed is not None and not handed.stored
    numbers = gemm_numbers(gemm, design, online=online, x_resident=taken is not None, y_resident=y_resident)
    key = numbers, mapping.numbers
    if key not in known:
        made = charge_gemm(numbers, mapping.numbers, machine, design)
        known[key] = made, made.fetches
    charge, fetches = known[key]
    rows, charges = [_gemm_row(gemm, mapping, charge)], [charge]
    if online:
        in_front = charge_online(gemm.w_elements, fetches, numbers.fetch_cycles)
        rows.insert(
            0,
            TaskTiming(
                name=f"{gemm.name}[{gemm.stage} online]",
                operation=gemm.operation,
                stage=Stage.GENERATE,
                count=1,
                pattern=gemm.pattern,
                cycles=in_front.serial,
                bound=in_front.bound,
                events=in_front.events,
            ),
        )
        charges.insert(0, in_front)
    return TaskWork(task=index, rows=tuple(rows), charges=tuple(charges), gemm=key, taken=taken, handed=handed)


def _gemm_row(gemm: Gemm, mapping: Mapping, charge: Charge) -> TaskTiming:
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
        cycles=charge.serial,
        array_cycles=charge.unit,
        bound=charge.bound,
        macs_dense=gemm.macs,
        macs_executed=executed_macs(gemm),
        events=charge.events,
    )


def executed_macs(gemm: Gemm) -> int:
    """Return the multiply-accumulates that the array does: kept weights, padding of whole groups and borders."""
    if gemm.pattern is None:
        return gemm.count * gemm.m * gemm.n * gemm.k
    groups, rest = divmod(gemm.k, gemm.pattern.group)
    return gemm.count * gemm.m * gemm.n * (groups * gemm.pattern.kept + min(rest, gemm.pattern.kept))


def _update_work(
    index: int, update: Update, plan: Plan, design: Design, optimizer: Optimizer, taken: Edge | None
) -> TaskWork:
    behind = [plan.step.tasks[copy] for copy in plan.copies_behind(index)]
    copies = [copy for copy in behind if isinstance(copy, Generation)]
    charges = charge_update(
        update, copies, design, optimizer, dense=plan.reads_dense(index), resident=taken.elements if taken else 0
    )
    rows = [_row(update.name, update.operation, Stage.UPDATE, charges[0])]
    for copy, charge in zip(copies, charges[1:], strict=True):
        rows.append(
            TaskTiming(
                name=copy.name,
                operation=copy.operation,
                stage=Stage.GENERATE,
                count=1,
                pattern=copy.pattern,
                cycles=charge.serial,
                bound=charge.bound,
                events=charge.events,
            )
        )
    return TaskWork(task=index, rows=tuple(rows), charges=tuple(charges), taken=taken)
