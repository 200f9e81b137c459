"""The roofline of a design: what each layer reaches, under the dense roof and those of its N:M patterns."""

import math

import pandas as pd
from matplotlib.axes import Axes

from accelsim.plots.style import stage_marker
from accelsim.plots.text import log_axis

__all__ = ["plot_roofline", "write_on_slope"]

_LARGEST_PT2 = 140.0
_SMALLEST_PT2 = 5.0
_OFF_PX = 7  # of the text from the slope
_HALF_TEXT_PX = 45
_SHARES = (0.5, 0.35, 0.65, 0.2, 0.8)  # of the slope that is seen, where the text may stand
_LINES = ("-", "--", "-.", ":")


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
    for stage, rows in points.groupby("stage", sort=False):
        colour, marker = stage_marker(str(stage))
        for sparse, some in rows.groupby(rows["pattern"] != "dense"):
            ax.scatter(
                some["intensity"].tolist(), some["gops"].tolist(),
                s=[max(_SMALLEST_PT2, scale * time) for time in some["latency_s"]], marker=marker,
                facecolor=colour if sparse else "none",
                edgecolor="black" if sparse else colour,
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


def write_on_slope(frame: pd.DataFrame, ax: Axes) -> None:
    """Write the bandwidth along the roof that the DRAM sets, where it is clear of points and of what is written.

    The figure must have been laid out.
    """
    roofs, points = (frame[frame["kind"] == kind] for kind in ("roof", "layer"))
    roof = roofs.loc[roofs["gops"].idxmax()]
    bandwidth = roof["gops"] / roof["intensity"]
    low = max(ax.get_xlim()[0], ax.get_ylim()[0] / bandwidth)
    (x0, y0), (x1, y1) = (ax.transData.transform((x, x * bandwidth)) for x in (low, roof["intensity"]))
    length, angle = math.hypot(x1 - x0, y1 - y0), math.atan2(y1 - y0, x1 - x0)
    seen = ax.transData.transform(points[["intensity", "gops"]].to_numpy())
    places = [
        (x0 + share * (x1 - x0) - _OFF_PX * math.sin(angle), y0 + share * (y1 - y0) + _OFF_PX * math.cos(angle))
        for share in _SHARES
        if min(share, 1 - share) * length > _HALF_TEXT_PX
    ] or [((x0 + x1) / 2 - _OFF_PX, (y0 + y1) / 2 + _OFF_PX)]
    x, y = max(places, key=lambda place: min(math.dist(place, point) for point in seen))
    across, up = ax.transData.inverted().transform((x, y))
    ax.text(across, up, f"DRAM {bandwidth:.3g} GB/s", fontsize=6, ha="center",
            va="center", rotation=math.degrees(angle), rotation_mode="anchor")  # fmt: skip
