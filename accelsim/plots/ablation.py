"""An ablation: the ladder of techniques by workload, and what remains of it in the speedup over dense training."""

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import bar_style, legend_above, spread
from accelsim.plots.text import broken

__all__ = ["plot_grid", "plot_ladder"]

_VALUE_IN = 0.27  # narrower bars have no room for their value


def plot_ladder(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw bars of `gain` over the base, one per rung, grouped by workload.

    `frame` has a row per workload and rung: columns workload, case, rung, gain. Workloads and rungs stand in order of
    appearance; the first and the last bar of a workload carry their value.
    """
    workloads, rungs = (list(dict.fromkeys(frame[name])) for name in ("workload", "rung"))
    width = 0.86 / len(rungs)
    for which, rung in enumerate(rungs):
        gains = frame[frame["rung"] == rung].set_index("workload").loc[workloads, "gain"].tolist()
        places = [index + (which - (len(rungs) - 1) / 2) * width for index in range(len(workloads))]
        ax.bar(places, gains, width * 0.92, label=rung, **bar_style(which))
        if which in {0, len(rungs) - 1}:
            for place, gain in zip(places, gains, strict=True):
                ax.annotate(f"{gain:.2f}", (place, gain), (-1, 2), textcoords="offset points", ha="center", fontsize=6)
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xticks(range(len(workloads)), [broken(name, 0, 7) for name in workloads])
    spread(ax, len(workloads), len(rungs))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(f"speed relative to ws, {frame['case'].iloc[0]}")
    ax.set_ylim(0, 1.12 * frame["gain"].max())
    legend_above(ax)


def plot_grid(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw bars of `speedup` over dense training by pattern and method; a mark on each bar says what the base has.

    Where bars are narrow, the best of a pattern alone carries its value.
    `frame` has a row per method, pattern and variant (the first is the mark, the second the bar): columns method,
    pattern, variant, speedup, in order of appearance.
    """
    methods, patterns, variants = (list(dict.fromkeys(frame[name])) for name in ("method", "pattern", "variant"))
    marked, drawn = variants
    width = 0.8 / len(methods)
    crowded = width * ax.figure.get_figwidth() / len(patterns) < _VALUE_IN  # type: ignore[union-attr]
    best = frame[frame["variant"] == drawn].groupby("pattern")["speedup"].max()
    for which, method in enumerate(methods):
        rows = frame[frame["method"] == method].set_index(["variant", "pattern"])["speedup"]
        own = [index for index, pattern in enumerate(patterns) if (drawn, pattern) in rows.index]
        places = [index + (which - (len(methods) - 1) / 2) * width for index in own]
        tops = [rows[drawn, patterns[index]] for index in own]
        ax.bar(places, tops, width * 0.92, label=method, **bar_style(which))
        ax.plot(places, [rows[marked, patterns[index]] for index in own], linestyle="", marker="D", markersize=3.5,
                color="white", markeredgecolor="black", markeredgewidth=0.7,
                label=marked if which == len(methods) - 1 else None)  # fmt: skip
        for place, top, index in zip(places, tops, own, strict=True):
            if crowded and top < best[patterns[index]]:
                continue
            ax.annotate(f"{top:.2f}", (place, top), (0, 2), textcoords="offset points", ha="center", fontsize=6)
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xticks(range(len(patterns)), patterns)
    spread(ax, len(patterns), len(methods))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(f"speedup over dense, {drawn}")
    ax.set_ylim(0, 1.12 * frame["speedup"].max())
    legend_above(ax)
