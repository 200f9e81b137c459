"""Ablation: what each technique of the dataflow level brings, alone and together.

The base runs every GEMM weight-stationary with one accumulator per PE, SORE in front of every sparse GEMM and one task
after another. Weight- and not output-stationary, because without interleaving an output-stationary PE waits the whole
adder latency for each sum: nobody would build that, and a gain over it would say little. It is measured all the same.

The ladder turns on, in this order: interleaving; the choice of the faster dataflow for each GEMM (until then
interleaving has nothing to fill, as a weight-stationary PE adds to another sum in each cycle); pre-generation; overlap
of units; the optimal scheduler. Where one task runs after another the closed form times a variant, where units overlap
the event engine; without overlap both give the same cycles (``accelsim validate overlap``).
"""

from collections.abc import Sequence

from accelsim.base.errors import InputError
from accelsim.engines import ENGINES
from accelsim.engines.timing import Timing
from accelsim.hardware.design import Design
from accelsim.hardware.sourced import override
from accelsim.lowering.optimizers import find_optimizer
from accelsim.results.ablation import BASE, VARIANTS, AblationRow, Variant
from accelsim.schedule.mapping import MappingCache
from accelsim.simulation import plan_step
from accelsim.sparsity.methods import Method, find_method
from accelsim.workload.trace import Trace

__all__ = ["ablate"]


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
    cases = _cases(methods, patterns)
    timed = {variant: _time(trace, override(design, variant.changes), variant, cases, batch) for variant in VARIANTS}
    return tuple(
        AblationRow(
            workload=trace.model,
            design=design.name,
            method=method.name,
            pattern=pattern,
            batch=batch,
            variant=variant,
            cycles=timed[variant][method, pattern].cycles,
            latency_s=timed[variant][method, pattern].cycles / design.clock_hz,
            dram_bytes=sum(row.events.dram_bytes for row in timed[variant][method, pattern].rows),
            base_cycles=timed[BASE][method, pattern].cycles,
            dense_cycles=timed[variant][_DENSE].cycles,
        )
        for method, pattern in cases
        for variant in VARIANTS
    )


_DENSE = find_method("dense"), None


def _cases(methods: Sequence[str], patterns: Sequence[str]) -> list[tuple[Method, str | None]]:
    """Methods with their patterns; dense training and the sparsity of a trace need none."""
    chosen = [find_method(name) for name in methods]
    prunes = [method.is_sparse and not method.traced for method in chosen]
    return [
        (method, pattern)
        for method, by_pattern in zip(chosen, prunes, strict=True)
        for pattern in (patterns if by_pattern else (None,))
    ]


def _time(
    trace: Trace, design: Design, variant: Variant, cases: Sequence[tuple[Method, str | None]], batch: int
) -> dict[tuple[Method, str | None], Timing]:
    """Time dense training and each case on one variant; equal GEMMs are searched once."""
    sgd, found = find_optimizer("sgd"), {}
    cache: MappingCache = {}
    for method, pattern in dict.fromkeys((_DENSE, *cases)):
        plan = plan_step(trace, design, method, pattern, batch, cache=cache, optimizer=sgd, engine=variant.engine)
        found[method, pattern] = ENGINES[variant.engine](plan, design, sgd)
        found[method, pattern].check(design)
    return found
