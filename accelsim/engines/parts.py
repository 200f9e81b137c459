"""A step whose batch runs in parts: FF, BP and WU of each part, one after another, the update behind the last.

The plan of the step is that of its last part (`accelsim.lowering.tasks.Step`). The parts before it are the same without
the update and what is generated behind it, and the first adds its gradients to nothing.
"""

from collections.abc import Collection, Iterator
from dataclasses import fields, replace

from accelsim.engines import ENGINES
from accelsim.engines.layout import lay_out
from accelsim.engines.timing import Events, TaskTiming, Timing
from accelsim.hardware.design import Design
from accelsim.lowering.case import Case
from accelsim.lowering.tasks import Stage, Step, Update
from accelsim.schedule.plan import Plan, without

__all__ = ["run_step", "times_of"]

_ONCE = {Stage.UPDATE, Stage.GENERATE}


def times_of(step: Step) -> tuple[int, ...]:
    """Return how often each task of a step runs."""
    return tuple(
        step.parts - 1 if isinstance(task, Update) and task.sums else 1 if task.stage in _ONCE else step.parts
        for task in step.tasks
    )


def run_step(plan: Plan, design: Design, case: Case) -> Timing:
    """Return what every task of a plan adds to the step on `design`, all parts together, by the engine of the case."""
    run = ENGINES[case.engine]
    last, parts, times = run(plan, design, case.optimizer), plan.step.parts, times_of(plan.step)
    if parts == 1:
        return last
    tasks = [row.task for row in lay_out(plan, design, case.optimizer, {}).rows]
    cycles = [row.cycles for row in last.rows]
    for runs, most in ((1, parts), (parts - 2, parts - 1)):  # the first part, and those between it and the last
        if runs:
            left_out = {index for index, often in enumerate(times) if often < most}
            here = run(without(plan, left_out), design, case.optimizer)
            for at, row in zip(_rows_of(tasks, left_out), here.rows, strict=True):
                cycles[at] += runs * row.cycles
    rows = [_repeated(row, times[task], total) for row, task, total in zip(last.rows, tasks, cycles, strict=True)]
    return Timing(rows=tuple(rows), overlapped=last.overlapped)


def _rows_of(tasks: list[int], left_out: Collection[int]) -> Iterator[int]:
    return (at for at, task in enumerate(tasks) if task not in left_out)


def _repeated(row: TaskTiming, times: int, cycles: int) -> TaskTiming:
    events = {item.name: times * getattr(row.events, item.name) for item in fields(Events)}
    return replace(
        row,
        count=times * row.count,
        cycles=cycles,
        array_cycles=times * row.array_cycles,
        macs_dense=times * row.macs_dense,
        macs_executed=times * row.macs_executed,
        events=Events(**events),
    )
