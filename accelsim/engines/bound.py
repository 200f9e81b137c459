"""How fast a step could be at best, and how far a plan is from that."""

from math import floor

from accelsim.cost.charges import charge_online
from accelsim.engines.work import TaskWork, works_of
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Task
from accelsim.schedule.bounds import TaskCost, lower_bound
from accelsim.schedule.mapping import Searcher
from accelsim.schedule.overlap import Unit, unit_of, waits_of
from accelsim.schedule.plan import Plan

__all__ = ["step_bound"]


def step_bound(plan: Plan, design: Design, optimizer: Optimizer) -> tuple[int, str]:
    """Return a lower bound of the cycles of a plan's tasks, in any order, with any overlap and with any mapping of each
    GEMM (interleave, tile, loop order), and what sets it.

    The mode and unit of each product, the placement of copies and what stays on the chip are those of the plan.
    """
    works = {work.task: work for work in works_of(plan, design, optimizer)}
    searcher = Searcher(design)
    costs = [
        _least(works[index], task, searcher, design) if index in works else TaskCost(least=0, busy={})
        for index, task in enumerate(plan.step.tasks)
    ]
    kept = {work.task: work.handed for work in works.values() if work.handed is not None}
    return lower_bound(costs, waits_of(plan.step, kept))


def _least(work: TaskWork, task: Task, searcher: Searcher, design: Design) -> TaskCost:
    if isinstance(task, Gemm) and not task.on_vector:
        return _least_of_gemm(work, task, searcher, design)
    own, *behind = work.charges
    unit, dram = unit_of(task), sum(charge.dram for charge in work.charges)
    busy = {str(unit): own.unit, "DRAM": dram, str(Unit.GENERATE): sum(charge.unit for charge in behind)}
    return TaskCost(least=max(busy.values()), busy=busy)


def _least_of_gemm(work: TaskWork, gemm: Gemm, searcher: Searcher, design: Design) -> TaskCost:
    """With every operand fetched once, and SORE in front of it where it works there."""
    assert work.gemm is not None, "a GEMM has numbers"
    numbers, _ = work.gemm
    array, moved = searcher.floor(gemm, numbers)
    busy = {str(Unit.ARRAY): array, "DRAM": floor(moved / design.dram_bytes_per_cycle)}
    in_front = charge_online(gemm.w_elements, numbers.shape.count, numbers.fetch_cycles)
    return TaskCost(least=max(busy.values()), busy={**busy, str(Unit.GENERATE): in_front.unit})
