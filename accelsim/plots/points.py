"""Points in pairs of numbers: platforms by throughput and efficiency, predictions by what was measured, designs by what
they agree with."""

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import COLOURS, MARKERS, marker_style
from accelsim.plots.text import BEHIND_TEXT, log_axis

__all__ = ["plot_platforms", "plot_predicted", "plot_region"]

_GREYS = ("#eaeaea", "#cfcfcf")


def plot_platforms(frame: pd.DataFrame, ax: Axes, x: str, y: str = "gops_per_w") -> None:
    """Draw a point per platform, by kind: throughput `x` and efficiency `y`, both logarithmic, with bars of error.

    `frame`: columns name, kind, `x`, `y`; `x` and `y` with ``_low`` and ``_high`` where an error band is known.
    Hollow where `confidence` is there and says neither measured, paper nor datasheet.
    """
    for index, (kind, rows) in enumerate(frame.groupby("kind", sort=False)):
        style = marker_style(index, 5.5)
        for unsure, some in rows.groupby(~_is_sure(rows)):
            if unsure:
                style = style | {"markerfacecolor": "white", "markeredgecolor": style["color"], "markeredgewidth": 1.0}
            ax.errorbar(
                some[x].tolist(), some[y].tolist(), xerr=_errors(some, x), yerr=_errors(some, y), linestyle="",
                elinewidth=0.7, capsize=1.5, ecolor="#777777", label=f"{kind} (not measured)" if unsure else str(kind),
                **style,
            )  # fmt: skip
    for axis, name in ((ax.xaxis, x), (ax.yaxis, y)):
        log_axis(axis, name, frame[name].tolist())
    ax.grid(axis="x")
    ax.margins(0.12)


def _is_sure(rows: pd.DataFrame) -> pd.Series:
    if "confidence" not in rows:
        return pd.Series([True] * len(rows), index=rows.index)
    return rows["confidence"].str.contains("measured|paper|datasheet", na=False)


def _errors(rows: pd.DataFrame, name: str) -> list[list[float]] | None:
    """Distances down and up to the ends of the band, none where there is none."""
    if not {f"{name}_low", f"{name}_high"} <= set(rows.columns):
        return None
    ends = (rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name])
    return [end.fillna(0).clip(lower=0).tolist() for end in ends]


def plot_predicted(
    frame: pd.DataFrame, ax: Axes, words: tuple[str, str], bands: tuple[float, ...] = (0.15, 0.3)
) -> None:
    """Draw `predicted` over `measured` by `group`, the line on which they are equal, and bands of relative error.

    `words` say what was measured and predicted, with the unit. `frame`: columns measured, predicted, group;
    predicted_low and predicted_high where an error band is known.
    """
    both = [*frame["measured"], *frame["predicted"]]
    ends = (0.7 * min(both), 1.4 * max(both))
    for index, band in enumerate(sorted(bands, reverse=True)):
        ax.fill_between(ends, [end * (1 - band) for end in ends], [end * (1 + band) for end in ends], linewidth=0,
                        color=_GREYS[index % len(_GREYS)], label=f"within {100 * band:.0f} %", zorder=0)  # fmt: skip
    ax.plot(ends, ends, color="black", linewidth=0.9, zorder=1)
    for index, (group, rows) in enumerate(frame.groupby("group", sort=False)):
        ax.errorbar(rows["measured"].tolist(), rows["predicted"].tolist(), yerr=_errors(rows, "predicted"),
                    linestyle="", elinewidth=0.5, ecolor="#777777", label=str(group),
                    **marker_style(index, 3.6))  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        log_axis(axis, None, ends)
    ax.set_xlim(ends)
    ax.set_ylim(ends)
    ax.grid(axis="x")
    ax.set_xlabel(words[0])
    ax.set_ylabel(words[1])


_GROUPS = ("#cccccc", COLOURS[0], COLOURS[3], COLOURS[2])


def plot_region(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw designs by peak and DRAM bytes per MAC in up to four groups, the last on top, and named ones as stars.

    `frame`: columns peak_gmacs, bytes_per_mac, group, name; the name is empty but for shipped designs.
    """
    for index, (group, rows) in enumerate(frame[frame["name"] == ""].groupby("group", sort=False)):
        ax.plot(rows["peak_gmacs"], rows["bytes_per_mac"], linestyle="", marker=MARKERS[index],
                markersize=4.2 if index else 2.6, color=_GROUPS[index], markeredgecolor="black",
                markeredgewidth=0.3 if index else 0.0, label=str(group), zorder=2 + index)  # fmt: skip
    shipped = frame[frame["name"] != ""]
    columns = (shipped[column].tolist() for column in ("name", "peak_gmacs", "bytes_per_mac"))
    for name, peak, share in zip(*columns, strict=True):
        ax.plot([peak], [share], linestyle="", marker="*", markersize=9, color="white", markeredgecolor="black",
                markeredgewidth=0.9, zorder=20)  # fmt: skip
        ax.annotate(name, (peak, share), (6, 4), textcoords="offset points", fontsize=6, bbox=BEHIND_TEXT,
                    zorder=21)  # fmt: skip
    log_axis(ax.xaxis, None, frame["peak_gmacs"].tolist())
    log_axis(ax.yaxis, None, frame["bytes_per_mac"].tolist())
    ax.grid(axis="x")
    ax.set_xlabel("peak of the array (GMAC/s, dense)")
    ax.set_ylabel("DRAM bytes per MAC")
