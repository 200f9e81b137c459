"""Step time by stage, one bar per method, grouped by workload."""

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import COLOURS, HATCHES

__all__ = ["plot_stage_stacks"]


def plot_stage_stacks(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw stacked bars of `share` (of the workload's first bar) by stage.

    `frame` has a row per workload, bar and stage: columns workload, bar (label), stage, share, speedup. Bars and stages
    stand in order of appearance; each bar but the first of a workload carries its speedup.
    """
    workloads, bars, stages = (list(dict.fromkeys(frame[name])) for name in ("workload", "bar", "stage"))
    width = 0.8 / len(bars)
    for which, bar in enumerate(bars):
        rows = frame[frame["bar"] == bar]
        places = [index + (which - (len(bars) - 1) / 2) * width for index in range(len(workloads))]
        bottom = [0.0] * len(workloads)
        for index, stage in enumerate(stages):
            heights = rows[rows["stage"] == stage].set_index("workload").loc[workloads, "share"].tolist()
            ax.bar(
                places,
                heights,
                width * 0.92,
                bottom=bottom,
                color=COLOURS[index],
                hatch=HATCHES[index],
                edgecolor="black",
                linewidth=0.4,
                label=stage if which == 0 else None,
            )
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        speedups = rows.drop_duplicates("workload").set_index("workload").loc[workloads, "speedup"]
        for place, top, speedup in zip(places, bottom, speedups, strict=True):
            text = bar if which == 0 else f"{bar}\n{speedup:.2f}x"
            ax.annotate(text, (place, top), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=6)
    ax.set_xticks(range(len(workloads)), workloads)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("step time relative to dense")
    ax.set_ylim(0, 1.25)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=len(stages), handlelength=1.2, columnspacing=1.2)
