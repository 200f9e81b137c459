"""Why a plan is as it is: what else there was for each GEMM, for the copies of a weight, for what stays on the chip.

All costs are cycles of tasks alone, exact, with everything else as planned. Where units overlap, a mapping is chosen by
the same cycles, so the best of the alternatives is the one that the scheduler takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from math import inf

from accelsim.base.errors import InfeasibleError, InputError, did_you_mean
from accelsim.cost.charges import Bound, charge_gemms, charge_online, unit_numbers, vector_cycles
from accelsim.cost.compiled.values import GemmNumbers
from accelsim.cost.gemm import machine_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Generation, Update, Way
from accelsim.lowering.ways import WayGroup, as_lowered, in_ways
from accelsim.schedule.costs import TaskCosts, vector_numbers_of
from accelsim.schedule.edges import Edge, edges_of
from accelsim.schedule.fastest_ways import OnOneDesign, alternatives, update_of_copies
from accelsim.schedule.mapping import Searcher
from accelsim.schedule.offline import kept_edges, outline_of
from accelsim.schedule.plan import Mapping, Plan, copies_of, readers_of

__all__ = [
    "Alternative",
    "Explanation",
    "GemmChoice",
    "Handover",
    "MappedGemm",
    "Placement",
    "ProductChoice",
    "WayTaken",
    "dataflows_of",
    "explain",
    "mapped_gemms",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A mapping of a GEMM, None on the vector unit, with what it costs, all copies: cycles, those of SORE in front of
    it included, and of these SORE's; bytes moved to and from the DRAM; what it waits for most."""

    mapping: Mapping | None
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
class WayTaken:
    """A way in which a product could run, and the cycles of its GEMMs in it, the generation in front of them included;
    None where they fit no buffer. `stream_cycles`: of the update with the copies that they read, 0 where there is none
    or nothing is generated behind it."""

    way: Way
    cycles: int | None
    stream_cycles: int
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductChoice:
    """The ways of a product that can run in several; `gemms` are its tasks."""

    gemms: tuple[int, ...]
    ways: tuple[WayTaken, ...]


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
    products: tuple[ProductChoice, ...]
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
        products=tuple(judge.ways(item) for item in judge.products if not set(gemms).isdisjoint(item.gemms)),
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
        self.machine, self.searcher = machine_numbers(design), Searcher(design)
        self.costs = TaskCosts(plan.step, design, optimizer, self.searcher)
        self.edges = edges_of(plan.step, range(len(self.tasks)), design)
        self.handed = kept_edges(plan, design)
        self.taken = {edge.consumer: edge for edge in self.handed.values()}
        self.readers, self.units = readers_of(plan.step), unit_numbers(design)
        self.lowered, self.taken_ways = as_lowered(plan.step), dict(plan.step.ways)
        self.products = alternatives(self.lowered, design)
        self.on_design = OnOneDesign(outline_of(self.lowered, plan.ahead, design), design, self.searcher)
        self.optimizer = optimizer

    def choice(self, index: int) -> GemmChoice:
        """Return the mapping of a GEMM beside all others."""
        gemm = self._gemm(index)
        each = (
            []
            if gemm.on_vector
            else [self._cost(index, mapping) for mapping, _ in self.searcher.best_of_each(gemm, self._numbers(index))]
        )
        return GemmChoice(
            task=index,
            gemm=gemm,
            chosen=self.planned(index),
            alternatives=tuple(sorted(each, key=lambda item: (item.cycles, item.dram_bytes))),
        )

    def planned(self, index: int) -> Alternative:
        """Return what a GEMM costs as planned."""
        mapping = self.plan.mappings[index]
        if mapping is None:
            return self._on_vector(index)
        return self._cost(index, mapping)

    def _on_vector(self, index: int) -> Alternative:
        taken, handed = self.taken.get(index), self.handed.get(index)
        numbers = vector_numbers_of(self._gemm(index), self.design, taken, handed)
        cycles, moved = vector_cycles(numbers, self.units), numbers.moved_bits / 8
        waits = moved / self.design.dram_bytes_per_cycle > -(-numbers.operations // self.design.vector.lanes)
        return Alternative(
            mapping=None, cycles=cycles, generation_cycles=0, dram_bytes=moved,
            bound=Bound.DRAM if waits else Bound.COMPUTE,
        )  # fmt: skip

    def ways(self, item: WayGroup) -> ProductChoice:
        """Return the ways of a product, each with the best mappings and nothing on the chip."""
        found = []
        for way in item.ways:
            cycles = float(self.on_design.cycles(item, way, None)[0])
            found.append(
                WayTaken(
                    way=way,
                    cycles=None if cycles == inf else int(cycles),
                    stream_cycles=self._stream(item, way),
                    chosen=self.taken_ways.get(item.gemms[0], item.ways[0]) == way,
                )
            )
        return ProductChoice(gemms=item.gemms, ways=tuple(found))

    def _stream(self, item: WayGroup, way: Way) -> int:
        if item.copy is None or item.copy not in self.plan.ahead:
            return 0
        step = in_ways(self.lowered, {**self.taken_ways, **dict.fromkeys(item.gemms, way)})
        update = update_of_copies(step)[item.copy]
        costs = TaskCosts(step, self.design, self.optimizer, self.searcher)
        return costs.update(replace(self.plan, step=step), update)

    def fastest(self, index: int) -> int | None:
        """Return the cycles of the best mapping of a GEMM on the array, None where no tile fits."""
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
        (charge,) = charge_gemms([(numbers, mapping.numbers)], self.machine)
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
