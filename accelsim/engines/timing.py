"""What an engine returns: one row per task, with the events that cost energy, and where in time each task ran."""

from dataclasses import dataclass, field

from accelsim.cost.charges import Bound, Events
from accelsim.hardware.design import Design
from accelsim.schedule.plan import Mapping
from accelsim.sparsity.pattern import Pattern
from accelsim.step import Stage

__all__ = ["Bound", "Events", "Span", "TaskTiming", "Timing"]


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
        """Conservation laws that hold for every result; a violation is a bug of ours, not of the input."""
        peak, per_cycle = design.peak_macs_per_cycle, design.dram_bytes_per_cycle
        for row in self.rows:
            assert row.cycles >= row.array_cycles, f"{row.name}: fewer cycles than the array works"
            assert row.array_cycles * peak >= row.macs_executed, f"{row.name}: more MACs than the array has"
            assert row.events.macs >= row.macs_executed, f"{row.name}: fewer issued than executed MACs"
            moved = row.events.dram_bytes / per_cycle
            hidden = self.overlapped or row.stage is Stage.GENERATE  # its bytes hide behind the update's
            assert hidden or row.cycles * (1 + 1e-12) >= moved, f"{row.name}: faster than its DRAM traffic"
        traffic = sum(row.events.dram_bytes for row in self.rows) / per_cycle
        assert self.cycles * (1 + 1e-9) >= traffic, "the step: faster than its DRAM traffic"
