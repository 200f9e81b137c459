"""The closed form against the event engine on the paper's workloads: what it ignores, how much that is, and where.

Without overlap both must give every row the same cycles. With overlap the event engine must not be faster than any
order of the tasks could be; what it hides of the closed form is the error of that, and adds up over the rows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from accelsim.base.files import Scalar
from accelsim.engines import ENGINES
from accelsim.engines.bound import step_bound
from accelsim.engines.timing import TaskTiming, Timing
from accelsim.hardware.design import load_design
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.lowering.tasks import Stage
from accelsim.simulation import plan_step
from accelsim.studies.paper import DESIGN, WORKLOADS
from accelsim.workload.trace import load_trace

__all__ = ["BANDWIDTHS_GB_PER_S", "METHODS", "EngineComparison", "compare_engines", "compare_on", "comparison_lines"]

METHODS = ("dense", "bdwp")
BANDWIDTHS_GB_PER_S = (76.8, 19.2)  # four channels and one

_HIDDEN = {
    Stage.VECTOR: "vector work hidden behind",
    Stage.UPDATE: "update hidden behind",
    Stage.GENERATE: "generation hidden behind",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineComparison:
    """One step under both engines, in cycles.

    `rows`, `equal_rows`: tasks, and those of equal cycles without overlap. `bound_cycles` is a lower bound for any
    order of the tasks, set by `bound_by`. `vector_cycles`, `update_cycles` (generation included) and `gemm_cycles` are
    what overlap hides of each; below zero it adds, where tasks share the DRAM. Of all tasks `worst` differs most
    between its cycles alone and those that it adds to the overlapped step.
    """

    workload: str
    method: str
    bandwidth_gb_per_s: float
    rows: int
    equal_rows: int
    closed_cycles: int
    event_cycles: int
    bound_cycles: int
    bound_by: str
    vector_cycles: int
    update_cycles: int
    gemm_cycles: int
    worst: str
    worst_alone_cycles: int
    worst_added_cycles: int
    reason: str

    @property
    def relative_error(self) -> float:
        """Cycles of the closed form over those of the event engine, less one."""
        return self.closed_cycles / self.event_cycles - 1

    @property
    def gap(self) -> float:
        """Cycles of the event engine over the lower bound, less one."""
        return self.event_cycles / self.bound_cycles - 1

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """What has to be equal: all rows without overlap, and cycles below the bound to none."""
        return [(self.equal_rows, self.rows), (max(self.bound_cycles - self.event_cycles, 0), 0)]

    def to_dict(self) -> dict[str, Scalar]:
        """The comparison as in JSON and CSV."""
        return {**asdict(self), "relative_error": self.relative_error, "gap": self.gap}


def compare_engines() -> Iterator[EngineComparison]:
    """Compare both engines on every workload of the paper, dense and BDWP at 2:8, with four DRAM channels and one."""
    for workload in WORKLOADS:
        for method in METHODS:
            for bandwidth in BANDWIDTHS_GB_PER_S:
                yield compare_on(workload, method, bandwidth)


def compare_on(workload: str, method: str, bandwidth_gb_per_s: float) -> EngineComparison:
    """Compare both engines on one step of 512 samples (2:8, SGD)."""
    change = {"dram.bandwidth_gb_per_s": str(bandwidth_gb_per_s)}
    apart, side_by_side = (
        override(load_design(DESIGN), {**change, "schedule.overlap": overlap}) for overlap in ("false", "true")
    )
    trace, case = load_trace(workload), case_of(method=method, engine="event")
    plans = [plan_step(trace, design, case) for design in (apart, side_by_side)]
    closed, alone = (ENGINES[engine](plans[0], apart, case.optimizer) for engine in ("closed", "event"))
    overlapped = ENGINES["event"](plans[1], side_by_side, case.optimizer)
    bound, bound_by = step_bound(plans[1], side_by_side, case.optimizer)
    hidden = [before.cycles - after.cycles for before, after in zip(closed.rows, overlapped.rows, strict=True)]
    by_stage = Counter[Stage]()
    for row, cycles in zip(closed.rows, hidden, strict=True):
        by_stage[row.stage] += cycles
    worst = max(range(len(hidden)), key=lambda index: abs(hidden[index]))
    return EngineComparison(
        workload=workload,
        method=method,
        bandwidth_gb_per_s=bandwidth_gb_per_s,
        rows=len(closed.rows),
        equal_rows=sum(one == other for one, other in zip(closed.rows, alone.rows, strict=True)),
        closed_cycles=closed.cycles,
        event_cycles=overlapped.cycles,
        bound_cycles=bound,
        bound_by=bound_by,
        vector_cycles=by_stage[Stage.VECTOR],
        update_cycles=by_stage[Stage.UPDATE] + by_stage[Stage.GENERATE],
        gemm_cycles=by_stage[Stage.FF] + by_stage[Stage.BP] + by_stage[Stage.WU],
        worst=_name(closed.rows[worst]),
        worst_alone_cycles=closed.rows[worst].cycles,
        worst_added_cycles=overlapped.rows[worst].cycles,
        reason=_reason(overlapped, worst, hidden[worst]),
    )


def _reason(timing: Timing, row: int, hidden: int) -> str:
    """Say why a task adds fewer cycles than it takes alone, or more: what runs beside it for the longest time."""
    beside = _beside(timing, row)
    if hidden == 0 or beside is None:
        return "nothing differs"
    other = _name(timing.rows[beside])
    if hidden < 0:
        return f"shares the DRAM with {other}"
    return f"{_HIDDEN.get(timing.rows[row].stage, 'first tile loaded, or last result stored, beside')} {other}"


def _beside(timing: Timing, row: int) -> int | None:
    """The other row that runs for most of the time of this one."""
    own = [span for span in timing.spans if span.row == row]
    shared: Counter[int] = Counter()
    for other in timing.spans:
        if other.row != row:
            shared[other.row] += sum(max(0, min(span.end, other.end) - max(span.start, other.start)) for span in own)
    return max(shared, key=lambda index: shared[index]) if any(shared.values()) else None


def _name(row: TaskTiming) -> str:
    return f"{row.name} {row.stage}"


def comparison_lines(comparisons: Sequence[EngineComparison]) -> list[str]:
    """Return the comparisons as lines of Markdown: the error of the closed form, and where it comes from."""
    columns = ("closed form", "event engine", "error", "lower bound", "gap", "vector", "update", "GEMMs")
    head = [
        "## What the closed form leaves out",
        "",
        _HOW_TO_READ,
        "",
        f"| workload | method | GB/s | {' | '.join(columns)} |",
        f"|---|---|---:|{'---:|' * len(columns)}",
    ]
    cycles = [
        f"| {each.workload} | {each.method} | {each.bandwidth_gb_per_s:g} | {each.closed_cycles:,} |"
        f" {each.event_cycles:,} | {each.relative_error:+.2%} | {each.bound_cycles:,} | {each.gap:.2%} |"
        f" {each.vector_cycles / each.event_cycles:.2%} | {each.update_cycles / each.event_cycles:.2%} |"
        f" {each.gemm_cycles / each.event_cycles:.2%} |"
        for each in comparisons
    ]
    worst = [
        f"| {each.workload} | {each.method} | {each.bandwidth_gb_per_s:g} | {each.worst} |"
        f" {each.worst_alone_cycles:,} | {each.worst_added_cycles:,} | {each.reason} |"
        for each in comparisons
    ]
    between = [
        "",
        "The task that differs most:",
        "",
        "| workload | method | GB/s | task | alone | adds | why |",
        "|---|---|---:|---|---:|---:|---|",
    ]
    return [*head, *cycles, *between, *worst]


_HOW_TO_READ = (
    "Cycles of one step of 512 samples. Without overlap every task takes the same in both engines (check `overlap`)."
    " With overlap the event engine hides part of what the closed form adds up: the error is the sum of what it hides"
    " of vector work, of updates with their generation, and of GEMMs; a GEMM that shares the DRAM takes longer than"
    " alone, so its part can be negative. The lower bound holds for any order of the tasks; another order could save"
    " the gap at most."
)
