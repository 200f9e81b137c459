"""Results in plain words and tables: what a terminal shows of a step, and what ``print(result)`` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accelsim.base.ratios import gain_words
from accelsim.base.units import show, show_duration
from accelsim.results.step import LayerResult, Result, group_notes, step_cells

if TYPE_CHECKING:
    from accelsim.results.training import TrainingResult  # which imports this module

__all__ = [
    "TextTable",
    "comparison_summary",
    "gain_sentence",
    "head_of",
    "run_sentence",
    "slowest_table",
    "stage_table",
    "summary",
    "totals_table",
    "training_summary",
]

_SLOWEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Heads and rows of cells; the columns called `words` stand at their left, others, numbers, at their right."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str]

    def __str__(self) -> str:
        """Return the lines of the table."""
        cells = [self.heads, *self.rows]
        widths = [max(len(row[at]) for row in cells) for at in range(len(self.heads))]
        left = [head in self.words for head in self.heads]
        lines = (
            "  ".join(
                cell.ljust(width) if is_left else cell.rjust(width)
                for cell, width, is_left in zip(row, widths, left, strict=True)
            )
            for row in cells
        )
        return "\n".join(map(str.rstrip, lines))


def head_of(result: Result) -> str:
    """Return what was simulated, in one line."""
    step = "training step" if result.mode == "train" else "forward pass"
    engine = f"({result.engine} engine)"
    parts = result.basis.case.accumulate
    how = f" in {parts} parts" if parts > 1 else ""
    return f"{result.workload}, one {step} of {result.batch} samples{how} on {result.design} {engine}"


def _beside_dense(result: Result) -> tuple[list[Result], list[str]]:
    """Return the dense step, where it is known, and the result, with what each is called."""
    if result.dense is None:
        return [result], [result.case]
    return [result.dense, result], ["dense", "dense, as planned" if result.method == "dense" else result.case]


def totals_table(result: Result) -> TextTable:
    """Return the totals of a step, beside those of the dense step."""
    both, titles = _beside_dense(result)
    columns = [{name: cell.text for name, cell in step_cells(each).items()} for each in both]
    rows = tuple((name, *(column[name] for column in columns)) for name in columns[0])
    return TextTable(heads=("", *titles), rows=rows, words=frozenset({""}))


def gain_sentence(result: Result) -> str:
    """Return what the method gains over the dense step, in a sentence; empty for a dense step alone."""
    both, titles = _beside_dense(result)
    if len(both) == 1:
        return ""
    dense, step = both[0].step, result.step
    return (
        f"{titles[1]} takes {show(step.latency_s, 's')} instead of {show(dense.latency_s, 's')}:"
        f" {gain_words(step.speedup, 'faster', 'slower', 'as fast')} for"
        f" {gain_words(dense.energy_j / step.energy_j, 'less energy', 'more energy', 'the same energy')}."
    )


def stage_table(result: Result) -> TextTable:
    """Return the time of each stage and its share, beside those of the dense step."""
    both, titles = _beside_dense(result)
    rows = tuple((name, *(cell for each in both for cell in _stage_cells(each, name))) for name in result.stages)
    heads = ("stage", *(f"{title}{more}" for title in titles for more in ("", " share")))
    return TextTable(heads=heads, rows=rows, words=frozenset({"stage"}))


def _stage_cells(result: Result, name: str) -> tuple[str, str]:
    stage = result.stages[name]
    return show(stage.latency_s, "s"), f"{stage.cycles / result.step.cycles:.1%}"


def slowest_table(result: Result) -> tuple[str, TextTable]:
    """Return the layers that take longest, all their stages together, and the longest product or task of each."""
    layers: dict[str, list[LayerResult]] = {}
    for layer in result.layers:
        layers.setdefault(layer.operation, []).append(layer)
    cycles = {name: sum(layer.cycles for layer in tasks) for name, tasks in layers.items()}
    rows = []
    for name in sorted(layers, key=lambda name: -cycles[name])[:_SLOWEST]:
        longest = max(layers[name], key=lambda layer: layer.cycles)
        rows.append(
            (
                name,
                show(sum(layer.latency_s for layer in layers[name]), "s"),
                f"{cycles[name] / result.step.cycles:.1%}",
                longest.stage,
                show(longest.latency_s, "s"),
                _shape(longest),
                longest.pattern or "dense",
                _mapping(longest),
                "" if longest.utilisation is None else f"{longest.utilisation:.1%}",
                longest.bound,
            )
        )
    heads = ("layer", "time", "share", "longest", "of it", "m x n x k", "pattern", "mapping", "utilisation", "bound")
    words = frozenset({"layer", "longest", "pattern", "mapping", "bound"})
    title = f"the {len(rows)} slowest of {len(layers)} layers, and the longest stage of each"
    return title, TextTable(heads=heads, rows=tuple(rows), words=words)


def _shape(layer: LayerResult) -> str:
    if layer.m is None:
        return ""
    copies = f" (x{layer.count})" if layer.count > 1 else ""
    return f"{layer.m} x {layer.n} x {layer.k}{copies}"


def _mapping(layer: LayerResult) -> str:
    if layer.dataflow is None:
        return ""
    variant = f" {layer.variant}" if layer.variant else f" {layer.interleave}"
    return f"{layer.dataflow}{variant}"


def summary(result: Result) -> str:
    """Return what a terminal shows of a step, without its layers."""
    parts = [head_of(result), str(totals_table(result)), gain_sentence(result), str(stage_table(result))]
    notes = len(group_notes(result.notes))
    parts += [f"{notes} warning{'s' * (notes > 1)}, in .notes"] if notes else []
    return "\n\n".join(part for part in parts if part)


def comparison_summary(results: Sequence[Result]) -> str:
    """Return several results, a row each."""
    rows = tuple(
        (
            result.workload,
            result.design,
            result.case,
            *(cell.text for cell in step_cells(result).values()),
            f"{result.step.speedup:.2f}x",
        )
        for result in results
    )
    heads = ("workload", "design", "method", *(step_cells(results[0]) if results else ()), "speedup over dense")
    return str(TextTable(heads=heads, rows=rows, words=frozenset(heads[:3])))


def run_sentence(run: "TrainingResult") -> str:
    """Return what a training run gains over dense training of the same length."""
    totals = run.totals
    return (
        f"{run.title} takes {show_duration(totals.latency_s)} instead of {show_duration(totals.dense_latency_s)}:"
        f" {gain_words(totals.speedup, 'faster', 'slower', 'as fast')} for"
        f" {gain_words(totals.energy_gain, 'less energy', 'more energy', 'the same energy')}."
    )


def training_summary(run: "TrainingResult") -> str:
    """Return a training run in words: what was simulated, its phases, and what it gains."""
    heads = ("phase", "method", "pattern", "runs", "steps", "step time", "phase time", "energy", "speedup")
    rows = tuple(
        (
            phase.name,
            phase.method,
            phase.pattern or "-",
            phase.result.case,
            f"{phase.steps:,}",
            show(phase.result.step.latency_s, "s"),
            show_duration(phase.latency_s),
            show(phase.energy_j, "J"),
            f"{phase.result.step.speedup:.2f}x",
        )
        for phase in run.phases
    )
    head = (
        f"{run.dense.workload}, {run.totals.steps:,} training steps of {run.dense.batch} samples on {run.dense.design}"
    )
    return "\n\n".join([head, str(TextTable(heads=heads, rows=rows, words=frozenset(heads[:4]))), run_sentence(run)])
