"""``accelsim results``: rows of result files, the best first."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError
from accelsim.cli.options import check_output
from accelsim.sweep.unfit import unfit_line

if TYPE_CHECKING:
    from pathlib import Path

    from accelsim.base.files import Value
    from accelsim.sweep.expression import Expression

__all__ = ["results_command"]

_MOST_ROWS = 20
_SHOWN = ("latency_s", "samples_per_s", "energy_j", "gops_per_w", "speedup")


@click.command("results")
@click.argument("files", nargs=-1, required=True, metavar="FILE")
@click.option("--join", is_flag=True, help="Write the sweep whose parts (accelsim sweep --part) are FILE FILE ...")
@click.option(
    "--by",
    metavar="EXPR",
    help="Sort by a column or an expression over columns: the least first, or, of samples_per_s, effective_gops,"
    " speedup, array_utilisation and gops_per_w, the most.",
)
@click.option("-r", "--reverse", is_flag=True, help="Sort the other way round.")
@click.option("--top", type=int, metavar="N", help="Only the first N rows.")
@click.option(
    "--where", metavar="EXPR", help="Only rows for which it holds, as in \"pattern == '2:8' and cycles < 1e6\"."
)
@click.option("--columns", metavar="NAMES", help="Columns or expressions to show, as in array.rows,latency_s*1e3.")
@click.option("-o", "--output", metavar="FILE", help="Write the rows as .csv.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as one JSON list.")
def results_command(
    files: tuple[str, ...],
    join: bool,
    by: str | None,
    reverse: bool,
    top: int | None,
    where: str | None,
    columns: str | None,
    output: str | None,
    as_json: bool,
) -> int:
    """Show rows of FILE: of a sweep or a search (.csv, .parquet), or results of simulate and compare (.json), a row
    each.

    Points that could not be simulated are left out, unless --where asks for their status or reason. Without
    --columns, what varies is shown with some metrics, and -o and --json have every column.
    """
    from accelsim.sweep.results_table import best_rows, open_table, read_formula, write_table

    target = check_output(output, (".csv",))
    if join:
        return _join(files, target, [by, reverse, top, where, columns, as_json])
    _check(files, by, reverse, top)
    table = open_table(files[0])
    order = None if by is None else read_formula(by, table.columns, "--by")
    condition = None if where is None else read_formula(where, table.columns, "--where")
    formulas = None if columns is None else _formulas(columns, table.columns)
    found, counts = best_rows(table, by=order, reverse=reverse, top=top, where=condition)
    best = found[:_MOST_ROWS]
    if formulas is None:
        names = list(table.columns)
    else:
        names = [formula.text for formula in formulas]
        found = [{formula.text: _value(formula, row, table.path) for formula in formulas} for row in found]
    if target is not None:
        write_table(target, found, names)
    if as_json:
        click.echo(json.dumps([{name: row[name] for name in names} for row in found]))
        return 0
    if formulas is None:
        asked = [*(order.names if order else ()), *(condition.names if condition else ())]
        names = list(dict.fromkeys((*table.varied(), *asked, *(name for name in _SHOWN if name in table.columns))))
    _show(found, names)
    if order is not None and (unfit := unfit_line(best, f"the {'first' if reverse else 'best'} {len(best)}")):
        click.echo(unfit)
    left_out = "".join(f"; {count:,} {status} left out" for status, count in counts.failed.items())
    met = " that meet --where" if where else ""
    torn = "; the file ends in the middle of a row: its sweep is not complete" if table.torn else ""
    click.echo(f"{len(found):,} of {counts.kept:,} rows{met}{left_out}{torn}")
    if target is not None:
        click.echo(f"written: {target}")
    return 0


def _check(files: Sequence[str], by: str | None, reverse: bool, top: int | None) -> None:
    if len(files) > 1:
        raise InputError(f"{files[1]}: one file is shown at a time; --join makes one of the parts of a sweep")
    if top is not None and top < 1:
        raise InputError(f"--top {top}: a whole number from 1 is needed")
    if reverse and by is None:
        raise InputError("--reverse: nothing is sorted without --by")


def _join(files: Sequence[str], target: "Path | None", others: Sequence[object]) -> int:
    from accelsim.sweep.parts import join_parts

    if any(others):
        raise InputError("--join: takes parts and -o FILE alone; look at the whole afterwards")
    if target is None:
        raise InputError("--join: -o FILE is needed, for the whole")
    points = join_parts(files, target)
    click.echo(f"{points:,} points of {len(files):,} parts\nwritten: {target}")
    return 0


def _formulas(text: str, columns: Collection[str]) -> "list[Expression]":
    from accelsim.sweep.results_table import read_formula

    parts = [part.strip() for part in re.split(r",(?![^\[(]*[\])])", text)]
    found = [read_formula(part, columns, "--columns") for part in parts]
    names = [formula.text for formula in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError(f"--columns {text}: {name} is given twice")
    return found


def _value(formula: "Expression", row: "Mapping[str, Value]", path: str) -> "Value":
    try:
        return formula.value(row)
    except InputError as error:
        raise InputError(f"{path}: --columns {error}") from None


def _show(rows: "Sequence[Mapping[str, Value]]", names: Sequence[str]) -> None:
    from accelsim.cli.screen import column_of, console, short_titles, table_of, value_text

    out = console()
    columns = ((row[name] for row in rows) for name in names)
    table = table_of(*map(column_of, short_titles(names), columns))
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(value_text(row[name]) for name in names))
    out.print(table)
    if len(rows) > _MOST_ROWS:
        out.print(f"... and {len(rows) - _MOST_ROWS:,} more: -o FILE.csv and --json have all")
