"""The offline scheduler: makes the plan of a step.

`greedy` takes the best mapping of every GEMM, generates compact weights where the design says, and keeps the order in
which the step was lowered. `optimal` decides more. Where one task runs after another each part is exact: where a
compact copy is generated (the cost of a weight is that of its update and of the GEMMs that read it, so weights are
decided one by one), and what stays on the chip from a task to the next (a shortest path over the tasks, as neighbours
share the room). With overlap these and two orders of the tasks make a few plans; a judge that runs them picks the
fastest, the greedy one among them. `accelsim.schedule.bounds` says how far from the best any plan can be.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations

from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Step, Update
from accelsim.schedule.costs import TaskCosts
from accelsim.schedule.edges import Edge, edges_of
from accelsim.schedule.mapping import MappingCache, Searcher
from accelsim.schedule.overlap import list_schedule
from accelsim.schedule.plan import Mapping as GemmMapping
from accelsim.schedule.plan import Plan, copies_of, readers_of
from accelsim.sparsity.methods import Operand

__all__ = ["greedy_outline", "kept_edges", "make_plan"]


Judge = Callable[[Plan], int]


def make_plan(
    step: Step,
    design: Design,
    optimizer: Optimizer,
    cache: MappingCache | None = None,
    judge: Judge | None = None,
    fits: Callable[[Plan], bool] | None = None,
) -> Plan:
    """Decide how a step runs on a design; calls that share `cache` search equal GEMMs once.

    `judge` returns the cycles of a plan whose units overlap; without one the plan is made for tasks one after another.
    `fits` says whether there is the DRAM that a plan needs, as there is for the greedy one; others are not taken.
    Raises `InfeasibleError` naming the buffer and the missing bytes when no tile of a GEMM fits.
    """
    scheduler = _Scheduler(step, design, optimizer, Searcher(design, cache))
    overlap = design.schedule.overlap and judge is not None
    plans = [scheduler.plan(scheduler.readers if design.schedule.pregenerate else (), overlap=overlap, keep=False)]
    if design.schedule.scheduler == "optimal":
        ahead = scheduler.best_ahead() if design.schedule.pregenerate else frozenset()
        best = scheduler.plan(ahead, overlap=overlap, keep=True)
        found = [*plans, best, *map(scheduler.by_longest_path, (*plans, best))] if overlap else [best]
        plans = [plan for plan in found if fits is None or fits(plan)] or plans
    chosen = min(plans, key=judge) if judge is not None and len(plans) > 1 else plans[0]
    return replace(chosen, evaluated=scheduler.searcher.evaluated, pruned=scheduler.searcher.pruned)


def greedy_outline(step: Step, design: Design) -> Plan:
    """Return the greedy plan of a step for tasks one after another, without its mappings."""
    readers = readers_of(step)
    return _outline(step, readers if design.schedule.pregenerate else (), readers, design, overlap=False)


def _outline(
    step: Step, ahead: Collection[int], readers: Mapping[int, Collection[int]], design: Design, *, overlap: bool
) -> Plan:
    """Return a plan in program order without mappings; `readers` as of `readers_of`."""
    online = _online(step, ahead, readers, pregenerate=design.schedule.pregenerate)
    return Plan(
        step=step, mappings=(), order=tuple(range(len(step.tasks))), ahead=frozenset(ahead), online=online,
        overlap=overlap,
    )  # fmt: skip


def _online(
    step: Step, ahead: Collection[int], readers: Mapping[int, Collection[int]], *, pregenerate: bool
) -> frozenset[int]:
    """Return the GEMMs in front of which SORE works.

    Those of pruned gradients, which cannot exist before; those whose compact weights are not generated ahead; and
    without pre-generation those whose weights this step does not update.
    """
    found = set(chain.from_iterable(reading for copy, reading in readers.items() if copy not in ahead))
    for index, task in enumerate(step.tasks):
        if isinstance(task, Gemm) and task.pattern and (task.w_operand is Operand.GRADIENT or not pregenerate):
            found.add(index)
    return frozenset(found)


def kept_edges(plan: Plan, design: Design) -> dict[int, Edge]:
    """Return by producer the tensors that stay on the chip."""
    if not plan.resident:
        return {}
    edges = edges_of(plan.step, range(len(plan.step.tasks)), design)
    return {producer: edges[producer] for producer in sorted(plan.resident)}


class _Scheduler:
    """Plans of a step, and the choices that make them."""

    def __init__(self, step: Step, design: Design, optimizer: Optimizer, searcher: Searcher) -> None:
        self.step, self.design, self.searcher = step, design, searcher
        self.costs = TaskCosts(step, design, optimizer, searcher)
        self.readers = readers_of(step)

    def plan(self, ahead: Collection[int], *, overlap: bool, keep: bool) -> Plan:
        """Return the plan with the best mappings in program order; `keep`: what had better stay on the chip does."""
        plan = _outline(self.step, ahead, self.readers, self.design, overlap=overlap)
        plan = replace(plan, resident=self._best_resident(plan)) if keep else plan
        return replace(plan, mappings=self._mappings(plan, kept_edges(plan, self.design)))

    def by_longest_path(self, plan: Plan) -> Plan:
        """Return a plan with its tasks ordered by list scheduling."""
        kept = kept_edges(plan, self.design)
        room = self.design.buffers.resident_bytes
        return replace(plan, order=tuple(list_schedule(self.step, self._durations(plan, kept), kept, room)))

    def best_ahead(self) -> frozenset[int]:
        """Return the compact copies that had better be generated behind their update, decided weight by weight."""
        chosen: set[int] = set()
        for update, task in enumerate(self.step.tasks):
            copies = copies_of(self.step, update) if isinstance(task, Update) else ()
            options = sorted(_subsets(copies), key=len, reverse=True)  # of equal cost the one with more ahead
            costs = [self._weight_cycles(update, copies, option) for option in options]
            chosen.update(options[costs.index(min(costs))])
        return frozenset(chosen)

    def _weight_cycles(self, update: int, copies: Sequence[int], ahead: Sequence[int]) -> int:
        """Cycles of an update with its copies, and of the GEMMs that read them."""
        if not copies:
            return 0
        plan = Plan(step=self.step, mappings=(), order=(), ahead=frozenset(ahead))
        readers = ((reader, copy not in ahead) for copy in copies for reader in self.readers[copy])
        return self.costs.update(plan, update) + sum(
            self.costs.gemm(index, online=online)[1] for index, online in readers
        )

    def _best_resident(self, plan: Plan) -> frozenset[int]:
        """Return the tasks whose result had better stay on the chip: a shortest path over the tasks in order.

        The state between two tasks is the tensor that stays, if any; while a task runs, what it takes from the chip and
        what it leaves there share the room.
        """
        room = self.design.buffers.resident_bytes
        edges = {p: edge for p, edge in edges_of(self.step, plan.order, self.design).items() if edge.size <= room}
        best: dict[Edge | None, tuple[int, tuple[int, ...]]] = {None: (0, ())}
        for index in plan.order:
            then: dict[Edge | None, tuple[int, tuple[int, ...]]] = {}
            for handed in dict.fromkeys((None, edges.get(index))):
                for taken, (before, kept) in best.items():
                    if sum(edge.size for edge in (taken, handed) if edge is not None) > room:
                        continue
                    cycles = before + self.costs.of(plan, index, taken, handed)
                    if handed not in then or cycles < then[handed][0]:
                        then[handed] = (cycles, kept if handed is None else (*kept, index))
            best = then
        return frozenset(min(best.values())[1])

    def _mappings(self, plan: Plan, kept: Mapping[int, Edge]) -> tuple[GemmMapping | None, ...]:
        """Return the mapping of every GEMM under all other decisions."""
        taken = {edge.consumer: edge for edge in kept.values()}
        return tuple(
            self.costs.gemm(index, online=index in plan.online, taken=taken.get(index), handed=kept.get(index))[0]
            if isinstance(task, Gemm)
            else None
            for index, task in enumerate(self.step.tasks)
        )

    def _durations(self, plan: Plan, kept: Mapping[int, Edge]) -> list[int]:
        """Return the cycles of each task alone; generations run within their update."""
        taken = {edge.consumer: edge for edge in kept.values()}
        return [self.costs.of(plan, index, taken.get(index), kept.get(index)) for index in range(len(self.step.tasks))]


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))
