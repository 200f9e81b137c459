"""The figures of a report: results compared with each other, and the layers of one of them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accelsim.plots import compose, frames
from accelsim.plots.compose import Drawing
from accelsim.plots.kinds import prepare
from accelsim.plots.sources import PlotSource
from accelsim.results.step import Result, Results
from accelsim.results.training import TrainingResult

__all__ = ["ReportFigure", "comparing_figures", "layer_figures", "shown_case", "training_figure"]


_FEW_BARS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFigure:
    """A figure, the `name` of its files, its column `width`, and a `caption` that says what it shows."""

    name: str
    heading: str
    caption: str
    drawing: Drawing
    width: str


def shown_case(results: Sequence[Result]) -> Result:
    """Return the result of one workload whose layers are shown: the first that is sparse, else the first."""
    return next((result for result in results if result.method != "dense"), results[0])


def comparing_figures(results: Results) -> Iterator[ReportFigure]:
    """Speedups, stages and energy of all results, and layer by layer where they are of one workload."""
    if len(results) > 1:
        yield _figure(
            "speedup", "Speedup", "Throughput over that of the baseline; the line at 1 is the baseline.", results
        )
    share = (
        "" if len(results) == 1 else " Each workload is relative to its first bar; the factor above a bar is its gain."
    )
    yield _figure("stages", "Time by stage", f"Where the time of a step goes.{share}", results)
    yield _figure("energy", "Energy by component", f"Where the energy of a step goes.{share}", results)
    workloads = list(dict.fromkeys(result.workload for result in results))
    for workload, stem in zip(workloads, _stems(workloads), strict=True):
        own = [result for result in results if result.workload == workload]
        if len(own) > 1 and all(map(_has_products, own)):
            caption = (
                f"Time of each layer of {workload} in {own[0].case}, all stages together, over its time in the others."
            )
            yield _figure(f"{stem}layer-speedup", f"Speedup by layer: {workload}", caption, own)


def training_figure(runs: Sequence[TrainingResult]) -> ReportFigure:
    """The phases of training runs beside dense training."""
    drawing = prepare("training", [PlotSource(path="training runs", form="training", data=tuple(runs))])
    caption = "Time of each phase, relative to dense training of the same length; the factor is the gain of the run."
    return ReportFigure(name="training", heading="Time by phase", caption=caption, drawing=drawing, width="double")


def layer_figures(results: Results) -> Iterator[tuple[Result, list[ReportFigure]]]:
    """For each workload the result whose layers are shown; roofline, utilisation and mapping where it has products."""
    workloads = list(dict.fromkeys(result.workload for result in results))
    for workload, stem in zip(workloads, _stems(workloads), strict=True):
        result = shown_case([result for result in results if result.workload == workload])
        found = []
        if _has_products(result):
            what = f"{workload}, {result.case}"
            roof = Drawing(
                frame=frames.roofline_frame([result]),
                draw=compose.draw_roofline,
                title=f"{workload} on {result.design}, {result.case}, batch {result.batch}",
            )
            caption = (
                "Each point is a layer in one stage: dense-equivalent throughput over operations per byte of DRAM"
                " traffic, larger where it takes longer. Lines are what array and DRAM allow, dense and at the pattern."
            )
            found = [
                ReportFigure(
                    name=f"{stem}roofline", heading=f"Roofline: {what}", caption=caption, drawing=roof, width="double"
                ),
                _figure(
                    f"{stem}utilisation",
                    f"Utilisation: {what}",
                    "Share of the array's multiply-accumulates that are used, by layer and stage.",
                    [result],
                ),
                _figure(
                    f"{stem}mapping", f"Mapping: {what}", "The dataflow chosen for each layer and stage.", [result]
                ),
            ]
        yield result, found


def _figure(name: str, heading: str, caption: str, results: Sequence[Result]) -> ReportFigure:
    kind = name.rpartition("--")[2]
    drawing = prepare(kind, [PlotSource(path="results", form="results", data=Results(results))])
    few_bars = kind in {"speedup", "stages", "energy"} and len(results) <= _FEW_BARS
    return ReportFigure(
        name=name, heading=heading, caption=caption, drawing=drawing, width="single" if few_bars else "double"
    )


def _has_products(result: Result) -> bool:
    return any(layer.m is not None for layer in result.layers)


def _stems(workloads: Sequence[str]) -> list[str]:
    """What the names of files begin with, one for each workload: nothing where there is only one."""
    if len(workloads) == 1:
        return [""]
    plain = [re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") for name in workloads]
    return [f"{name}{f'-{index}' if plain.count(name) > 1 else ''}--" for index, name in enumerate(plain, 1)]
