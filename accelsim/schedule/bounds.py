"""Lower bounds of a step, whatever the order of its tasks.

A unit that runs one task at a time cannot be faster than this: for any set of its tasks, the earliest start of one of
them, all their cycles, and the least that must follow one of them. Sets of tasks that start late give the sharpest
bounds (a step cannot start its backward pass before the end of its forward pass). The DRAM is such a unit, too, with
the cycles that a task's traffic takes at full bandwidth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["TaskCost", "lower_bound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCost:
    """Cycles that a task takes at least, and of these the cycles of each resource it occupies."""

    least: int
    busy: Mapping[str, int]


def lower_bound(costs: Sequence[TaskCost], after: Sequence[Sequence[int]]) -> tuple[int, str]:
    """Return the greatest lower bound of the cycles of all tasks, and what gives it: a resource or the longest path.

    `after[i]` are the tasks, all of smaller numbers, that task i waits for.
    """
    head = [0] * len(costs)  # earliest start
    for index, before in enumerate(after):
        head[index] = max((head[other] + costs[other].least for other in before), default=0)
    tail = [0] * len(costs)  # what must follow
    for index in reversed(range(len(costs))):
        for other in after[index]:
            tail[other] = max(tail[other], tail[index] + costs[index].least)
    longest = max((start + cost.least for start, cost in zip(head, costs, strict=True)), default=0)
    bounds = {"longest path": longest}
    for resource in sorted({name for cost in costs for name in cost.busy}):
        users = [index for index, cost in enumerate(costs) if cost.busy.get(resource)]
        bounds[resource] = _one_machine([(head[i], costs[i].busy[resource], tail[i]) for i in users])
    best = max(bounds, key=lambda name: bounds[name])
    return bounds[best], best


def _one_machine(tasks: Sequence[tuple[int, int, int]]) -> int:
    """Bound of tasks (earliest start, cycles, what must follow) on one machine, over sets that start late."""
    best = total = 0
    least_tail = None
    for start, cycles, tail in sorted(tasks, reverse=True):
        total += cycles
        least_tail = tail if least_tail is None else min(least_tail, tail)
        best = max(best, start + total + least_tail)
    return best
