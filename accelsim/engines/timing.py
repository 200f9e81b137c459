"""What an engine returns: one row per task, with the events that cost energy."""

from dataclasses import dataclass, field
from enum import StrEnum

from accelsim.hardware.design import Design
from accelsim.schedule.plan import Mapping
from accelsim.sparsity.pattern import Pattern
from accelsim.step import Stage

__all__ = ["Bound", "Events", "TaskTiming", "Timing"]


class Bound(StrEnum):
    """What a task waits for most: op issue (or its engine), DRAM, an input port, the drain of results."""

    COMPUTE = "compute"
    DRAM = "dram"
    PORT = "port"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Countable events that cost energy."""

    macs: int = 0
    register_words: int = 0
    buffer_bytes: float = 0.0
    sore_elements: int = 0
    wuve_weights: int = 0
    vector_elements: int = 0
    dram_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTiming:
    """Cycles and events of one task, all `count` copies; m, n, k and the mapping are None where it is no GEMM.

    `array_cycles` is the part in which the array works; the rest of `cycles` is DRAM transfer that nothing hides.
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
class Timing:
    """All tasks of a step in order of execution."""

    rows: tuple[TaskTiming, ...]

    @property
    def cycles(self) -> int:
        """Cycles of the step: rows run one after another."""
        return sum(row.cycles for row in self.rows)

    def check(self, design: Design) -> None:
        """Conservation laws that hold for every result; a violation is a bug of ours, not of the input."""
        peak, per_cycle = design.peak_macs_per_cycle, design.dram_bytes_per_cycle
        for row in self.rows:
            assert row.cycles >= row.array_cycles, f"{row.name}: fewer cycles than the array works"
            assert row.array_cycles * peak >= row.macs_executed, f"{row.name}: more MACs than the array has"
            assert row.events.macs >= row.macs_executed, f"{row.name}: fewer issued than executed MACs"
            moved = row.events.dram_bytes / per_cycle
            streamed = row.stage is Stage.GENERATE  # its bytes hide behind the update's
            assert streamed or row.cycles * (1 + 1e-12) >= moved, f"{row.name}: faster than its DRAM traffic"
