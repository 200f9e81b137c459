"""From a trace and a design to a result: the only module that chains the stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from accelsim.base.errors import InputError
from accelsim.base.progress import Progress, silent
from accelsim.engines import ENGINES
from accelsim.engines.messages import message_rows
from accelsim.engines.parts import run_step
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import EnergyTable, load_energy_table
from accelsim.lowering.builder import lower_case
from accelsim.lowering.case import Case, case_of, cases_of
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.seen import along_output_as_well, seen_in
from accelsim.lowering.tasks import Note, Overrides
from accelsim.results.performance import make_result
from accelsim.results.step import Basis, Result, Results, identity_of
from accelsim.schedule.capacity import capacity_bytes, check_capacity, memory_of_plan, parts_needed
from accelsim.schedule.forms import columns_of, in_faster_form
from accelsim.schedule.mapping import MappingCache
from accelsim.schedule.offline import greedy_outline, make_plan
from accelsim.schedule.plan import Plan
from accelsim.schedule.plan_checks import check_plan
from accelsim.schedule.plan_file import decisions_of, load_plan, read_plan
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.trace import Trace

__all__ = ["compare", "compare_cases", "fewest_parts", "plan_step", "simulate", "simulate_case", "trace_identity"]


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
    link_gb_per_s: float | None = None,
    accumulate: int = 1,
) -> Result:
    """Simulate one step of `trace` at `batch` samples on `design`.

    Args:
        trace: the workload, as of `accelsim.load_trace`.
        design: the machine, as of `accelsim.load_design`.
        method: a name of `accelsim.sparsity.methods.METHODS`.
        pattern: an N:M pattern such as ``2:8``; ignored by ``dense`` and ``traced``.
        batch: samples of the step, 1 to 1,048,576.
        mode: ``train``, or ``infer`` for FF and its vector work alone.
        optimizer: ``sgd`` (with momentum) or ``adam``.
        engine: ``closed`` (one task after another) or ``event`` (units overlap where the design lets them).
        overrides: operations forced dense or sparse.
        plan: a plan of this step, or the file of one, executed instead of the scheduler's; not for the dense step that
            the speedup is over.
        baseline: the dense step under the same options, which is then not timed again.
        cache: mappings found so far; calls for one design that share it search equal GEMMs once.
        link_gb_per_s: speed of the link of each rank in 10^9 byte/s, to which the messages between the ranks of a
            distributed step are charged; without it they are named in a note.
        accumulate: equal parts in which the batch runs, one after another, where it does not fit the DRAM at once:
            FF, BP and WU of each, gradients summed from part to part, one update and one generation.

    The result holds the dense step that its speedup is over, and the plan that was executed. Raises `InputError` for
    input that cannot be used, `InfeasibleError` when a GEMM fits no buffer or the step not the DRAM.

    >>> import accelsim as acs
    >>> result = acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=64)
    >>> result.dense.step.cycles / result.step.cycles == result.step.speedup
    True
    """
    case = case_of(
        method=method, pattern=pattern, batch=batch, mode=mode, optimizer=optimizer, engine=engine, overrides=overrides,
        link_gb_per_s=link_gb_per_s, accumulate=accumulate,
    )  # fmt: skip
    cache = {} if cache is None else cache
    result = simulate_case(trace, design, case, plan=plan, baseline=baseline, cache=cache)
    if not case.method.traced or plan is not None:
        return result
    return replace(result, notes=(*result.notes, *_if_transposable(trace, design, result, cache)))


def _if_transposable(trace: Trace, design: Design, result: Result, cache: MappingCache) -> Iterator[Note]:
    """Yield what masks along the input would gain if they held along the output, which BP reduces, as well."""
    other = along_output_as_well(trace)
    if other is None:
        return
    step = simulate_case(other, design, result.basis.case, cache=cache).step
    text = (
        f"if masks along the input held along the output as well (transposable), or BP had its own (as in bdwp), the"
        f" step would gain {step.speedup:.2f}x instead of {result.step.speedup:.2f}x"
    )
    yield Note(operation=None, stage=None, text=text)


def simulate_case(
    trace: Trace,
    design: Design,
    case: Case,
    *,
    plan: Plan | str | Path | None = None,
    baseline: Result | None = None,
    cache: MappingCache | None = None,
) -> Result:
    """Simulate one step of `trace` on `design`, as `simulate` does.

    Args:
        trace: the workload.
        design: the machine.
        case: how the step is trained, and which engine times it.
        plan: a plan of this step, or the file of one; None: the scheduler's.
        baseline: the dense step under the same options; None: it is timed.
        cache: mappings found so far, which calls for one design share; None: nothing is known.

    Raises as `simulate`.

    >>> from accelsim.hardware.design import load_design
    >>> from accelsim.workload.trace import load_trace
    >>> trace, design = load_trace("resnet9_cifar10"), load_design("sat_vcu1525")
    >>> simulate_case(trace, design, case_of(method="sdgp", pattern="2:4", batch=8)).case
    'sdgp 2:4'
    """
    _check_kinds(trace, design)
    cache = {} if cache is None else cache
    subject = _Subject(trace, design, load_energy_table(design.energy), trace_identity(trace), cache)
    return _simulated(subject, case, plan, baseline)


def _check_kinds(trace: Trace, *designs: Design) -> None:
    """Raise `InputError` for names where what they name is needed."""
    for given, kind, load in ((trace, Trace, "load_trace"), *((each, Design, "load_design") for each in designs)):
        if not isinstance(given, kind):
            what = kind.__name__.lower()
            shown = repr(given) if isinstance(given, str) else type(given).__name__
            raise InputError(f"{what}: got {shown}; what accelsim.{load} returns is needed")


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a step and the dense one that its speedup is over share."""

    trace: Trace
    design: Design
    table: EnergyTable
    trace_sha256: str
    cache: MappingCache


def _simulated(subject: _Subject, case: Case, plan: Plan | str | Path | None, baseline: Result | None) -> Result:
    trace, design = subject.trace, subject.design
    executed = plan_step(trace, design, case, subject.cache, plan=plan)
    timing = run_step(executed, design, case)
    timing.check(design)
    timing = replace(timing, rows=(*timing.rows, *message_rows(trace, case, design.clock_hz)))
    dense = None
    if case.method.is_sparse or plan is not None:
        dense = baseline or _simulated(subject, case.dense, None, None)
    basis = Basis(
        workload=trace.model,
        design=design,
        energy_table=subject.table,
        case=case,
        trace_sha256=subject.trace_sha256,
        plan_sha256=identity_of(decisions_of(executed)),
    )
    if baseline is not None and baseline.basis != replace(
        basis, case=case.dense, plan_sha256=baseline.basis.plan_sha256
    ):
        raise InputError("baseline: not the dense step of this trace on this design under the same options")
    return make_result(executed, timing, basis, dense, seen_in(trace, design.patterns))


def trace_identity(trace: Trace) -> str:
    """Return the SHA-256 of a trace that results hold; where it comes from makes no difference.

    Args:
        trace: the workload.

    >>> from accelsim.workload.trace import load_trace
    >>> trace = load_trace("resnet9_cifar10")
    >>> trace_identity(trace) == trace_identity(trace.model_copy(update={"model": "mine"}))
    False
    """
    return identity_of(trace.model_dump(exclude={"origin"}, exclude_defaults=True))


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
    accumulate: int = 1,
) -> Results:
    """Simulate every trace on every design under every method and pattern, in this order.

    Methods that take no pattern are there once. What they share is searched, and dense steps are timed, once.

    Args:
        traces: one workload or several, as of `accelsim.load_trace`.
        designs: one machine or several, as of `accelsim.load_design`.
        methods: names of `accelsim.sparsity.methods.METHODS`.
        patterns: N:M patterns, as in ``2:8``.
        batch: samples of each step, 1 to 1,048,576.
        mode: ``train``, or ``infer`` for FF and its vector work alone.
        optimizer: ``sgd`` (with momentum) or ``adam``.
        engine: ``closed`` or ``event``, as in `simulate`.
        overrides: operations forced dense or sparse.
        accumulate: equal parts in which the batch runs, as in `simulate`.

    Raises as `simulate`.

    >>> import accelsim as acs
    >>> found = acs.compare(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=64)
    >>> [result.case for result in found]
    ['dense', 'bdwp 2:8']
    """
    dense = case_of(
        method="dense", pattern=None, batch=batch, mode=mode, optimizer=optimizer, engine=engine, overrides=overrides,
        accumulate=accumulate,
    )  # fmt: skip
    return compare_cases(
        [traces] if isinstance(traces, Trace) else traces,
        [designs] if isinstance(designs, Design) else designs,
        cases_of(dense, methods, patterns),
    )


def compare_cases(
    traces: Sequence[Trace], designs: Sequence[Design], cases: Sequence[Case], progress: Progress = silent
) -> Results:
    """Simulate every trace on every design in every case, in this order.

    Args:
        traces: the workloads.
        designs: the machines.
        cases: how steps are trained; they differ in method and pattern alone.
        progress: hears of each step.

    Raises as `simulate`.

    >>> from accelsim.hardware.design import load_design
    >>> from accelsim.workload.trace import load_trace
    >>> trace, design = load_trace("resnet9_cifar10"), load_design("sat_vcu1525")
    >>> cases = cases_of(case_of(batch=8), ("dense", "bdwp"), ("2:4", "2:8"))
    >>> [result.case for result in compare_cases([trace], [design], cases)]
    ['dense', 'bdwp 2:4', 'bdwp 2:8']
    """
    found: list[Result] = []
    total = len(traces) * len(designs) * len(cases)
    for trace in traces:
        for design in designs:
            run = partial(simulate_case, trace, design, cache={})
            progress(len(found), total, f"{trace.model}, dense")
            dense = run(cases[0].dense)
            for case in cases:
                progress(len(found), total, f"{trace.model}, {case}")
                found.append(dense if case == cases[0].dense else run(case, baseline=dense))
    progress(total, total, "")
    return Results(found)


def plan_step(
    trace: Trace,
    design: Design,
    case: Case,
    cache: MappingCache | None = None,
    *,
    plan: Plan | str | Path | None = None,
) -> Plan:
    """Lower one step and decide how it runs.

    Args:
        trace: the workload.
        design: the machine.
        case: how the step is trained, and which engine times it.
        cache: mappings found so far; calls that share it search equal GEMMs once; None: nothing is known.
        plan: a plan of this step, or the file of one, which is checked and returned; None: one is made.

    Where the design lets units overlap, the event engine judges plans made for it; the closed form runs one task after
    another. Raises as `simulate`.

    >>> from accelsim.hardware.design import load_design
    >>> from accelsim.workload.trace import load_trace
    >>> trace, design = load_trace("resnet9_cifar10"), load_design("sat_vcu1525")
    >>> plan = plan_step(trace, design, case_of(batch=8))
    >>> len(plan.mappings) == len(plan.step.tasks)
    True
    """
    lowered = partial(lower_case, trace, design, case)
    if isinstance(plan, Plan):
        check_plan(plan, lowered(columns=plan.step.columns), design)
        return _in_memory(plan, trace, design, case)
    if plan is not None:
        tasks = [(task.name, task.stage) for task in read_plan(plan).tasks]
        loaded = load_plan(plan, lowered(columns=columns_of(tasks, trace)), design, case.optimizer.name)
        return _in_memory(loaded, trace, design, case)
    step = in_faster_form(trace, lambda columns: lowered(columns=columns), design, case.optimizer, cache)
    outline = _in_memory(greedy_outline(step, design), trace, design, case)
    judge = partial(_cycles_of, design=design, optimizer=case.optimizer) if case.engine == "event" else None
    made = make_plan(step, design, case.optimizer, cache, judge, partial(_fits, design=design, case=case))
    alike = (made.order, made.online, made.resident) == (outline.order, outline.online, outline.resident)
    return replace(made, made_for=design, memory=outline.memory if alike else memory_of_plan(made, design, case))


def fewest_parts(trace: Trace, design: Design, cases: Sequence[Case]) -> int:
    """Return into how many equal parts a batch has to be cut, at least, for the steps of all `cases` to fit the DRAM.

    Args:
        trace: the workload.
        design: the machine.
        cases: how steps are trained, with one batch.

    Where no number of parts does, 1.

    >>> from accelsim.hardware.design import load_design
    >>> from accelsim.workload.trace import load_trace
    >>> fewest_parts(load_trace("gpt2_1024"), load_design("sat_vcu1525"), [case_of(batch=64), case_of(batch=32)])
    2
    """
    return max(parts_needed(design, case, partial(lower_case, trace, design)) or 1 for case in cases)


def _in_memory(plan: Plan, trace: Trace, design: Design, case: Case) -> Plan:
    """Return a plan with the DRAM that it needs. Raises `InfeasibleError` where there is less."""
    memory = memory_of_plan(plan, design, case)
    columns = plan.step.columns
    check_capacity(memory, design, case, trace.model, lambda other: lower_case(trace, design, other, columns=columns))
    return plan if plan.memory == memory else replace(plan, memory=memory)


def _fits(plan: Plan, design: Design, case: Case) -> bool:
    return memory_of_plan(plan, design, case).total <= capacity_bytes(design)


def _cycles_of(plan: Plan, design: Design, optimizer: Optimizer) -> int:
    return ENGINES["event"](plan, design, optimizer).cycles
