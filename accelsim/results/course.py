"""How masks, and what they gain, change over a training run: each layer and all of them, phase by phase."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accelsim.base.errors import InputError, did_you_mean
from accelsim.lowering.seen import SeenOperation
from accelsim.lowering.tasks import Stage
from accelsim.results.step import Result
from accelsim.results.training import TrainingResult
from accelsim.sparsity.pattern import Pattern

__all__ = ["ALL", "CoursePoint", "course_of", "followed_pattern", "mask_density"]

ALL = "all layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoursePoint:
    """One layer, or `ALL`, in one phase, which begins at a `step` and has so many `steps`.

    `speedup`: over the dense step, of FF, BP and WU of the layer, of `ALL` that of the step. `density`: share of
    nonzeros of the weights in FF; `conforming`: share of their groups that obey `pattern`. Both are means over weights
    and None where they were not seen.
    """

    layer: str
    phase: str
    step: int
    steps: int
    speedup: float
    density: float | None
    pattern: str | None
    conforming: float | None


def course_of(run: TrainingResult, pattern: str | None = None) -> tuple[CoursePoint, ...]:
    """Return the course of every layer that has a mask in any phase, `ALL` first.

    `pattern` is what groups are held against, None for `followed_pattern`. Raises `InputError` for one that is no mode
    of the design.
    """
    held = followed_pattern(run) if pattern is None else _mode(run, pattern)
    masked = [name for name in _names(run) if any(_has_mask(phase.result, name) for phase in run.phases)]
    found, step = [], 0
    for phase in run.phases:
        operations = {operation.name: operation for operation in phase.result.operations}
        speedups = _speedups(phase.result)
        for layer in (ALL, *masked):
            members = list(operations.values()) if layer == ALL else [operations[layer]]
            found.append(
                CoursePoint(
                    layer=layer,
                    phase=phase.name,
                    step=step,
                    steps=phase.steps,
                    speedup=phase.result.step.speedup if layer == ALL else speedups[layer],
                    density=mask_density(members),
                    pattern=held,
                    conforming=None if held is None else _conforming(members, held),
                )
            )
        step += phase.steps
    return tuple(sorted(found, key=lambda point: [ALL, *masked].index(point.layer)))


def followed_pattern(run: TrainingResult) -> str | None:
    """Return the mode of the design that most groups of weights obey in the last phase; of several the sparsest.

    None where no groups were counted.
    """
    operations = run.phases[-1].result.operations
    modes = [str(mode) for mode in sorted(run.dense.basis.design.patterns)]
    shares = {mode: share for mode in modes if (share := _conforming(operations, mode)) is not None}
    return max(shares, key=lambda mode: (shares[mode], -Pattern.parse(mode).density), default=None)


def mask_density(operations: Iterable[SeenOperation]) -> float | None:
    """Return the share of nonzeros of all weights as FF read them, None where that was not seen."""
    seen = [(each.weights, own.density) for each in operations
            if (own := each.seen(Stage.FF)) is not None and own.operand == "weight"]  # fmt: skip
    known = [(weights, density) for weights, density in seen if density is not None]
    total = sum(weights for weights, _ in known)
    return sum(weights * density for weights, density in known) / total if total else None


def _conforming(operations: Sequence[SeenOperation], pattern: str) -> float | None:
    """The share of groups of weights that obey a pattern, over weights that were counted; dense ones obey none."""
    shares = []
    for each in operations:
        own = each.seen(Stage.FF)
        if own is None or own.operand != "weight":
            continue
        share = dict(own.conforming).get(pattern, 0.0 if own.density == 1 else None)
        if share is not None:
            shares.append((each.weights, share))
    total = sum(weights for weights, _ in shares)
    return sum(weights * share for weights, share in shares) / total if total else None


def _names(run: TrainingResult) -> list[str]:
    return [operation.name for operation in run.phases[0].result.operations]


def _has_mask(result: Result, name: str) -> bool:
    own = next(operation for operation in result.operations if operation.name == name).seen(Stage.FF)
    return own is not None and own.density is not None and own.density < 1


def _speedups(result: Result) -> dict[str, float]:
    """Dense time over time of each layer, FF, BP and WU together."""
    times: dict[str, list[float]] = {}
    if result.dense is None:
        return dict.fromkeys((operation.name for operation in result.operations), 1.0)
    for gain in result.layer_gains():
        both = times.setdefault(gain.layer, [0.0, 0.0])
        both[0] += gain.dense_s
        both[1] += gain.latency_s
    return {name: dense / own for name, (dense, own) in times.items()}


def _mode(run: TrainingResult, pattern: str) -> str:
    modes = [str(mode) for mode in sorted(run.dense.basis.design.patterns)]
    wanted = str(Pattern.parse(pattern))
    if wanted not in modes:
        raise InputError(
            f"pattern {pattern}: groups are held against modes of the design{did_you_mean(wanted, modes)}; allowed:"
            f" {', '.join(modes)}"
        )
    return wanted
