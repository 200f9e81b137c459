"""Layer by layer: cells, marks and stems are the values of the frame."""

import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from accelsim.plots.compose import draw_utilisation
from accelsim.plots.layers import UTILISATION, plot_layer_speedup, plot_mapping, plot_utilisation
from accelsim.plots.style import COLOURS, new_figure

CELLS = pd.DataFrame(
    [
        ("conv1", "FF", 0.9, "os", "dense"),
        ("conv1", "WU", 0.5, "os", "dense"),
        ("conv2", "FF", 0.1, "ws", "2:8"),
        ("conv2", "BP", 0.2, "os and ws", "2:8"),
        ("conv2", "WU", 1.0, "is", "dense"),
    ],
    columns=["layer", "stage", "utilisation", "dataflow", "pattern"],
)


def cells(ax) -> dict[tuple[float, float], Rectangle]:
    return {(patch.get_x() + 0.5, patch.get_y() + 0.5): patch for patch in ax.patches}


def test_a_cell_is_as_bright_as_its_layer_and_stage_use_the_array() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_utilisation(CELLS, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["FF", "BP", "WU"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["conv1", "conv2"]
    want = {(0, 0): 0.9, (0, 2): 0.5, (1, 0): 0.1, (1, 1): 0.2, (1, 2): 1.0}
    assert {at: to_hex(patch.get_facecolor()) for at, patch in cells(ax).items()} == {
        at: to_hex(UTILISATION.to_rgba(value)) for at, value in want.items()
    }
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        at: f"{100 * value:.0f}" for at, value in want.items()
    }
    assert ax.get_ylim() == (2.5, -0.5)


def test_many_layers_stand_in_rows_and_have_no_numbers() -> None:
    frame = pd.DataFrame([{"layer": f"l{at}", "stage": "FF", "utilisation": at / 60} for at in range(60)])
    with new_figure("single") as figure:
        draw_utilisation(frame, figure)
    panels = [ax for ax in figure.axes if ax.patches]
    assert [len(ax.patches) for ax in panels] == [20, 20, 20]
    assert not any(ax.texts for ax in panels)


def test_a_cell_has_the_colour_of_its_dataflow_and_a_dot_where_it_is_sparse() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_mapping(CELLS, ax)
    found = {
        at: (to_hex(patch.get_facecolor()), patch.get_hatch(), patch.get_label()) for at, patch in cells(ax).items()
    }
    os_, ws, mixed = (COLOURS[0].lower(), "", "OS"), (COLOURS[3].lower(), "///", "WS"), ("#dddddd", "xx", "several")
    assert found == {(0, 0): os_, (0, 2): os_, (1, 0): ws, (1, 1): mixed, (1, 2): (COLOURS[2].lower(), "...", "IS")}
    (dots,) = ax.lines
    assert list(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == [(1, 0), (1, 1)]
    assert dots.get_label() == "sparse, 2:8"


@pytest.mark.parametrize(("last", "scale"), [(1.5, "linear"), (50.0, "log")])
def test_a_mark_stands_at_the_speedup_of_each_layer(last: float, scale: str) -> None:
    frame = pd.DataFrame(
        {"layer": ["a", "a", "b", "b"], "case": ["x", "y"] * 2, "speedup": [0.5, 2.0, 1.0, last], "over": "dense"}
    )
    with new_figure() as figure:
        ax = figure.subplots()
        plot_layer_speedup(frame, ax)
    marks = {line.get_label(): list(line.get_ydata()) for line in ax.lines if line.get_marker() != "None"}
    assert marks == {"x": [0.5, 1.0], "y": [2.0, last]}
    stems = [
        path.tolist() for each in ax.collections if isinstance(each, LineCollection) for path in each.get_segments()
    ]
    assert [stem[0][1] for stem in stems] == [1, 1, 1, 1]
    assert [stem[1][1] for stem in stems] == [0.5, 1.0, 2.0, last]
    assert ax.get_yscale() == scale
    assert ax.get_ylim()[0] < 0.5
    assert ax.get_ylim()[1] > max(2.0, last)
