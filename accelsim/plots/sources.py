"""Files that figures are drawn from: what other commands write, and tables of the same columns."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accelsim.base.cells import read_cell, reading_csv
from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import Plain, Value, parse_json, read_text
from accelsim.results.result_file import load_results
from accelsim.results.timeline_file import load_timeline
from accelsim.results.training import read_training
from accelsim.sweep.results_table import read_formula

__all__ = ["FORMS", "Condition", "PlotSource", "as_text", "checked", "joined", "kept", "read_source", "table_source"]

FORMS = {
    "results": "results",
    "training": "a training run",
    "timeline": "a timeline",
    "table": "a table",
}
"""Forms of what a file holds, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotSource:
    """What a file holds: `form` is one of `FORMS`, `data` the values of that form."""

    path: str
    form: str
    data: Any


def table_source(path: str | Path, rows: Sequence[Mapping[str, Value]]) -> PlotSource:
    """Return rows that were read of a file as what figures are drawn from."""
    return PlotSource(path=str(path), form="table", data=pd.DataFrame(list(rows)))


def read_source(path: str | Path) -> PlotSource:
    """Read a file that another command wrote.

    Raises `InputError` that lists every error of the file, and for files that hold nothing to draw.
    """
    name = str(path)
    if Path(path).suffix == ".csv":
        return PlotSource(path=name, form="table", data=_table(name, read_text(Path(path))))
    data = parse_json(read_text(Path(path)), name)
    form = _format_of(data).partition("/")[0]
    if form == "accelsim-training":
        return PlotSource(path=name, form="training", data=(read_training(data, name),))
    if form == "accelsim-timeline":
        return PlotSource(path=name, form="timeline", data=load_timeline(path))
    if form == "accelsim-run":
        raise InputError(
            f"{name}: holds the masks of a training run, not what it takes; simulate it first: accelsim simulate {name}"
            " -o RESULT.json"
        )
    rows = _rows_of(data, form)
    if rows is not None:
        return PlotSource(path=name, form="table", data=_records(name, rows))
    results = load_results(path)
    if not results:
        raise InputError(f"{name}: no results to draw")
    return PlotSource(path=name, form="results", data=results)


def _rows_of(data: Any, form: str) -> Any:
    """The rows of what is written as a table elsewhere: an ablation, contenders, and what checks compared."""
    if form == "accelsim-ablation":
        return data.get("rows")
    if form == "accelsim-contenders":
        return data.get("contenders")
    checks = data if isinstance(data, list) else [data]
    if checks and all(isinstance(entry, dict) and "check" in entry for entry in checks):
        return [row for entry in checks for row in entry.get("comparisons", ())]
    return None


def _format_of(data: Plain) -> str:
    """What a file says it is; a timeline says so where trace viewers allow it."""
    if not isinstance(data, dict):
        return ""
    about = data.get("otherData")
    return str(about.get("format", "")) if isinstance(about, dict) else str(data.get("format", ""))


def _records(name: str, rows: Plain) -> pd.DataFrame:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{name}: rows: a list of objects is needed")
    if not rows:
        raise InputError(f"{name}: no rows to draw")
    return pd.DataFrame(rows)


def _table(name: str, text: str) -> pd.DataFrame:
    with reading_csv(name):
        lines = list(csv.reader(text.splitlines()))
    if not lines or not any(lines[0]):
        raise InputError(f"{name}: empty; a line of column names is needed")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(lines[0]):
            raise InputError(f"{name}:{number}: {len(lines[0])} columns are needed, got {len(line)} (truncated?)")
    if len(lines) == 1:
        raise InputError(f"{name}: no rows to draw")
    if {"array_cycles", "loop_order"} <= set(lines[0]):
        raise InputError(f"{name}: results are read from .json; a .csv holds their layers alone")
    try:
        frame = pd.read_csv(StringIO(text), dtype={"workload": str, "version": str, "pattern": str})
    except (ValueError, OverflowError) as error:  # as of a quotation mark that is not closed
        raise InputError(f"{name}: is no table: {' '.join(str(error).split())}") from None
    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    return frame.assign(**{column: frame[column].map(read_cell, na_action="ignore") for column in texts})


_LARGEST = 1e100
"""Beyond, no figure can be drawn."""

Condition = tuple[str, str] | str
"""Rows to keep: a column with one of its values, or an expression over columns, as in ``array.rows >= 16``."""


def joined(sources: Sequence[PlotSource], where: Sequence[Condition] = ()) -> pd.DataFrame:
    """Return the rows of all tables that are asked for. Raises `InputError` for tables of different columns."""
    first = sources[0].data
    for source in sources[1:]:
        other = set(first.columns) ^ set(source.data.columns)
        if other:
            raise InputError(
                f"{source.path}: column {', '.join(sorted(other))} is not in both it and {sources[0].path}"
            )
    frame = pd.concat([source.data for source in sources], ignore_index=True) if len(sources) > 1 else first
    if "version" in frame and len(frame["version"].unique()) > 1:
        versions = ", ".join(sorted(frame["version"].dropna().unique()))
        raise InputError(f"{sources[0].path}: rows of versions {versions}: make them again with one version")
    return kept(frame, where, sources[0].path)


def kept(frame: pd.DataFrame, where: Sequence[Condition], path: str) -> pd.DataFrame:
    """Return the rows that have, in each column of `where`, one of its values there, and for which expressions hold.

    Raises `InputError` for a column or value that is not there, and where nothing is left.
    """
    wanted: dict[str, list[str]] = {}
    for text in where:
        if isinstance(text, str):
            frame = _holding(frame, text, path)
    for column, value in (pair for pair in where if not isinstance(pair, str)):
        wanted.setdefault(column, []).append(value)
    for column, values in wanted.items():
        if column not in frame:
            hint = did_you_mean(column, frame.columns)
            raise InputError(f"--where {column}={values[0]}: {path} has no such column{hint}")
        texts = frame[column].map(as_text)
        there = list(dict.fromkeys(texts))
        for value in values:
            if value not in there:
                shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
                hint = did_you_mean(value, there)
                raise InputError(f"--where {column}={value}: no such row{hint}; there are: {shown}")
        frame = frame[texts.isin(values)]
    return frame


def _holding(frame: pd.DataFrame, text: str, path: str) -> pd.DataFrame:
    formula = read_formula(text, list(frame.columns), "--where")
    rows = frame[list(formula.names)].astype(object).where(frame[list(formula.names)].notna(), None).to_dict("records")
    found = []
    for line, row in zip(frame.index, rows, strict=True):
        try:
            found.append(formula.holds({str(name): value for name, value in row.items()}))
        except InputError as error:
            raise InputError(f"{path}: row {line + 1}: --where {error}") from None
    if not any(found):
        raise InputError(f"{path}: --where {text}: holds for none of {len(frame):,} rows")
    return frame[found]


def as_text(value: object) -> str:
    """Return a cell as one would write it."""
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.12g}"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    return "" if value is None else str(value)


def checked(frame: pd.DataFrame, kind: str, path: str, texts: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Return the frame as it is. Raises `InputError` for missing columns, no rows, and cells that hold no number."""
    needed = (*texts, *numbers)
    absent = [column for column in needed if column not in frame]
    if absent:
        hint = did_you_mean(absent[0], frame.columns)
        raise InputError(f"{path}: column {', '.join(absent)} missing{hint}; {kind} needs {', '.join(needed)}")
    if frame.empty:
        raise InputError(f"{path}: no rows to draw")
    for column in needed:
        values = frame[column]
        empty = values.isna()
        if column in numbers:
            as_numbers = pd.to_numeric(values, errors="coerce")
            empty = ~(as_numbers.abs() < _LARGEST)
        if empty.any():
            row = frame.index[empty.to_numpy()][0]
            kind_of_cell = "number" if column in numbers else "text"
            got = "is empty" if pd.isna(values[row]) else f"got '{values[row]}'"
            raise InputError(f"{path}: row {row + 1}: column {column}: {got}; a {kind_of_cell} is needed")
    return frame
