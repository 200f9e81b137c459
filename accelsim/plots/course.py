"""The course of a training run: speedup, density and conforming share over its steps, of each layer and of all."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from accelsim.plots.style import COLOURS, marker_style
from accelsim.results.course import ALL

__all__ = ["MOST_NAMED", "plot_course"]

MOST_NAMED = 6
"""Of more layers, lines are grey, and those alone that are asked for have a name."""

_GREY = "#aaaaaa"


def plot_course(frame: pd.DataFrame, ax: Axes, column: str, named: Sequence[str]) -> None:
    """Draw a line of `column` for each layer, which holds from a sample to the next, and a thick one for all layers.

    `frame`: columns layer, step, steps, `column`. Layers in `named` have a colour, a marker and a place in the legend.
    """
    end = int((frame["step"] + frame["steps"]).max())
    layers = [name for name in dict.fromkeys(frame["layer"]) if name != ALL]
    for layer in [name for name in layers if name not in named]:
        _line(
            frame,
            ax,
            layer,
            column,
            end,
            color=_GREY,
            linewidth=0.6,
            label="other layers" if named else "each layer",
            zorder=1,
        )
    for index, layer in enumerate(named):
        style = {**marker_style(index + 1, 3), "markevery": _spread_out(frame, layer)}
        _line(frame, ax, layer, column, end, linewidth=0.9, label=layer, zorder=2, **style)
    _line(frame, ax, ALL, column, end, color=COLOURS[0], linewidth=2.0, label=ALL, zorder=3)
    ax.set_xlim(0, 1.01 * end)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _line(frame: pd.DataFrame, ax: Axes, layer: str, column: str, end: int, **style: object) -> None:
    rows = frame[frame["layer"] == layer].dropna(subset=[column])
    if rows.empty:
        return
    last = int(rows["step"].iloc[-1] + rows["steps"].iloc[-1])
    ax.plot(
        [*rows["step"].tolist(), min(last, end)], [*rows[column].tolist(), rows[column].iloc[-1]],
        drawstyle="steps-post", **style,  # type: ignore[arg-type]
    )  # fmt: skip


def _spread_out(frame: pd.DataFrame, layer: str) -> int:
    """Every how many points carry a marker: about ten do."""
    return max(1, len(frame[frame["layer"] == layer]) // 10)
