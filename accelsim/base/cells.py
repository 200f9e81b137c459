"""Texts in cells of CSV files, which spreadsheets execute where they look like a formula.

A text that begins with one of = + - @, and is no number, is written with an apostrophe in front, which spreadsheets
take for the mark of a text, and read without it.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from accelsim.base.errors import InputError

__all__ = ["read_cell", "reading_csv", "safe_cell"]

Cell = TypeVar("Cell")

_FORMULAS = ("=", "+", "-", "@")


def safe_cell(cell: Cell) -> Cell | str:
    """Return a cell as it is written.

    >>> safe_cell("=1+1"), safe_cell("-1.5"), safe_cell("conv"), safe_cell(-2)
    ("'=1+1", '-1.5', 'conv', -2)
    """
    if not isinstance(cell, str) or not cell.startswith(_FORMULAS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def read_cell(text: str) -> str:
    """Return the text of a cell that `safe_cell` wrote.

    >>> read_cell("'=1+1"), read_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return text[1:] if isinstance(text, str) and text.startswith("'") and text[1:].startswith(_FORMULAS) else text


@contextmanager
def reading_csv(source: str) -> Iterator[None]:
    """Within this, text that is no CSV is an `InputError` that names the file `source`.

    >>> with reading_csv("rows.csv"):
    ...     list(csv.reader(["a" + chr(13) + "b"]))
    Traceback (most recent call last):
    accelsim.base.errors.InputError: rows.csv: is no table: new-line character seen in unquoted field
    """
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{source}: is no table: {str(error).partition(' - ')[0]}") from None
