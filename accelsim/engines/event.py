"""The event engine: units work side by side, and share the DRAM.

The array (STCE), SORE, WUVE and the vector unit run one task at a time, each in the order of the plan, as soon as what
a task waits for is done. A GEMM runs job after job with double buffers: beside each job the DRAM loads for the next and
stores for the one before. Where the plan lets units overlap, the first tiles of a GEMM are loaded beside the last job
of the one before, its last result is stored beside the first job of the next, and SORE works one GEMM ahead of the
array. Without overlap one task runs after another, and the step takes exactly what the closed form says.

What a row adds to the step: time goes to the busiest unit at each moment, the array first, then SORE in front of it,
WUVE, SORE behind it, the vector unit, and last the DRAM alone. So rows sum to the step; what is hidden adds nothing.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil
from typing import Any

import simpy

from accelsim.base.errors import InfeasibleError
from accelsim.cost.charges import Charge
from accelsim.cost.compiled.values import GemmNumbers, MappingNumbers
from accelsim.cost.gemm import machine_numbers
from accelsim.engines.dram import DramUnit, Load, Window
from accelsim.engines.jobs import GemmJobs, Job, JobPart, gemm_jobs, split_first, split_last
from accelsim.engines.timing import Span, TaskTiming, Timing
from accelsim.engines.work import TaskWork, works_of
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Generation
from accelsim.schedule.overlap import Unit, unit_of, waits_of
from accelsim.schedule.plan import Plan

__all__ = ["EVENT_LIMIT", "Run", "run", "run_in_detail"]

EVENT_LIMIT = 5_000_000
_DMA = "DRAM"
_FIRST_COMES = (Unit.ARRAY, "SORE in front", Unit.UPDATE, Unit.GENERATE, Unit.VECTOR, _DMA)
"""Who a moment counts for, if several are busy."""

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A timing with what happened beside it: use of the DRAM, the jobs inside the window, and the number of events."""

    timing: Timing
    loads: tuple[Load, ...]
    jobs: tuple[Span, ...]
    events: int


def run(plan: Plan, design: Design, optimizer: Optimizer) -> Timing:
    """Return what every task of `plan` adds to the step on `design`, and when it ran."""
    return run_in_detail(plan, design, optimizer).timing


def run_in_detail(
    plan: Plan, design: Design, optimizer: Optimizer, *, window: Window | None = None, limit: int = EVENT_LIMIT
) -> Run:
    """Run a plan; jobs inside `window` (cycles) are taken one by one and listed.

    Raises `InfeasibleError` when more than `limit` events are needed, or when tasks of the plan wait for each other.
    """
    return _Machine(plan, design, list(works_of(plan, design, optimizer)), window, limit).run()


class _Turn:
    """A task's turn on its unit: its work has begun, has nearly ended, has freed the unit; its result is stored."""

    def __init__(self, env: simpy.Environment) -> None:
        self.begun, self.nearly, self.free, self.stored = (env.event() for _ in range(4))

    def over(self) -> "_Turn":
        """Let all of it have happened."""
        for event in (self.begun, self.nearly, self.free, self.stored):
            event.succeed()
        return self


class _Machine:
    """The units of a design, the tasks of a plan, and what has happened so far."""

    def __init__(
        self, plan: Plan, design: Design, works: Sequence[TaskWork], window: Window | None, limit: int
    ) -> None:
        self._env = simpy.Environment()
        self._plan, self._works, self._limit = plan, {work.task: work for work in works}, limit
        self._machine = machine_numbers(design)
        self._dram = DramUnit(self._env, design.dram.dma_channels - 1, self._spend, window, self._job)
        self._sore = simpy.Resource(self._env)
        room = max(1, design.buffers.resident_bytes)
        self._room = simpy.Container(self._env, room, room)
        self._takes_room: dict[int, tuple[simpy.Event, simpy.Event]] = {}
        self._done = [self._env.event() for _ in plan.step.tasks]
        self._rows: list[TaskTiming] = [row for work in works for row in work.rows]
        starts = accumulate((len(work.rows) for work in works), initial=0)
        self._row_of = {work.task: start for work, start in zip(works, starts, strict=False)}
        self._events = 0
        self._spans: list[Span] = []
        self._claims: list[tuple[int, int, int, int]] = []  # start, end, priority, row
        self._jobs: list[Span] = []
        self._waits_for: dict[int, str] = {}
        self._array_row = 0
        self._known: dict[tuple[GemmNumbers, MappingNumbers], GemmJobs] = {}

    def run(self) -> Run:
        """Start every task, wait for all, and say what each row adds."""
        self._start()
        self._env.run()
        stuck = [index for index, done in enumerate(self._done) if not done.triggered]
        if stuck:
            task = self._plan.step.tasks[stuck[0]]
            raise InfeasibleError(
                f"the plan: {len(stuck)} tasks wait for each other; '{task.name}' ({task.stage}) waits for"
                f" {self._waits_for.get(stuck[0], 'its inputs')}"
            )
        added = _exposed(self._claims, len(self._rows))
        rows = tuple(replace(row, cycles=cycles) for row, cycles in zip(self._rows, added, strict=True))
        spans = tuple(sorted(self._spans, key=lambda span: (span.start, span.end, span.unit, span.row)))
        timing = Timing(rows=rows, overlapped=self._plan.overlap, spans=spans)
        return Run(timing=timing, loads=tuple(self._dram.loads), jobs=tuple(self._jobs), events=self._events)

    def _start(self) -> None:
        """Make a process of every task, in the order of the plan."""
        tasks = self._plan.step.tasks
        kept = {work.task: work.handed for work in self._works.values() if work.handed is not None}
        waits = waits_of(self._plan.step, kept, self._plan.also_after)
        earlier = self._env.event().succeed()
        for index in self._plan.order:
            if index in kept:
                self._takes_room[index] = earlier, self._env.event()
                earlier = self._takes_room[index][1]
        turns = {unit: _Turn(self._env).over() for unit in Unit}
        previous: tuple[int, ...] = ()
        for index in self._plan.order:
            after = (*waits[index], *previous)
            if isinstance(tasks[index], Generation):  # part of its update
                self._env.process(self._follow(index, after))
                continue
            unit, turn = unit_of(tasks[index]), _Turn(self._env)
            self._env.process(self._task(self._works[index], unit, after, turns[unit], turn))
            turns[unit] = turn
            previous = () if self._plan.overlap else (index,)

    def _task(self, work: TaskWork, unit: Unit, after: Iterable[int], before: _Turn, turn: _Turn) -> Process:
        yield from self._wait(work.task, after)
        if (
            work.handed is not None
        ):  # in the order of the plan: room for a later tensor must not keep out an earlier one
            self._waits_for[work.task] = "room on the chip (buffers.resident_bytes)"
            earlier, taken = self._takes_room[work.task]
            yield earlier
            yield self._room.get(work.handed.size)
            taken.succeed()
        self._waits_for[work.task] = f"its turn on {unit}"
        execute = {Unit.ARRAY: self._gemm, Unit.UPDATE: self._update, Unit.VECTOR: self._vector}[unit]
        yield from execute(work, before, turn)
        if work.taken is not None:
            yield self._room.put(work.taken.size)
        self._done[work.task].succeed()

    def _follow(self, index: int, after: Iterable[int]) -> Process:
        yield from self._wait(index, after)
        self._done[index].succeed()

    def _wait(self, index: int, after: Iterable[int]) -> Process:
        for other in after:
            if not self._done[other].triggered:
                self._waits_for[index] = f"'{self._plan.step.tasks[other].name}' ({self._plan.step.tasks[other].stage})"
                yield self._done[other]

    def _gemm(self, work: TaskWork, before: _Turn, turn: _Turn) -> Process:
        assert work.gemm is not None, "a GEMM has numbers"
        if work.gemm not in self._known:
            self._known[work.gemm] = gemm_jobs(*work.gemm, self._machine)
        jobs, row = self._known[work.gemm], self._row_of[work.task] + len(work.rows) - 1
        if work.has_sore_in_front:
            yield before.begun  # one GEMM ahead of the array
            yield from self._generate(self._row_of[work.task], work.charges[0].unit, in_front=True)
        yield before.nearly  # its buffers are free
        yield from self._transfer(row, jobs.first_load)
        yield before.free
        start, self._array_row = int(self._env.now), row
        turn.begun.succeed()
        opening, rest = split_first(jobs.jobs)
        if not rest:
            turn.nearly.succeed()
        yield self._dram.run((JobPart(opening, 1),))
        yield before.stored  # the buffer of its second result is free
        if rest:
            middle, closing = split_last(rest)
            yield self._dram.run(middle)
            turn.nearly.succeed()
            yield self._dram.run((JobPart(closing, 1),))
        self._span(row, Unit.ARRAY, start)
        turn.free.succeed()
        yield from self._transfer(row, jobs.last_store)
        turn.stored.succeed()

    def _generate(self, row: int, cycles: int, *, in_front: bool) -> Process:
        with self._sore.request() as turn:
            yield turn
            start = int(self._env.now)
            yield self._env.timeout(cycles)
            self._span(row, Unit.GENERATE, start, "SORE in front" if in_front else None)

    def _update(self, work: TaskWork, before: _Turn, turn: _Turn) -> Process:
        """WUVE, SORE behind it and the DRAM as one stream; each copy counts with what it adds at its end."""
        yield before.free
        start, row = int(self._env.now), self._row_of[work.task]
        own, *copies = work.charges
        parts = [self._env.timeout(own.unit), self._dram.transfer(sum(charge.dram for charge in work.charges))]
        if copies:
            parts.append(self._env.process(self._behind(row, copies)))
        yield self._env.all_of(parts)
        yield from self._whole_cycle()
        end = int(self._env.now)
        self._spans.append(Span(row=row, unit=Unit.UPDATE, start=start, end=end))
        for at in range(len(copies), 0, -1):
            self._claim(row + at, Unit.GENERATE, end - copies[at - 1].serial, end)
            end -= copies[at - 1].serial
        self._claim(row, Unit.UPDATE, start, end)
        turn.over()

    def _behind(self, row: int, copies: Sequence[Charge]) -> Process:
        with self._sore.request() as turn:
            yield turn
            for at, charge in enumerate(copies, 1):
                start = int(self._env.now)
                yield self._env.timeout(charge.unit)
                self._spans.append(Span(row=row + at, unit=Unit.GENERATE, start=start, end=int(self._env.now)))

    def _vector(self, work: TaskWork, before: _Turn, turn: _Turn) -> Process:
        yield before.free
        start, (charge,) = int(self._env.now), work.charges
        yield self._env.all_of([self._env.timeout(charge.unit), self._dram.transfer(charge.dram)])
        yield from self._whole_cycle()
        self._span(self._row_of[work.task], Unit.VECTOR, start)
        turn.over()

    def _transfer(self, row: int, cycles: int) -> Process:
        if cycles:
            start = int(self._env.now)
            yield self._dram.transfer(cycles)
            yield from self._whole_cycle()
            self._span(row, _DMA, start)

    def _whole_cycle(self) -> Process:
        """Units act on whole cycles; a shared transfer may end within one."""
        rest = ceil(self._env.now) - self._env.now
        if rest:
            yield self._env.timeout(rest)

    def _span(self, row: int, unit: str, start: int, claims_as: str | None = None) -> None:
        end = int(self._env.now)
        self._spans.append(Span(row=row, unit=unit, start=start, end=end))
        self._claim(row, claims_as or unit, start, end)

    def _claim(self, row: int, unit: str, start: int, end: int) -> None:
        if end > start:
            self._claims.append((start, end, _FIRST_COMES.index(unit), row))

    def _job(self, job: Job, start: int, end: int) -> None:
        self._jobs.append(Span(row=self._array_row, unit=Unit.ARRAY, start=start, end=end))

    def _spend(self) -> None:
        self._events += 1
        if self._events > self._limit:
            row = self._rows[self._array_row]
            raise InfeasibleError(
                f"more than {self._limit:,} events: '{row.name}' ({row.stage}) runs on {Unit.ARRAY} and waits for the"
                f" {_DMA}, at cycle {float(self._env.now):,.0f}; narrow the window, or raise the limit"
            )


def _exposed(claims: Sequence[tuple[int, int, int, int]], rows: int) -> list[int]:
    """Cycles that count for each row: every moment counts for the claim that comes first."""
    added = [0] * rows
    changes = sorted({moment for start, end, *_ in claims for moment in (start, end)})
    starting = sorted(claims, reverse=True)
    active: list[tuple[int, int, int]] = []  # priority, row, end
    for start, end in pairwise(changes):
        while starting and starting[-1][0] <= start:
            _, until, priority, row = starting.pop()
            active.append((priority, row, until))
        active = [claim for claim in active if claim[2] > start]
        if active:
            added[min(active)[1]] += end - start
    return added
