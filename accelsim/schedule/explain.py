"""Why a plan is as it is: what else there was for each GEMM, for the copies of a weight, for what stays on the chip.

All costs are cycles of tasks alone, exact, with everything else as planned. Where units overlap, a mapping is chosen by
the same cycles, so the best of the alternatives is the one that the scheduler takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

from accelsim.base.errors import InfeasibleError, InputError, did_you_mean
from accelsim.cost.charges import Bound, charge_gemms, charge_online, word_bits
from accelsim.cost.compiled.values import GemmNumbers
from accelsim.cost.gemm import machine_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Generation, Update
from accelsim.schedule.costs import TaskCosts
from accelsim.schedule.edges import Edge, edges_of
from accelsim.schedule.mapping import Searcher
from accelsim.schedule.offline import kept_edges
from accelsim.schedule.plan import Mapping, Plan, copies_of, readers_of

__all__ = [
    "Alternative",
    "Explanation",
    "GemmChoice",
    "Handover",
    "MappedGemm",
    "Placement",
    "dataflows_of",
    "explain",
    "mapped_gemms",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A mapping of a GEMM with what it costs, all copies: cycles, those of SORE in front of it included, and of these
    SORE's; bytes moved to and from the DRAM; what it waits for most."""

    mapping: Mapping
    cycles: int
    generation_cycles: int
    dram_bytes: float
    bound: Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmChoice:
    """A GEMM, task `task` of the step, as planned, and with the best tile and loop order of every array mapping that
    fits, the fastest first."""

    task: int
    gemm: Gemm
    chosen: Alternative
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedGemm:
    """A GEMM, task `task` of the step, as planned, and the cycles of the best mapping of each dataflow of
    `dataflows_of`, None where no tile fits."""

    task: int
    gemm: Gemm
    chosen: Alternative
    best_cycles: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A way to generate the compact copies of a weight: those `ahead` behind `update`, the others online.

    Cycles of the update with its copies, and of the GEMMs that read them with the generation in front of them.
    """

    update: int
    copies: tuple[int, ...]
    ahead: tuple[int, ...]
    update_cycles: int
    reader_cycles: int
    chosen: bool

    @property
    def cycles(self) -> int:
        """All of them."""
        return self.update_cycles + self.reader_cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A result that the next task reads: whether it stays on the chip for it, whether it fits there beside what does,
    and the cycles that staying saves, each task with its best mapping."""

    edge: Edge
    stays: bool
    fits: bool
    saved_cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What else there was for the tasks of one operation."""

    operation: str
    gemms: tuple[GemmChoice, ...]
    placements: tuple[Placement, ...]
    handovers: tuple[Handover, ...]


def explain(plan: Plan, design: Design, optimizer: Optimizer, operation: str) -> Explanation:
    """Return the alternatives to what `plan` decides about an operation, placements of copies the fastest first.

    Raises `InputError` with the nearest name where no task of the step belongs to `operation`.
    """
    tasks = plan.step.tasks
    legal = dict.fromkeys(task.operation for task in tasks)
    if operation not in legal:
        raise InputError(f"operation '{operation}': not in the step{did_you_mean(operation, legal)}")
    judge = _Judge(plan, design, optimizer)
    own = [index for index, task in enumerate(tasks) if task.operation == operation]
    gemms = [index for index in own if isinstance(tasks[index], Gemm)]
    return Explanation(
        operation=operation,
        gemms=tuple(judge.choice(index) for index in gemms),
        placements=tuple(placement for update in judge.updates_of(own) for placement in judge.placements(update)),
        handovers=tuple(judge.handover(index) for index in own if index in judge.edges),
    )


def dataflows_of(design: Design) -> tuple[str, ...]:
    """Return the dataflows among which the scheduler chooses on a design."""
    return design.array.dataflows if design.schedule.dataflow == "auto" else (design.schedule.dataflow,)


def mapped_gemms(plan: Plan, design: Design, optimizer: Optimizer) -> tuple[MappedGemm, ...]:
    """Return every GEMM of a step, in its order, as planned and beside the best mapping of each dataflow."""
    judge = _Judge(plan, design, optimizer)
    limited = [_Judge(plan, _limited(design, flow), optimizer) for flow in dataflows_of(design)]
    return tuple(
        MappedGemm(
            task=index,
            gemm=task,
            chosen=judge.planned(index),
            best_cycles=tuple(other.fastest(index) for other in limited),
        )
        for index, task in enumerate(plan.step.tasks)
        if isinstance(task, Gemm)
    )


def _limited(design: Design, flow: str) -> Design:
    return design.model_copy(update={"schedule": design.schedule.model_copy(update={"dataflow": flow})})


class _Judge:
    """Costs under the decisions of a plan."""

    def __init__(self, plan: Plan, design: Design, optimizer: Optimizer) -> None:
        self.plan, self.design, self.tasks = plan, design, plan.step.tasks
        self.machine, self.widths = machine_numbers(design), word_bits(design)
        self.searcher = Searcher(design)
        self.costs = TaskCosts(plan.step, design, optimizer, self.searcher)
        self.edges = edges_of(plan.step, range(len(self.tasks)), design)
        self.handed = kept_edges(plan, design)
        self.taken = {edge.consumer: edge for edge in self.handed.values()}
        self.readers = readers_of(plan.step)

    def choice(self, index: int) -> GemmChoice:
        """Return the mapping of a GEMM beside all others."""
        gemm = self._gemm(index)
        each = [self._cost(index, mapping) for mapping, _ in self.searcher.best_of_each(gemm, self._numbers(index))]
        return GemmChoice(
            task=index,
            gemm=gemm,
            chosen=self.planned(index),
            alternatives=tuple(sorted(each, key=lambda item: (item.cycles, item.dram_bytes))),
        )

    def planned(self, index: int) -> Alternative:
        """Return what a GEMM costs as planned."""
        mapping = self.plan.mappings[index]
        assert mapping is not None, "a GEMM has a mapping"
        return self._cost(index, mapping)

    def fastest(self, index: int) -> int | None:
        """Return the cycles of the best mapping of a GEMM, None where no tile fits."""
        try:
            return self.searcher.fastest(self._gemm(index), self._numbers(index))[1]
        except InfeasibleError:
            return None

    def _gemm(self, index: int) -> Gemm:
        task = self.tasks[index]
        assert isinstance(task, Gemm), "GEMMs only"
        return task

    def _numbers(self, index: int) -> GemmNumbers:
        online = index in self.plan.online
        return self.costs.numbers(index, online=online, taken=self.taken.get(index), handed=self.handed.get(index))

    def _cost(self, index: int, mapping: Mapping) -> Alternative:
        numbers = self._numbers(index)
        (charge,) = charge_gemms([(numbers, mapping.numbers)], self.machine, self.widths)
        generation = charge_online(self._gemm(index).w_elements, charge.fetches, numbers.fetch_cycles).serial
        return Alternative(
            mapping=mapping,
            cycles=charge.serial + generation,
            generation_cycles=generation,
            dram_bytes=charge.events.dram_bytes,
            bound=charge.bound,
        )

    def updates_of(self, own: Sequence[int]) -> list[int]:
        """Return the updates whose compact copies these tasks make or read."""
        return [
            index
            for index, task in enumerate(self.tasks)
            if isinstance(task, Update)
            and any(copy in own or not self.readers[copy].isdisjoint(own) for copy in copies_of(self.plan.step, index))
        ]

    def placements(self, update: int) -> list[Placement]:
        """Return every way to generate the copies of a weight that the design has."""
        copies = copies_of(self.plan.step, update)
        sizes = range(len(copies) + 1) if self.design.schedule.pregenerate else (0,)
        ways = chain.from_iterable(combinations(copies, size) for size in sizes)
        found = [self._placement(update, copies, way) for way in ways if self._is_possible(copies, way)]
        return sorted(found, key=lambda item: (item.cycles, not item.chosen))

    def _is_possible(self, copies: Sequence[int], ahead: Sequence[int]) -> bool:
        """Whether the copies ahead without a pass of their own come of the first one's, which is ahead, too."""
        passes = {copy: task.passes for copy in ahead if isinstance(task := self.tasks[copy], Generation)}
        return copies[0] in ahead or all(passes.values())

    def _placement(self, update: int, copies: tuple[int, ...], ahead: tuple[int, ...]) -> Placement:
        chosen = self.plan.ahead.intersection(copies) == set(ahead)
        plan = replace(self.plan, ahead=self.plan.ahead.difference(copies).union(ahead))
        readers = [(reader, copy not in ahead) for copy in copies for reader in self.readers[copy]]
        return Placement(
            update=update,
            copies=copies,
            ahead=ahead,
            update_cycles=self.costs.update(plan, update, self.taken.get(update)),
            reader_cycles=sum(
                self.planned(index).cycles if chosen else self._best(index, online=online) for index, online in readers
            ),
            chosen=chosen,
        )

    def _best(self, index: int, *, online: bool) -> int:
        taken, handed = self.taken.get(index), self.handed.get(index)
        return self.costs.gemm(index, online=online, taken=taken, handed=handed)[1]

    def handover(self, index: int) -> Handover:
        """Return what it means for the result of a task to stay on the chip."""
        edge, reader = self.edges[index], self.edges[index].consumer
        before, after = self.taken.get(index), self.handed.get(reader)
        cycles = [
            self.costs.of(self.plan, index, before, kept) + self.costs.of(self.plan, reader, kept, after)
            for kept in (None, edge)
        ]
        beside = max(other.size if other is not None else 0 for other in (before, after))
        return Handover(
            edge=edge,
            stays=index in self.plan.resident,
            fits=edge.size + beside <= self.design.buffers.resident_bytes,
            saved_cycles=cycles[0] - cycles[1],
        )
