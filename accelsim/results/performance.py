"""Performance: what the timing of a step means in seconds, throughput, utilisation and joules."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from accelsim.base.units import GIGA
from accelsim.base.version import __version__
from accelsim.hardware.design import Design, differences
from accelsim.hardware.energy_prices import prices_of
from accelsim.lowering.seen import SeenOperation
from accelsim.lowering.tasks import Note, Stage
from accelsim.results.energy import Energy, add_up, energy_of, total_energy
from accelsim.results.step import Basis, LayerResult, Result, StageResult, StepResult

if TYPE_CHECKING:  # compiled kernels, which readers of results do not need
    from accelsim.engines.timing import Timing
    from accelsim.schedule.plan import Plan

__all__ = ["make_result", "stage_result", "stages_of", "step_result", "totals_of"]


def make_result(
    plan: "Plan", timing: "Timing", basis: Basis, dense: Result | None, operations: tuple[SeenOperation, ...]
) -> Result:
    """Performance, energy and rows of a timed step.

    `dense` is the step that its speedup is over, None for itself; `operations` what the trace saw of masks.
    """
    assert plan.memory is not None, "see `accelsim.simulation.plan_step`"
    step, design = plan.step, basis.design
    peak, prices = design.peak_macs_per_cycle, prices_of(design, basis.energy_table)
    energies = [energy_of(row, prices, design.clock_hz) for row in timing.rows]
    layers = tuple(
        LayerResult(
            name=row.name,
            operation=row.operation,
            stage=row.stage,
            m=row.m,
            n=row.n,
            k=row.k,
            count=row.count,
            pattern=None if row.pattern is None else str(row.pattern),
            dataflow=None if row.mapping is None else row.mapping.dataflow,
            variant=None if row.mapping is None else row.mapping.variant,
            interleave=None if row.mapping is None else row.mapping.interleave,
            tile=None if row.mapping is None else row.mapping.tile,
            loop_order=None if row.mapping is None else row.mapping.order,
            im2col=None if row.mapping is None else row.mapping.im2col,
            cycles=row.cycles,
            latency_s=row.cycles / design.clock_hz,
            array_cycles=row.array_cycles,
            utilisation=row.macs_executed / (row.cycles * peak) if row.mapping else None,
            macs_dense=row.macs_dense,
            macs_executed=row.macs_executed,
            dram_bytes=row.events.dram_bytes,
            energy_j=energy.total_j,
            bound=row.bound,
        )
        for row, energy in zip(timing.rows, energies, strict=True)
    )
    stages = stages_of(layers, design)
    energy = total_energy(energies)
    dense_cycles = timing.cycles if dense is None else dense.step.cycles
    return Result(
        basis=basis,
        version=__version__,
        identity=basis.identity(),
        step=totals_of(layers, stages, energy, basis, dense_cycles),
        stage_items=stages,
        layers=layers,
        energy=energy,
        memory=plan.memory,
        notes=(*_of_plan(plan, design), *step.notes),
        operations=operations,
        dense=dense,
        plan=plan,
    )


def _of_plan(plan: "Plan", design: Design) -> Iterator[Note]:
    """Yield in how many parts the batch runs, and how step and design differ from those that a plan was made for."""
    samples, parts = plan.step.batch, plan.step.parts
    if parts > 1:
        text = f"{parts * samples} samples run in {parts} parts of {samples} on {design.label}"
        yield Note(operation=None, stage=None, text=text)
    if plan.made_under:
        yield Note(operation=None, stage=None, text=f"the plan was made for {plan.made_under}")
    apart = () if plan.made_for is None else differences(plan.made_for, design)
    if plan.made_for is not None and apart:
        words = ", ".join(f"{path} {there} (here {here})" for path, there, here in apart)
        yield Note(operation=None, stage=None, text=f"the plan was made for {plan.made_for.label}: {words}")


def stages_of(layers: Sequence[LayerResult], design: Design) -> tuple[tuple[str, StageResult], ...]:
    """Return the totals of each stage by its name."""
    return tuple((stage.value, _stage([layer for layer in layers if layer.stage == stage], design)) for stage in Stage)


def totals_of(
    layers: Sequence[LayerResult],
    stages: Sequence[tuple[str, StageResult]],
    energy: Energy,
    basis: Basis,
    dense_cycles: int,
) -> StepResult:
    """Return the totals of a step, whose speedup is over a step of `dense_cycles`."""
    return step_result(
        basis.design,
        dict(stages),
        energy,
        batch=basis.case.batch,
        cycles=sum(layer.cycles for layer in layers),
        dense_cycles=dense_cycles,
        dense_macs=sum(layer.macs_dense for layer in layers),
        executed_macs=sum(layer.macs_executed for layer in layers),
        update_macs=sum(layer.macs_executed for layer in layers if layer.stage == Stage.UPDATE),
        dram_bytes=add_up(layer.dram_bytes for layer in layers),
    )


def step_result(
    design: Design,
    stages: Mapping[str, StageResult],
    energy: Energy,
    *,
    batch: int,
    cycles: int,
    dense_cycles: int,
    dense_macs: int,
    executed_macs: int,
    update_macs: int,
    dram_bytes: float,
) -> StepResult:
    """Return what the totals of a step mean; those of the dense step are `dense_cycles` and `dense_macs`.

    The array is taken for utilised over FF, BP and WU, without the `update_macs` that the optimizer has executed there.
    """
    latency = cycles / design.clock_hz
    on_array = sum(stages[stage].cycles for stage in (Stage.FF, Stage.BP, Stage.WU))
    gops = 2 * dense_macs / latency / GIGA
    power = energy.total_j / latency
    return StepResult(
        cycles=cycles,
        latency_s=latency,
        samples_per_s=batch / latency,
        macs_dense=dense_macs,
        macs_executed=executed_macs,
        effective_gops=gops,
        speedup=dense_cycles / cycles,
        array_utilisation=(executed_macs - update_macs) / (on_array * design.peak_macs_per_cycle) if on_array else 0.0,
        dram_bytes=dram_bytes,
        energy_j=energy.total_j,
        power_w=power,
        gops_per_w=gops / power,
    )


def stage_result(cycles: int, dram_bytes: float, energy_j: float, clock_hz: float) -> StageResult:
    """Return what the totals of a stage mean."""
    return StageResult(cycles=cycles, latency_s=cycles / clock_hz, dram_bytes=dram_bytes, energy_j=energy_j)


def _stage(layers: Sequence[LayerResult], design: Design) -> StageResult:
    return stage_result(
        sum(layer.cycles for layer in layers),
        add_up(layer.dram_bytes for layer in layers),
        add_up(layer.energy_j for layer in layers),
        design.clock_hz,
    )
