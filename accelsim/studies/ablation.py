"""Ablation: what each technique of the dataflow level brings, alone and together.

The base runs every GEMM weight-stationary with one accumulator per PE, SORE in front of every sparse GEMM and one task
after another. Weight- and not output-stationary, because without interleaving an output-stationary PE waits the whole
adder latency for each sum: nobody would build that, and a gain over it would say little. It is measured all the same.

The ladder turns on, in this order: interleaving; the choice of the faster dataflow for each GEMM (until then
interleaving has nothing to fill, as a weight-stationary PE adds to another sum in each cycle); pre-generation; overlap
of units; the optimal scheduler. Where one task runs after another the closed form times a variant, where units overlap
the event engine; without overlap both give the same cycles (``accelsim validate overlap``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from accelsim.base.errors import InputError
from accelsim.base.ratios import geometric_mean
from accelsim.engines import ENGINES
from accelsim.engines.timing import Timing
from accelsim.hardware.design import Design
from accelsim.hardware.sourced import override
from accelsim.lowering.case import Case, case_of, cases_of
from accelsim.schedule.mapping import MappingCache
from accelsim.simulation import plan_step
from accelsim.workload.trace import Trace

__all__ = [
    "BASE",
    "FULL",
    "GROUPS",
    "LADDER",
    "OS_BASE",
    "VARIANTS",
    "AblationRow",
    "Summary",
    "Variant",
    "ablate",
    "summarise",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What the scheduler may do: dataflow (``os``, ``ws`` or ``auto``), and which techniques are on."""

    dataflow: str
    interleave: bool = False
    pregenerate: bool = False
    overlap: bool = False
    optimal: bool = False

    @property
    def name(self) -> str:
        """The dataflow and what is on, as in ``auto+interleave``."""
        on = ("interleave", "pregenerate", "overlap", "optimal")
        return "+".join([self.dataflow, *(name for name in on if getattr(self, name))])

    @property
    def changes(self) -> dict[str, str]:
        """The variant as fields of a design."""
        flags = {name: str(getattr(self, name)).lower() for name in ("interleave", "pregenerate", "overlap")}
        values = {"dataflow": self.dataflow, **flags, "scheduler": "optimal" if self.optimal else "greedy"}
        return {f"schedule.{name}": value for name, value in values.items()}

    @property
    def engine(self) -> str:
        """The engine that times it."""
        return "event" if self.overlap else "closed"


BASE = Variant(dataflow="ws")
FULL = Variant(dataflow="auto", interleave=True, pregenerate=True, overlap=True)
OS_BASE = Variant(dataflow="os")
LADDER = (
    Variant(dataflow="ws", interleave=True),
    Variant(dataflow="auto", interleave=True),
    Variant(dataflow="auto", interleave=True, pregenerate=True),
    FULL,
    Variant(dataflow="auto", interleave=True, pregenerate=True, overlap=True, optimal=True),
)

GROUPS: Mapping[str, tuple[Variant, ...]] = {
    "base": (BASE,),
    "alone": (
        Variant(dataflow="ws", interleave=True),
        OS_BASE,
        Variant(dataflow="auto"),
        Variant(dataflow="ws", pregenerate=True),
        Variant(dataflow="ws", overlap=True),
    ),
    "cumulative": LADDER,
    "from os": (
        OS_BASE,
        Variant(dataflow="os", interleave=True),
        Variant(dataflow="os", pregenerate=True),
        Variant(dataflow="os", overlap=True),
    ),
    "all but one": (
        Variant(dataflow="auto", pregenerate=True, overlap=True),
        Variant(dataflow="ws", interleave=True, pregenerate=True, overlap=True),
        Variant(dataflow="os", interleave=True, pregenerate=True, overlap=True),
        Variant(dataflow="auto", interleave=True, overlap=True),
        Variant(dataflow="auto", interleave=True, pregenerate=True),
    ),
}
"""Variants as tables show them; all but one: no interleaving, no choice (ws, os), and so on down the ladder."""

VARIANTS = tuple(dict.fromkeys(variant for group in GROUPS.values() for variant in group))


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """One variant of one step: its cycles, and those of the base and of dense training on the same variant.

    `dram_bytes`: bytes moved to and from DRAM in the step. `pattern` None is dense.
    """

    workload: str
    design: str
    method: str
    pattern: str | None
    batch: int
    variant: Variant
    cycles: int
    latency_s: float
    dram_bytes: float
    base_cycles: int
    dense_cycles: int

    @property
    def gain(self) -> float:
        """Cycles of the base over those of the variant."""
        return self.base_cycles / self.cycles

    @property
    def speedup(self) -> float:
        """Cycles of dense training over those of the method, both on the variant."""
        return self.dense_cycles / self.cycles

    def to_dict(self) -> dict[str, object]:
        """The row as in JSON and CSV."""
        parts = ("dataflow", "interleave", "pregenerate", "overlap", "optimal", "engine")
        values = ("cycles", "dram_bytes", "gain", "speedup")
        head = {name: getattr(self, name) for name in ("workload", "design", "method", "pattern", "batch")}
        return {
            **head,
            "variant": self.variant.name,
            **{name: getattr(self.variant, name) for name in parts},
            **{name: getattr(self, name) for name in values},
        }


def ablate(
    trace: Trace,
    design: Design,
    *,
    methods: Sequence[str] = ("dense", "bdwp"),
    patterns: Sequence[str] = ("2:8",),
    batch: int = 512,
) -> tuple[AblationRow, ...]:
    """Time one training step of `trace` (SGD) with every variant, for each method and, where it prunes, each pattern.

    Variants replace the schedule of `design`. Raises `InputError` for a design whose array has not both dataflows, and
    as `accelsim.simulation.simulate`.
    """
    absent = [name for name in ("os", "ws") if name not in design.array.dataflows]
    if absent:
        raise InputError(f"array.dataflows: design '{design.name}' has no {absent[0]}; an ablation compares os and ws")
    dense = case_of(method="dense", pattern=None, batch=batch)
    cases = cases_of(dense, methods, patterns)
    timed = {variant: _time(trace, override(design, variant.changes), variant, (dense, *cases)) for variant in VARIANTS}
    return tuple(
        AblationRow(
            workload=trace.model,
            design=design.name,
            method=case.method.name,
            pattern=case.head["pattern"],
            batch=batch,
            variant=variant,
            cycles=timed[variant][case].cycles,
            latency_s=timed[variant][case].cycles / design.clock_hz,
            dram_bytes=sum(row.events.dram_bytes for row in timed[variant][case].rows),
            base_cycles=timed[BASE][case].cycles,
            dense_cycles=timed[variant][dense].cycles,
        )
        for case in cases
        for variant in VARIANTS
    )


def _time(trace: Trace, design: Design, variant: Variant, cases: Sequence[Case]) -> dict[Case, Timing]:
    """Time each case on one variant; equal GEMMs are searched once."""
    found: dict[Case, Timing] = {}
    cache: MappingCache = {}
    for case in dict.fromkeys(cases):
        plan = plan_step(trace, design, replace(case, engine=variant.engine), cache)
        found[case] = ENGINES[variant.engine](plan, design, case.optimizer)
        found[case].check(design)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A variant over several workloads: the gain of each over its base, and geometric means of gain and speedup."""

    variant: Variant
    gains: tuple[float, ...]
    mean_gain: float
    mean_speedup: float


def summarise(rows: Sequence[AblationRow], method: str, pattern: str | None) -> tuple[Summary, ...]:
    """Return every variant of a method with a pattern; gains stand in the order in which `rows` has the workloads."""
    found: dict[Variant, list[AblationRow]] = {}
    for row in rows:
        if (row.method, row.pattern) == (method, pattern):
            found.setdefault(row.variant, []).append(row)
    return tuple(
        Summary(
            variant=variant,
            gains=tuple(row.gain for row in each),
            mean_gain=geometric_mean([row.gain for row in each]),
            mean_speedup=geometric_mean([row.speedup for row in each]),
        )
        for variant, each in found.items()
    )
