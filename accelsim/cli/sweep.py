"""``accelsim sweep``: many designs, patterns, methods and batches, a row of a file for each."""

import csv
import heapq
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accelsim.base.errors import InfeasibleError
from accelsim.cli.axes import axis_options, command_line, read_sweep
from accelsim.cli.options import announce_compilation, check_output
from accelsim.cli.progress import progress_bar
from accelsim.cli.workers import dask_options, evaluating
from accelsim.sweep.unfit import unfit_line

if TYPE_CHECKING:
    from accelsim.sweep.run import Outcome
    from accelsim.sweep.space import Sweep

__all__ = ["sweep_command"]

_BEST = 5


@click.command("sweep")
@click.argument("sources", nargs=-1, required=True, metavar="SPEC | TRACE...")
@axis_options
@click.option("--sample", type=int, metavar="N", help="Draw N points instead of taking every combination.")
@click.option("--sampling", metavar="random|latin-hypercube", help="How points are drawn.  [default: random]")
@click.option("--seed", type=int, help="Seed of the drawing.  [default: 0]")
@click.option("-o", "--output", required=True, metavar="FILE", help="Results: .csv, or .parquet beside its .csv.")
@click.option("--part", metavar="I/N", help="Only part I of N, to be joined with accelsim results --join.")
@click.option("--jobs", type=int, help="Processes.  [default: one per core]")
@dask_options
def sweep_command(
    sources: tuple[str, ...],
    output: str,
    part: str | None,
    jobs: int | None,
    dask: str | None,
    dask_wait: float | None,
    **given: Any,
) -> int:
    """Time every point of SPEC (a shipped sweep or a .yaml file), or of TRACE... and the axes given here, and write a
    row of inputs and metrics for each.

    Rows are saved as they are done. The same command goes on where it was interrupted, and does nothing twice. A
    point that cannot be simulated is a row with the reason; where none can, the exit code is 3.
    """
    from accelsim.sweep.parts import SweepPart
    from accelsim.sweep.run import journal_of, run_sweep

    target = check_output(output, (".csv", ".parquet"))
    assert target is not None
    piece = None if part is None else SweepPart.parse(part)
    sweep = read_sweep(sources, given)
    for remark in sweep.remarks:
        click.echo(f"note: {remark}", err=True)
    again = command_line(
        "sweep", sources, output, {**given, "part": part, "jobs": jobs, "dask": dask, "dask-wait": dask_wait}
    )
    announce_compilation(sweep=True)
    done = 0
    try:
        with evaluating(sweep.inputs, jobs, dask, dask_wait) as (executor, slots), progress_bar("sweep") as show:

            def progress(finished: int, total: int) -> None:
                nonlocal done
                done = finished
                show(finished, total)

            outcome = run_sweep(sweep, target, jobs=slots, executor=executor, part=piece, progress=progress)
    except KeyboardInterrupt:
        click.echo(f"interrupted: {done:,} points are saved in {journal_of(target)}; go on with: {again}", err=True)
        return 130
    return _report(sweep, outcome, target)


def _report(sweep: "Sweep", outcome: "Outcome", target: Path) -> int:
    """Say what came out; the exit code is that of infeasible input where no point could be simulated."""
    from accelsim.base.units import show
    from accelsim.cli.screen import column_of, console, short_titles, table_of
    from accelsim.sweep.axes import Levels

    axes = [axis for axis in sweep.axes if not isinstance(axis, Levels) or len(axis.values) > 1]
    varied = [axis.path for axis in axes]
    values = (axis.values if isinstance(axis, Levels) else () for axis in axes)
    best, counts = _best_of(outcome.journal)
    table = table_of(*map(column_of, short_titles(varied), values), "step", "samples/s", "energy", "GOP/s/W", "speedup")
    for rows in best.values():
        for row in rows:
            table.add_row(
                *(row[path] or "-" for path in varied),
                show(float(row["latency_s"]), "s"),
                f"{float(row['samples_per_s']):,.0f}",
                show(float(row["energy_j"]), "J"),
                f"{float(row['gops_per_w']):.1f}",
                f"{float(row['speedup']):.2f}x",
            )
        table.add_section()
    if best:
        console().print(table)
        click.echo(f"the most samples/s of {'each workload' if len(best) > 1 else next(iter(best))}")
        shown = [row for rows in best.values() for row in rows]
        click.echo(f"{unfit}\n" if (unfit := unfit_line(shown, f"these {len(shown)}")) else "")
    again = f", {outcome.before:,} of them before" if outcome.before else ""
    failed = "".join(f"; {count:,} {status}" for status, count in counts.items() if status != "ok")
    click.echo(f"{outcome.points:,} points{again}{failed}")
    click.echo(f"written: {target}" if target == outcome.journal else f"written: {target} and {outcome.journal}")
    if best:
        return 0
    reason = next(iter(csv.DictReader(outcome.journal.read_text().splitlines())))["reason"]
    click.echo(f"error: no point can be simulated; the first: {reason}", err=True)
    return InfeasibleError.exit_code


def _best_of(journal: Path) -> tuple[dict[str, list[dict[str, str]]], dict[str, int]]:
    """The fastest rows of each workload, and how many rows of each status there are."""
    best: dict[str, list[tuple[float, int, dict[str, str]]]] = {}
    counts: dict[str, int] = {}
    with journal.open(newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            counts[row["status"]] = counts.get(row["status"], 0) + 1
            if row["status"] == "ok":
                kept = best.setdefault(row["workload"], [])
                add = heapq.heappush if len(kept) < _BEST else heapq.heappushpop
                add(kept, (float(row["samples_per_s"]), -index, row))
    return {name: [row for *_, row in sorted(kept, reverse=True)] for name, kept in best.items()}, counts
