"""``accelsim ablate``: what each technique of the dataflow level brings, alone and together."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError
from accelsim.cli.heeding import check_heeded, tell_of_masks
from accelsim.cli.options import announce_compilation, check_folder, open_design, open_traces

if TYPE_CHECKING:
    from accelsim.results.ablation import AblationRow

__all__ = ["ablate_command"]

_FORMAT = "accelsim-ablation/1"
_SHOWN_WORKLOADS = 2


@click.command("ablate")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option("--hw", default="sat_vcu1525", show_default=True, metavar="NAME|FILE", help="Design to run on.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("dense", "bdwp"),
    show_default=True,
    help="Sparse-training method. Repeatable.",
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    default=("2:8",),
    show_default=True,
    metavar="N:M",
    help="N of every M elements are kept. Repeatable.",
)
@click.option("--batch", type=int, default=512, show_default=True, help="Samples per step.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a field of the design, as in array.rows=64. Repeatable.",
)
@click.option("-o", "--output", metavar="DIR", help="Write ablation.csv, table.md and the figure there.")
@click.option("--json", "as_json", is_flag=True, help="Print every variant of every step as one JSON object.")
def ablate_command(
    traces: tuple[str, ...],
    hw: str,
    methods: tuple[str, ...],
    patterns: tuple[str, ...],
    batch: int,
    settings: tuple[str, ...],
    output: str | None,
    as_json: bool,
) -> None:
    """Time each TRACE with each technique of the dataflow level on or off: alone, one after another, and all but one.

    Techniques: interleaving, the choice of a dataflow for each GEMM, pre-generation, overlap of units, the optimal
    scheduler. What the design says of its schedule is replaced.
    """
    from accelsim.studies.ablation import ablate

    for option, given in (("TRACE", traces), ("--method", methods), ("--pattern", patterns)):
        repeated = [item for index, item in enumerate(given) if item in given[:index]]
        if repeated:
            raise InputError(f"{option} {repeated[0]}: is given twice")
    ignored = [setting for setting in settings if setting.strip().startswith("schedule.")]
    if ignored:
        raise InputError(f"--set {ignored[0]}: an ablation sets the schedule itself")
    check_heeded(methods)
    workloads, design = open_traces(traces), open_design(hw, settings)
    tell_of_masks(workloads)
    folder = check_folder(output)
    if folder is not None:
        from accelsim.studies.reports.ablation import check_own

        check_own(folder)
    announce_compilation()
    rows = [
        row
        for workload in workloads
        for row in ablate(workload, design, methods=methods, patterns=patterns, batch=batch)
    ]
    if folder is not None:
        from accelsim.studies.reports.ablation import write_ablation

        write_ablation(folder, rows, _command(traces, hw, methods, patterns, batch, settings))
    if as_json:
        from accelsim.hardware.energy_table import load_energy_table
        from accelsim.hardware.stored import stored

        basis = {"design": stored(design), "energy_table": stored(load_energy_table(design.energy))}
        click.echo(json.dumps({"format": _FORMAT, **basis, "rows": [row.to_dict() for row in rows]}))
        return
    for method, pattern in dict.fromkeys((row.method, row.pattern) for row in rows):
        _show([row for row in rows if (row.method, row.pattern) == (method, pattern)])
    if folder is not None:
        click.echo(f"written: {folder}")


def _command(
    traces: Sequence[str],
    hw: str,
    methods: Sequence[str],
    patterns: Sequence[str],
    batch: int,
    settings: Sequence[str],
) -> str:
    """The command line that makes the report again."""
    words = ["accelsim ablate", *traces, f"--hw {hw}", *(f"--method {method}" for method in methods)]
    words += [*(f"--pattern {pattern}" for pattern in patterns), f"--batch {batch}"]
    return " ".join([*words, *(f"--set {setting}" for setting in settings), "-o DIR"])


def _show(rows: "Sequence[AblationRow]") -> None:
    """Print the variants of one method and pattern, with the gain of each workload over its base."""
    from accelsim.base.units import show
    from accelsim.cli.screen import console, table_of, words
    from accelsim.results.ablation import BASE, GROUPS, summarise
    from accelsim.sparsity.methods import case_name

    out, first = console(), rows[0]
    base = [row for row in rows if row.variant == BASE]
    what = case_name(first.method, first.pattern)
    out.print(f"\n[bold]{what}[/bold] on [bold]{first.design}[/bold], batch {first.batch}: speed relative to the base")
    columns = [row.workload for row in base] if len(base) <= _SHOWN_WORKLOADS else ["smallest", "largest"]
    several = ["geometric mean"] if len(base) > 1 else []
    table = table_of(words(""), words("which"), *columns, *several, "over dense")
    found = {summary.variant: summary for summary in summarise(rows, first.method, first.pattern)}
    for group, variants in GROUPS.items():
        for at, variant in enumerate(variants):
            summary = found[variant]
            gains = summary.gains if len(base) <= _SHOWN_WORKLOADS else (min(summary.gains), max(summary.gains))
            values = [*gains, *([summary.mean_gain] if several else []), summary.mean_speedup]
            table.add_row(group if at == 0 else "", variant.name, *(f"{value:.3f}x" for value in values))
        table.add_section()
    out.print(table)
    steps = ", ".join(f"{row.workload} {show(row.latency_s, 's')}" for row in base)
    out.print(f"step on the base: {steps}; over dense: against dense training on the same variant", soft_wrap=True)
