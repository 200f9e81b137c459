"""The form of scattered products: phase by phase, or as columns, whichever is faster on a design.

BP of a convolution and FF of a transposed one send every input to the places that its taps reach. Phase by phase the
array multiplies each place of the result by all taps of its phase, those at a border that nothing reaches included; as
columns it multiplies what is needed, and the vector unit sums what reaches the same place. Columns are tried where a
border costs multiplications: elsewhere they multiply as much and move more. Tasks that run one after another add up, so
each product is decided by itself.
"""

from collections.abc import Callable, Collection, Mapping

from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.phases import Weighted, multiplies_border
from accelsim.lowering.rules import input_gradients
from accelsim.lowering.tasks import Gemm, Scattered, Stage, Step, VectorWork
from accelsim.schedule.costs import TaskCosts
from accelsim.schedule.fastest_ways import in_fastest_ways
from accelsim.schedule.mapping import MappingCache, Searcher
from accelsim.schedule.offline import greedy_outline
from accelsim.workload.trace import Trace

__all__ = ["bordered", "columns_of", "in_faster_form"]


def bordered(trace: Trace) -> frozenset[Scattered]:
    """Return the scattered products of a training step that multiply borders when they run phase by phase."""
    gradients = input_gradients(trace)
    return frozenset(
        (operation.name, stage)
        for operation in trace.operations
        if isinstance(operation, Weighted)
        for stage in ([Stage.FF, Stage.BP] if gradients[operation.name] else [Stage.FF])
        if multiplies_border(operation, stage)
    )


def in_faster_form(
    trace: Trace,
    lowered: Callable[[Collection[Scattered]], Step],
    design: Design,
    optimizer: Optimizer,
    cache: MappingCache | None = None,
) -> Step:
    """Return a step of `trace` with each product in the way, and each scattered one in the form, that takes fewer
    cycles alone on `design`.

    `lowered` lowers the step with the products given to it as columns.
    """

    def fastest(columns: Collection[Scattered]) -> Step:
        return in_fastest_ways(lowered(columns), design, optimizer, cache)

    by_phases, candidates = fastest(()), bordered(trace)
    if not candidates:
        return by_phases
    searcher = Searcher(design, cache)
    phases, columns = (
        _cycles(step, candidates, TaskCosts(step, design, optimizer, searcher), design)
        for step in (by_phases, fastest(candidates))
    )
    return fastest(frozenset(place for place in candidates if columns[place] < phases[place]))


def columns_of(tasks: Collection[tuple[str, str]], trace: Trace) -> frozenset[Scattered]:
    """Return the products of a trace that a plan of these tasks (name and stage) has as columns."""
    sums = {name for name, stage in tasks if stage == Stage.VECTOR}
    return frozenset((name, stage) for name, stage in bordered(trace) if f"{name}[col2im][{stage}]" in sums)


def _place(task: Gemm) -> Scattered:
    return task.operation, task.stage if task.product is None else task.product


def _cycles(step: Step, places: Collection[Scattered], costs: TaskCosts, design: Design) -> Mapping[Scattered, int]:
    """Return the cycles of the products at `places`, those of the sums behind them included."""
    plan, found = greedy_outline(step, design), dict.fromkeys(places, 0)
    for index, task in enumerate(step.tasks):
        if isinstance(task, Gemm):
            place = _place(task)
        elif isinstance(task, VectorWork):
            place = task.operation, Stage(task.direction)
        else:
            continue
        if place in found:
            found[place] += costs.of(plan, index, None, None)
    return found
