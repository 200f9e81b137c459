"""The claims of the paper held against many designs together: which SATs could have made all of them at once.

One number proves little: 1.75x on average measures the bytes of DRAM per MAC, and a throughput alone the MACs per
second. The shipped sweep ``paper_region`` varies what decides both, within what the device holds, and a design agrees

- with the speedup, where the mean over the five workloads lies within `WITHIN` of the published one;
- with an end of the throughput range, where that ratio over an earlier accelerator lies between the smallest and the
  largest of the five workloads.

The abstract does not say which accelerators the ends belong to, so every pair of those with a stated throughput is
tried: an `Assignment`. Energy is no condition; what SAT would have to draw for it stands beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import fmean

import pandas as pd

from accelsim.base.files import Scalar
from accelsim.base.progress import Progress, silent
from accelsim.base.units import GIGA
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.sourced import override
from accelsim.results import published
from accelsim.studies.paper import Accelerator, accelerators
from accelsim.sweep.batched import BatchEvaluator
from accelsim.sweep.device_fit import Fits
from accelsim.sweep.point import Point
from accelsim.sweep.spec import load_sweep

__all__ = [
    "SWEEP",
    "WITHIN",
    "Assignment",
    "Candidate",
    "Region",
    "column",
    "evaluated",
    "find_region",
    "that_fit",
]

SWEEP = "paper_region"
WITHIN = 0.03
"""How far the average speedup of a design that agrees may lie from the published one, as a share of it."""

_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A design of the sweep: what was changed, its peak in GMAC/s, usable DRAM bytes per MAC of it, and its outcomes.

    `speedup`, `gops` and `gops_per_w` are means over the workloads, `gops_low` and `gops_high` the smallest and
    largest dense-equivalent throughput of one.
    """

    changes: tuple[tuple[str, str], ...]
    peak_gmacs: float
    bytes_per_mac: float
    speedup: float
    gops: float
    gops_low: float
    gops_high: float
    gops_per_w: float

    @property
    def power_w(self) -> float:
        """Mean power, from mean throughput and mean efficiency."""
        return self.gops / self.gops_per_w

    def agrees_in_speedup(self) -> bool:
        """Whether the average speedup is the published one, but for `WITHIN`."""
        return abs(self.speedup / published.SPEEDUP - 1) <= WITHIN

    def reaches(self, gops: float) -> bool:
        """Whether a throughput lies among those of the workloads."""
        return self.gops_low <= gops <= self.gops_high


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which accelerators the ends of the throughput range would be over, and the designs that then agree in all.

    `largest_over` and `smallest_over` are names, `gops` the two throughputs of SAT that follow. `watts`: what SAT would
    draw at these, were the largest energy ratio the one over EF-Train, the only one that states its efficiency.
    """

    largest_over: str
    smallest_over: str
    gops: tuple[float, float]
    designs: tuple[Candidate, ...]
    watts: tuple[float, float]

    def span(self, name: str) -> tuple[float, float]:
        """Smallest and largest value of a field of `Candidate` among its designs, of which there is at least one."""
        values = [getattr(design, name) for design in self.designs]
        return min(values), max(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The designs of the sweep that run, how many are left out (their device does not hold them, or a workload cannot
    run), and the assignments that any agree with.

    `constrains`: by claim, the rank correlation (Spearman) of what it is about with each value that was varied, and
    with peak and bytes per MAC.
    """

    designs: tuple[Candidate, ...]
    left_out: int
    assignments: tuple[Assignment, ...]
    constrains: Mapping[str, Mapping[str, float]]


def find_region(progress: Progress = silent) -> Region:
    """Run the sweep `SWEEP` and hold each of its designs against the claims; `progress` hears of designs."""
    sweep = load_sweep(SWEEP)
    by_design: dict[tuple[tuple[str, str], ...], list[Point]] = {}
    for point in sweep.points():
        by_design.setdefault(point.changes, []).append(point)
    base = load_design(sweep.inputs.design)
    held = that_fit(list(by_design.values()))
    designs = [
        _candidate(override(base, dict(points[0].changes)), points[0].changes, rows)
        for points, rows in zip(held, evaluated(held, progress, SWEEP), strict=True)
    ]
    found = tuple(design for design in designs if design is not None)
    return Region(
        designs=found,
        left_out=len(by_design) - len(found),
        assignments=tuple(_assignments(found)),
        constrains=_correlations(found, [axis.path for axis in sweep.axes if axis.path in dict(found[0].changes)]),
    )


Rows = Sequence[Mapping[str, Scalar]]


def that_fit(groups: Sequence[Sequence[Point]]) -> list[Sequence[Point]]:
    """Return the groups of points, each of one design, whose design its device holds."""
    fits = Fits(groups[0][0].design)
    return [points for points in groups if (fit := fits.of(points[0])) is None or not fit.shortfalls]


def evaluated(groups: Sequence[Sequence[Point]], progress: Progress, what: str) -> Iterator[Rows]:
    """Yield the rows of each group of points; `progress` hears of groups."""
    evaluator = BatchEvaluator()
    for start in range(0, len(groups), _AT_ONCE):
        progress(start, len(groups), what)
        some = groups[start : start + _AT_ONCE]
        rows = iter(evaluator.evaluate([point for points in some for point in points]))
        yield from ([next(rows) for _ in points] for points in some)
    progress(len(groups), len(groups), "")


def column(rows: Rows, name: str) -> list[float]:
    """Return a metric of every row; nothing where a row has none, as one that cannot be simulated."""
    values = [value for row in rows if isinstance(value := row.get(name), float)]
    return values if len(values) == len(rows) else []


def _candidate(design: Design, changes: tuple[tuple[str, str], ...], rows: Rows) -> Candidate | None:
    """Return a design with its outcomes; None where a workload cannot run on it."""
    speedups, gops = column(rows, "speedup"), column(rows, "effective_gops")
    if not speedups:
        return None
    return Candidate(
        changes=changes,
        peak_gmacs=design.peak_macs_per_cycle * design.clock_hz / GIGA,
        bytes_per_mac=design.dram_bytes_per_cycle / design.peak_macs_per_cycle,
        speedup=fmean(speedups),
        gops=fmean(gops),
        gops_low=min(gops),
        gops_high=max(gops),
        gops_per_w=fmean(column(rows, "gops_per_w")),
    )


def _assignments(designs: Sequence[Candidate]) -> Iterator[Assignment]:
    """Yield the pairs of accelerators that any design agrees with."""
    earlier = list(accelerators())
    (own,) = (other.gops_per_w for other in earlier if other.gops_per_w is not None)
    needed = published.EFFICIENCY[1] * own  # GOP/s per W
    small, large = published.THROUGHPUT
    stated: list[tuple[Accelerator, float]] = [(one, one.throughput_gops) for one in earlier if one.throughput_gops]
    for (slow, low), (fast, high) in permutations(stated, 2):
        gops = large * low, small * high
        agreeing = tuple(design for design in designs if design.agrees_in_speedup() and all(map(design.reaches, gops)))
        if agreeing:
            yield Assignment(
                largest_over=slow.name,
                smallest_over=fast.name,
                gops=gops,
                designs=agreeing,
                watts=(min(gops) / needed, max(gops) / needed),
            )


_OUTCOMES = {"average speedup": "speedup", "throughput": "gops", "energy efficiency": "gops_per_w"}
"""By claim, the field of `Candidate` that it is about."""


def _correlations(designs: Sequence[Candidate], varied: Sequence[str]) -> dict[str, dict[str, float]]:
    own = ("peak_gmacs", "bytes_per_mac")
    rows = [
        {path: float(dict(design.changes)[path]) for path in varied}
        | {name: getattr(design, name) for name in (*own, *_OUTCOMES.values())}
        for design in designs
    ]
    found = pd.DataFrame(rows).corr(method="spearman")
    return {
        claim: {name: float(found.loc[name, outcome]) for name in (*own, *varied)}
        for claim, outcome in _OUTCOMES.items()
    }
