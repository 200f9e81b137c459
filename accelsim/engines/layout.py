"""A step as the rows that its results have, before they are timed: what they are called and what their work is."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from accelsim.cost.charges import UnitRows, copy_numbers, update_numbers, vector_numbers
from accelsim.cost.compiled.unit_pace import COPIES, UPDATES, VECTORS
from accelsim.cost.compiled.values import GemmNumbers
from accelsim.cost.gemm import gemm_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Generation, Stage, Update, VectorWork
from accelsim.schedule.offline import kept_edges
from accelsim.schedule.plan import Plan
from accelsim.sparsity.pattern import Pattern

__all__ = ["GemmRow", "Layout", "OnlineRow", "TaskRow", "executed_macs", "lay_out"]


class TaskRow(NamedTuple):
    """A row of a step and the task that it belongs to, with the events that every mapping has: elements that SORE takes
    (in front of a GEMM for each full fetch), weights that WUVE updates, elements of vector work."""

    task: int
    name: str
    operation: str
    stage: Stage
    pattern: Pattern | None = None
    sore_elements: int = 0
    wuve_weights: int = 0
    vector_elements: int = 0


class GemmRow(NamedTuple):
    """A GEMM: its row, its place among the distinct ones, and the multiply-accumulates that it executes."""

    row: int
    place: int
    macs: int


class OnlineRow(NamedTuple):
    """SORE in front of a GEMM: its row, and the place of the GEMM among the distinct ones."""

    row: int
    place: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The rows of a step, task by task: a GEMM behind the generation in front of it, if any; copies behind the update
    in whose stream they are made. `starts`: the first row of each task."""

    rows: tuple[TaskRow, ...]
    starts: tuple[int, ...]
    gemms: tuple[GemmRow, ...]
    online: tuple[OnlineRow, ...]
    units: UnitRows


def lay_out(plan: Plan, design: Design, optimizer: Optimizer, gemms: dict[GemmNumbers, Gemm]) -> Layout:
    """Return the rows of a plan, whose mappings need not be there.

    `gemms`: the distinct GEMMs so far, in order and each with the first that has these numbers; new ones are added.
    """
    kept, places = kept_edges(plan, design), {numbers: place for place, numbers in enumerate(gemms)}
    taken = {edge.consumer: edge for edge in kept.values()}
    rows, products, online = list[TaskRow](), list[GemmRow](), list[OnlineRow]()
    starts = list[int]()
    updates, copies, vectors = list[_Numbers](), list[_Numbers](), list[_Numbers]()
    for index, task in enumerate(plan.step.tasks):
        if not isinstance(task, Generation):
            starts.append(len(rows))
        resident = taken[index].elements if index in taken else 0
        if isinstance(task, Gemm):
            y_resident = index in kept and not kept[index].stored
            numbers = gemm_numbers(
                task, design, online=index in plan.online, x_resident=index in taken, y_resident=y_resident
            )
            place = places.setdefault(numbers, len(places))
            gemms.setdefault(numbers, task)
            if index in plan.online:
                online.append(OnlineRow(len(rows), place))
                rows.append(_online_row(index, task))
            products.append(GemmRow(len(rows), place, executed_macs(task)))
            rows.append(TaskRow(index, task.name, task.operation, task.stage, task.pattern))
        elif isinstance(task, VectorWork):
            work, name = vector_numbers(task, resident=resident), f"{task.name}[{task.direction}]"
            vectors.append((len(rows), *work))
            rows.append(TaskRow(index, name, task.operation, Stage.VECTOR, vector_elements=work.elements))
        elif isinstance(task, Update):
            own = update_numbers(task, optimizer, dense=plan.reads_dense(index), resident=resident)
            behind = plan.copies_behind(index)
            updates.append((len(rows), *own, len(copies), len(behind)))
            rows.append(TaskRow(index, task.name, task.operation, Stage.UPDATE, wuve_weights=own.elements))
            for copy in behind:
                made = plan.step.tasks[copy]
                assert isinstance(made, Generation), "only generations follow an update"
                copies.append((len(rows), *copy_numbers(made, design)))
                taken_in = made.passes * made.elements
                rows.append(
                    TaskRow(index, made.name, made.operation, Stage.GENERATE, made.pattern, sore_elements=taken_in)
                )
    units = UnitRows(np.array(updates, UPDATES), np.array(copies, COPIES), np.array(vectors, VECTORS))
    return Layout(tuple(rows), tuple(starts), tuple(products), tuple(online), units)


_Numbers = tuple[float, ...]


def _online_row(index: int, gemm: Gemm) -> TaskRow:
    name = f"{gemm.name}[{gemm.stage} online]"
    return TaskRow(index, name, gemm.operation, Stage.GENERATE, gemm.pattern, sore_elements=gemm.w_elements)


def executed_macs(gemm: Gemm) -> int:
    """Return the multiply-accumulates that the array does: kept weights, padding of whole groups and borders."""
    return gemm.count * gemm.m * gemm.n * (gemm.k if gemm.pattern is None else gemm.pattern.kept_in(gemm.k))
