"""What an engine returns: one row per task, with the events that cost energy, and where in time each task ran."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from accelsim.cost.charges import Bound, Events
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Stage
from accelsim.schedule.plan import Mapping
from accelsim.sparsity.pattern import Pattern

__all__ = ["Bound", "Events", "Span", "TaskTiming", "Timing", "check_laws"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTiming:
    """Cycles and events of one task, all `count` copies; m, n, k and the mapping are None where it is no GEMM.

    `cycles` is what the task adds to the step; where units work side by side, what another hides is not in it.
    `array_cycles` is the part in which the array works; the rest of a GEMM's cycles is DRAM transfer that nothing
    hides.
    """

    name: str
    operation: str
    stage: Stage
    count: int
    cycles: int
    bound: Bound
    m: int | None = None
    n: int | None = None
    k: int | None = None
    pattern: Pattern | None = None
    mapping: Mapping | None = None
    array_cycles: int = 0
    macs_dense: int = 0
    macs_executed: int = 0
    events: Events = field(default_factory=Events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time, in cycles from the start of the step, that a unit spends on a row (an index of the rows)."""

    row: int
    unit: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All tasks of a step in order of execution; `spans` where the engine has a notion of time."""

    rows: tuple[TaskTiming, ...]
    overlapped: bool = False
    spans: tuple[Span, ...] = ()

    @property
    def cycles(self) -> int:
        """Cycles of the step: each is counted in one row."""
        return sum(row.cycles for row in self.rows)

    def check(self, design: Design) -> None:
        """Check the conservation laws (`check_laws`) on this result."""
        rows = self.rows
        check_laws(
            [row.name for row in rows],
            cycles=_column(row.cycles for row in rows),
            array_cycles=_column(row.array_cycles for row in rows),
            executed=_column(row.macs_executed for row in rows),
            issued=_column(row.events.macs for row in rows),
            moved=_column(row.events.dram_bytes for row in rows),
            # the bytes of a generation hide behind those of its update
            hidden=np.array([[self.overlapped or row.stage is Stage.GENERATE] for row in rows]),
            peak=np.array([float(design.peak_macs_per_cycle)]),
            per_cycle=np.array([design.dram_bytes_per_cycle]),
        )


def check_laws(
    names: Sequence[str],
    *,
    cycles: Floats,
    array_cycles: Floats,
    executed: Floats,
    issued: Floats,
    moved: Floats,
    hidden: NDArray[np.bool_],
    peak: Floats,
    per_cycle: Floats,
) -> None:
    """Conservation laws that hold for every result; a violation is a bug of ours, not of the input.

    All are arrays by row and design (or by one of them): cycles, MACs `executed` and `issued`, DRAM bytes `moved`, rows
    whose bytes others hide; of the designs the peak MACs and the DRAM bytes per cycle.
    """
    time = moved / per_cycle
    for holds, law in (
        (cycles >= array_cycles, "fewer cycles than the array works"),
        (array_cycles * peak >= executed, "more MACs than the array has"),
        (issued >= executed, "fewer issued than executed MACs"),
        (hidden | (cycles * (1 + 1e-12) >= time), "faster than its DRAM traffic"),
    ):
        broken = np.argwhere(~holds)
        if len(broken):  # no assert: it holds with PYTHONOPTIMIZE, too
            raise AssertionError(f"{names[broken[0, 0]]}: {law}")
    whole = cycles.sum(axis=0) * (1 + 1e-9) >= time.sum(axis=0)
    if not whole.all():
        raise AssertionError("the step: faster than its DRAM traffic")


def _column(values: Iterable[float]) -> Floats:
    return np.array([[float(value)] for value in values]).reshape(-1, 1)
