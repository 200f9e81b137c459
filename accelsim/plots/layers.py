"""Layer by layer: how well each stage uses the array, which dataflow runs it, and what a method gains."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from accelsim.lowering.tasks import Stage
from accelsim.plots.style import COLOURS, marker_style, width_of
from accelsim.plots.text import number, ratio_axis, short_names

__all__ = ["UTILISATION", "plot_layer_map", "plot_layer_speedup", "plot_mapping", "plot_utilisation", "speedup_scale"]

UTILISATION = ScalarMappable(Normalize(0, 1), colormaps["cividis"])
"""Colours of utilisation, from 0 to 1: even steps of lightness, so that they print in grey."""

_WRITTEN = 16  # cells of more layers are too narrow for numbers
_DATAFLOWS = {"os": (COLOURS[0], "", "OS"), "ws": (COLOURS[3], "///", "WS"), "is": (COLOURS[2], "...", "IS")}
_SLOWER = 0.995
_MIXED = ("#dddddd", "xx", "several")


def plot_utilisation(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw a cell per layer and stage, coloured by `utilisation`; of a stage that a layer lacks, none.

    `frame`: columns layer, stage, utilisation; layers stand in order of appearance. Few cells carry their value in %.
    """
    layers, stages = _cell_axes(frame, ax)
    for row in frame.itertuples():
        x, y = layers.index(row.layer), stages.index(row.stage)
        colour = UTILISATION.to_rgba(row.utilisation)
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.5))
        if len(layers) <= _WRITTEN:
            ink = "black" if np.mean(colour[:3]) > 0.45 else "white"
            ax.text(x, y, f"{100 * row.utilisation:.0f}", ha="center", va="center", fontsize=5.5, color=ink)


def plot_mapping(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw a cell per layer and stage, coloured and hatched by `dataflow`, with a dot where its operand is sparse.

    `frame`: columns layer, stage, dataflow, pattern; layers stand in order of appearance.
    """
    layers, stages = _cell_axes(frame, ax)
    for row in frame.itertuples():
        x, y = layers.index(row.layer), stages.index(row.stage)
        colour, hatch, label = _DATAFLOWS.get(row.dataflow, _MIXED)
        ax.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5), 1, 1, facecolor=colour, hatch=hatch, label=label, edgecolor="white", linewidth=0.5
            )
        )
    sparse = frame[frame["pattern"] != "dense"]
    for pattern, rows in sparse.groupby("pattern"):
        ax.plot([layers.index(name) for name in rows["layer"]], [stages.index(name) for name in rows["stage"]],
                linestyle="", marker="o", markersize=2.6, markeredgecolor="black", markeredgewidth=0.5, color="white",
                label=f"sparse, {pattern}")  # fmt: skip


def _cell_axes(frame: pd.DataFrame, ax: Axes, up: str = "stage") -> tuple[list[str], list[str]]:
    layers, found = (list(dict.fromkeys(frame[name])) for name in ("layer", up))
    stages = [stage.value for stage in Stage if stage in found] + [name for name in found if name not in set(Stage)]
    ax.set_xlim(-0.5, len(layers) - 0.5)
    ax.set_ylim(len(stages) - 0.5, -0.5)
    ax.set_yticks(range(len(stages)), stages)
    _name_layers(ax, layers)
    ax.tick_params(axis="both", length=0)
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_facecolor("#f2f2f2")
    return layers, stages


def _name_layers(ax: Axes, layers: Sequence[str]) -> None:
    names = short_names(layers)
    ax.set_xticks(range(len(layers)), names)
    room = (ax.figure.get_figwidth() - 0.9) / len(names)  # type: ignore[union-attr]
    upright = max(width_of(name, 5.5) for name in names) > room
    ax.tick_params(axis="x", labelsize=5.5, labelrotation=90 if upright else 0)


def speedup_scale(values: pd.Series) -> ScalarMappable:
    """Return colours of speedups, even steps of lightness from the least to the largest."""
    return ScalarMappable(Normalize(min(values.min(), 1.0), max(values.max(), 1.0)), colormaps["cividis"])


def plot_layer_map(frame: pd.DataFrame, ax: Axes, scale: ScalarMappable) -> None:
    """Draw a cell per layer and case, coloured by `speedup` on a scale, crossed where the case is slower.

    `frame`: columns layer, case, speedup; layers and cases stand in order of appearance.
    """
    layers, cases = _cell_axes(frame, ax, "case")
    for row in frame.itertuples():
        x, y = layers.index(row.layer), cases.index(row.case)
        ax.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=scale.to_rgba(row.speedup), edgecolor="white", linewidth=0.5)
        )
        if row.speedup < _SLOWER:
            ax.plot([x], [y], marker="x", markersize=3.2, color="white", markeredgewidth=0.8)


def plot_layer_speedup(frame: pd.DataFrame, ax: Axes, limits: tuple[float, float] | None = None) -> None:
    """Draw a mark at the `speedup` of each layer and case, on a stem from 1.

    `frame`: columns layer, case, speedup, over; layers and cases stand in order of appearance. A wide span of ratios
    makes the axis logarithmic. `limits`: smallest and largest ratio, where other axes share the scale.
    """
    layers, cases = (list(dict.fromkeys(frame[name])) for name in ("layer", "case"))
    low, high = limits or (frame["speedup"].min(), frame["speedup"].max())
    step = 0.7 / len(cases)
    for which, case in enumerate(cases):
        rows = frame[frame["case"] == case]
        places = [layers.index(name) + (which - (len(cases) - 1) / 2) * step for name in rows["layer"]]
        ax.vlines(places, 1, rows["speedup"].tolist(), color="#888888", linewidth=0.6, zorder=1)
        ax.plot(places, rows["speedup"].tolist(), linestyle="", label=case, **marker_style(which, 3.2))
    ax.axhline(1, color="black", linewidth=0.9, linestyle="--")
    if ratio_axis(ax.yaxis, low, high):
        ax.set_ylim(0.8 * min(low, 1), 1.3 * max(high, 1))
    else:
        room = 0.08 * (max(high, 1) - min(low, 1)) or 0.1
        ax.set_ylim(max(0, min(low, 1) - room), max(high, 1) + room)
    ax.set_xlim(-0.6, len(layers) - 0.4)
    _name_layers(ax, layers)
    ax.set_ylabel(f"speedup over\n{frame['over'].iloc[0]} (x)")
    if len(layers) <= _WRITTEN and len(cases) == 1:
        for place, value in zip(range(len(layers)), frame["speedup"], strict=True):
            ax.annotate(number(value), (place, max(value, 1)), (0, 4), textcoords="offset points", ha="center",
                        fontsize=5.5)  # fmt: skip
