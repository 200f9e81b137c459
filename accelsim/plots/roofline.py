"""The roofline of a design: what each layer reaches, under the dense roof and those of its N:M patterns."""

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import COLOURS, MARKERS
from accelsim.plots.text import log_axis

__all__ = ["plot_roofline"]

_LARGEST_PT2 = 140.0
_SMALLEST_PT2 = 5.0
_LINES = ("-", "--", "-.", ":")
_STAGE_COLOURS = (COLOURS[0], COLOURS[3], COLOURS[2])


def plot_roofline(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw each layer and stage as a point, its area by time, filled where it is sparse, under the roofs.

    `frame`: columns kind, layer, stage, pattern, intensity, gops, latency_s; rows of kind roof stand for a roof by its
    ridge point.
    """
    points, roofs = (frame[frame["kind"] == kind] for kind in ("layer", "roof"))
    left = 0.5 * min(points["intensity"].min(), roofs["intensity"].min())
    right = 1.7 * max(points["intensity"].max(), roofs["intensity"].max())
    for index, roof in enumerate(roofs.itertuples()):
        ax.plot([left, roof.intensity, right], [roof.gops * left / roof.intensity, roof.gops, roof.gops],
                color="black", linewidth=1.1, linestyle=_LINES[index % len(_LINES)],
                label=f"{roof.layer}, {roof.gops:,.0f} GOPS")  # fmt: skip
    scale = _LARGEST_PT2 / points["latency_s"].max()
    for index, (stage, rows) in enumerate(points.groupby("stage", sort=False)):
        for sparse, some in rows.groupby(rows["pattern"] != "dense"):
            ax.scatter(
                some["intensity"].tolist(), some["gops"].tolist(),
                s=[max(_SMALLEST_PT2, scale * time) for time in some["latency_s"]], marker=MARKERS[index],
                facecolor=_STAGE_COLOURS[index % 3] if sparse else "none",
                edgecolor="black" if sparse else _STAGE_COLOURS[index % 3],
                linewidth=0.5 if sparse else 0.9, alpha=0.85, label=f"{stage} {'sparse' if sparse else 'dense'}",
                zorder=3,
            )  # fmt: skip
    bottom, top = 0.6 * points["gops"].min(), 1.5 * max(roofs["gops"].max(), points["gops"].max())
    log_axis(ax.xaxis, None, (left, right))
    log_axis(ax.yaxis, None, (bottom, top))
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.grid(axis="x")
    ax.set_xlabel("arithmetic intensity (operations of the dense product per byte of DRAM traffic)")
    ax.set_ylabel("throughput, dense equivalent (GOPS)")
