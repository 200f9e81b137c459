"""Whole figures: panels under one legend and title, in several rows where there are many bars or layers.

Each function draws one frame into an empty figure (`accelsim.plots.style.new_figure`) and gives it its height.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import NullFormatter

from accelsim.base.files import Scalar
from accelsim.plots.ablation import plot_grid, plot_ladder
from accelsim.plots.bars import (
    broken_names,
    plot_lying_speedup,
    plot_lying_stacks,
    plot_speedup,
    plot_stacks,
)
from accelsim.plots.course import MOST_NAMED, plot_course
from accelsim.plots.layers import (
    UTILISATION,
    plot_layer_map,
    plot_layer_speedup,
    plot_mapping,
    plot_utilisation,
    speedup_scale,
)
from accelsim.plots.paper import plot_speedups, plot_tornado
from accelsim.plots.points import plot_platforms, plot_predicted, plot_region
from accelsim.plots.roofline import plot_roofline, write_on_slope
from accelsim.plots.style import explain, fitted, new_figure, width_of
from accelsim.plots.sweep import plot_pareto, plot_sweep, plot_sweep_map
from accelsim.plots.text import (
    LARGER_IS_BETTER,
    PARAMETERS,
    broken,
    factor_of,
    in_words,
    label_axis,
    log_axis,
    place_labels,
    said,
    short_names,
)
from accelsim.results.course import ALL

__all__ = [
    "Draw",
    "Drawing",
    "draw_ablation",
    "draw_claims",
    "draw_course",
    "draw_layer_speedup",
    "draw_mapping",
    "draw_pareto",
    "draw_platforms",
    "draw_predicted",
    "draw_region",
    "draw_roofline",
    "draw_speedup",
    "draw_stacks",
    "draw_sweep",
    "draw_sweep_map",
    "draw_tornado",
    "draw_utilisation",
    "make_figure",
]

Draw = Callable[[pd.DataFrame, Figure, str], None]

_AXIS_IN = 0.62  # left of the axes: their label and numbers
_LEGEND_IN = 0.42
_TITLE_LINE_IN = 0.15
_LAYER_IN = 0.112  # least width of a layer whose name stands upright
_CASE_IN = 0.9  # longer names of cases stand in two lines
_WIDEST_STACK_IN = 0.6
_ASSUMPTION_IN = 1.2
_MOST_MARKS = 100  # of layers and cases
_FEW_BARS = 4  # of one workload lie, as there is more room along a line of text than across
_NAMED_LAYERS = 5  # of a roofline
_NAMED_WORST = 5  # of predictions
_NAMED_PLATFORMS = 40
_MOST_NAMED = 6  # points of a front
_MOST_AVOIDED = 400  # dominated points that names keep clear of


_LONGEST_SHOWN, _LONGEST_TITLE = 60, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A frame and how it is drawn; `title` says what its rows have in common, `notes` what is not shown."""

    frame: pd.DataFrame
    draw: Draw
    title: str = ""
    notes: tuple[str, ...] = ()


def make_figure(drawing: Drawing, width: str = "double", title: str | None = None) -> Figure:
    """Return the figure in a column width (``single`` or ``double``), with a `title` instead of its own."""
    with new_figure(width) as figure:
        (text,) = short_names([drawing.title if title is None else title], _LONGEST_TITLE)
        drawing.draw(_with_names_that_fit(drawing.frame), figure, fitted(text, figure.get_figwidth() - 0.1))
    return figure


def _with_names_that_fit(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame without the middle of texts that leave no room for anything else."""
    changes = {}
    for column in frame.select_dtypes(exclude="number").columns:
        names = [cell for cell in dict.fromkeys(frame[column]) if isinstance(cell, str)]
        if any(len(name) > _LONGEST_SHOWN for name in names):
            changes[column] = frame[column].replace(dict(zip(names, short_names(names, _LONGEST_SHOWN), strict=True)))
    return frame.assign(**changes)


def _finish(figure: Figure, panels: Sequence[Axes], title: str) -> None:
    """Put the legend and title above the panels, and break what their axes say into lines that fit."""
    explain(figure, panels, title)
    across = figure.get_figwidth() - 0.9
    up = (figure.get_figheight() - 0.4) / len(panels) - 0.3
    for ax in panels:
        for axis, room in ((ax.xaxis, across), (ax.yaxis, up)):
            text = axis.get_label_text()
            if width_of(text, 7) > room:
                axis.set_label_text(textwrap.fill(text.replace("\n", " "), max(8, int(room / width_of("m", 7)))))


def _in_rows(names: Sequence[str], each_in: float, figure: Figure) -> list[list[str]]:
    """Deal names into as few rows as fit the figure, each of about as many."""
    most = max(1, int((figure.get_figwidth() - _AXIS_IN) / each_in))
    rows = -(-len(names) // most)
    return [list(part) for part in np.array_split(np.array(names, dtype=object), rows)]


def _panels(figure: Figure, rows: int, height_in: float, title: str) -> list[Axes]:
    lines = len(title.split("\n")) if title else 0
    figure.set_figheight(rows * height_in + _LEGEND_IN + _TITLE_LINE_IN * lines)
    return list(figure.subplots(rows, 1, squeeze=False)[:, 0])


def draw_speedup(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw the frame of `speedup_frame`."""
    cases = frame["case"].nunique()
    names = list(dict.fromkeys(frame["workload"]))
    if len(names) == 1 and cases <= _FEW_BARS:
        (ax,) = _panels(figure, 1, 0.45 + 0.24 * cases - _LEGEND_IN + 0.1, title)
        plot_lying_speedup(frame, ax)
        if title:
            figure.suptitle(title, fontsize=8, x=0.01, ha="left")
        return
    widest = max(width_of(broken(name, 0, 7), 7) for name in names)
    each = max((0.27 if cases <= 2 else 0.13) * cases + 0.1, widest + 0.08)
    rows = _in_rows(names, each, figure)
    limits = (frame["speedup"].min(), frame["speedup"].max())
    panels = _panels(figure, len(rows), 1.55, title)
    order = list(dict.fromkeys(frame["case"]))
    for names_of_row, ax in zip(rows, panels, strict=True):
        part = frame[frame["workload"].isin(names_of_row)]
        part = part.sort_values("case", key=lambda column: column.map(order.index), kind="stable")
        part = part.sort_values("workload", key=lambda column: column.map(names.index), kind="stable")
        plot_speedup(broken_names(part, each - 0.05), ax, limits)
    _finish(figure, panels, title)


def draw_stacks(frame: pd.DataFrame, figure: Figure, title: str = "", *, part: str, label: str) -> None:
    """Draw the frame of `stage_frame`, `energy_frame` or `training_frame`: stacks by `part`, the axis says `label`."""
    cases = frame.groupby("workload", sort=False)["case"].nunique()
    if len(cases) == 1 and cases.max() <= _FEW_BARS:
        (ax,) = _panels(figure, 1, 0.5 + 0.28 * cases.max(), title)
        plot_lying_stacks(frame, ax, part)
        ax.set_xlabel(label.format(frame["case"].iloc[0]))
        _finish(figure, [ax], title)
        return
    frame = frame.assign(case=[broken(str(case), _CASE_IN, 6) for case in frame["case"]])
    widest = max(width_of(case, 6) for case in frame["case"])
    same = len(set(frame.drop_duplicates("workload")["case"])) == 1
    turned = cases.max() > 3 or widest > 0.62
    each_bar = 0.27 if turned else max(0.34, widest + 0.06)
    names = list(cases.index)
    each = max(each_bar * (cases.max() + 0.5), max(width_of(broken(name, 0, 7), 7) for name in names) + 0.08)
    rows = _in_rows(names, each, figure)
    panels = _panels(figure, len(rows), 1.75 + (min(widest, 1.4) if turned else 0.1), title)
    for names_of_row, ax in zip(rows, panels, strict=True):
        rows_of_panel = frame[frame["workload"].isin(names_of_row)]
        plot_stacks(broken_names(rows_of_panel, each - 0.05), ax, part, turned)
        ax.set_ylabel(label.format(frame["case"].iloc[0] if same else "the first"))
    widest_row = max([ax.get_xlim()[1] for ax in panels] + [(figure.get_figwidth() - _AXIS_IN) / _WIDEST_STACK_IN])
    for ax in panels:
        ax.set_xlim(right=widest_row)  # bars of all rows are as wide
    _finish(figure, panels, title)


def _layer_panels(frame: pd.DataFrame, figure: Figure, title: str, height_in: float) -> list[tuple[pd.DataFrame, Axes]]:
    names = list(dict.fromkeys(frame["layer"]))
    rows = _in_rows(names, _LAYER_IN, figure)
    named = max(width_of(name, 5.5) for name in short_names(names)) + 0.1
    panels = _panels(figure, len(rows), height_in + named, title)
    return [(frame[frame["layer"].isin(some)], ax) for some, ax in zip(rows, panels, strict=True)]


def draw_utilisation(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw the frame of `utilisation_frame`."""
    panels = _layer_panels(frame, figure, title, 0.25 + 0.18 * frame["stage"].nunique())
    for part, ax in panels:
        plot_utilisation(part, ax)
    axes = [ax for _, ax in panels]
    bar = figure.colorbar(UTILISATION, ax=axes, location="top", shrink=0.5, aspect=40, pad=0.02, anchor=(1.0, 0.5))
    bar.set_label("utilisation of the array", fontsize=6.5)
    bar.ax.tick_params(labelsize=6)
    figure.set_figheight(figure.get_figheight() + 0.15)
    if title:
        figure.suptitle(title, fontsize=8, x=0.01, ha="left")


def draw_mapping(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw the frame of `mapping_frame`."""
    panels = _layer_panels(frame, figure, title, 0.25 + 0.18 * frame["stage"].nunique())
    for part, ax in panels:
        plot_mapping(part, ax)
    _finish(figure, [ax for _, ax in panels], title)


def draw_layer_speedup(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw the frame of `layer_speedup_frame`: marks, or of many layers and cases a map."""
    if len(frame) > _MOST_MARKS and len(set(frame["case"])) > 1:
        _draw_layer_map(frame, figure, title)
        return
    limits = (frame["speedup"].min(), frame["speedup"].max())
    panels = _layer_panels(frame, figure, title, 1.25)
    for part, ax in panels:
        plot_layer_speedup(part, ax, limits)
    _finish(figure, [ax for _, ax in panels], title)


def _draw_layer_map(frame: pd.DataFrame, figure: Figure, title: str) -> None:
    panels = _layer_panels(frame, figure, title, 0.25 + 0.18 * frame["case"].nunique())
    scale = speedup_scale(frame["speedup"])
    for part, ax in panels:
        plot_layer_map(part, ax, scale)
    axes = [ax for _, ax in panels]
    shrink = 0.5 if figure.get_figwidth() > 5 else 1.0
    bar = figure.colorbar(scale, ax=axes, location="top", shrink=shrink, aspect=40, pad=0.02, anchor=(1.0, 0.5))
    bar.set_label(f"speedup over {frame['over'].iloc[0]} (x); crossed: slower", fontsize=6.5)
    bar.ax.tick_params(labelsize=6)
    figure.set_figheight(figure.get_figheight() + 0.15)
    if title:
        figure.suptitle(title, fontsize=8, x=0.01, ha="left")


def draw_course(frame: pd.DataFrame, figure: Figure, title: str = "", *, layer: str | None = None) -> None:
    """Draw the frame of `course_frame`: three panels over the steps; of many layers, `layer` alone has a name."""
    layers = [name for name in dict.fromkeys(frame["layer"]) if name != ALL]
    named = [layer] if layer else layers if len(layers) <= MOST_NAMED else []
    pattern = frame["pattern"].dropna()
    texts = {"speedup": "speedup over\ndense (x)", "density": "density of\nweights"}
    if not pattern.empty:
        texts["conforming"] = f"groups that\nobey {pattern.iloc[0]}"
    shown = [column for column in texts if frame[column].notna().any()]
    panels = _panels(figure, len(shown), 1.25, title)
    for column, ax in zip(shown, panels, strict=True):
        plot_course(frame, ax, column, named)
        ax.set_ylabel(texts[column])
        if column == "speedup":
            low, high = min(1.0, float(frame[column].min())), max(1.0, float(frame[column].max()))
            room = 0.1 * (high - low) or 0.1
            ax.set_ylim(low - room, high + room)
            ax.axhline(1, color="black", linewidth=0.9, linestyle="--")
        else:
            ax.set_ylim(0, 1.08)
        if ax is not panels[-1]:
            ax.tick_params(axis="x", labelbottom=False)
    panels[-1].set_xlabel("training step")
    _finish(figure, panels, title)


def draw_roofline(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw the frame of `roofline_frame`, and name the layers that take longest."""
    (ax,) = _panels(figure, 1, 2.9, title)
    plot_roofline(frame, ax)
    _finish(figure, [ax], f"{title}\narea of a point: its time" if title else "area of a point: its time")
    figure.draw_without_rendering()  # places the axes, which the slope's angle depends on
    write_on_slope(frame, ax)
    points = frame[frame["kind"] == "layer"].nlargest(_NAMED_LAYERS, "latency_s")
    names = [
        f"{layer} {stage}" for layer, stage in zip(short_names(points["layer"].tolist()), points["stage"], strict=True)
    ]
    others = frame.loc[frame["kind"] == "layer", ["intensity", "gops"]]
    _name_points(figure, ax, points, "intensity", "gops", names, list(others.itertuples(index=False, name=None)))


def draw_sweep(frame: pd.DataFrame, figure: Figure, title: str = "", *, x: str, y: str) -> None:
    """Draw lines of `y` over `x`, one for each `series` of the frame."""
    (ax,) = _panels(figure, 1, 2.2, title)
    plot_sweep(frame, ax, x, y)
    _finish(figure, [ax], title)


def draw_sweep_map(frame: pd.DataFrame, figure: Figure, title: str = "", *, x: str, y: str, value: str) -> None:
    """Draw cells of `value` for each pair of `x` and `y`."""
    (ax,) = _panels(figure, 1, min(6.0, 0.9 + 0.24 * max(4, frame[y].nunique())), title)
    mesh = plot_sweep_map(frame, ax, x, y, value)
    bar = figure.colorbar(mesh, ax=ax, pad=0.02, aspect=30)
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    if isinstance(mesh.norm, LogNorm):
        log_axis(bar.ax.yaxis, None, bar.ax.get_ylim())
    bar.set_label(factor_of(value, frame[value].dropna().tolist())[1])
    _finish(figure, [ax], title)


def draw_pareto(frame: pd.DataFrame, figure: Figure, title: str = "", *, x: str, y: str, named: Sequence[str]) -> None:
    """Draw all points and the front of the frame of `pareto_frame`; its points say their values of the columns `named`.

    The knee comes first, then the ends of the front; of many points, and where a name finds no free place, others are
    left out.
    """
    (ax,) = _panels(figure, 1, 2.6, title)
    plot_pareto(frame, ax, x, y)
    _finish(figure, [ax], title)
    points = frame[frame["on_front"]].drop_duplicates([x, y]).sort_values(x)
    front = list(points[[x, y]].itertuples(index=False, name=None))
    ends = [index in {0, len(points) - 1} for index in range(len(points))]
    points = points.assign(end=ends).sort_values(["knee", "end", x], ascending=[False, False, True]).head(_MOST_NAMED)
    names = ["\n".join(_configuration(row)) for row in points[list(named)].to_dict("records")]
    others = list(frame.loc[~frame["on_front"], [x, y]].itertuples(index=False, name=None))[:_MOST_AVOIDED]
    _name_points(figure, ax, points, x, y, names, [*front, *_along_steps(front, x in LARGER_IS_BETTER), *others])


def _configuration(row: Mapping[str, Scalar]) -> Iterator[str]:
    """Say in lines what distinguishes a point of a sweep: ``bdwp 2:8``, ``PE rows 32, PE columns 64``."""
    known = {column: value for column, value in row.items() if not pd.isna(value)}
    texts = [value for value in known.values() if isinstance(value, str)]
    if texts:
        yield " ".join(texts)
    numbers = [said(column, value) for column, value in known.items() if not isinstance(value, str)]
    yield from (", ".join(numbers[start : start + 2]) for start in range(0, len(numbers), 2))


def _along_steps(front: Sequence[tuple[float, float]], up_first: bool) -> Iterator[tuple[float, float]]:
    """Points along the staircase over a front, as close together as texts are high."""
    for (x0, y0), (x1, y1) in pairwise(front):
        across, up = (y1, x0) if up_first else (y0, x1)
        yield from ((x, across) for x in np.linspace(x0, x1, 24))
        yield from ((up, y) for y in np.linspace(y0, y1, 24))


def draw_platforms(frame: pd.DataFrame, figure: Figure, title: str = "", *, x: str) -> None:
    """Draw platforms by throughput `x` and efficiency, each with its name."""
    (ax,) = _panels(figure, 1, 3.0, title)
    plot_platforms(frame, ax, x)
    _finish(figure, [ax], title)
    named, names = frame.head(_NAMED_PLATFORMS), frame["name"].tolist()[:_NAMED_PLATFORMS]
    _name_points(figure, ax, named, x, "gops_per_w", names, [*_along_bars(frame, x, "gops_per_w")])


def _along_bars(frame: pd.DataFrame, x: str, y: str) -> Iterator[tuple[float, float]]:
    """Points that are as close together as texts are high, along all bars of error."""
    for across, up in ((x, y), (y, x)):
        if {f"{across}_low", f"{across}_high"} <= set(frame.columns):
            ends = frame[[f"{across}_low", f"{across}_high", up]].dropna()
            for low, high, level in ends.itertuples(index=False, name=None):
                for value in np.geomspace(low, high, 24):
                    yield (value, level) if across == x else (level, value)


def draw_predicted(frame: pd.DataFrame, figure: Figure, title: str = "", *, words: tuple[str, str]) -> None:
    """Draw the frame of `predicted_frame`; `words` say what was measured and predicted."""
    groups = list(dict.fromkeys(frame["group"]))
    columns = max(1, int(figure.get_figwidth() / (max(width_of(name, 7) for name in groups) + 0.42)))
    (ax,) = _panels(figure, 1, 0.16 * len(groups) / columns + min(3.3, 0.9 * figure.get_figwidth()), title)
    plot_predicted(frame, ax, words)
    ax.set_aspect("equal")
    explained = "in brackets: rows, median error"
    _finish(figure, [ax], f"{title}\n{explained}" if title else explained)
    if "platform" in frame and frame["platform"].nunique() > len(groups):
        worst = frame.loc[frame["relative_error"].abs().nlargest(_NAMED_WORST).index]
        names = [f"{row.platform} {row.relative_error:+.0%}" for row in worst.itertuples()]
        others = list(frame[["measured", "predicted"]].itertuples(index=False, name=None))
        ends = ax.get_xlim()
        line = [(value, value) for value in np.geomspace(*ends, 60)]
        _name_points(figure, ax, worst, "measured", "predicted", names, [*others, *line])


def _name_points(
    figure: Figure,
    ax: Axes,
    points: pd.DataFrame,
    x: str,
    y: str,
    names: Sequence[str],
    others: Sequence[tuple[float, float]],
) -> None:
    figure.draw_without_rendering()  # places the axes, so that room for text is known
    place_labels(ax, list(zip(points[x], points[y], strict=True)), names, others=others)


def draw_tornado(
    frame: pd.DataFrame, figure: Figure, title: str = "", *, label: str = "", column: str | None = None
) -> None:
    """Draw the frame of `tornado_frame` or `effects_frame`; the axis says `label`, or what a `column` holds."""
    narrow = figure.get_figwidth() < 5
    frame = _in_words(frame)
    frame = frame.assign(assumption=[broken(name, _ASSUMPTION_IN if narrow else 3, 7) for name in frame["assumption"]])
    (ax,) = _panels(figure, 1, 0.45 + (0.27 if narrow else 0.2) * len(frame), title)
    published = frame["published"].iloc[0] if "published" in frame else None
    plot_tornado(frame, ax, frame["base"].iloc[0], published)
    if column is None:
        ax.set_xlabel(label)
    else:
        label_axis(ax.xaxis, column, frame["high"].tolist())
        ax.set_xlabel(f"{ax.get_xlabel()}, geometric mean over the other values")
    _finish(figure, [ax], title)
    if narrow:
        for text in ax.texts:
            text.set_text(broken(text.get_text(), 0.7, 5))
            text.set_fontsize(5)
    _make_room(figure, ax)
    _clear_of_lines(figure, ax, [frame["base"].iloc[0], *([] if published is None else [published])])
    _make_room(figure, ax)


def _clear_of_lines(figure: Figure, ax: Axes, lines: Sequence[float]) -> None:
    """Move texts beside bars that stand on a line to its other side."""
    figure.draw_without_rendering()
    for line in sorted(lines):
        at = ax.transData.transform((line, 0))[0]
        for text in ax.texts:
            box = text.get_window_extent()
            if not isinstance(text, Annotation) or not box.x0 - 1 < at < box.x1 + 1:
                continue
            away = (at - 4 - box.x1) if text.get_horizontalalignment() == "right" else (at + 4 - box.x0)
            right, up = text.xyann
            text.xyann = (right + away * 72 / figure.dpi, up)


def _in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """Names of assumptions and values at their ends in words: ``clock`` and ``300 MHz``."""
    paths = [str(name).partition(",")[0] for name in frame["assumption"]]
    words = [
        str(name).replace(path, PARAMETERS[path][0]) if path in PARAMETERS else str(name)
        for path, name in zip(paths, frame["assumption"], strict=True)
    ]
    ends = {
        end: [_end_in_words(path, value) for path, value in zip(paths, frame[end], strict=True)]
        for end in ("low_value", "high_value")
        if end in frame
    }
    return frame.assign(assumption=words, **ends)


def _end_in_words(path: str, value: object) -> str:
    text = str(value)
    plain = text.replace(",", "")
    if path not in PARAMETERS or not re.fullmatch(r"[\d.]+(e[+-]?\d+)?", plain):
        return text
    return in_words(path, float(plain))


def _make_room(figure: Figure, ax: Axes) -> None:
    """Widen what an axis shows until the texts inside stand inside."""
    for _ in range(4):
        figure.draw_without_rendering()
        inside, boxes = ax.get_window_extent(), [text.get_window_extent() for text in ax.texts]
        left = max((inside.x0 + 2 - box.x0 for box in boxes), default=0)
        right = max((box.x1 - inside.x1 + 2 for box in boxes), default=0)
        if max(left, right) <= 0:
            return
        low, high = ax.get_xlim()
        pixel = (high - low) / inside.width
        ax.set_xlim(low - 1.3 * max(left, 0) * pixel, high + 1.3 * max(right, 0) * pixel)


def draw_claims(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw speedups by workload and engine beside the `published` average."""
    names = list(dict.fromkeys(frame["workload"]))
    each = 0.27 * frame["engine"].nunique() + 0.1
    rows = _in_rows(names, max(each, max(width_of(name.replace("_", "\n"), 7) for name in names) + 0.08), figure)
    panels = _panels(figure, len(rows), 2.2, title)
    for some, ax in zip(rows, panels, strict=True):
        plot_speedups(frame[frame["workload"].isin(some)], ax, frame["published"].iloc[0])
    _finish(figure, panels, title)


def draw_region(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw designs by peak and bytes per MAC, in the groups of what they agree with."""
    (ax,) = _panels(figure, 1, 2.9, title)
    plot_region(frame, ax)
    _finish(figure, [ax], title)


def draw_ablation(frame: pd.DataFrame, figure: Figure, title: str = "") -> None:
    """Draw the ladder, and the grid of methods and patterns where there is one: rows of the `panel` of that name."""
    ladder, grid = (frame[frame["panel"] == name] for name in ("ladder", "grid"))
    panels = _panels(figure, 1 if grid.empty else 2, 2.0, title)
    plot_ladder(ladder, panels[0])
    if not grid.empty:
        plot_grid(grid, panels[1])
    if title:
        figure.suptitle(title, fontsize=8, x=0.01, ha="left")
