"""``accelsim sweep``: many designs, patterns, methods and batches, a row of a file for each."""

import contextlib
import csv
import heapq
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accelsim.cli.options import announce_compilation, check_output
from accelsim.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from accelsim.sweep.run import Outcome
    from accelsim.sweep.space import Sweep

__all__ = ["sweep_command"]

_BEST = 5
_AXES = ("method", "pattern", "batch", "optimizer", "engine")


@click.command("sweep")
@click.argument("sources", nargs=-1, required=True, metavar="SPEC | TRACE...")
@click.option("--hw", metavar="NAME|FILE", help="Design to change.  [default: sat_vcu1525]")
@click.option(
    "--vary",
    multiple=True,
    metavar="PATH=VALUES",
    help="A field of the design and its values: 16,32,64, a range start:stop:step or start:stop:*factor, or, with"
    " --sample, an interval 10..80 or 10..80 log. Repeatable; the last one changes fastest.",
)
@click.option("--method", metavar="NAMES", help="Methods, as in dense,bdwp.  [default: bdwp]")
@click.option("--pattern", metavar="N:M,...", help="Patterns, as in 2:4,2:8.  [default: 2:8]")
@click.option("--batch", metavar="VALUES", help="Samples per step, as in 64,128.  [default: 512]")
@click.option("--optimizer", metavar="NAMES", help="sgd (with momentum), adam.  [default: sgd]")
@click.option("--engine", metavar="NAMES", help="Engines that time the step.  [default: closed]")
@click.option(
    "--link",
    multiple=True,
    metavar="PATH=EXPR",
    help="A field that follows from others, as in array.cols=array.rows. Repeatable.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="EXPR",
    help="Keep points for which it holds, as in 'array.rows >= 16'. Repeatable.",
)
@click.option("--fits", type=click.Choice(["device"]), help="Do not simulate designs that their device cannot hold.")
@click.option("--sample", type=int, metavar="N", help="Draw N points instead of taking every combination.")
@click.option("--sampling", metavar="random|latin-hypercube", help="How points are drawn.  [default: random]")
@click.option("--seed", type=int, help="Seed of the drawing.  [default: 0]")
@click.option("-o", "--output", required=True, metavar="FILE", help="Results: .csv, or .parquet beside its .csv.")
@click.option("--jobs", type=int, help="Processes.  [default: one per core]")
@click.option("--dask", metavar="ADDRESS", help="Have a Dask scheduler's workers do it (extra dask).")
def sweep_command(sources: tuple[str, ...], output: str, jobs: int | None, dask: str | None, **given: Any) -> int:
    """Time every point of SPEC (a shipped sweep or a .yaml file), or of TRACE... and the axes given here, and write a
    row of inputs and metrics for each.

    Rows are saved as they are done. The same command goes on where it was interrupted, and does nothing twice. A
    point that cannot be simulated is a row with the reason.
    """
    from accelsim.sweep.run import journal_of, run_sweep

    target = check_output(output, (".csv", ".parquet"))
    assert target is not None
    if jobs is not None and dask is not None:
        raise InputError("--jobs: with --dask, its workers do the work, as many as there are")
    sweep = _read(sources, given)
    again = _command(sources, output, {**given, "jobs": jobs, "dask": dask})
    announce_compilation()
    done = 0
    try:
        with _executor(dask, _cores() if jobs is None else jobs) as (executor, busy), _progress() as show:

            def progress(finished: int, total: int) -> None:
                nonlocal done
                done = finished
                show(finished, total)

            outcome = run_sweep(sweep, target, jobs=busy, executor=executor, progress=progress)
    except KeyboardInterrupt:
        click.echo(f"interrupted: {done:,} points are saved in {journal_of(target)}; go on with: {again}", err=True)
        return 130
    _report(sweep, outcome, target)
    return 0


def _read(sources: Sequence[str], given: dict[str, Any]) -> "Sweep":
    from accelsim.sweep.spec import load_sweep, make_sweep, sweep_names
    from accelsim.workload.trace import workload_names

    if len(sources) == 1 and (sources[0] in sweep_names() or sources[0].endswith((".yaml", ".yml"))):
        extra = [name for name, value in given.items() if value not in {None, ()}]
        if extra:
            raise InputError(f"--{extra[0]}: {sources[0]} says what is swept; change it there")
        return load_sweep(sources[0])
    near = did_you_mean(sources[0], (*sweep_names(), *workload_names()))
    if len(sources) == 1 and any(f"'{name}'" in near for name in sweep_names()) and not Path(sources[0]).exists():
        raise InputError(f"'{sources[0]}': neither a sweep nor a trace{near}; shipped: {', '.join(sweep_names())}")
    axes = [(name, given[name]) for name in _AXES if given[name] is not None]
    return make_sweep(
        sources,
        given["hw"] or "sat_vcu1525",
        vary=[*axes, *(_pair("vary", text, "array.rows=16,32,64") for text in given["vary"])],
        link=[_pair("link", text, "array.cols=array.rows") for text in given["link"]],
        where=given["where"],
        fits=given["fits"] is not None,
        sample=given["sample"],
        sampling=_only_with_sample(given, "sampling", "random"),
        seed=_only_with_sample(given, "seed", 0),
    )


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise InputError(f"--{option} {text}: a path, = and what follows are needed, as in {example}")
    return path.strip(), value.strip()


def _only_with_sample(given: dict[str, Any], name: str, default: Any) -> Any:
    if given[name] is not None and given["sample"] is None:
        raise InputError(f"--{name}: nothing is drawn without --sample N")
    return default if given[name] is None else given[name]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _executor(dask: str | None, jobs: int) -> Iterator[Any]:
    if dask is None:
        yield None, jobs
        return
    from accelsim.sweep.cluster import cluster_executor

    with cluster_executor(dask) as found:
        yield found


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with the rate and the time left on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} points/s")

    columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sweep", total=None)
        before: list[int] = []

        def show(done: int, total: int) -> None:
            if not before:  # what an earlier run did says nothing about the rate of this one
                before.append(done)
                bar.reset(task, total=total, completed=done)
            bar.update(task, completed=done)

        yield show


def _command(sources: Sequence[str], output: str, given: dict[str, Any]) -> str:
    """The command line that goes on with this sweep."""
    words = ["accelsim", "sweep", *sources]
    for name, value in given.items():
        for item in value if isinstance(value, tuple) else [] if value is None else [value]:
            words += [f"--{name}", str(item)]
    return shlex.join([*words, "-o", output])


def _report(sweep: "Sweep", outcome: "Outcome", target: Path) -> None:
    from accelsim.cli.screen import console, table_of
    from accelsim.sweep.axes import Levels
    from accelsim.units import show

    varied = [axis.path for axis in sweep.axes if not isinstance(axis, Levels) or len(axis.values) > 1]
    fields = [path.rpartition(".")[2] for path in varied]
    titles = [field if fields.count(field) == 1 else path for path, field in zip(varied, fields, strict=True)]
    best, counts = _best_of(outcome.journal)
    table = table_of(*titles, "step", "samples/s", "energy", "GOP/s/W", "speedup")
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
        click.echo(f"the most samples/s of {'each workload' if len(best) > 1 else next(iter(best))}\n")
    again = f", {outcome.before:,} of them before" if outcome.before else ""
    failed = "".join(f"; {count:,} {status}" for status, count in counts.items() if status != "ok")
    click.echo(f"{outcome.points:,} points{again}{failed}")
    click.echo(f"written: {target}" if target == outcome.journal else f"written: {target} and {outcome.journal}")


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
