"""The order of tasks where units work side by side: list scheduling by the longest path that a task still leads to.

The array, WUVE (with SORE behind it) and the vector unit each run one task at a time. Whenever a unit is free it takes
the ready task with the longest remaining path; so the chain of BP goes first, and WU fills the gaps in which the array
would wait for vector work. DRAM is left out here: what shares it is for the event engine to find out.
"""

import heapq
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from accelsim.lowering.tasks import Gemm, Generation, Step, Task, Update
from accelsim.schedule.edges import Edge

__all__ = ["Unit", "list_schedule", "unit_of", "waits_of"]


class Unit(StrEnum):
    """What executes tasks."""

    ARRAY = "STCE"
    UPDATE = "WUVE"
    VECTOR = "VECTOR"
    GENERATE = "SORE"


def unit_of(task: Task) -> Unit:
    """Return the unit that a task occupies first of all."""
    if isinstance(task, Gemm) and not task.on_vector:
        return Unit.ARRAY
    return Unit.UPDATE if isinstance(task, Update | Generation) else Unit.VECTOR


def waits_of(step: Step, kept: Mapping[int, Edge], also_after: Iterable[tuple[int, int]] = ()) -> list[tuple[int, ...]]:
    """Return what each task waits for: its inputs, what hands it a tensor on the chip, what a plan asks for besides."""
    waits = list(step.after)
    handed = ((edge.consumer, producer) for producer, edge in kept.items())
    for index, other in (*handed, *sorted(also_after)):
        if other not in waits[index]:
            waits[index] = (*waits[index], other)
    return waits


def list_schedule(step: Step, durations: Sequence[int], kept: Mapping[int, Edge], room: int) -> list[int]:
    """Return all tasks in the order of their start; tensors that stay on the chip share `room` bytes."""
    waits = waits_of(step, kept)
    leads_to: list[list[int]] = [[] for _ in step.tasks]
    for index, after in enumerate(waits):
        for before in after:
            leads_to[before].append(index)
    urgency = _longest_paths(durations, leads_to)
    units = [unit_of(task) for task in step.tasks]
    taken = {edge.consumer: edge.size for edge in kept.values()}
    open_waits = [len(after) for after in waits]
    ready: dict[Unit, list[tuple[int, int]]] = {unit: [] for unit in Unit}
    running: list[tuple[int, int]] = []  # end, task
    order: list[int] = []
    now, released = 0, [index for index, count in enumerate(open_waits) if count == 0]
    while True:
        for index in released:
            insort(ready[units[index]], (-urgency[index], index))
        for unit in Unit.__members__.values():
            if any(units[index] is unit for _, index in running):
                continue
            fitting = (entry for entry in ready[unit] if entry[1] not in kept or kept[entry[1]].size <= room)
            if (chosen := next(fitting, None)) is not None:
                ready[unit].remove(chosen)
                _, index = chosen
                room -= kept[index].size if index in kept else 0
                order.append(index)
                heapq.heappush(running, (now + durations[index], index))
        if not running:
            return order
        now, done = heapq.heappop(running)
        room += taken.get(done, 0)
        for later in leads_to[done]:
            open_waits[later] -= 1
        released = [later for later in leads_to[done] if open_waits[later] == 0]


def _longest_paths(durations: Sequence[int], leads_to: Sequence[Sequence[int]]) -> list[int]:
    """Cycles from the start of each task to the end of the longest chain of tasks that wait for it."""
    longest = list(durations)
    for index in reversed(range(len(durations))):
        longest[index] += max((longest[later] for later in leads_to[index]), default=0)
    return longest
