"""The report on a sweep: how much DRAM bandwidth BDWP 2:8 needs before ResNet-50 stops gaining.

The rule: a step stops gaining at the least bandwidth of the sweep from which every further step of it, 10 GB/s, saves
less than a twentieth of the time.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pandas as pd

from accelsim.base.files import replacing_folder, write_atomically
from accelsim.hardware.design import load_design
from accelsim.plots.compose import make_figure
from accelsim.plots.kinds import Choice, prepare
from accelsim.plots.sources import read_source
from accelsim.plots.style import save_figure, save_with_data
from accelsim.sweep.run import run_sweep

__all__ = ["SWEEP", "bandwidth_needed", "needs_frame", "write_bandwidth"]

SWEEP = "array_bandwidth"
LIMIT = 0.05
_LIMITS = (0.1, LIMIT, 0.02)
_BANDWIDTH, _ROWS, _COLS = "dram.bandwidth_gb_per_s", "array.rows", "array.cols"


def write_bandwidth(folder: Path) -> None:
    """Write ``report.md``, ``points.csv``, ``needs.csv``, and ``bandwidth`` as figure and data, into `folder`."""
    with replacing_folder(folder) as new:
        run_sweep(SWEEP, new / "points.csv")
        source = read_source(new / "points.csv")
        needs = needs_frame(source.data)
        choice = Choice(where=(("method", "bdwp"),), x=_BANDWIDTH, y="samples_per_s")
        drawing = prepare("sweep", [source], choice)
        figure = make_figure(drawing)
        save_with_data(drawing.frame, figure, new / "bandwidth.svg")
        save_figure(figure, new / "bandwidth.png")
        write_atomically(new / "needs.csv", needs.to_csv(index=False, lineterminator="\n"))
        write_atomically(new / "report.md", "\n".join(_text(source.data, needs)) + "\n")


def bandwidth_needed(points: Sequence[tuple[float, float]], limit: float) -> float | None:
    """Return the least bandwidth from which every step to the next saves less than `limit` of the time.

    `points` are bandwidths and times of a step. None where even the last step saves more.

    >>> bandwidth_needed([(10, 8.0), (20, 6.0), (30, 5.9), (40, 5.8)], 0.05)
    20
    """
    ordered = sorted(points)
    needed = None
    for (bandwidth, time), (_, faster) in reversed(list(pairwise(ordered))):
        if 1 - faster / time >= limit:
            break
        needed = bandwidth
    return needed


def needs_frame(points: pd.DataFrame) -> pd.DataFrame:
    """For each array, method and limit the bandwidth needed; empty where it is more than the sweep can tell."""
    return pd.DataFrame(
        [
            {
                _ROWS: rows,
                _COLS: cols,
                "method": method,
                "limit": limit,
                "needed_gb_per_s": bandwidth_needed(list(zip(own[_BANDWIDTH], own["latency_s"], strict=True)), limit),
            }
            for (rows, cols, method), own in points.groupby([_ROWS, _COLS, "method"])
            for limit in _LIMITS
        ]
    )


def _text(points: pd.DataFrame, needs: pd.DataFrame) -> Iterator[str]:
    design = load_design("sat_vcu1525")
    steps = sorted(set(points[_BANDWIDTH]))
    more, most = f"{steps[1] - steps[0]:g} GB/s", steps[-1]
    chosen = needs[needs["limit"] == LIMIT].set_index([_ROWS, _COLS, "method"])["needed_gb_per_s"]
    own = (design.array.rows, design.array.cols)
    sparse = chosen.xs("bdwp", level="method").sort_values(kind="stable")
    low, high = (" x ".join(map(str, sparse.index[place])) for place in (0, -1))
    yield "# How much DRAM bandwidth does BDWP 2:8 need before ResNet-50 stops gaining?"
    yield ""
    yield (
        f"On the {own[0]} x {own[1]} array of `{design.name}` it stops gaining at"
        f" {_shown(chosen[*own, 'bdwp'], steps)}, where dense training needs {_shown(chosen[*own, 'dense'], steps)}:"
        f" from there on, each further {more} saves less than {LIMIT:.0%} of the step time. What is needed grows with"
        f" the array, from {_shown(sparse.iloc[0], steps)} at {low} PEs to {_shown(sparse.iloc[-1], steps)} at {high};"
        f" none stops altogether, and up to {most:g} GB/s a step on {own[0]} x {own[1]} PEs still gets"
        f" {_last_gain(points, own):.1%} faster with the last {more}."
    )
    yield ""
    yield "![Throughput over DRAM bandwidth, a line for each array](bandwidth.svg)"
    yield ""
    yield (
        f"The rule: the least bandwidth of the sweep from which every further {more} saves less than a share of the"
        " step time. The answer depends on that share, so the table has three; `needs.csv` holds the same numbers,"
        " `points.csv` every point and `bandwidth.csv` what is drawn."
    )
    yield ""
    titles = [f"{method}, {limit:.0%}" for method in ("dense", "bdwp") for limit in _LIMITS]
    yield f"| array | {' | '.join(titles)} |"
    yield "|---|" + "---:|" * len(titles)
    for (rows, cols), part in needs.groupby([_ROWS, _COLS]):
        found = part.set_index(["method", "limit"])["needed_gb_per_s"]
        cells = [_shown(found[method, limit], steps) for method in ("dense", "bdwp") for limit in _LIMITS]
        yield f"| {rows} x {cols} | {' | '.join(cells)} |"
    yield ""
    yield (
        f"Batch {points['batch'].iloc[0]}, two MACs per PE, everything else as in `{design.name}`, one task after"
        " another; array size and bandwidth of SAT are not published. Made by `accelsim report --all --only"
        f" {SWEEP} -o reports`; the sweep alone by `accelsim sweep {SWEEP} -o points.csv`."
    )


def _shown(needed: float, steps: Sequence[float]) -> str:
    return f"over {steps[-2]:g} GB/s" if pd.isna(needed) else f"{needed:g} GB/s"


def _last_gain(points: pd.DataFrame, array: tuple[int, int]) -> float:
    own = points[(points[_ROWS] == array[0]) & (points[_COLS] == array[1]) & (points["method"] == "bdwp")]
    times = own.sort_values(_BANDWIDTH)["latency_s"].tolist()
    return float(1 - times[-1] / times[-2])
