"""Sweeps: a metric over one varied value or two, and the best compromises between two metrics."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize

from accelsim.plots.style import COLOURS, MarkerStyle, marker_style, width_of
from accelsim.plots.text import LARGER_IS_BETTER, factor_of, label_axis, log_axis, number, value_axis, words_of

__all__ = ["plot_pareto", "plot_sweep", "plot_sweep_map"]

_WIDE_SPAN = 20.0
_MOST_WRITTEN = 12
_APART = (0, 3, 2, 5, 6, 7)


class _PointStyle(TypedDict):
    """What matplotlib calls the look of points without a line; sizes in points."""

    linestyle: str
    marker: str
    markersize: float
    markeredgewidth: float
    rasterized: bool


def plot_sweep(frame: pd.DataFrame, ax: Axes, x: str, y: str) -> None:
    """Draw a line of `y` over `x` for each `series`; numbers of `x` stand to scale, words side by side.

    `frame`: columns `x`, `y`, series; series and words stand in order of appearance.
    """
    words = not pd.api.types.is_numeric_dtype(frame[x])
    names = list(dict.fromkeys(frame[x])) if words else []
    several = len(set(frame["series"])) > 1
    for index, (series, rows) in enumerate(frame.groupby("series", sort=False)):
        ordered = rows if words else rows.sort_values(x)
        places = [names.index(name) for name in ordered[x]] if words else ordered[x].tolist()
        label = str(series) if several else "_alone"
        ax.plot(places, ordered[y].tolist(), linewidth=1.1, label=label, **marker_style(index))
    label_axis(ax.yaxis, y, frame[y].tolist())
    if words:
        ax.set_xticks(range(len(names)), names)
        ax.set_xlabel(words_of(x)[0])
    else:
        value_axis(ax.xaxis, x, frame[x])
    if _is_wide(frame[y]):
        log_axis(ax.yaxis, y, frame[y].tolist())
    elif frame[y].min() >= 0:
        ax.set_ylim(0, 1.06 * frame[y].max())


def _is_wide(values: pd.Series) -> bool:
    return bool(values.min() > 0 and values.max() / values.min() > _WIDE_SPAN)


def plot_sweep_map(frame: pd.DataFrame, ax: Axes, x: str, y: str, value: str) -> QuadMesh:
    """Draw a cell for each pair of `x` and `y`, coloured by `value`; crossed where that is missing (not feasible).

    `frame`: columns `x`, `y`, `value`, one row per pair. Numbers stand in order, words in order of appearance; few
    cells carry their value. Returns what a colour bar explains, in the unit that the values are shown in.
    """
    across, up = (_steps(frame[name]) for name in (x, y))
    cells = np.full((len(up), len(across)), np.nan)
    for row in frame[[x, y, value]].itertuples(index=False, name=None):
        cells[up.index(row[1]), across.index(row[0])] = row[2]
    factor, _ = factor_of(value, frame[value].dropna().tolist())
    cells /= factor
    low, high = np.nanmin(cells), np.nanmax(cells)
    norm = LogNorm(low, high) if _is_wide(frame[value]) else Normalize(low, high)
    mesh = ax.pcolormesh(cells, cmap=colormaps["cividis"], norm=norm, edgecolors="white", linewidth=0.4)
    missing = np.argwhere(np.isnan(cells))
    ax.plot(missing[:, 1] + 0.5, missing[:, 0] + 0.5, linestyle="", marker="x", color="#777777", markersize=5,
            label="not feasible" if len(missing) else "_none")  # fmt: skip
    if len(across) <= _MOST_WRITTEN:
        for (row, column), found in np.ndenumerate(cells):
            if not np.isnan(found):
                ink = "black" if np.mean(mesh.to_rgba(found)[:3]) > 0.45 else "white"
                ax.text(column + 0.5, row + 0.5, number(found), ha="center", va="center", fontsize=5.5, color=ink)
    for axis, values, name in ((ax.xaxis, across, x), (ax.yaxis, up, y)):
        numbers = [step for step in values if isinstance(step, int | float)]
        factor, label = factor_of(name, numbers) if len(numbers) == len(values) else (1.0, words_of(name)[0])
        words = [f"{step / factor:g}" if isinstance(step, int | float) else str(step) for step in values]
        room = ax.figure.get_figwidth() - 1.3  # type: ignore[union-attr]
        most = int(room / (max(width_of(word, 7) for word in words) + 0.08)) if axis is ax.xaxis else 20
        shown = range(0, len(words), -(-len(words) // max(1, most)))
        axis.set_ticks([index + 0.5 for index in shown], [words[index] for index in shown])
        axis.set_label_text(label)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    return mesh


def _steps(values: pd.Series) -> list[object]:
    found = list(dict.fromkeys(values))
    return sorted(found) if pd.api.types.is_numeric_dtype(values) else found


def plot_pareto(frame: pd.DataFrame, ax: Axes, x: str, y: str, larger: Sequence[str] = LARGER_IS_BETTER) -> None:
    """Draw all points of `x` and `y`, the front as steps over those `on_front`, and the `knee` as a star.

    `frame`: columns `x`, `y`, on_front, knee, as of `accelsim.plots.frames.pareto_frame`, and method where points
    differ in it, which colours them: strong on the front, pale elsewhere. Of the columns in `larger` more is better.
    """
    others, front = frame[~frame["on_front"]], frame[frame["on_front"]].sort_values(x)
    pale: _PointStyle = {
        "linestyle": "",
        "marker": "o",
        "markersize": 2.6,
        "markeredgewidth": 0,
        "rasterized": len(others) > 2000,
    }
    by_method = list(dict.fromkeys(frame["method"])) if "method" in frame else []
    shown = others[:0] if by_method else others
    ax.plot(shown[x].tolist(), shown[y].tolist(), color="#bbbbbb", **pale,
            label="dominated: pale" if by_method else "dominated")  # fmt: skip
    for index, method in enumerate(by_method):
        rows = others[others["method"] == method]
        ax.plot(rows[x].tolist(), rows[y].tolist(), color=_method_style(index)["color"], alpha=0.35, **pale)
    ax.plot(front[x].tolist(), front[y].tolist(), drawstyle="steps-pre" if x in larger else "steps-post",
            color="black" if by_method else COLOURS[0], linewidth=1.1, marker="o", markersize=4,
            markeredgecolor="black", markeredgewidth=0.4, label="Pareto front")  # fmt: skip
    for index, method in enumerate(by_method):
        rows = front[front["method"] == method]
        ax.plot(rows[x].tolist(), rows[y].tolist(), linestyle="", label=str(method), **_method_style(index))
    knee = frame[frame["knee"]]
    ax.plot(knee[x].tolist(), knee[y].tolist(), linestyle="", marker="*", markersize=10, color=COLOURS[4],
            markeredgecolor="black", markeredgewidth=0.5, label="knee" if len(knee) else "_none")  # fmt: skip
    for axis, name in ((ax.xaxis, x), (ax.yaxis, y)):
        (log_axis if _is_wide(frame[name]) else label_axis)(axis, name, frame[name].tolist())
    ax.grid(axis="x")


def _method_style(index: int) -> MarkerStyle:
    """Colour and marker of a method: none is another's in pale, nor that of the knee."""
    return marker_style(_APART[index % len(_APART)], 5)
