"""A figure: the cycles of each layer, largest first."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from accelsim.plots.compose import Drawing
from accelsim.plots.kinds import Choice, Kind
from accelsim.plots.sources import PlotSource


def _draw(frame: pd.DataFrame, figure: Figure, title: str) -> None:
    figure.set_figheight(2.5)
    axes = figure.subplots()
    axes.barh(frame["layer"], frame["cycles"])
    axes.set_xlabel("cycles")
    axes.set_title(title)


def _build(sources: Sequence[PlotSource], _choice: Choice) -> Drawing:
    results = [result for source in sources for result in source.data]
    rows = [(layer.name, layer.cycles) for result in results for layer in result.layers]
    frame = pd.DataFrame(rows, columns=["layer", "cycles"]).groupby("layer", as_index=False)["cycles"].sum()
    return Drawing(frame=frame.sort_values("cycles", ascending=False).head(10), draw=_draw)


CYCLES = Kind(build=_build)
