"""HTML from plain values: every text is escaped once, where it enters an element.

>>> element("p", "2 < 3 & ", element("b", "so"), class_="note")
'<p class="note">2 &lt; 3 &amp; <b>so</b></p>'
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Cell", "Html", "Number", "data_table", "element", "joined"]


class Html(str):
    """Markup, which is not escaped again."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A cell that shows `text` for `value`: a table is sorted by the value, and aligns numbers to the right."""

    text: str
    value: float


Cell = str | Number

_VOID = ("br", "link", "meta")


def element(tag: str, *children: str, **attributes: object) -> Html:
    """Return an element; texts in it are escaped, `Html` is not.

    Attributes are named as keywords can be: ``class_``, ``aria_label``. None and False leave one out.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{written}>" + ("" if tag in _VOID else f"{joined(children)}</{tag}>"))


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Return the parts one after another, texts escaped."""
    return Html(between.join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def data_table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    totals: Sequence[Cell] = (),
    **attributes: object,
) -> Html:
    """Return a table whose first column names its rows; columns whose first row has a `Number` hold numbers.

    `totals` are the cells of a last line that stays where it is when rows are sorted.
    """
    rows = [*rows]
    numeric = [isinstance(cell, Number) for cell in rows[0]] if rows else [False] * len(columns)
    heads = [
        element("th", name, scope="col", class_="number" if is_number else None)
        for name, is_number in zip(columns, numeric, strict=True)
    ]
    lines = [_line(row) for row in rows]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", joined(lines, "\n")),
        *([element("tfoot", _line(totals))] if totals else []),
        **attributes,
    )


def _line(row: Sequence[Cell]) -> Html:
    return element("tr", _cell("th", row[0], scope="row"), *(_cell("td", cell) for cell in row[1:]))


def _cell(tag: str, cell: Cell, **attributes: object) -> Html:
    if isinstance(cell, Number):
        return element(tag, cell.text, data_v=repr(cell.value), **attributes)
    return element(tag, cell, **attributes)
