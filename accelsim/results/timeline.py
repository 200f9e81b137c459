"""The timeline of a step: a plan as the event engine runs it, as slices on tracks and as counters.

One track per serial resource: the array, SORE, WUVE, the vector unit, and the DRAM for the two transfers of a GEMM
that stand outside its jobs, the load of its first tiles and the store of its last result. What moves beside jobs, or in
the streams of WUVE and the vector unit, is part of their slices.

Counters: the DRAM bandwidth in use, between two events of the simulation its mean, where every transfer takes whole
cycles of the DRAM (so it adds up to a little more than the traffic); and the bytes that are occupied in the buffers,
as `accelsim.engines.buffer_fill` says.

Inside a window the jobs of a GEMM (one buffer tile on the array each) stand as slices below it. Of more than
`MOST_JOBS` neighbours are taken together.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from math import ceil
from typing import TypedDict, Unpack

from accelsim.base.errors import InputError
from accelsim.base.units import GIGA, show
from accelsim.base.version import __version__
from accelsim.engines.buffer_fill import buffer_fill
from accelsim.engines.dram import Load, Window
from accelsim.engines.event import EVENT_LIMIT, Run, run_in_detail
from accelsim.engines.jobs import Time
from accelsim.engines.timing import Span, TaskTiming
from accelsim.engines.work import works_of
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Stage
from accelsim.results.timeline_file import (
    BANDWIDTH,
    FILL,
    LOADS,
    STORES,
    TRACKS,
    About,
    Counter,
    Label,
    Slice,
    SliceArgs,
    Timeline,
)
from accelsim.schedule.overlap import Unit
from accelsim.schedule.plan import Plan

__all__ = ["MOST_JOBS", "make_timeline", "read_window"]

MOST_JOBS = 50_000
"""Job slices that a file holds at most, but for one more per GEMM; they take about 8 MB."""

_NS = {"ns": 1, "us": 1000, "ms": 1000**2, "s": 1000**3}


def make_timeline(
    plan: Plan, design: Design, optimizer: Optimizer, *, window: Window | None = None, limit: int = EVENT_LIMIT
) -> Timeline:
    """Run a plan on the event engine and return its timeline, with the jobs that lie or reach into `window` (cycles).

    Raises `InfeasibleError` when that takes more than `limit` events.
    """
    run = run_in_detail(plan, design, optimizer, window=window, limit=limit)
    clock = _Clock(design.clock_hz)
    jobs = [job for job in run.jobs if window is not None and job.end > window[0] and job.start < window[1]]
    together = max(1, ceil(len(jobs) / MOST_JOBS))
    peak = design.dram_bytes_per_cycle * design.clock_hz / GIGA
    fills = buffer_fill(tuple(works_of(plan, design, optimizer)), run.timing.spans)
    timed: list[Slice | Counter] = [
        *_task_slices(run, clock),
        *_job_slices(run, jobs, together, clock),
        *_bandwidth(run.loads, peak, clock),
        *(_counter(FILL, clock.us(f.at), x=f.x, w=f.w, y=f.y, resident=f.resident) for f in fills),
    ]
    about = _about(plan, design, optimizer, run, window, len(jobs), together, peak)
    events = (*_labels(about), *sorted(timed, key=_place))
    return Timeline(displayTimeUnit="ns", otherData=about, traceEvents=events)


def _about(
    plan: Plan,
    design: Design,
    optimizer: Optimizer,
    run: Run,
    window: Window | None,
    jobs: int,
    together: int,
    peak: float,
) -> About:
    step, buffers = plan.step, design.buffers
    return About(
        workload=step.model,
        design=design.label,
        method=step.method,
        pattern=None if step.pattern is None else str(step.pattern),
        batch=step.batch,
        mode=step.mode,
        optimizer=optimizer.name,
        version=__version__,
        clock_hz=design.clock_hz,
        cycles=run.timing.cycles,
        dram_gb_per_s=peak,
        buffer_bytes={
            "x": buffers.x_bytes,
            "w": buffers.w_bytes,
            "y": buffers.y_bytes,
            "resident": buffers.resident_bytes,
        },
        window=window,
        jobs=jobs,
        jobs_per_slice=together,
    )


class _Clock:
    """Cycles as microseconds, to the whole nanosecond."""

    def __init__(self, hz: float) -> None:
        self._hz = hz

    def us(self, cycle: Time) -> float:
        """The moment of a cycle."""
        return self._ns(cycle) / _NS["us"]

    def between(self, start: int, end: int) -> float:
        """A duration, such that what ends at a cycle ends where the next begins."""
        return (self._ns(end) - self._ns(start)) / _NS["us"]

    def _ns(self, cycle: Time) -> int:
        return round(float(cycle) * GIGA / self._hz)


def _place(event: Slice | Counter) -> tuple[float, int, float, int, str]:
    """What events are ordered by: time and track, enclosing slices first."""
    if isinstance(event, Counter):
        return event.ts, 0, 0.0, 0, event.name
    return event.ts, event.tid, -event.dur, event.args.jobs or 0, event.name


def _labels(about: About) -> Iterator[Label]:
    yield Label(name="process_name", args={"name": about.title})
    for tid, track in enumerate(TRACKS, 1):
        yield Label(name="thread_name", tid=tid, args={"name": track})
        yield Label(name="thread_sort_index", tid=tid, args={"sort_index": tid})


class _Facts(TypedDict, total=False):
    """What `SliceArgs` may say besides when a slice is, and of what."""

    adds_cycles: int
    gemm: str
    pattern: str | None
    mapping: str
    bound: str
    macs_executed: int
    dram_bytes: float
    jobs: int


def _slice(
    name: str, track: str, row: TaskTiming, start: int, end: int, clock: _Clock, **facts: Unpack[_Facts]
) -> Slice:
    return Slice(
        name=name,
        cat=row.stage,
        tid=TRACKS.index(track) + 1,
        ts=clock.us(start),
        dur=clock.between(start, end),
        args=SliceArgs(start_cycle=start, cycles=end - start, layer=row.operation, **facts),
    )


def _task_slices(run: Run, clock: _Clock) -> Iterator[Slice]:
    """Tasks and transfers; what takes no time is left out."""
    rows = run.timing.rows
    arrays = {span.row: span for span in run.timing.spans if span.unit == Unit.ARRAY}
    for span in run.timing.spans:
        row = rows[span.row]
        name = _name_of(row)
        if span.end == span.start:
            continue
        if span.unit in TRACKS:
            yield _slice(name, span.unit, row, span.start, span.end, clock, **_facts(row))
        elif span.end <= arrays[span.row].start:
            yield _slice(f"{name} load", LOADS, row, span.start, span.end, clock)
        else:
            yield _slice(f"{name} store", STORES, row, span.start, span.end, clock)


def _name_of(row: TaskTiming) -> str:
    """Rows of vector work and of generation name their direction themselves."""
    return row.name if row.stage in {Stage.VECTOR, Stage.GENERATE} else f"{row.name} {row.stage}"


def _facts(row: TaskTiming) -> _Facts:
    """What `args` say of a task besides its cycles."""
    facts: _Facts = {
        "adds_cycles": row.cycles, "bound": row.bound.value, "dram_bytes": row.events.dram_bytes,
        "pattern": None if row.pattern is None else str(row.pattern),
    }  # fmt: skip
    if row.mapping is None:
        return facts
    mapping, copies = row.mapping, f" (x{row.count})" if row.count > 1 else ""
    tile = " x ".join(str(size) for size in mapping.tile)
    im2col = f", im2col {mapping.im2col}" if mapping.im2col else ""
    return facts | {
        "gemm": f"{row.m} x {row.n} x {row.k}{copies}",
        "pattern": str(row.pattern or "dense"),
        "mapping": f"{mapping.dataflow} {mapping.variant or mapping.interleave}, tile {tile}, loops {mapping.order}"
        + im2col,
        "macs_executed": row.macs_executed,
    }


def _job_slices(run: Run, jobs: Sequence[Span], together: int, clock: _Clock) -> Iterator[Slice]:
    """Jobs below their GEMM, so many neighbours as one."""
    for row, several in groupby(jobs, key=lambda job: job.row):
        of_gemm = list(several)
        for at in range(0, len(of_gemm), together):
            some = of_gemm[at : at + together]
            name = "job" if len(some) == 1 else f"{len(some)} jobs"
            yield _slice(
                name, Unit.ARRAY, run.timing.rows[row], some[0].start, some[-1].end, clock, jobs=len(some)
            )  # fmt: skip


def _counter(name: str, us: float, **values: float) -> Counter:
    return Counter(name=name, ts=us, args=values)


def _bandwidth(loads: Sequence[Load], peak: float, clock: _Clock) -> Iterator[Counter]:
    """GB/s in use wherever that changes."""
    used, end = -1.0, Fraction(0)
    for load in loads:
        if load.share != used:
            used = load.share
            yield _counter(BANDWIDTH, clock.us(load.start), **{"GB/s": used * peak})
        end = Fraction(load.end)
    yield _counter(BANDWIDTH, clock.us(end), **{"GB/s": 0.0})


def read_window(text: str, clock_hz: float, cycles: int) -> Window:
    """Return the cycles of ``START:END`` in a step of so many `cycles`.

    Each is a cycle, or a time with its unit (``ns``, ``us``, ``ms``, ``s``) that is rounded outwards; without START the
    window begins with the step, without END it ends with it. Raises `InputError` when it is empty or not in the step.
    """
    first, colon, last = text.partition(":")
    start = _cycle_of(first, clock_hz) if first else Fraction(0)
    end = _cycle_of(last, clock_hz) if last else Fraction(cycles)
    if not colon or start is None or end is None:
        example = "START:END in cycles, as in 20000:35000, or in time, as in 1.5ms:2ms"
        raise InputError(f"--window {text}: expected {example}")
    if start >= cycles or end > cycles:
        outside = f"starts at cycle {int(start):,}" if start >= cycles else f"ends at cycle {ceil(end):,}"
        whole = f"{cycles:,} cycles ({show(cycles / clock_hz, 's')})"
        raise InputError(f"--window {text}: {outside}, outside the step, which takes {whole}")
    if end <= start:
        raise InputError(f"--window {text}: {'is empty' if start == end else 'ends before it starts'}")
    return int(start), ceil(end)


def _cycle_of(text: str, clock_hz: float) -> Fraction | None:
    """The cycle that `text` names, None where it names none."""
    found = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)(ns|us|ms|s)", text)
    if found is None:
        return None
    cycle, time, unit = found.groups()
    return Fraction(cycle) if cycle else Fraction(time) * _NS[unit] * Fraction(clock_hz) / _NS["s"]
