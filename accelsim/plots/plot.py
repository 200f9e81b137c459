"""Figures from Python: results, training runs, tables and files as a `matplotlib.figure.Figure`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from accelsim.base.errors import InputError
from accelsim.plots.compose import make_figure
from accelsim.plots.kinds import Choice, guess_kinds, prepare
from accelsim.plots.sources import Condition, PlotSource, read_source
from accelsim.results.step import Result, Results
from accelsim.results.training import TrainingResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

Drawable: TypeAlias = Result | TrainingResult | pd.DataFrame | str | Path
"""What has a figure: results, training runs, frames, and files by their path."""


def plot(
    data: Drawable | Sequence[Drawable],
    kind: str | None = None,
    *,
    width: str = "double",
    title: str | None = None,
    where: Mapping[str, str] | str | None = None,
    settings: Mapping[str, str] | None = None,
    **choice: str,
) -> "Figure":
    """Return a figure of results, training runs, frames, or files that commands wrote.

    Args:
        data: one or several of: `Result`, `TrainingResult`, a pandas frame, the path of a file.
        kind: one of `accelsim.plots.kinds.KINDS`; None: the most obvious for the data.
        width: a column of a paper, ``single`` or ``double``.
        title: what stands above the figure; None: what the data have in common.
        where: columns, each with the value of the rows to keep; or an expression over columns.
        settings: changes of the design, by path, for kinds that draw its limits.
        choice: `layer`, `x`, `y`, `value`, `by` and `hw`, as the options of ``accelsim plot`` that are called alike.

    Raises `InputError` for data that cannot be drawn together, and for choices that the kind does not know.

    >>> import accelsim as acs
    >>> results = acs.compare(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8)
    >>> len(acs.plot(results, "speedup").axes)
    1
    """
    items = list(data) if isinstance(data, Sequence) and not isinstance(data, str) else [data]
    if not items:
        raise InputError("no results to draw")
    sources = _sources(items)
    kinds = [kind] if kind else guess_kinds(sources)
    if not kinds:
        raise InputError(f"{sources[0].path}: say which kind of figure to draw")
    kept: tuple[Condition, ...] = (where,) if isinstance(where, str) else tuple((where or {}).items())
    chosen = Choice(where=kept, settings=tuple((settings or {}).items()), **choice)
    return make_figure(prepare(kinds[0], sources, chosen), width, title)


def _sources(items: Sequence[Drawable]) -> list[PlotSource]:
    results = Results(item for item in items if isinstance(item, Result))
    runs = tuple(item for item in items if isinstance(item, TrainingResult))
    found = [PlotSource(path="results", form="results", data=results)] if results else []
    found += [PlotSource(path="training runs", form="training", data=runs)] if runs else []
    found += [PlotSource(path="frame", form="table", data=item) for item in items if isinstance(item, pd.DataFrame)]
    found += [read_source(item) for item in items if isinstance(item, str | Path)]
    return found
