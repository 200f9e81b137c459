"""The paper's speedup beside ours, and how far each assumption moves it."""

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import COLOURS, bar_style, spread
from accelsim.plots.text import BEHIND_TEXT, above_lines

__all__ = ["plot_speedups", "plot_tornado"]


def plot_speedups(frame: pd.DataFrame, ax: Axes, published: float) -> None:
    """Draw bars of `speedup` by workload, one per engine, and a line at the `published` average.

    `frame` has a row per workload and engine: columns workload, engine, speedup, in order of appearance.
    """
    workloads, engines = (list(dict.fromkeys(frame[name])) for name in ("workload", "engine"))
    width = 0.8 / len(engines)
    for which, engine in enumerate(engines):
        tops = frame[frame["engine"] == engine].set_index("workload").loc[workloads, "speedup"].tolist()
        places = [index + (which - (len(engines) - 1) / 2) * width for index in range(len(workloads))]
        ax.bar(places, tops, width * 0.92, label=engine, **bar_style(which))
        for place, top in zip(places, tops, strict=True):
            tall = above_lines(top, (1.0, published), 1.12 * frame["speedup"].max())
            ax.annotate(f"{top:.2f}", (place, tall), (0, 3), textcoords="offset points", ha="center", fontsize=6,
                        bbox=BEHIND_TEXT)  # fmt: skip
    ax.axhline(published, color="black", linestyle="--", linewidth=0.9, label=f"published average {published:g}x")
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xticks(range(len(workloads)), [name.replace("_", "\n") for name in workloads])
    spread(ax, len(workloads), len(engines))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("speedup over dense, BDWP 2:8")
    ax.set_ylim(0, 1.12 * frame["speedup"].max())


def plot_tornado(frame: pd.DataFrame, ax: Axes, base: float, published: float | None = None) -> None:
    """Draw for each assumption a bar from its `low` to its `high` outcome, with the values at both ends.

    `frame` has a row per assumption, from the top: columns assumption, low, high, low_value, high_value; a value is
    empty where that end is the `base`. Lines stand at `base` and at what is `published`, if anything is.
    """
    places = range(len(frame))[::-1]
    spans = (frame["high"] - frame["low"]).tolist()
    ax.barh(places, spans, 0.62, left=frame["low"].tolist(), color=COLOURS[1], edgecolor="black", linewidth=0.4)
    for place, row in zip(places, frame.itertuples(), strict=True):
        for end, value, side in ((row.low, row.low_value, -1), (row.high, row.high_value, 1)):
            if value:
                ax.annotate(str(value), (end, place), (3 * side, 0), textcoords="offset points", va="center",
                            fontsize=6, ha="right" if side < 0 else "left", bbox=BEHIND_TEXT)  # fmt: skip
    ax.axvline(base, color="black", linewidth=0.9, label=f"as shipped {base:.2f}x" if published else "mean")
    if published is not None:
        ax.axvline(published, color="black", linestyle="--", linewidth=0.9, label=f"published {published:g}x")
    ax.set_yticks(places, frame["assumption"].tolist())
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    room = 0.12 * (frame["high"].max() - frame["low"].min())
    ax.set_xlim(frame["low"].min() - room, frame["high"].max() + room)
