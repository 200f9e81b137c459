"""Bars and marks of the ablation figure are the values of the frame."""

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer

from accelsim.plots.ablation import plot_grid, plot_ladder
from accelsim.plots.style import new_figure


def bars(ax: Axes) -> dict[str, list[float]]:
    found = [container for container in ax.containers if isinstance(container, BarContainer)]
    return {str(container.get_label()): [bar.get_height() for bar in container] for container in found}


def test_ladder_has_a_bar_per_workload_and_rung() -> None:
    gains = {"os": (0.2, 0.25), "ws": (1.0, 1.0), "+ optimal": (1.5, 1.25)}
    frame = pd.DataFrame(
        [
            {"workload": workload, "case": "bdwp 2:8", "rung": rung, "gain": gain}
            for rung, each in gains.items()
            for workload, gain in zip(("a", "b"), each, strict=True)
        ]
    )
    with new_figure() as figure:
        ax = figure.subplots()
        plot_ladder(frame, ax)
    assert bars(ax) == {rung: list(each) for rung, each in gains.items()}
    assert {text.get_text() for text in ax.texts} == {"0.20", "0.25", "1.50", "1.25"}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    assert ax.get_ylabel() == "speed relative to ws, bdwp 2:8"
    assert ax.get_ylim()[1] > 1.5


def test_ladder_puts_each_gain_over_its_workload() -> None:
    frame = pd.DataFrame(
        {"workload": ["a", "b", "b", "a"], "case": "dense", "rung": ["x", "x", "y", "y"], "gain": [1, 2, 3, 4]}
    )
    with new_figure() as figure:
        ax = figure.subplots()
        plot_ladder(frame, ax)
    assert bars(ax) == {"x": [1, 2], "y": [4, 3]}
    by_place = sorted((bar.get_x(), bar.get_height()) for bar in ax.patches)
    assert [height for _, height in by_place] == [1, 4, 2, 3]


def test_grid_has_a_bar_for_all_on_and_a_mark_for_the_base() -> None:
    speedups = {
        ("sr-ste", "2:4"): (1.1, 1.2), ("sr-ste", "2:8"): (1.3, 1.4), ("bdwp", "2:4"): (1.5, 1.6), ("bdwp", "2:8"): (1.7, 1.9),
    }  # fmt: skip
    frame = pd.DataFrame(
        [
            {"method": method, "pattern": pattern, "variant": variant, "speedup": speedup}
            for (method, pattern), each in speedups.items()
            for variant, speedup in zip(("base (ws)", "everything on"), each, strict=True)
        ]
    )
    with new_figure() as figure:
        ax = figure.subplots()
        plot_grid(frame, ax)
    assert bars(ax) == {"sr-ste": [1.2, 1.4], "bdwp": [1.6, 1.9]}
    marks = [list(line.get_ydata()) for line in ax.lines if line.get_marker() == "D"]
    assert marks == [[1.1, 1.3], [1.5, 1.7]]
    centres = [[bar.get_x() + bar.get_width() / 2 for bar in container] for container in ax.containers]
    assert [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "D"] == [
        pytest.approx(places) for places in centres
    ]
    assert {text.get_text() for text in ax.texts} == {"1.20", "1.40", "1.60", "1.90"}
    legend = ax.get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {"sr-ste", "bdwp", "base (ws)"}
    assert ax.get_ylabel() == "speedup over dense, everything on"
