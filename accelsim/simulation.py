"""From a trace and a design to a result: the only module that chains the stages."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.version import __version__
from accelsim.engines import ENGINES
from accelsim.engines.timing import Timing
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import load_energy_table
from accelsim.lowering.builder import lower
from accelsim.lowering.optimizers import Optimizer, find_optimizer
from accelsim.lowering.tasks import Overrides
from accelsim.results.performance import make_result
from accelsim.results.step import Result, Results, identity_of
from accelsim.schedule.mapping import MappingCache
from accelsim.schedule.offline import make_plan
from accelsim.schedule.plan import Plan
from accelsim.schedule.plan_checks import check_plan
from accelsim.schedule.plan_file import decisions_of, load_plan
from accelsim.sparsity.methods import Method, find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.trace import Trace

__all__ = ["cases_of", "compare", "plan_step", "simulate"]

Mode = Literal["train", "infer"]
_MODES: dict[str, Mode] = {"train": "train", "infer": "infer"}


def simulate(
    trace: Trace,
    design: Design,
    *,
    method: str = "bdwp",
    pattern: str | Pattern | None = "2:8",
    batch: int = 512,
    mode: str = "train",
    optimizer: str = "sgd",
    engine: str = "closed",
    overrides: Overrides | None = None,
    plan: Plan | str | Path | None = None,
    baseline: Result | None = None,
    cache: MappingCache | None = None,
) -> Result:
    """Simulate one step of `trace` at `batch` samples on `design`.

    `method` is a name of `accelsim.sparsity.methods.METHODS`; `pattern` an N:M pattern, ignored by ``dense`` and
    ``traced``; `mode` ``infer`` is FF and its vector work alone; `overrides` forces single operations dense or sparse.
    `plan`, a plan of this step or the file of one, is executed instead of the scheduler's, but not for the dense step
    that the speedup is over. A `baseline`, the dense step under the same options, is not timed again; calls for one
    design that share `cache` search equal GEMMs once. Raises `InputError` for input that cannot be used,
    `InfeasibleError` when a GEMM fits no buffer.
    """
    chosen, update = find_method(method), find_optimizer(optimizer)
    table = load_energy_table(design.energy)
    cache = {} if cache is None else cache

    def timed(which: Method, given: Plan | str | Path | None = None) -> tuple[Plan, Timing]:
        made = plan_step(
            trace, design, which, pattern, batch, mode, overrides, cache, optimizer=update, engine=engine, plan=given
        )
        timing: Timing = ENGINES[engine](made, design, update)
        timing.check(design)
        return made, timing

    executed, timing = timed(chosen, plan)
    step, dense_cycles = executed.step, timing.cycles
    if chosen.is_sparse or plan is not None:
        dense_cycles = baseline.step.cycles if baseline else timed(find_method("dense"))[1].cycles
    identity = identity_of(
        {
            "version": __version__,
            "engine": engine,
            "optimizer": optimizer,
            "batch": batch,
            "mode": mode,
            "method": method,
            "pattern": str(step.pattern),
            "overrides": repr(overrides or Overrides()),
            "plan": decisions_of(executed),
            "design": design.model_dump(),
            "energy": table.model_dump(),
            "trace": trace.model_dump(exclude={"origin"}, exclude_defaults=True),
        }
    )
    result = make_result(step, timing, design, table, engine, update, dense_cycles, identity)
    if baseline is not None and baseline.head != {**result.head, "method": "dense", "pattern": None}:
        raise InputError("baseline: not the dense step of this trace on this design under the same options")
    return result


def compare(
    traces: Trace | Sequence[Trace],
    designs: Design | Sequence[Design],
    *,
    methods: Sequence[str] = ("dense", "bdwp"),
    patterns: Sequence[str] = ("2:8",),
    batch: int = 512,
    mode: str = "train",
    optimizer: str = "sgd",
    engine: str = "closed",
    overrides: Overrides | None = None,
) -> Results:
    """Simulate every trace on every design under every method and pattern, in this order (see `simulate`).

    Methods that take no pattern are there once. What they share is searched, and dense steps are timed, once.
    """
    found = []
    cases = cases_of(methods, patterns)
    for trace in [traces] if isinstance(traces, Trace) else traces:
        for design in [designs] if isinstance(designs, Design) else designs:
            run = partial(simulate, trace, design, batch=batch, mode=mode, optimizer=optimizer, engine=engine,
                          overrides=overrides, cache={})  # fmt: skip
            dense = run(method="dense", pattern=patterns[0])
            found += [
                dense if method == "dense" else run(method=method, pattern=pattern, baseline=dense)
                for method, pattern in cases
            ]
    return Results(found)


def cases_of(methods: Sequence[str], patterns: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return every method with every pattern, those that take none once. Raises `InputError` for unknown methods."""
    return tuple(
        (method.name, pattern)
        for method in map(find_method, methods)
        for pattern in (patterns if method.takes_pattern else patterns[:1])
    )


def plan_step(
    trace: Trace,
    design: Design,
    method: Method,
    pattern: str | Pattern | None,
    batch: int,
    mode: str = "train",
    overrides: Overrides | None = None,
    cache: MappingCache | None = None,
    *,
    optimizer: Optimizer | None = None,
    engine: str = "closed",
    plan: Plan | str | Path | None = None,
) -> Plan:
    """Lower one step and decide how it runs (see `simulate`); calls that share `cache` search equal GEMMs once.

    Where the design lets units overlap, the event engine judges plans made for it; the closed form runs one task after
    another. A `plan` of this step, or the file of one, is checked and returned.
    """
    if engine not in ENGINES:
        hint = did_you_mean(engine, ENGINES)
        raise InputError(f"engine '{engine}' is not known{hint}; allowed: {', '.join(ENGINES)}")
    if mode not in _MODES:
        raise InputError(f"mode: got '{mode}'{did_you_mean(mode, _MODES)}; allowed: {', '.join(_MODES)}")
    parsed = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
    usable = overrides if method.is_sparse else None
    step = lower(trace, design, method, pattern=parsed, batch=batch, mode=_MODES[mode], overrides=usable)
    if isinstance(plan, Plan):
        check_plan(plan, step, design)
        return plan
    if plan is not None:
        return load_plan(plan, step, design)
    update = optimizer or find_optimizer("sgd")
    judge = partial(_cycles_of, design=design, optimizer=update) if engine == "event" else None
    return make_plan(step, design, update, cache, judge)


def _cycles_of(plan: Plan, design: Design, optimizer: Optimizer) -> int:
    return ENGINES["event"](plan, design, optimizer).cycles
