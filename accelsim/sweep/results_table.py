"""Results as tables: the rows of a sweep or a search, other tables, and results as JSON, a row each.

Rows are read one after another and never held, so a file of a million points takes no memory. In a CSV a cell that is
empty or ``null`` is nothing, ``true`` and ``false`` are truth values, and what reads as a number is one, but in the
columns that hold names. A sweep that was cut off in the middle of a row is read up to that row.
"""

import csv
import heapq
import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelsim.base.cells import read_cell, safe_cell
from accelsim.base.characters import refuse_control
from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import Value, parse_json, read_text, write_atomically
from accelsim.base.overwriting import note_input
from accelsim.hardware.sourced import text_of
from accelsim.results.result_file import read_results
from accelsim.results.step import MORE_IS_BETTER, Result
from accelsim.sweep.expression import Expression, parse_expression, shown
from accelsim.sweep.parquet import parquet_columns, parquet_rows
from accelsim.sweep.point import METRICS, metrics_of

__all__ = [
    "Selection",
    "Table",
    "Value",
    "best_rows",
    "column_of",
    "more_is_better",
    "number_of",
    "open_table",
    "read_formula",
    "row_of",
    "selected",
    "write_table",
]

Row = dict[str, Value]

_NAMES = {"workload", "design", "method", "pattern", "optimizer", "engine", "mode", "status", "reason", "checksum",
          "identity", "sweep", "version"}  # fmt: skip
_ENDS = ("identity", "sweep", "version")
_OUTCOME = ("status", "reason")
_WORDS = {"": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a file; `rows` yields them from the first, of all `columns` or of those asked for.

    `read` does so with the columns, and the numbers of the rows or None for all of them.
    `torn`: the file ends in the middle of a row, which is left out.
    """

    path: str
    columns: tuple[str, ...]
    torn: bool
    read: Callable[[Collection[str], Collection[int] | None], Iterator[Row]]

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield the rows. Raises `InputError` for one that has other columns than the first line."""
        return self.read(self.columns if columns is None else columns, None)

    def rows_at(self, lines: Sequence[int]) -> list[Row]:
        """Return the rows with these numbers, counted from 1, in the order of the numbers given."""
        found = dict(zip(sorted(lines), self.read(self.columns, set(lines)), strict=False))
        if len(found) < len(lines):
            raise InputError(f"{self.path}: holds fewer rows than its columns say; it is damaged")
        return [found[line] for line in lines]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that say what a row is of: those before its outcome, or, where it has none, that are no metrics."""
        if "status" in self.columns:
            return self.columns[: self.columns.index("status")]
        return tuple(name for name in self.columns if name not in {*METRICS, *_ENDS, "checksum"})

    def varied(self) -> tuple[str, ...]:
        """Return the inputs that have more than one value, without those that follow from another one."""
        values: dict[str, set[Value]] = {name: set() for name in self.inputs}
        rows = 0
        for row in self.rows(self.inputs):
            rows += 1
            for name, found in values.items():
                found.add(row[name])
        several = [name for name, found in values.items() if len(found) > 1]
        # of values that hardly come again everything seems to follow
        leaders = [name for name in several if 2 * len(values[name]) <= rows]
        follows = {(name, one): dict[Value, Value]() for one in leaders for name in several if name != one}
        for row in self.rows(several) if len(several) > 1 else ():
            for (name, one), known in list(follows.items()):
                if known.setdefault(row[one], row[name]) != row[name]:
                    del follows[name, one]
        kept: list[str] = []
        for name in several:
            if not any((name, one) in follows for one in kept):
                kept.append(name)
        return tuple(kept)


def open_table(path: str | Path) -> Table:
    """Open a ``.csv`` or ``.parquet``, or results as ``.json``.

    Raises `InputError` for a file that cannot be read, is empty, has no rows, or holds something else.
    """
    path, name = Path(path), str(path)
    if path.suffix == ".csv":
        table = _open_csv(path)
    elif path.suffix == ".parquet":
        table = Table(
            path=name,
            columns=parquet_columns(path),
            torn=False,
            read=lambda columns, lines: _kept(parquet_rows(path, columns), lines),
        )
    elif path.name.endswith((".json", ".json.gz")):
        table = _table_of(name, read_results(parse_json(read_text(path), name), name))
    else:
        raise InputError(f"{path}: got suffix '{path.suffix}'; results are read from .csv, .parquet or .json")
    if next(table.rows(table.columns[:1]), None) is None:
        raise InputError(f"{path}: holds no rows")
    return table


def _table_of(path: str, results: Sequence[Result]) -> Table:
    rows = [
        {**result.head, **metrics_of(result), "identity": result.identity, "version": result.version}
        for result in results
    ]
    columns = tuple(rows[0]) if rows else ("workload",)
    return Table(
        path=path,
        columns=columns,
        torn=False,
        read=lambda names, lines: _kept(({name: row[name] for name in names} for row in rows), lines),
    )


def _kept(rows: Iterator[Row], lines: Collection[int] | None) -> Iterator[Row]:
    return rows if lines is None else (row for line, row in enumerate(rows, start=1) if line in lines)


def _open_csv(path: Path) -> Table:
    note_input(path)
    try:
        with path.open("rb") as file:
            first = file.readline()
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - 1, 0))
            complete = file.read() == b"\n"
        columns = tuple(next(csv.reader([first.decode("utf-8-sig")]), ()))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path}: is no table; a .csv with a line of column names is needed") from None
    if not any(columns):
        raise InputError(f"{path}: is empty; a line of column names is needed")
    twice = [name for index, name in enumerate(columns) if name in columns[:index]]
    if twice:
        raise InputError(f"{path}: line 1: two columns are named '{twice[0]}'")
    if not all(columns):
        raise InputError(f"{path}: line 1: a column has no name")
    torn = columns[-3:] == _ENDS and not complete

    def read(names: Collection[str], lines: Collection[int] | None) -> Iterator[Row]:
        return _csv_rows(path, columns, torn, names, lines)

    return Table(path=str(path), columns=columns, torn=torn, read=read)


def _csv_rows(
    path: Path, columns: tuple[str, ...], torn: bool, names: Collection[str], wanted: Collection[int] | None
) -> Iterator[Row]:
    places = [(name, columns.index(name)) for name in names]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(_clean(_whole(file) if torn else file, path))
            next(lines, None)
            for number, cells in enumerate(lines, start=1):
                if len(cells) != len(columns):
                    raise InputError(
                        f"{path}: line {lines.line_num}: {len(columns)} columns are needed, got {len(cells)}"
                    )
                if wanted is None or number in wanted:
                    yield {name: _value(name, cells[place]) for name, place in places}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no table: {error}") from None


def _clean(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if not line.isascii() or not line.rstrip("\r\n").isprintable():
            refuse_control(line.rstrip("\n"), f"{path}: line {number}")
        yield line


def _whole(lines: Iterator[str]) -> Iterator[str]:
    return (line for line in lines if line.endswith("\n"))


def row_of(columns: Sequence[str], cells: Sequence[str]) -> Row:
    """Return a line of a CSV as values by column."""
    return {name: _value(name, text) for name, text in zip(columns, cells, strict=True)}


def _value(column: str, text: str) -> Value:
    text = read_cell(text)
    if column in _NAMES:
        return text or None
    if text in _WORDS:
        return _WORDS[text]
    if "_" in text:  # as Python may write a number
        return text
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text


def more_is_better(formula: Expression) -> bool:
    """Say whether a formula is a metric of which more is wanted."""
    return formula.text in MORE_IS_BETTER


def read_formula(text: str, columns: Collection[str], place: str) -> Expression:
    """Read the name of a column or an expression over columns, given at `place` (an option).

    Raises `InputError` that says where the text cannot be read, with the nearest column.
    """
    if text in columns:
        return Expression(text=text, names=(text,), function=lambda values: values[text])
    if re.fullmatch(r"[A-Za-z_][\w.]*", text):
        column_of(text, columns, f"{place} {text}")
    try:
        return parse_expression(text, columns)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def column_of(name: str, columns: Collection[str], place: str) -> str:
    """Return the name of a column given at `place`. Raises `InputError` with the nearest one where there is none."""
    if name not in columns:
        raise InputError(f"{place}: there is no such column{did_you_mean(name, columns)}")
    return name


def number_of(formula: Expression, row: Mapping[str, Value], path: str, line: int) -> float:
    """Return the finite number that a formula is in a row. Raises `InputError` with the row where it is none."""
    try:
        value = formula.value(row)
    except InputError as error:
        raise InputError(f"{path}: row {line}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise InputError(f"{path}: row {line}: '{formula.text}' is {shown(value)}; a number is needed")
    return value


@dataclass(slots=True, kw_only=True)
class Selection:
    """Counts of what `selected` found: rows read, how many of them had no result by status, and how many were kept."""

    rows: int = 0
    failed: dict[str, int]
    kept: int = 0

    def check(self, path: str, where: Expression | None) -> None:
        """Refuse to go on with nothing."""
        if self.kept:
            return
        failed = sum(self.failed.values())
        statuses = ", ".join(f"{count:,} {status}" for status, count in self.failed.items())
        if failed == self.rows:
            raise InputError(f"{path}: none of its {self.rows:,} points could be simulated: {statuses}")
        rest = f" ({statuses} left out)" if failed else ""
        raise InputError(f"{path}: --where {where and where.text}: holds for none of {self.rows - failed:,} rows{rest}")


def selected(
    table: Table, columns: Collection[str] | None, where: Expression | None, counts: Selection
) -> Iterator[tuple[int, Row]]:
    """Yield numbers (from 1) and rows for which `where` holds, and count them.

    Points that could not be simulated are left out unless `where` asks for their status or reason.
    """
    asks = where is not None and not {*_OUTCOME}.isdisjoint(where.names)
    has_status = "status" in table.columns
    names = dict.fromkeys((*(table.columns if columns is None else columns), *(where.names if where else ())))
    if has_status:
        names["status"] = None
    for line, row in enumerate(table.rows(names), start=1):
        counts.rows = line
        if has_status and row["status"] != "ok" and not asks:
            status = str(row["status"])
            counts.failed[status] = counts.failed.get(status, 0) + 1
            continue
        try:
            holds = where is None or where.holds(row)
        except InputError as error:
            raise InputError(f"{table.path}: row {line}: --where {error}") from None
        if holds:
            counts.kept += 1
            yield line, row


def best_rows(
    table: Table, *, by: Expression | None, reverse: bool, top: int | None, where: Expression | None
) -> tuple[list[Row], Selection]:
    """Return rows and what was counted: those for which `where` holds, sorted `by` a number, the first `top` of them.

    The least comes first, but of metrics of which more is better the most, and the other way round if `reverse`. Rows
    of which a column in `by` is empty are left out. Raises `InputError` where nothing is left.
    """
    counts = Selection(failed={})
    lines = selected(table, by.names if by else (), where, counts)
    if by is None:
        wanted = [line for number, (line, _) in enumerate(lines) if top is None or number < top]
    else:
        sign = -1 if more_is_better(by) is not reverse else 1
        keyed = (
            (sign * number_of(by, row, table.path, line), line)
            for line, row in lines
            if all(row[name] is not None for name in by.names)
        )
        wanted = [line for _, line in (sorted(keyed) if top is None else heapq.nsmallest(top, keyed))]
    counts.check(table.path, where)
    if not wanted:
        raise InputError(f"{table.path}: '{by and by.text}' has no value in any of {counts.kept:,} rows")
    return table.rows_at(wanted), counts


def write_table(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write rows as a ``.csv``. Raises `InputError` for a path that cannot be written."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    write_atomically(path, text.getvalue())


def _cell(value: Value) -> str:
    text = "" if value is None else text_of(list(value) if isinstance(value, tuple) else value)
    return str(safe_cell(text))
