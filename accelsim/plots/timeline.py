"""A timeline as a Gantt figure: a lane per track, and below it how much of the DRAM bandwidth is in use."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import TypedDict

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from accelsim.base.errors import InputError, did_you_mean
from accelsim.lowering.tasks import Stage
from accelsim.plots.style import put_legend, stage_style
from accelsim.results.timeline_file import BANDWIDTH, TRACKS, Slice, Timeline
from accelsim.schedule.overlap import Unit

__all__ = ["MOST_JOBS", "STREAMS", "draw_timeline", "plot_bandwidth", "plot_timeline", "timeline_frame"]

MOST_JOBS = 300
"""Jobs that a panel shows at most: of more, none is drawn."""

STREAMS = "DRAM in tasks"
"""The lane of what tasks read and write while they run."""

_STREAM_ALPHA = 0.55
_US_PER_S = 10**6
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_MARGIN = 0.05  # of what a panel is about, on both sides of it
_HIGH = 0.8
_JOBS_HIGH = 0.28
_BLOCK_HIGH = 0.09
_NARROW = 1 / 200  # of a panel: narrower bars have no edge and no hatch, which would hide their colour
_BOX = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5}


class _LaneRow(TypedDict, total=False):
    """A row of the frame, without its panel."""

    lane: str
    kind: str
    stage: str
    layer: str
    name: str
    start_s: float
    end_s: float
    chosen: bool
    share: float


def timeline_frame(timeline: Timeline, layer: str | None = None) -> pd.DataFrame:
    """Return what a Gantt figure of the whole step shows, or one of a layer with a panel around each of its stages.

    Columns: `panel`, its title, and `panel_start_s`, `panel_end_s`, the part of the step that it shows; `lane`, a
    track or ``DRAM``; `kind`: task, transfer (of a GEMM's first tiles or last result), stream (what a task moves
    while it runs), job (one or several, inside a task), bandwidth, or block (tasks of neighbouring layers on the
    array, in the whole step only); `stage`; `layer`; `name`; `start_s` and `end_s` from the start of the step;
    `chosen`, whether it belongs to the layer asked for, or none was; `share` of the DRAM bandwidth in use, for the
    kind bandwidth. Raises `InputError` for a layer that the step lacks.
    """
    rows = [*_slice_rows(timeline.slices, layer), *_bandwidth_rows(timeline)]
    if layer is None:
        rows += _block_rows(timeline.slices)
    frames = []
    for panel, start, end in _panels(timeline, layer):
        head = {"panel": panel, "panel_start_s": start, "panel_end_s": end}
        frames += [{**head, **row} for row in rows if row["start_s"] < end and row["end_s"] > start]
    return pd.DataFrame(frames)


def _slice_rows(slices: Iterable[Slice], layer: str | None) -> Iterator[_LaneRow]:
    units = set(Unit)
    for item in slices:
        kind = "transfer" if item.track not in units else "task" if item.args.jobs is None else "job"
        row: _LaneRow = {
            "lane": item.track,
            "kind": kind,
            "stage": item.cat.value,
            "layer": item.args.layer,
            "name": item.name,
            "start_s": item.ts / _US_PER_S,
            "end_s": (item.ts + item.dur) / _US_PER_S,
            "chosen": layer in {None, item.args.layer},
        }
        yield row
        if kind == "task" and item.args.dram_bytes:
            yield row | {"lane": STREAMS, "kind": "stream"}


def _bandwidth_rows(timeline: Timeline) -> Iterator[_LaneRow]:
    values = timeline.counter(BANDWIDTH)
    for value, after in pairwise(values):
        yield {
            "lane": "DRAM",
            "kind": "bandwidth",
            "start_s": value.ts / _US_PER_S,
            "end_s": after.ts / _US_PER_S,
            "chosen": True,
            "share": value.args["GB/s"] / timeline.about.dram_gb_per_s,
        }


def _block_rows(slices: Iterable[Slice]) -> Iterator[_LaneRow]:
    """Neighbours on the array whose layers have the same name up to its first number."""
    tasks = (item for item in slices if item.track == Unit.ARRAY and item.args.jobs is None)
    for block, several in groupby(tasks, key=lambda item: _block_of(item.args.layer)):
        first, *others = several
        last = others[-1] if others else first
        yield {
            "lane": Unit.ARRAY.value,
            "kind": "block",
            "name": block,
            "start_s": first.ts / _US_PER_S,
            "end_s": (last.ts + last.dur) / _US_PER_S,
            "chosen": True,
        }


def _block_of(layer: str) -> str:
    """``layer1`` of ``layer1.0.conv1``, ``h.3`` of ``transformer.h.3.attn.c_attn``."""
    parts = layer.split(".")
    at = next((index for index, part in enumerate(parts) if part[-1:].isdigit()), len(parts) - 1)
    return ".".join(parts[max(0, at - 1) : at + 1] if parts[at].isdigit() else parts[at : at + 1])


def _panels(timeline: Timeline, layer: str | None) -> list[tuple[str, float, float]]:
    """Titles of the panels, and what they show, in seconds."""
    whole = timeline.about.cycles / timeline.about.clock_hz
    if layer is None:
        return [("whole step", 0.0, whole)]
    own = [item for item in timeline.slices if item.args.layer == layer]
    if not own:
        layers = list(dict.fromkeys(item.args.layer for item in timeline.slices))
        raise InputError(f"layer '{layer}': is not in this step{did_you_mean(layer, layers)}")
    groups: dict[str, list[Slice]] = {}
    for item in own:
        groups.setdefault(_group_of(item), []).append(item)
    on_array = [stage for stage in (Stage.FF, Stage.BP, Stage.WU) if stage in groups]
    panels = []
    for group in on_array or groups:
        start = min(item.ts for item in groups[group]) / _US_PER_S
        end = max(item.ts + item.dur for item in groups[group]) / _US_PER_S
        around = _MARGIN * (end - start)
        panels.append((str(group), max(0.0, start - around), min(whole, end + around)))
    return panels


def _group_of(item: Slice) -> str:
    """The stage on the array, else the task: vector work has one in each direction."""
    return item.name if item.cat in {Stage.VECTOR, Stage.UPDATE, Stage.GENERATE} else item.cat


def draw_timeline(frame: pd.DataFrame, figure: Figure, title: str) -> None:
    """Draw the frame of `timeline_frame` with all its panels, side by side."""
    panels = [rows for _, rows in frame.groupby("panel", sort=False)]
    lanes = [track for track in (*TRACKS, STREAMS) if track in set(frame["lane"])]
    figure.set_figheight(3.1)
    axes = figure.subplots(2, len(panels), squeeze=False, sharex="col", sharey="row", height_ratios=[len(lanes), 1.8])
    for rows, above, below in zip(panels, *axes, strict=True):
        plot_timeline(rows, above, lanes)
        plot_bandwidth(rows, below)
        if len(panels) > 1:
            above.set_title(rows["panel"].iloc[0], fontsize=7, pad=2)
            below.set_xlabel(below.get_xlabel().replace(" after ", " after\n"))
    axes[1, 0].set_ylabel("DRAM\nbandwidth", fontsize=6)
    _explain(figure, [stage.value for stage in Stage if stage in set(frame["stage"])], title)
    figure.draw_without_rendering()  # places the axes, so that room for text is known
    for rows, above in zip(panels, axes[0], strict=True):
        _label(rows, above, lanes)


def _explain(figure: Figure, stages: Sequence[str], title: str) -> None:
    patches = {stage: _patch(stage) for stage in stages}
    put_legend(figure, patches, title)


def _patch(stage: str) -> Patch:
    style = stage_style(stage)
    return Patch(
        facecolor=style["color"], hatch=style["hatch"], edgecolor=style["edgecolor"], linewidth=style["linewidth"]
    )


def plot_timeline(frame: pd.DataFrame, ax: Axes, lanes: Sequence[str]) -> None:
    """Draw the tasks, transfers, jobs and blocks of one panel (see `timeline_frame`), lanes from the top.

    Colour and hatch tell the stage; what is not chosen is pale. Jobs are drawn inside their task where they are few.
    """
    start, end, scale, _ = _time_of(frame)
    for (kind, lane), rows in frame.groupby(["kind", "lane"], sort=False):
        if kind in {"task", "transfer"}:
            _plot_tasks(rows, ax, lanes.index(lane))
        elif kind == "stream":
            _plot_streams(rows, ax, lanes.index(lane))
        elif kind == "job" and len(rows) <= MOST_JOBS:
            below = (lanes.index(lane) + _HIGH / 2 - _JOBS_HIGH, _JOBS_HIGH)
            ax.broken_barh(_ranges(rows), below, facecolor="white", edgecolor="black", linewidth=0.3, label="jobs")
        elif kind == "block":
            above = (lanes.index(lane) - _HIGH / 2 - 2 * _BLOCK_HIGH, _BLOCK_HIGH)
            ax.broken_barh(_ranges(rows), above, facecolor=["#000000", "#999999"], linewidth=0, label="blocks")
    ax.set_yticks(range(len(lanes)), lanes)
    ax.set_ylim(len(lanes) - 0.5, -0.95 if "block" in set(frame["kind"]) else -0.5)
    ax.set_xlim(0, (end - start) / scale)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelbottom=False)


def _plot_tasks(rows: pd.DataFrame, ax: Axes, place: int) -> None:
    start, end, _, _ = _time_of(rows)
    narrow = (rows["end_s"] - rows["start_s"] < _NARROW * (end - start)).rename("narrow")
    for (stage, chosen, thin), some in rows.groupby(["stage", "chosen", narrow], sort=False):
        style = stage_style(str(stage))
        colour, hatch = style["color"], style["hatch"]
        ax.broken_barh(
            _ranges(some),
            (place - _HIGH / 2, _HIGH),
            facecolor=colour,
            hatch="" if thin else hatch,
            edgecolor=colour if thin else "black",
            linewidth=0.4,
            alpha=1.0 if chosen else 0.3,
            label=f"{some['lane'].iloc[0]} {stage}",
        )


def _plot_streams(rows: pd.DataFrame, ax: Axes, place: int) -> None:
    """What tasks move while they run, thin and pale: how much that is, the bandwidth below says."""
    for (stage, chosen), some in rows.groupby(["stage", "chosen"], sort=False):
        colour = stage_style(str(stage))["color"]
        alpha = _STREAM_ALPHA if chosen else 0.3 * _STREAM_ALPHA
        ax.broken_barh(_ranges(some), (place - _HIGH / 4, _HIGH / 2), facecolor=colour, edgecolor="none", alpha=alpha,
                       label=f"{STREAMS} {stage}")  # fmt: skip


def plot_bandwidth(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw the share of the DRAM bandwidth in use in one panel (see `timeline_frame`), with the axis of time."""
    start, _, scale, unit = _time_of(frame)
    rows = frame[frame["kind"] == "bandwidth"]
    starts, ends = _ends(rows)
    ax.stairs(
        rows["share"].tolist(), [*starts, ends[-1]], fill=True, facecolor="#aaaaaa", edgecolor="#777777", linewidth=0.3
    )
    ax.set_ylim(0, 1.05)
    ax.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    ax.set_xlabel(f"{unit} after {start / scale:,.2f} {unit}" if start else f"time ({unit})")


def _time_of(frame: pd.DataFrame) -> tuple[float, float, float, str]:
    """Start and end of a panel in seconds, and the unit of its axis, which begins with the panel."""
    start, end = frame["panel_start_s"].iloc[0], frame["panel_end_s"].iloc[0]
    scale, unit = next(((scale, unit) for scale, unit in _UNITS if end - start >= scale), _UNITS[-1])
    return start, end, scale, unit


def _ends(rows: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Starts and ends on the axis of the panel."""
    start, _, scale, _ = _time_of(rows)
    return [(at - start) / scale for at in rows["start_s"]], [(at - start) / scale for at in rows["end_s"]]


def _ranges(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Starts and widths on the axis of the panel."""
    return [(start, end - start) for start, end in zip(*_ends(rows), strict=True)]


def _label(frame: pd.DataFrame, ax: Axes, lanes: Sequence[str]) -> None:
    """Write layers into bars and blocks above them, where there is room for the words."""
    with_jobs = 0 < (frame["kind"] == "job").sum() <= MOST_JOBS
    named = frame[frame["kind"].isin(["task", "block"])]
    names = named["layer"].where(named["kind"] == "task", named["name"])
    for row, name, start, end in zip(named.itertuples(), names, *_ends(named), strict=True):
        left, right = max(start, ax.get_xlim()[0]), min(end, ax.get_xlim()[1])
        place = float(lanes.index(row.lane))
        if row.kind == "block":
            place -= _HIGH / 2 + 4 * _BLOCK_HIGH
        elif with_jobs and row.lane == Unit.ARRAY:
            place -= _JOBS_HIGH / 2
        text = ax.text((left + right) / 2, place, name, fontsize=5, ha="center", va="center", bbox=_BOX)
        room = ax.transData.transform((right, 0))[0] - ax.transData.transform((left, 0))[0]
        if text.get_window_extent().width > room - 4:
            text.remove()
