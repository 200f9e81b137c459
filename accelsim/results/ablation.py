"""Rows of an ablation: the variants of a schedule, what each takes, and their means over workloads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.ratios import geometric_mean

__all__ = [
    "BASE",
    "FULL",
    "GROUPS",
    "LADDER",
    "OS_BASE",
    "VARIANTS",
    "AblationRow",
    "Variant",
    "VariantSummary",
    "read_rows",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSummary:
    """A variant over several workloads: the gain of each over its base, and geometric means of gain and speedup."""

    variant: Variant
    gains: tuple[float, ...]
    mean_gain: float
    mean_speedup: float


def summarise(rows: Sequence[AblationRow], method: str, pattern: str | None) -> tuple[VariantSummary, ...]:
    """Return every variant of a method with a pattern; gains stand in the order in which `rows` has the workloads."""
    found: dict[Variant, list[AblationRow]] = {}
    for row in rows:
        if (row.method, row.pattern) == (method, pattern):
            found.setdefault(row.variant, []).append(row)
    return tuple(
        VariantSummary(
            variant=variant,
            gains=tuple(row.gain for row in each),
            mean_gain=geometric_mean([row.gain for row in each]),
            mean_speedup=geometric_mean([row.speedup for row in each]),
        )
        for variant, each in found.items()
    )


def read_rows(table: Sequence[Mapping[str, Any]], source: str) -> list[AblationRow]:
    """Return rows as they stand in ``ablation.csv`` or in the JSON of ``accelsim ablate``; times are not read.

    Raises `InputError` naming `source` for a variant that is not known and where rows that others refer to are missing.
    """
    by_name = {variant.name: variant for variant in VARIANTS}
    cycles = {(row["workload"], *_case_of(row), row["variant"]): int(row["cycles"]) for row in table}
    found = []
    for row in table:
        if row["variant"] not in by_name:
            hint = did_you_mean(str(row["variant"]), by_name)
            raise InputError(f"{source}: variant '{row['variant']}' is not known{hint}; allowed: {', '.join(by_name)}")
        method, pattern = _case_of(row)
        base = cycles.get((row["workload"], method, pattern, BASE.name))
        if base is None:
            raise InputError(f"{source}: {row['workload']}, {method}: the variant {BASE.name}, the base, is missing")
        found.append(
            AblationRow(
                workload=row["workload"],
                design=row["design"],
                method=method,
                pattern=pattern,
                batch=int(row["batch"]),
                variant=by_name[row["variant"]],
                cycles=int(row["cycles"]),
                latency_s=0.0,
                dram_bytes=float(row["dram_bytes"]),
                base_cycles=base,
                dense_cycles=round(row["speedup"] * row["cycles"]),
            )
        )
    return found


def _case_of(row: Mapping[str, Any]) -> tuple[str, str | None]:
    pattern = row.get("pattern")
    return row["method"], pattern if isinstance(pattern, str) and pattern else None
