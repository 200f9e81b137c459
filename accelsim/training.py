"""From a trace, a design and a recipe to a training run: the sum of its phases, each distinct step simulated once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from accelsim.base.errors import InputError
from accelsim.hardware.design import Design
from accelsim.lowering.case import Case, case_of, check_batch
from accelsim.lowering.rules import check_supported
from accelsim.lowering.seen import seen_in
from accelsim.lowering.tasks import Overrides
from accelsim.results.step import Result
from accelsim.results.training import PHASES, PhaseResult, TrainingResult
from accelsim.simulation import simulate_case, trace_identity
from accelsim.sparsity.pattern import Pattern
from accelsim.sparsity.recipes import Phase, Recipe, find_recipe, phases_of
from accelsim.workload.sampled_run import TracePhase
from accelsim.workload.trace import Trace

__all__ = ["simulate_phases", "simulate_training", "steps_of"]

LARGEST_STEPS = 10**12

_UNCOUNTED = "choosing the masks meanwhile is not counted"


def simulate_training(
    trace: Trace,
    design: Design,
    *,
    method: str = "bdwp",
    pattern: str | Pattern | None = "2:8",
    epochs: int | None = None,
    dataset_size: int | None = None,
    steps: int | None = None,
    dense_share: float | None = None,
    fine_tune_share: float | None = None,
    batch: int = 512,
    optimizer: str = "sgd",
    engine: str = "closed",
    overrides: Overrides | None = None,
    accumulate: int = 1,
) -> TrainingResult:
    """Simulate a training run of `trace` on `design`: `steps` of them, or `epochs` over `dataset_size` samples.

    Args:
        trace: the workload, as of `accelsim.load_trace`.
        design: the machine, as of `accelsim.load_design`.
        method: one that stays (a name of `accelsim.sparsity.methods.METHODS`), a recipe (of
            `accelsim.sparsity.recipes.RECIPES`), or ``RECIPE:METHOD``.
        pattern: the N:M pattern that the run ends with, as in ``2:8``; ignored by ``dense`` and ``traced``.
        epochs: passes over the data set, with `dataset_size`.
        dataset_size: samples of an epoch.
        steps: steps of the run, 1 to 10^12, where no epochs are given.
        dense_share: share of the steps, from 0 to below 1, that train dense at first; None for that of the recipe.
        fine_tune_share: share of the steps, from 0 to below 1, at the pattern at last; None for that of the recipe.
        batch: samples of each step, 1 to 1,048,576.
        optimizer: ``sgd`` (with momentum) or ``adam``.
        engine: ``closed`` or ``event``, as in `accelsim.simulate`.
        overrides: operations forced dense or sparse.
        accumulate: equal parts in which the batch of a step runs, as in `accelsim.simulate`.

    Steps alone are counted: no evaluation, loading of data or saving. A pattern on the way that the design has no mode
    for runs dense; `notes` says so. Raises `InputError` for input that cannot be used, `InfeasibleError` when a GEMM
    fits no buffer.

    >>> import accelsim as acs
    >>> run = acs.simulate_training(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"),
    ...                             method="stepwise-decay", epochs=30, dataset_size=50_000)
    >>> [(phase.name, phase.pattern, phase.steps) for phase in run.phases], run.totals.steps
    ([('decay 1 of 3', '7:8', 980), ('decay 2 of 3', '4:8', 980), ('decay 3 of 3', '2:8', 980)], 2940)
    """
    recipe = find_recipe(method, dense_share=dense_share, fine_tune_share=fine_tune_share)
    target = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
    case = case_of(
        method=recipe.method,
        pattern=target,
        batch=batch,
        optimizer=optimizer,
        engine=engine,
        overrides=overrides,
        accumulate=accumulate,
    )
    phases = phases_of(recipe, target, steps_of(batch, steps=steps, epochs=epochs, dataset_size=dataset_size))
    check_supported(design, case.method, target, case.overrides)
    _check_overrides(recipe, case.overrides)
    lacking = [phase for phase in phases if _lacks_mode(phase, target, design)]
    dense, results = _phase_results(phases, lacking, case, partial(simulate_case, trace, design, cache={}))
    return TrainingResult(
        recipe=recipe.name,
        method=recipe.method.name,
        pattern=None if case.pattern is None else str(case.pattern),
        epochs=epochs,
        dataset_size=dataset_size,
        dense_share=recipe.dense,
        fine_tune_share=recipe.fine_tuning,
        phases=results,
        dense=dense,
        notes=_notes(design, phases, lacking, batch, dataset_size),
    )


def simulate_phases(
    phases: Sequence[TracePhase],
    design: Design,
    *,
    batch: int = 512,
    optimizer: str = "sgd",
    engine: str = "closed",
    overrides: Overrides | None = None,
    accumulate: int = 1,
) -> TrainingResult:
    """Simulate a training run whose masks stand in traces of its steps, phase by phase, as they are.

    Args:
        phases: traces of one model, each with how many steps it stands for, as of `SampledRun.phases`; the run has the
            name of the first.
        design: the machine, as of `accelsim.load_design`.
        batch: samples of each step, 1 to 1,048,576.
        optimizer: ``sgd`` (with momentum) or ``adam``.
        engine: ``closed`` or ``event``, as in `accelsim.simulate`.
        overrides: operations forced dense or sparse.
        accumulate: equal parts in which the batch of a step runs, as in `accelsim.simulate`.

    The method is ``traced``. Speedups are over the dense step of the same model. Raises `InputError` for phases that
    differ in more than what was seen of operands, and as `simulate_training`.

    >>> import accelsim as acs
    >>> trace = acs.load_trace("resnet9_digits_2of4")
    >>> dense, sparse = acs.load_trace("resnet9_digits_pruned"), trace
    >>> phases = [TracePhase(name="warm-up", steps=10, trace=dense), TracePhase(name="2:4", steps=30, trace=sparse)]
    >>> run = simulate_phases(phases, acs.load_design("sat_vcu1525"), batch=64)
    >>> run.totals.steps, run.phases[0].result.step.speedup, run.phases[1].result.step.speedup > 1.1
    (40, 1.0, True)
    """
    _check_phases(phases)
    case = case_of(
        method="traced", batch=batch, optimizer=optimizer, engine=engine, overrides=overrides, accumulate=accumulate
    )
    step = partial(simulate_case, design=design, cache={})
    dense = step(phases[0].trace, case=case.dense)
    results = []
    for phase in phases:
        trace = phase.trace.model_copy(update={"model": phases[0].trace.model})
        own = replace(dense, basis=replace(dense.basis, trace_sha256=trace_identity(trace)))  # masks are no part of it
        own = replace(own, identity=own.basis.identity(), operations=seen_in(trace, design.patterns))
        result = step(trace, case=case, baseline=own)
        results.append(PhaseResult(name=phase.name, steps=phase.steps, method="traced", pattern=None, result=result))
    return TrainingResult(
        recipe=PHASES,
        method="traced",
        pattern=None,
        epochs=None,
        dataset_size=None,
        dense_share=None,
        fine_tune_share=None,
        phases=tuple(results),
        dense=dense,
        notes=(),
    )


def _check_phases(phases: Sequence[TracePhase]) -> None:
    if not phases:
        raise InputError("phases: at least one is needed")
    total = sum(phase.steps for phase in phases)
    for phase in phases:
        if not isinstance(phase.steps, int) or phase.steps < 1:
            raise InputError(f"{phase.name}: got {phase.steps} steps; a whole number of at least 1 is needed")
    if total > LARGEST_STEPS:
        raise InputError(f"length of the run: {total} steps; allowed: 1 to {LARGEST_STEPS}")
    first = _work_of(phases[0].trace)
    for phase in phases[1:]:
        own = _work_of(phase.trace)
        names = [one["name"] for one, two in zip(first, own, strict=False) if one != two]
        if names or len(own) != len(first):
            where = f"operation '{names[0]}' is another" if names else f"{len(own)} operations, not {len(first)}"
            raise InputError(
                f"{phase.name}: does other work than {phases[0].name}: {where}; phases of a run differ in masks alone"
            )


def _work_of(trace: Trace) -> list[dict[str, Any]]:
    """The operations of a trace without what was seen of their operands."""
    return [operation.model_dump(exclude={"observed"}) for operation in trace.operations]


def _phase_results(
    phases: Sequence[Phase], lacking: Sequence[Phase], case: Case, step: Callable[..., Result]
) -> tuple[Result, tuple[PhaseResult, ...]]:
    """Return the dense step and every phase with its step, those of `lacking` dense; equal steps are simulated once."""
    dense = step(case.dense)
    simulated = {case.dense: dense}
    results = []
    for phase in phases:
        own = case.dense if phase in lacking else case.under(phase.method, phase.pattern)
        if own not in simulated:
            simulated[own] = step(own, baseline=dense)
        results.append(
            PhaseResult(
                name=phase.name,
                steps=phase.steps,
                method=phase.method.name,
                pattern=None if phase.pattern is None else str(phase.pattern),
                result=simulated[own],
            )
        )
    return dense, tuple(results)


def steps_of(
    batch: int, *, steps: int | None = None, epochs: int | None = None, dataset_size: int | None = None
) -> int:
    """Return the steps of a run.

    Args:
        batch: samples of each step, 1 to 1,048,576.
        steps: so many, from 1; None where epochs are given.
        epochs: passes over the data set, from 1; the last, smaller batch of an epoch counts as a whole step.
        dataset_size: samples of an epoch, from 1.

    Raises `InputError` where both lengths or none are given, and for numbers that cannot be.

    >>> steps_of(512, epochs=2, dataset_size=50_000)
    196
    """
    check_batch(batch)
    for name, value in (("steps", steps), ("epochs", epochs), ("dataset_size", dataset_size)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InputError(f"{name}: got {value}; a whole number of at least 1 is needed")
    if steps is not None and (epochs, dataset_size) != (None, None):
        given = "dataset_size" if epochs is None else "epochs"
        raise InputError(f"steps: {given} is given as well; a run is as long as one of the two says")
    if steps is None:
        if epochs is None or dataset_size is None:
            raise InputError(_what_is_missing(epochs, dataset_size))
        steps = epochs * -(-dataset_size // batch)
    if steps > LARGEST_STEPS:
        raise InputError(f"length of the run: {steps} steps; allowed: 1 to {LARGEST_STEPS}")
    return steps


def _what_is_missing(epochs: int | None, dataset_size: int | None) -> str:
    if epochs is not None:
        return "epochs: dataset_size is missing, the samples of an epoch (1281167 in ImageNet-1k)"
    if dataset_size is not None:
        return "dataset_size: says nothing without epochs"
    return "steps: missing; a run is so many steps, or so many epochs over dataset_size samples"


def _check_overrides(recipe: Recipe, overrides: Overrides) -> None:
    """Refuse patterns of single operations where the recipe changes the pattern."""
    own = [f"{glob}={pattern}" for glob, pattern in overrides.sparse if pattern]
    if own and recipe.name == "stepwise-decay":
        raise InputError(
            f"--sparse {own[0]}: an operation with a pattern of its own does not follow '{recipe.name}'; leave the"
            " pattern out"
        )


def _lacks_mode(phase: Phase, target: Pattern | None, design: Design) -> bool:
    """Whether a sparse design runs a phase dense because it has no mode for a pattern on the way to the target."""
    return bool(design.patterns) and phase.pattern not in {None, target} and phase.pattern not in design.patterns


def _notes(
    design: Design, phases: Sequence[Phase], lacking: Sequence[Phase], batch: int, dataset_size: int | None
) -> tuple[str, ...]:
    notes = [
        f"{phase.name}: {phase.pattern} runs dense, design '{design.name}' has no such mode; {_UNCOUNTED}"
        for phase in lacking
    ]
    if any(phase.name == "mask decay" for phase in phases):
        notes.append(f"mask decay: pruned weights are scaled, not zero, so products run dense; {_UNCOUNTED}")
    if dataset_size is not None and dataset_size % batch:
        notes.append(f"the last batch of an epoch, {dataset_size % batch} samples, counts as a whole step")
    return tuple(notes)
