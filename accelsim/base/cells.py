"""Texts in cells of CSV files, which spreadsheets execute where they look like a formula.

A text that begins with one of = + - @, and is no number, is written with an apostrophe in front, which spreadsheets
take for the mark of a text, and read without it.
"""

from typing import TypeVar

__all__ = ["read_cell", "safe_cell"]

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
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULAS) else text
