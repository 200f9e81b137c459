"""SAT and platforms side by side: the same numbers of a simulated result and of a platform estimate, with their origin.

The error of an estimate is that of `accelsim.platforms.accuracy.error_band`. A published accelerator runs at the rate
of its own paper's network, and of SAT no cycle count is published: neither has an error that could be stated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from accelsim.base.ratios import relative_speedup
from accelsim.platforms.accuracy import error_band
from accelsim.platforms.estimate import Estimate
from accelsim.results.energy import energy_at
from accelsim.results.step import Result

__all__ = ["FORMAT", "Contender", "contender_of_estimate", "contender_of_result", "recalled_names", "relative_to"]

FORMAT = "accelsim-contenders/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One step of a workload on a design or a platform.

    `speedup`: over dense training on the same. Energies are None where no power is known; low and high are their
    interval. `error`: relative error to be expected of the estimate, None where it cannot be stated; `basis` says what
    either rests on. `recalled`: facts that nobody read and that enter.
    """

    workload: str
    name: str
    kind: str
    method: str
    pattern: str | None
    batch: int
    precision: str
    latency_s: float
    samples_per_s: float
    effective_gops: float
    speedup: float
    energy_j: float | None
    energy_low_j: float | None
    energy_high_j: float | None
    gops_per_w: float | None
    error: float | None
    basis: str
    recalled: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The contender as in JSON and CSV."""
        return asdict(self)


def contender_of_result(result: Result) -> Contender:
    """Return a simulated step."""
    step, table = result.step, result.basis.energy_table
    return Contender(
        workload=result.workload,
        name=result.design,
        kind="sat",
        method=result.method,
        pattern=result.pattern,
        batch=result.batch,
        precision="as designed",
        latency_s=step.latency_s,
        samples_per_s=step.samples_per_s,
        effective_gops=step.effective_gops,
        speedup=step.speedup,
        energy_j=step.energy_j,
        energy_low_j=energy_at(result.energy, result.basis.design, table, "low"),
        energy_high_j=energy_at(result.energy, result.basis.design, table, "high"),
        gops_per_w=step.gops_per_w,
        error=None,
        basis="simulated; assumptions in the design",
        recalled=tuple(origin.path for origin in table.provenance if origin.confidence == "recalled"),
        notes=(),
    )


def contender_of_estimate(estimate: Estimate) -> Contender:
    """Return a platform's step with the error that its kind of estimate has."""
    published = estimate.bound == "published rate"
    error, basis = (
        (None, "the rate of its own paper") if published else error_band(estimate.platform, estimate.behaviour)
    )
    return Contender(
        workload=estimate.workload,
        name=estimate.platform,
        kind=estimate.kind,
        method=estimate.method,
        pattern=estimate.pattern,
        batch=estimate.batch,
        precision=estimate.precision,
        latency_s=estimate.latency_s,
        samples_per_s=estimate.samples_per_s,
        effective_gops=estimate.effective_gops,
        speedup=estimate.speedup,
        energy_j=estimate.energy_j,
        energy_low_j=estimate.energy_low_j,
        energy_high_j=estimate.energy_high_j,
        gops_per_w=estimate.gops_per_w,
        error=error,
        basis=basis,
        recalled=estimate.recalled,
        notes=estimate.notes,
    )


def relative_to(contenders: Sequence[Contender], baseline: str) -> dict[int, float]:
    """Return how many times faster each contender (by index) is than the first of its workload called `baseline`."""
    base: dict[str, float] = {}
    for item in contenders:
        if item.name == baseline:
            base.setdefault(item.workload, item.latency_s)
    return {index: relative_speedup(base[item.workload], item.latency_s) for index, item in enumerate(contenders)}


def recalled_names(contenders: Iterable[Contender]) -> list[str]:
    """Names of contenders that recalled facts enter."""
    return list(dict.fromkeys(item.name for item in contenders if item.recalled))
