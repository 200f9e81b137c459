"""An ablation: the ladder of techniques by workload, and what remains of it in the speedup over dense training."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import bar_style, legend_above, spread
from accelsim.plots.text import BEHIND_TEXT, above_lines, broken
from accelsim.results.ablation import BASE, LADDER, OS_BASE, AblationRow, Variant, VariantSummary, summarise
from accelsim.sparsity.methods import case_name

__all__ = [
    "OPTIMAL",
    "OS_INTERLEAVED",
    "RUNGS",
    "Case",
    "by_variant",
    "cases_of",
    "grid_frame",
    "headline",
    "ladder_frame",
    "panel_frame",
    "plot_grid",
    "plot_ladder",
]

Case = tuple[str, str | None]
"""A method and its pattern."""

_HEADLINE = ("bdwp", "2:8")
OS_INTERLEAVED = Variant(dataflow="os", interleave=True)
_INTERLEAVED, _CHOSEN, _PREGENERATED, _OVERLAPPED, OPTIMAL = LADDER
RUNGS = {
    OS_BASE: "os",
    BASE: "ws",
    OS_INTERLEAVED: "os + interleave",
    _CHOSEN: "auto + interleave",
    _PREGENERATED: "+ pregenerate",
    _OVERLAPPED: "+ overlap",
    OPTIMAL: "+ optimal",
}

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
                tall = above_lines(gain, (1.0,), 1.12 * frame["gain"].max())
                ax.annotate(f"{gain:.2f}", (place, tall), (-1, 2), textcoords="offset points", ha="center", fontsize=6,
                            bbox=BEHIND_TEXT)  # fmt: skip
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
            tall = above_lines(top, (1.0,), 1.12 * frame["speedup"].max())
            ax.annotate(f"{top:.2f}", (place, tall), (0, 2), textcoords="offset points", ha="center", fontsize=6)
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xticks(range(len(patterns)), patterns)
    spread(ax, len(patterns), len(methods))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(f"speedup over dense, {drawn}")
    ax.set_ylim(0, 1.12 * frame["speedup"].max())
    legend_above(ax)


def ladder_frame(rows: Sequence[AblationRow]) -> pd.DataFrame:
    """Gain over the base of each rung and workload, for BDWP at 2:8, or for the first case where that is not there."""
    method, pattern = headline(rows)
    return pd.DataFrame(
        [
            {"workload": row.workload, "case": case_name(method, pattern), "rung": label, "gain": row.gain}
            for variant, label in RUNGS.items()
            for row in rows
            if (row.method, row.pattern, row.variant) == (method, pattern, variant)
        ]
    )


def grid_frame(rows: Sequence[AblationRow]) -> pd.DataFrame:
    """Geometric mean over workloads of the speedup over dense training, on the base and with everything on."""
    return pd.DataFrame(
        [
            {"method": method, "pattern": pattern or "-", "variant": name, "speedup": found[variant].mean_speedup}
            for method, pattern in cases_of(rows)
            if method != "dense"
            for found in [by_variant(rows, (method, pattern))]
            for name, variant in (("base (ws)", BASE), ("everything on", OPTIMAL))
        ]
    )


def panel_frame(rows: Sequence[AblationRow]) -> pd.DataFrame:
    """The ladder and the grid as one frame; `panel` says which of them a row belongs to."""
    parts = {"ladder": ladder_frame(rows), "grid": grid_frame(rows)}
    return pd.concat([part.assign(panel=name) for name, part in parts.items() if not part.empty], ignore_index=True)


def by_variant(rows: Sequence[AblationRow], case: Case) -> dict[Variant, VariantSummary]:
    """Variants of a case with their means."""
    return {found.variant: found for found in summarise(rows, *case)}


def cases_of(rows: Sequence[AblationRow]) -> list[Case]:
    """Cases in order of appearance."""
    return list(dict.fromkeys((row.method, row.pattern) for row in rows))


def headline(rows: Sequence[AblationRow]) -> Case:
    """BDWP at 2:8, or the first case where that is not there."""
    cases = cases_of(rows)
    return _HEADLINE if _HEADLINE in cases else cases[0]
