"""Looking at a figure as a reader would: which texts are drawn, and whether any covers another or is cut off."""

from collections.abc import Iterator
from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_texts(figure: Figure) -> Iterator[Text]:
    """Every text that a reader sees: at ticks, axes and in legends, and what is written into the axes."""
    figure.draw_without_rendering()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)]
            yield from (text for text in (*ticks, axis.label) if axis.get_visible())
        yield from (ax.title, *ax.texts)
    legends = [*figure.legends, *(legend for ax in figure.axes if (legend := ax.get_legend()) is not None)]
    for legend in legends:
        yield from (legend.get_title(), *legend.get_texts())
    yield from figure.texts
    if figure._suptitle is not None:
        yield figure._suptitle


def check_readable(figure: Figure) -> None:
    """Fail where two texts overlap, or one leaves the figure."""
    texts = [text for text in drawn_texts(figure) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), Text.get_window_extent(text).padded(-0.75)) for text in dict.fromkeys(texts)]
    assert boxes, "nothing is written"
    page = figure.bbox
    cut = [text for text, box in boxes if box.x0 < page.x0 or box.y0 < page.y0 or box.x1 > page.x1 or box.y1 > page.y1]
    assert not cut, f"cut off: {cut}"
    covered = [(one, other) for (one, box), (other, second) in combinations(boxes, 2) if box.overlaps(second)]
    assert not covered, f"overlap: {covered[:5]}"
