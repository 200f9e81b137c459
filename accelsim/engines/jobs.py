"""The jobs of a GEMM as nested repetitions.

A job is one buffer tile on the array, with the DRAM transfer that runs beside it: the load of the next job's tiles and
the store of the result before. Jobs of a loop that cost the same stand once, with a count; an engine can take many in
one stride and still come out where it would have come one by one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from accelsim.base.jit import plain
from accelsim.cost.compiled import pipeline
from accelsim.cost.compiled.values import GemmNumbers, MachineNumbers, MappingNumbers

__all__ = ["GemmJobs", "Job", "JobPart", "Loop", "gemm_jobs", "split_first", "split_last"]

Time = int | Fraction


@dataclass(frozen=True, slots=True)
class Job:
    """Cycles of the array, and cycles of the whole DRAM beside it."""

    array: int
    dram: int

    @property
    def jobs(self) -> int:
        """Jobs in it."""
        return 1

    def span(self, others: int) -> tuple[int, Time]:
        """Cycles it takes beside `others` transfers that share the DRAM equally, and what each of these gets done."""
        shared = self.dram * (others + 1)
        cycles = max(self.array, shared)
        return cycles, self.dram + (Fraction(cycles - shared, others) if others else 0)


@dataclass(frozen=True, slots=True)
class Loop:
    """Parts one after another, each several times."""

    parts: "tuple[JobPart, ...]"
    _spans: dict[int, tuple[int, Time]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def jobs(self) -> int:
        """Jobs in it."""
        return sum(part.times * part.body.jobs for part in self.parts)

    @property
    def dram(self) -> int:
        """Cycles of the whole DRAM beside all its jobs."""
        return int(self.span(0)[1])

    def span(self, others: int) -> tuple[int, Time]:
        """See `Job.span`."""
        if others not in self._spans:
            spans = [(part.times, part.body.span(others)) for part in self.parts]
            cycles = sum(times * span[0] for times, span in spans)
            self._spans[others] = cycles, sum((times * span[1] for times, span in spans), start=Fraction(0))
        return self._spans[others]


@dataclass(frozen=True, slots=True)
class JobPart:
    """A job or loop, several times in a row."""

    body: Job | Loop
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmJobs:
    """All copies of a GEMM: DRAM cycles of the first load, the jobs, DRAM cycles of the last store."""

    first_load: int
    jobs: Loop
    last_store: int


def gemm_jobs(numbers: GemmNumbers, mapping: MappingNumbers, machine: MachineNumbers) -> GemmJobs:
    """Return the jobs of a GEMM with a mapping; copies follow each other, the next one's tiles loaded ahead."""
    found = plain(pipeline.job_classes(numbers, machine, mapping))
    counts, classes = [_times(found.trips[dimension]) for dimension in mapping.order], found.classes
    count = numbers.shape.count
    if count == 1:
        copies: tuple[JobPart, ...] = (JobPart(_copy(classes, counts, first=True, last=True), 1),)
    else:
        middle = (JobPart(_copy(classes, counts, first=False, last=False), count - 2),) if count > 2 else ()
        opening, closing = (_copy(classes, counts, first=first, last=not first) for first in (True, False))
        copies = (JobPart(opening, 1), *middle, JobPart(closing, 1))
    return GemmJobs(first_load=found.first_load, jobs=Loop(copies), last_store=found.last_store)


def _times(trips: int) -> list[int]:
    """How often each class of a loop's iterations occurs, in order."""
    return [1] * trips if trips <= 4 else [1, trips - 3, 1, 1]


def _copy(classes: np.ndarray, counts: Sequence[Sequence[int]], *, first: bool, last: bool) -> Loop:
    """One copy; nothing is stored beside the first job of all copies, and nothing loaded beside the last."""
    ends = tuple(len(times) - 1 for times in counts)

    def job(*at: int) -> Job:
        opens, closes = first and at == (0, 0, 0), last and at == ends
        beside = "load_cycles" if opens else "store_cycles" if closes else "both_cycles"
        return Job(int(classes["array_cycles"][at]), 0 if opens and closes else int(classes[beside][at]))

    outer, middle, inner = counts
    return Loop(
        tuple(
            JobPart(Loop(tuple(JobPart(Loop(_merged((job(i, j, h), times) for h, times in enumerate(inner))), times_j)
                            for j, times_j in enumerate(middle))), times_i)
            for i, times_i in enumerate(outer)
        )
    )  # fmt: skip


def _merged(jobs: Iterator[tuple[Job, int]]) -> tuple[JobPart, ...]:
    """Jobs as parts, equal neighbours together."""
    parts: list[JobPart] = []
    for job, times in jobs:
        if parts and parts[-1].body == job:
            parts[-1] = JobPart(job, parts[-1].times + times)
        else:
            parts.append(JobPart(job, times))
    return tuple(parts)


def split_first(loop: Loop) -> tuple[Job, tuple[JobPart, ...]]:
    """Return the first job, and the rest as parts."""
    part, *others = loop.parts
    again = [JobPart(part.body, part.times - 1)] if part.times > 1 else []
    if isinstance(part.body, Job):
        return part.body, (*again, *others)
    job, inside = split_first(part.body)
    return job, (*inside, *again, *others)


def split_last(parts: Sequence[JobPart]) -> tuple[tuple[JobPart, ...], Job]:
    """Return the rest as parts, and the last job."""
    *others, part = parts
    again = [JobPart(part.body, part.times - 1)] if part.times > 1 else []
    if isinstance(part.body, Job):
        return (*others, *again), part.body
    inside, job = split_last(part.body.parts)
    return (*others, *again, *inside), job
