"""Bars by workload and case: speedups side by side, and stacks of what a step consists of."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import bar_style, spread, stage_style
from accelsim.plots.text import BEHIND_TEXT, above_lines, broken, number, ratio_axis

__all__ = ["broken_names", "plot_lying_speedup", "plot_lying_stacks", "plot_speedup", "plot_stacks"]

_WRITTEN_IN = 0.3  # narrower parts carry no share
_CASE_IN = 1.1  # longer names of cases stand in two lines
_GROUP = 0.84  # of the place of a workload; the rest is the gap to the next


def plot_speedup(frame: pd.DataFrame, ax: Axes, limits: tuple[float, float] | None = None) -> None:
    """Draw bars of `speedup`, one per case, grouped by workload, and a line at 1.

    `frame`: columns workload, case, speedup, over; workloads and cases stand in order of appearance. Ratios that span
    more than a factor of eight stand on a logarithmic axis, and bars go up or down from 1. The best of a workload
    carries its value, or all do where there are two cases at most. `limits`: smallest and largest ratio, where other
    axes share the scale.
    """
    workloads, cases = (list(dict.fromkeys(frame[name])) for name in ("workload", "case"))
    low, high = limits or (frame["speedup"].min(), frame["speedup"].max())
    logarithmic = ratio_axis(ax.yaxis, low, high)
    foot, width = 1.0 if logarithmic else 0.0, _GROUP / len(cases)
    best = frame.loc[frame.groupby("workload")["speedup"].idxmax(), ["workload", "case"]]
    best_cases = dict(best.itertuples(index=False, name=None))
    for which, case in enumerate(cases):
        rows = frame[frame["case"] == case]
        places = [workloads.index(name) + (which - (len(cases) - 1) / 2) * width for name in rows["workload"]]
        heights = [value - foot for value in rows["speedup"]]
        ax.bar(places, heights, width * 0.92, bottom=foot, label=case, **bar_style(which))
        for place, name, value in zip(places, rows["workload"], rows["speedup"], strict=True):
            if len(cases) <= 2 or best_cases[name] == case:
                tall = max(value, foot) if logarithmic else above_lines(value, (1.0,), 1.13 * max(high, 1))
                ax.annotate(number(value), (place, tall), (0, 2), textcoords="offset points", ha="center",
                            fontsize=6, bbox=BEHIND_TEXT)  # fmt: skip
    ax.axhline(1, color="black", linewidth=0.9, linestyle="--")
    ax.set_xticks(range(len(workloads)), workloads)
    spread(ax, len(workloads), len(cases))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(f"speedup over {frame['over'].iloc[0]} (x)")
    if logarithmic:
        ax.set_ylim(0.8 * min(low, 1), 1.6 * max(high, 1))
    else:
        ax.set_ylim(0, 1.13 * max(high, 1))


def plot_lying_speedup(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw a lying bar of `speedup` with its value for each case of one workload, from the top, and a line at 1."""
    cases, values = frame["case"].tolist(), frame["speedup"].tolist()
    logarithmic = ratio_axis(ax.xaxis, min(values), max(values))
    foot = 1.0 if logarithmic else 0.0
    for place, (case, value) in enumerate(zip(cases, values, strict=True)):
        ax.barh(place, value - foot, 0.72, left=foot, label=case, **bar_style(place))
        ax.annotate(f"{number(value)}x", (max(value, 1), place), (3, 0), textcoords="offset points", va="center",
                    fontsize=6)  # fmt: skip
    ax.axvline(1, color="black", linewidth=0.9, linestyle="--")
    _lay(ax, cases)
    ax.set_xlabel(f"speedup over {frame['over'].iloc[0]} (x)")
    ax.set_xlim(0.8 * min(*values, 1) if logarithmic else 0, 1.12 * max(*values, 1))


def _lay(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")


def plot_lying_stacks(frame: pd.DataFrame, ax: Axes, part: str) -> None:
    """Draw lying stacks of `share` by `part` for the cases of one workload, from the top.

    `frame` as for `plot_stacks`; parts carry their share of the bar where there is room, and bars their gain.
    """
    bars = frame.drop_duplicates("case")
    cases = bars["case"].tolist()
    totals = frame.groupby("case")["share"].sum()
    left = dict.fromkeys(cases, 0.0)
    room = ax.figure.get_figwidth() - 1.2  # type: ignore[union-attr]
    top = max(*totals, 1)
    for index, name in enumerate(dict.fromkeys(frame[part])):
        style = stage_style(str(name)) if part == "stage" else bar_style(index)
        rows = frame[frame[part] == name]
        for place, (case, share) in enumerate(zip(rows["case"], rows["share"], strict=True)):
            ax.barh(cases.index(case), share, 0.72, left=left[case], label=str(name) if place == 0 else None, **style)
            if share / top * room > _WRITTEN_IN:
                ax.text(left[case] + share / 2, cases.index(case), f"{share / totals[case]:.0%}", ha="center",
                        va="center", fontsize=6, bbox=BEHIND_TEXT)  # fmt: skip
            left[case] += share
    for place, (case, gain) in enumerate(zip(cases, bars["gain"], strict=True)):
        if place:
            ax.annotate(f"{number(gain)}x", (left[case], place), (3, 0), textcoords="offset points", va="center",
                        fontsize=6)  # fmt: skip
    _lay(ax, [broken(case, _CASE_IN, 7) for case in cases])
    ax.set_xlim(0, 1.08 * top)


def plot_stacks(frame: pd.DataFrame, ax: Axes, part: str, turned: bool = False) -> None:
    """Draw stacked bars of `share` by `part` (a column of the frame), one per case, grouped by workload.

    `frame`: columns workload, case, `part`, share, gain; all in order of appearance. Each bar but the first of a
    workload carries its gain, and every one its case below, `turned` upright where names need the room.
    """
    parts = list(dict.fromkeys(frame[part]))
    bars = frame.drop_duplicates(["workload", "case"])
    firsts = ~bars["workload"].duplicated()
    places = dict(zip(map(tuple, bars[["workload", "case"]].to_numpy()), _places(firsts.tolist()), strict=True))
    bottom = dict.fromkeys(places, 0.0)
    for index, name in enumerate(parts):
        rows = frame[frame[part] == name]
        keys = list(map(tuple, rows[["workload", "case"]].to_numpy()))
        ax.bar(
            [places[key] for key in keys], rows["share"].tolist(), 0.84, bottom=[bottom[key] for key in keys],
            label=str(name), **(stage_style(str(name)) if part == "stage" else bar_style(index)),
        )  # fmt: skip
        bottom |= {key: bottom[key] + share for key, share in zip(keys, rows["share"], strict=True)}
    for key, gain, first in zip(places, bars["gain"], firsts, strict=True):
        if not first:
            ax.annotate(f"{number(gain)}x", (places[key], bottom[key]), (0, 2), textcoords="offset points",
                        ha="center", fontsize=6)  # fmt: skip
    top = max(*bottom.values(), 1)
    own = {name: [place for (workload, _), place in places.items() if workload == name] for name in bars["workload"]}
    for name, several in own.items():
        ax.annotate(name, (sum(several) / len(several), 1), (0, 3), xycoords=("data", "axes fraction"), ha="center",
                    textcoords="offset points", va="bottom", fontsize=7)  # fmt: skip
        if several[0] > 0:
            ax.axvline(several[0] - 0.75, color="#999999", linewidth=0.5)
    ax.set_xticks(list(places.values()), [case for _, case in places])
    ax.tick_params(axis="x", length=0, labelsize=6, labelrotation=90 if turned else 0)
    ax.set_xlim(-0.6, max(places.values()) + 0.6)
    ax.set_ylim(0, 1.12 * top)


def _places(firsts: list[bool]) -> list[float]:
    """Places of bars one apart, and half a bar more in front of each first one of a workload."""
    places, at = [], -1.0
    for index, first in enumerate(firsts):
        at += 1.5 if first and index else 1.0
        places.append(at)
    return places


def broken_names(frame: pd.DataFrame, room_in: float) -> pd.DataFrame:
    """Return the frame with workloads in two lines where they are wider than `room_in`."""
    return frame.assign(workload=[broken(str(name), room_in, 7) for name in frame["workload"]])
