"""How fast a step could be at best, and how far a plan is from that."""

from accelsim.cost.charges import Charge
from accelsim.engines.work import TaskWork, works_of
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.schedule.bounds import TaskCost, lower_bound
from accelsim.schedule.overlap import Unit, unit_of, waits_of
from accelsim.schedule.plan import Plan

__all__ = ["step_bound"]


def step_bound(plan: Plan, design: Design, optimizer: Optimizer) -> tuple[int, str]:
    """Return a lower bound of the cycles of a plan's tasks in any order and with any overlap, and what sets it.

    Mappings, placement of copies and what stays on the chip are those of the plan.
    """
    works = {work.task: work for work in works_of(plan, design, optimizer)}
    costs = [
        _least(works[index], unit_of(task)) if index in works else TaskCost(least=0, busy={})
        for index, task in enumerate(plan.step.tasks)
    ]
    kept = {work.task: work.handed for work in works.values() if work.handed is not None}
    return lower_bound(costs, waits_of(plan.step, kept))


def _least(work: TaskWork, unit: Unit) -> TaskCost:
    own, others = _own(work, unit)
    busy = {str(unit): own.unit, "DRAM": sum(charge.dram for charge in work.charges)}
    generation = sum(charge.unit for charge in others)
    if unit is Unit.ARRAY:  # SORE works in front of it
        return TaskCost(least=max(busy.values()), busy={**busy, str(Unit.GENERATE): generation})
    busy[str(Unit.GENERATE)] = generation
    return TaskCost(least=max(busy.values()), busy=busy)


def _own(work: TaskWork, unit: Unit) -> tuple[Charge, list[Charge]]:
    """The charge of the unit itself, and those of SORE in front of or behind it."""
    at = len(work.charges) - 1 if unit is Unit.ARRAY else 0
    return work.charges[at], [charge for index, charge in enumerate(work.charges) if index != at]
