"""Bars, lines and labels of the figures on the paper's claims are the values of the frame."""

import pandas as pd
import pytest

from accelsim.plots.paper import plot_speedups, plot_tornado
from accelsim.plots.style import new_figure


def test_speedups_have_a_bar_per_engine_and_a_line_at_the_published_average() -> None:
    frame = pd.DataFrame(
        {"workload": ["a_x", "b", "a_x", "b"], "engine": ["one", "one", "two", "two"], "speedup": [1.9, 1.6, 2.0, 1.7]}
    )
    with new_figure() as figure:
        ax = figure.subplots()
        plot_speedups(frame, ax, 1.75)
    assert [[bar.get_height() for bar in container] for container in ax.containers] == [[1.9, 1.6], [2.0, 1.7]]
    assert [text.get_text() for text in ax.texts] == ["1.90", "1.60", "2.00", "1.70"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a\nx", "b"]
    (line,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert set(line.get_ydata()) == {1.75}
    assert line.get_label() == "published average 1.75x"


def test_tornado_spans_low_to_high_from_the_top() -> None:
    frame = pd.DataFrame(
        {
            "assumption": ["array size", "batch"],
            "low": [1.6, 1.8],
            "high": [1.9, 1.82],
            "low_value": ["64 x 32", "64"],
            "high_value": ["16 x 16", ""],
        }
    )
    with new_figure() as figure:
        ax = figure.subplots()
        plot_tornado(frame, ax, 1.82, 1.75)
    drawn = [(bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in ax.patches]
    assert drawn == [pytest.approx((1.6, 0.3, 1)), pytest.approx((1.8, 0.02, 0))]
    assert [text.get_text() for text in ax.texts] == ["64 x 32", "16 x 16", "64"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["array size", "batch"]
    assert list(ax.get_yticks()) == [1, 0]
    assert {line.get_label(): set(line.get_xdata()) for line in ax.lines} == {
        "as shipped 1.82x": {1.82}, "published 1.75x": {1.75},
    }  # fmt: skip
    assert ax.get_xlim()[0] < 1.6
    assert ax.get_xlim()[1] > 1.9
