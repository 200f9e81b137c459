"""``accelsim schedule``: the mapping of every layer and stage, and why it was chosen."""

from typing import TYPE_CHECKING

import click

from accelsim.cli.options import announce_compilation, open_design, read_overrides, step_options

if TYPE_CHECKING:
    from accelsim.hardware.design import Design
    from accelsim.results import Result

__all__ = ["schedule_command"]


@click.command("schedule")
@click.argument("trace")
@click.option("--hw", default="sat_vcu1525", show_default=True, metavar="NAME|FILE", help="Design to run on.")
@click.option("--method", default="bdwp", show_default=True, help="Sparse-training method (accelsim list methods).")
@click.option("--pattern", default="2:8", show_default=True, metavar="N:M", help="N of every M elements are kept.")
@step_options
def schedule_command(
    trace: str,
    hw: str,
    method: str,
    pattern: str,
    batch: int,
    mode: str,
    optimizer: str,
    engine: str,
    settings: tuple[str, ...],
    dense: tuple[str, ...],
    sparse: tuple[str, ...],
) -> None:
    """Show for each layer and stage of TRACE the mapping chosen, and what the best of each dataflow would have cost."""
    from accelsim.cli.screen import console, table_of
    from accelsim.hardware.sourced import override
    from accelsim.simulation import plan_step, simulate
    from accelsim.sparsity.methods import find_method
    from accelsim.workload.trace import load_trace

    workload, design = load_trace(trace), open_design(hw, settings)
    overrides = read_overrides(dense, sparse)
    announce_compilation()

    def run(on: "Design") -> "Result":
        return simulate(
            workload,
            on,
            method=method,
            pattern=pattern,
            batch=batch,
            mode=mode,
            optimizer=optimizer,
            engine=engine,
            overrides=overrides,
        )

    chosen = run(design)
    flows = design.array.dataflows if design.schedule.dataflow == "auto" else (design.schedule.dataflow,)
    fixed = {flow: run(override(design, {"schedule.dataflow": flow})) for flow in flows}
    plan = plan_step(workload, design, find_method(method), pattern, batch, mode, overrides)
    out = console()
    table = table_of(
        "layer",
        "stage",
        "m x n x k",
        "pattern",
        "mapping",
        "tile",
        "loops",
        "cycles",
        *(f"best {flow}" for flow in flows),
        "bound",
    )
    for index, layer in enumerate(chosen.layers):
        if layer.m is None:
            continue
        copies = f" (x{layer.count})" if layer.count > 1 else ""
        variant = layer.variant if layer.variant and layer.pattern else ""
        alternatives = (fixed[flow].layers[index].cycles for flow in flows)
        table.add_row(
            layer.name,
            layer.stage,
            f"{layer.m} x {layer.n} x {layer.k}{copies}",
            layer.pattern or "dense",
            f"{layer.dataflow} {variant or layer.interleave}",
            "x".join(str(size) for size in layer.tile or ()),
            layer.loop_order,
            f"{layer.cycles:,}",
            *(f"{cycles / layer.cycles:.3f}x" for cycles in alternatives),
            layer.bound,
        )
    out.print(table)
    out.print(
        f"best os, ws, is: cycles of the best mapping of that dataflow over those of the one chosen.\n"
        f"{plan.evaluated:,} mappings evaluated, {plan.pruned:,} excluded by lower bounds, of the whole space."
    )
