"""One point of a sweep, and what it is worth: the metrics of its training step, flat."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from accelsim.base.errors import AccelsimError, InfeasibleError
from accelsim.base.files import Scalar
from accelsim.hardware.design import load_design
from accelsim.hardware.sourced import override
from accelsim.lowering.case import Case
from accelsim.lowering.tasks import Stage
from accelsim.results.energy import COMPONENTS, Energy
from accelsim.results.step import Result, StageResult, StepResult
from accelsim.simulation import simulate_case
from accelsim.workload.trace import load_trace

__all__ = ["METRICS", "Point", "evaluate_one", "failed", "flat_metrics", "metrics_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One training step to be timed.

    `workload` and `design` are shipped names or files; `changes` are dotted paths of the design and their values, as
    texts that ``--set`` would take.
    """

    workload: str
    design: str
    changes: tuple[tuple[str, str], ...]
    case: Case


_STEP = tuple(item.name for item in fields(StepResult))
_STAGE = tuple(item.name for item in fields(StageResult))

METRICS = (*_STEP, *COMPONENTS, *(f"{stage.lower()}_{name}" for stage in Stage for name in _STAGE))
"""Names of what is known of a point: the step, its energy by component, and each stage as in ``ff_latency_s``."""


def metrics_of(result: Result) -> dict[str, Scalar]:
    """Return the metrics of a result, in the order of `METRICS`."""
    return flat_metrics(result.step, result.energy, result.stages)


def flat_metrics(step: StepResult, energy: Energy, stages: Mapping[str, StageResult]) -> dict[str, Scalar]:
    """Return the metrics of a step, in the order of `METRICS`."""
    return {
        **{name: getattr(step, name) for name in _STEP},
        **{name: getattr(energy, name) for name in COMPONENTS},
        **{f"{stage.lower()}_{name}": getattr(stages[stage], name) for stage in Stage for name in _STAGE},
    }


def evaluate_one(point: Point) -> dict[str, Scalar]:
    """Simulate a point: ``status`` ``ok`` with its metrics, or what `failed` makes of the error."""
    try:
        design = override(load_design(point.design), dict(point.changes), origin="vary")
        result = simulate_case(load_trace(point.workload), design, point.case)
    except AccelsimError as error:
        return failed(error)
    return {"status": "ok", **metrics_of(result)}


def failed(error: AccelsimError) -> dict[str, Scalar]:
    """Return what a point is worth that cannot be simulated: ``status`` ``infeasible`` or ``error``, and ``reason``."""
    return {"status": "infeasible" if isinstance(error, InfeasibleError) else "error", "reason": str(error)}
