"""Pieces of pages: the frame that needs nothing but itself, tables that scroll, sort and filter, and figures."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from accelsim.base.markup import Cell, Html, data_table, element, joined
from accelsim.base.version import __version__
from accelsim.plots.style import WIDTHS_IN
from accelsim.report.drawings import ReportFigure
from accelsim.results.glossary import words_in

__all__ = ["figures_of", "glossary", "page_of", "scrolling", "table_of"]

_CSS_PER_IN = 96


def page_of(title: str, words: str, sections: Mapping[str, tuple[str, Iterable[Html]]]) -> str:
    """Return a whole page: its sections, by anchor, each with its title and what stands in it."""
    found = {name: (heading, [*parts]) for name, (heading, parts) in sections.items()}
    links = [element("li", element("a", heading, href=f"#{name}")) for name, (heading, _) in found.items()]
    body = [
        element("section", element("h2", heading, id=f"{name}-title"), *parts, id=name, aria_labelledby=f"{name}-title")
        for name, (heading, parts) in found.items()
    ]
    page = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", element("h1", title), element("p", words, class_="soft")),
        element("nav", element("ul", *links), aria_label="Contents"),
        element("main", *body, id="content", tabindex="-1"),
        element("footer", element("p", f"accelsim {__version__}", class_="soft")),
        element("script", _beside("page.js")),
    )
    return f"<!doctype html>\n{element('html', _head(title), page, lang='en')}\n"


def _head(title: str) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"accelsim {__version__}"),
        element("meta", http_equiv="Content-Security-Policy",
                content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title} - accelsim"),
        element("style", _beside("page.css")),
    )  # fmt: skip


def _beside(name: str) -> Html:
    """A file beside this one, which holds no text of a user."""
    return Html((Path(__file__).parent / name).read_text(encoding="utf-8"))


def figures_of(figures: Iterable[ReportFigure], svgs: Mapping[str, Html]) -> Html:
    """Return figures side by side where there is room; on narrow screens each scrolls rather than shrinks."""
    found = []
    for figure in figures:
        files = [
            element("a", f"{figure.name}{suffix}", href=f"{figure.name}{suffix}") for suffix in (".svg", ".png", ".csv")
        ]
        notes = [f" Note: {note}." for note in figure.drawing.notes]
        shown = element(
            "figure",
            scrolling(svgs[figure.name], figure.heading),
            element("figcaption", figure.caption, *notes, " ", joined(files, ", ")),
        )
        natural = f"--natural: {WIDTHS_IN[figure.width] * _CSS_PER_IN:.0f}px"
        found.append(element("div", element("h3", figure.heading), shown, style=natural))
    return element("div", *found, class_="figures")


def table_of(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    tall: bool = False,
    wraps: bool = False,
    filtered: bool = False,
    totals: Sequence[Cell] = (),
) -> Html:
    """Return a table in its box; a `tall` one has a box of less than a screen, the last column of one that `wraps` is
    text, and a `filtered` one has a field above it that chooses rows, to which `totals` are those."""
    names = ["sortable", *(["wraps"] if wraps else []), *(["filtered"] if filtered else [])]
    table = data_table(caption, heads, rows, totals=totals, class_=" ".join(names))
    return scrolling(table, caption, tall=tall)


def scrolling(inside: Html, label: str, *, tall: bool = False) -> Html:
    """Return what may be wider than the page: it scrolls in a box of its own, with the keyboard as well."""
    return element("div", inside, class_="box tall" if tall else "box", tabindex="0", role="group", aria_label=label)


def glossary(cells: Iterable[str]) -> Html:
    """Return what the words in cells of tables mean."""
    words = words_in(cells)
    pairs = [element(tag, text) for word in words for tag, text in (("dt", word.name), ("dd", word.meaning))]
    return element("details", element("summary", "What the words in these tables mean"), element("dl", *pairs))
