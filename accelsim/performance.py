"""Performance: what the timing of a step means in seconds, throughput, utilisation and joules."""

from accelsim import __version__
from accelsim.energy import energy_of, total_energy
from accelsim.engines.timing import Timing
from accelsim.hardware.design import Design
from accelsim.hardware.energy import EnergyTable
from accelsim.results import LayerResult, Result, StageResult, StepResult
from accelsim.step import Stage, Step
from accelsim.units import GIGA
from accelsim.update import Optimizer

__all__ = ["make_result"]


def make_result(
    step: Step,
    timing: Timing,
    design: Design,
    table: EnergyTable,
    engine: str,
    update: Optimizer,
    dense_cycles: int,
    identity: str,
) -> Result:
    """Performance, energy and rows of a timed step."""
    peak = design.peak_macs_per_cycle
    energies = [energy_of(row, table, design.clock_hz) for row in timing.rows]
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
            cycles=row.cycles,
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
    stages = tuple(
        (stage.value, _stage([layer for layer in layers if layer.stage == stage], design)) for stage in Stage
    )
    energy = total_energy(energies)
    latency = timing.cycles / design.clock_hz
    executed = sum(layer.macs_executed for layer in layers)
    on_array = sum(result.cycles for name, result in stages if name in {Stage.FF, Stage.BP, Stage.WU})
    gops = 2 * step.macs_dense / latency / GIGA
    power = energy.total_j / latency
    return Result(
        workload=step.model,
        design=design.name,
        method=step.method,
        pattern=None if step.pattern is None else str(step.pattern),
        batch=step.batch,
        engine=engine,
        mode=step.mode,
        optimizer=update.name,
        version=__version__,
        identity=identity,
        step=StepResult(
            cycles=timing.cycles,
            latency_s=latency,
            samples_per_s=step.batch / latency,
            macs_dense=step.macs_dense,
            macs_executed=executed,
            effective_gops=gops,
            speedup=dense_cycles / timing.cycles,
            array_utilisation=executed / (on_array * peak) if on_array else 0.0,
            dram_bytes=sum(layer.dram_bytes for layer in layers),
            energy_j=energy.total_j,
            power_w=power,
            gops_per_w=gops / power,
        ),
        stage_items=stages,
        layers=layers,
        energy=energy,
        notes=step.notes,
    )


def _stage(layers: list[LayerResult], design: Design) -> StageResult:
    cycles = sum(layer.cycles for layer in layers)
    return StageResult(
        cycles=cycles,
        latency_s=cycles / design.clock_hz,
        dram_bytes=sum(layer.dram_bytes for layer in layers),
        energy_j=sum(layer.energy_j for layer in layers),
    )
