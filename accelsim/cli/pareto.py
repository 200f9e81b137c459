"""``accelsim pareto``: the best compromises among the points of a sweep."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError
from accelsim.cli.options import check_output
from accelsim.sweep.unfit import unfit_line

if TYPE_CHECKING:
    from rich.console import Console

    from accelsim.base.files import Plain
    from accelsim.sweep.fronts import Front, Objective
    from accelsim.sweep.results_table import Table

__all__ = ["maximise_option", "pareto_command", "show_fronts"]

_FORMAT = "accelsim-pareto/1"
_MOST_ROWS = 40


maximise_option = click.option(
    "--maximise",
    multiple=True,
    metavar="OBJECTIVE",
    help="Want more of this objective, not less, as is done anyway for samples_per_s, effective_gops, speedup,"
    " array_utilisation and gops_per_w. Repeatable.",
)


@click.command("pareto")
@click.argument("results", metavar="RESULTS")
@click.option("-x", "first", required=True, metavar="OBJECTIVE", help="A column, or an expression over columns.")
@click.option("-y", "second", required=True, metavar="OBJECTIVE", help="Another one.")
@click.option("-z", "others", multiple=True, metavar="OBJECTIVE", help="A further one. Repeatable.")
@maximise_option
@click.option("--group", multiple=True, metavar="COLUMN", help="A front for each value of this column. Repeatable.")
@click.option("--where", metavar="EXPR", help="Only rows for which it holds, as in 'array.rows >= 16'.")
@click.option(
    "--reference",
    metavar="NUMBERS",
    help="Point that bounds the hypervolume, as in 0.5,20.  [default: the worst of all rows in each objective]",
)
@click.option("-o", "--output", metavar="FILE", help="Write the rows of the front as .csv.")
@click.option("--json", "as_json", is_flag=True, help="Print the front as one JSON object.")
def pareto_command(
    results: str,
    first: str,
    second: str,
    others: tuple[str, ...],
    maximise: tuple[str, ...],
    group: tuple[str, ...],
    where: str | None,
    reference: str | None,
    output: str | None,
    as_json: bool,
) -> int:
    """Find the points of RESULTS, of a sweep or a search, that none is better than: those for which no other is as
    good in every objective and better in one. Less of an objective is better unless said otherwise.

    Of points with the same value in every objective, the first in the file is shown and the others are counted.
    Points that could not be simulated are left out.
    """
    from accelsim.sweep.fronts import find_fronts, read_objectives
    from accelsim.sweep.results_table import column_of, open_table, read_formula, write_table

    target = check_output(output, (".csv",))
    table = open_table(results)
    given = [("-x", first), ("-y", second), *(("-z", other) for other in others)]
    objectives = read_objectives(given, maximise, table.columns)
    columns = [column_of(name, table.columns, f"--group {name}") for name in group]
    corner = None if reference is None else _numbers(reference, objectives)
    condition = None if where is None else read_formula(where, table.columns, "--where")
    fronts, counts = find_fronts(table, objectives, group=columns, where=condition, reference=corner)
    failed = sum(counts.failed.values())
    if target is not None:
        write_table(target, [row for front in fronts for row in front.rows], table.columns)
    if as_json:
        click.echo(json.dumps(_as_object(results, objectives, group, fronts, counts.failed)))
        return 0
    show_fronts(table, fronts, objectives, columns)
    left_out = "".join(f"; {count:,} {status} left out" for status, count in counts.failed.items())
    click.echo(f"{counts.rows - failed:,} points{left_out}{_torn(table)}")
    if target is not None:
        click.echo(f"written: {target}")
    return 0


def show_fronts(
    table: "Table", fronts: "Sequence[Front]", objectives: "Sequence[Objective]", group: Sequence[str] = ()
) -> None:
    """Print fronts of the rows of a table with their hypervolumes."""
    from accelsim.cli.screen import console

    out = console()
    varied = [name for name in table.varied() if name not in group]
    for front in fronts:
        _show(out, front, objectives, group, varied)


def _torn(table: "Table") -> str:
    return "; the file ends in the middle of a row: its sweep is not complete" if table.torn else ""


def _numbers(text: str, objectives: "Sequence[Objective]") -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
        finite = all(abs(number) < float("inf") for number in numbers)
    except ValueError:
        finite = False
    if not finite or len(numbers) != len(objectives):
        names = ",".join(item.text for item in objectives)
        raise InputError(f"--reference {text}: {len(objectives)} numbers are needed, of {names}")
    return numbers


def _show(
    out: "Console", front: "Front", objectives: "Sequence[Objective]", group: Sequence[str], varied: Sequence[str]
) -> None:
    from accelsim.cli.screen import column_of, short_titles, table_of, value_text
    from accelsim.sweep.fronts import why_one_point

    if group:
        title = ", ".join(f"{name} {value_text(value)}" for name, value in zip(group, front.group, strict=True))
        out.print(f"[bold]{title}[/bold]", highlight=False)
    names = [item.text for item in objectives]
    inputs = [name for name in varied if name not in names]
    titles = [f"{'most' if item.most else 'least'} {item.text}" for item in objectives]
    several = any(front.equal)
    columns = map(column_of, short_titles(inputs), ((row[name] for row in front.rows) for name in inputs))
    table = table_of(*titles, *columns, *(["equal"] if several else []))
    rows = zip(front.values, front.rows, front.equal, strict=True)
    for values, row, equal in list(rows)[:_MOST_ROWS]:
        cells = [value_text(row.get(name, value)) for name, value in zip(names, values, strict=True)]
        cells += [value_text(row[name]) for name in inputs]
        table.add_row(*cells, *([f"+{equal}" if equal else ""] if several else []))
    out.print(table)
    if len(front.rows) > _MOST_ROWS:
        out.print(f"... and {len(front.rows) - _MOST_ROWS:,} more: -o FILE.csv and --json have all")
    out.print(f"front: {len(front.rows):,} of {front.points:,} points")
    if len(front.rows) == 1:
        out.print(why_one_point(front.points, front.equal[0], names), soft_wrap=True)
    if unfit := unfit_line(front.rows, f"the {len(front.rows):,} on the front"):
        out.print(unfit, soft_wrap=True)
    reference = ", ".join(f"{name} {value_text(value)}" for name, value in zip(names, front.reference, strict=True))
    share = "" if front.share is None else f", {front.share:.2%} of the box from there to the best of each"
    out.print(f"hypervolume: {front.hypervolume:.6g} to the reference {reference}{share}\n", soft_wrap=True)


def _as_object(
    results: str,
    objectives: "Sequence[Objective]",
    group: Sequence[str],
    fronts: "Sequence[Front]",
    failed: dict[str, int],
) -> "dict[str, Plain]":
    names = [item.text for item in objectives]
    return {
        "format": _FORMAT,
        "results": results,
        "objectives": [{"objective": item.text, "wanted": "most" if item.most else "least"} for item in objectives],
        "left_out": failed,
        "fronts": [
            {
                "group": dict(zip(group, front.group, strict=True)),
                "points": front.points,
                "hypervolume": front.hypervolume,
                "share": front.share,
                "reference": dict(zip(names, front.reference, strict=True)),
                "front": [
                    {"values": dict(zip(names, values, strict=True)), "equal": equal, "row": row}
                    for values, equal, row in zip(front.values, front.equal, front.rows, strict=True)
                ],
            }
            for front in fronts
        ],
    }
