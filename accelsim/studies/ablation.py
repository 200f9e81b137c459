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
from dataclasses import replace

from accelsim.base.errors import InputError
from accelsim.engines import ENGINES
from accelsim.engines.timing import Timing
from accelsim.hardware.design import Design
from accelsim.hardware.sourced import override
from accelsim.lowering.case import Case, case_of, cases_of
from accelsim.results.ablation import BASE, VARIANTS, AblationRow, Variant
from accelsim.schedule.mapping import MappingCache
from accelsim.simulation import plan_step
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
    dense = case_of(method="dense", pattern=None, batch=batch)
    cases = cases_of(dense, methods, patterns)
    timed = {variant: _time(trace, override(design, variant.changes), variant, (dense, *cases)) for variant in VARIANTS}
    return tuple(
        AblationRow(
            workload=trace.model,
            design=design.label,
            method=case.method.name,
            pattern=None if case.pattern is None else str(case.pattern),
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
