"""``accelsim compare``: designs, methods and patterns side by side."""

import json

import click

from accelsim.cli.options import announce_compilation, check_output, open_design, read_overrides, step_options
from accelsim.errors import InputError

__all__ = ["compare_command"]


@click.command("compare")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--hw",
    "designs",
    multiple=True,
    default=("sat_vcu1525",),
    show_default=True,
    metavar="NAME|FILE",
    help="Design to run on. Repeatable; the first is the baseline.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("dense", "bdwp"),
    show_default=True,
    help="Sparse-training method. Repeatable; the first is the baseline.",
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    default=("2:8",),
    show_default=True,
    metavar="N:M",
    help="N of every M elements are kept. Repeatable; the first is the baseline.",
)
@step_options
@click.option("-o", "--output", metavar="FILE", help="Write the results: .json (everything) or .csv (layers).")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as one JSON object.")
def compare_command(
    traces: tuple[str, ...],
    designs: tuple[str, ...],
    methods: tuple[str, ...],
    patterns: tuple[str, ...],
    batch: int,
    mode: str,
    optimizer: str,
    engine: str,
    settings: tuple[str, ...],
    dense: tuple[str, ...],
    sparse: tuple[str, ...],
    output: str | None,
    as_json: bool,
) -> None:
    """Time every combination of designs, methods and patterns on each TRACE, relative to the first."""
    from accelsim.results import COMPARISON_FORMAT, write_results
    from accelsim.simulation import simulate
    from accelsim.sparsity.methods import find_method
    from accelsim.workload.trace import load_trace

    target = check_output(output, (".json", ".csv"))
    for option, given in (("TRACE", traces), ("--hw", designs), ("--method", methods), ("--pattern", patterns)):
        repeated = [item for index, item in enumerate(given) if item in given[:index]]
        if repeated:
            raise InputError(f"{option} {repeated[0]}: is given twice")
    workloads = [load_trace(trace) for trace in traces]
    machines = [open_design(name, settings) for name in designs]
    overrides = read_overrides(dense, sparse)
    chosen = [find_method(name) for name in methods]
    announce_compilation()
    groups = [
        [
            simulate(
                workload,
                design,
                method=method.name,
                pattern=pattern,
                batch=batch,
                mode=mode,
                optimizer=optimizer,
                engine=engine,
                overrides=overrides,
            )
            for design in machines
            for method in chosen
            for pattern in (patterns if method.is_sparse and not method.traced else patterns[:1])
        ]
        for workload in workloads
    ]
    if target is not None:
        write_results(target, [result for group in groups for result in group])
    if as_json:
        entries = [
            {**result.to_dict(), "relative_speedup": group[0].step.latency_s / result.step.latency_s}
            for group in groups
            for result in group
        ]
        click.echo(json.dumps({"format": COMPARISON_FORMAT, "results": entries}))
        return
    from accelsim.cli.screen import show_comparison

    show_comparison(groups)
    if target is not None:
        click.echo(f"written: {target}")
