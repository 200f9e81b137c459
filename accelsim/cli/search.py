"""``accelsim search``: the best compromises of a space of designs, without timing every point of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from accelsim.cli.axes import axis_options, command_line, read_sweep
from accelsim.cli.options import announce_compilation, check_output
from accelsim.cli.pareto import maximise_option, show_fronts
from accelsim.cli.progress import progress_bar
from accelsim.cli.workers import dask_options, evaluating

if TYPE_CHECKING:
    from pathlib import Path

    from accelsim.sweep.search import SearchOutcome

__all__ = ["search_command"]


@click.command("search")
@click.argument("sources", nargs=-1, required=True, metavar="SPEC | TRACE...")
@click.option(
    "-x",
    "first",
    default="latency_s",
    show_default=True,
    metavar="OBJECTIVE",
    help="A column of a sweep, dsp, lut, bram36 or uram288 (estimates of what the design takes), or an expression over"
    " these, as in dram.bandwidth_gb_per_s or 'array.rows * array.cols'.",
)
@click.option("-y", "second", default="energy_j", show_default=True, metavar="OBJECTIVE", help="Another one.")
@click.option("-z", "others", multiple=True, metavar="OBJECTIVE", help="A further one. Repeatable.")
@maximise_option
@axis_options
@click.option("--trials", type=int, default=500, show_default=True, metavar="N", help="Points to evaluate at most.")
@click.option("--sampler", default="nsga2", show_default=True, metavar="nsga2|tpe", help="Optuna's sampler.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Points that were evaluated, as .csv.")
@click.option("--jobs", type=int, help="Processes.  [default: 1]")
@dask_options
def search_command(
    sources: tuple[str, ...],
    first: str,
    second: str,
    others: tuple[str, ...],
    maximise: tuple[str, ...],
    trials: int,
    sampler: str,
    seed: int,
    output: str,
    jobs: int | None,
    dask: str | None,
    dask_wait: float | None,
    **given: Any,
) -> int:
    """Search the front of the points of SPEC (a shipped sweep or a .yaml file), or of TRACE... and the axes given
    here: those for which no other is as good in every objective and better in one (needs the dse extra).

    Each point that is evaluated is a row, as of a sweep. The same command goes on where it was interrupted, and with
    more --trials where it ended; no point is evaluated twice.
    """
    from accelsim.sweep.search import run_search

    target = check_output(output, (".csv",))
    assert target is not None
    sweep = read_sweep(sources, given)
    for remark in sweep.remarks:
        click.echo(f"note: {remark}", err=True)
    options = {
        "x": first, "y": second, "z": others, "maximise": maximise, **given, "trials": trials, "sampler": sampler,
        "seed": seed, "jobs": jobs, "dask": dask, "dask-wait": dask_wait,
    }  # fmt: skip
    objectives = (("-x", first), ("-y", second), *(("-z", other) for other in others))
    announce_compilation()
    done = 0
    try:
        with (
            evaluating(sweep.inputs, jobs, dask, dask_wait, usual_jobs=1) as (executor, slots),
            progress_bar("search") as show,
        ):

            def progress(finished: int, total: int) -> None:
                nonlocal done
                done = finished
                show(finished, total)

            outcome = run_search(
                sweep,
                target,
                objectives=objectives,
                maximise=maximise,
                trials=trials,
                sampler=sampler,
                seed=seed,
                jobs=slots,
                executor=executor,
                progress=progress,
            )
    except KeyboardInterrupt:
        again = command_line("search", sources, output, options)
        click.echo(f"interrupted: {done:,} points are saved in {target}; go on with: {again}", err=True)
        return 130
    _report(outcome, objectives, maximise, target)
    return 0


def _report(
    outcome: "SearchOutcome", given: Sequence[tuple[str, str]], maximise: Sequence[str], target: "Path"
) -> None:
    from accelsim.sweep.fronts import find_fronts, read_objectives
    from accelsim.sweep.results_table import open_table

    table = open_table(target)
    objectives = read_objectives(given, maximise, table.columns)
    fronts, counts = find_fronts(table, objectives)
    show_fronts(table, fronts, objectives)
    before = f", {outcome.before:,} of them before" if outcome.before else ""
    failed = "".join(f"; {count:,} {status}" for status, count in counts.failed.items())
    whole = "; these are all points there are" if outcome.exhausted else ""
    click.echo(f"{outcome.points:,} points evaluated{before}{failed}{whole}")
    click.echo(f"written: {target}")
