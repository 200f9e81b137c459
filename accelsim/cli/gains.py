"""``accelsim simulate --by-layer``: what each layer gains over the dense step, and why not more."""

from collections.abc import Sequence

from rich.console import Console

from accelsim.cli.screen import table_of, words
from accelsim.lowering.tasks import Stage
from accelsim.results.gains import GainGroup, fold_gains
from accelsim.results.step import Result

__all__ = ["show_gains"]

_WITH_PRODUCTS = {Stage.FF, Stage.BP, Stage.WU}
_BESIDE = (Stage.GENERATE, Stage.UPDATE, Stage.VECTOR)


def show_gains(out: Console, result: Result) -> None:
    """Print a row for each layer and stage with products, equal layers as one, and one for each stage beside them."""
    groups = fold_gains(result.layer_gains())
    seen = any(group.gains[0].seen for group in groups)
    masks = (words("masks"), "density") if seen else ()
    table = table_of(
        words("layer"), "count", words("stage"), "dense ms", "ms", "gain", *masks, words("runs"), words("why not more")
    )
    label = ""
    for group in groups:
        first = group.gains[0]
        head = (
            (group.label, str(len(group.gains)) if len(group.gains) > 1 else "") if group.label != label else ("", "")
        )
        label = group.label
        table.add_row(
            *head,
            first.stage,
            *_times(group.dense_s, group.latency_s),
            *((first.seen or "-", _density(group)) if seen else ()),
            first.runs or "dense",
            first.why,
        )
    dense = result.dense or result
    rows = {stage.value: (dense.stages[stage].latency_s, result.stages[stage].latency_s) for stage in _BESIDE}
    rows["messages"] = _messages(dense), _messages(result)
    for title, both in rows.items():
        if any(both):
            table.add_row("all layers", "", title, *_times(*both), *(("", "") if seen else ()), "", "")
    table.add_row(
        "step", "", "", *_times(dense.step.latency_s, result.step.latency_s), *(("", "") if seen else ()), "", ""
    )
    out.print("\ngain of each layer over the dense step")
    out.print(table)


def _messages(result: Result) -> float:
    """Seconds of messages between ranks, which stand beside the products of a stage."""
    return sum(layer.latency_s for layer in result.layers if layer.m is None and layer.stage in _WITH_PRODUCTS)


def _times(dense_s: float, latency_s: float) -> tuple[str, str, str]:
    gain = f"{dense_s / latency_s:.2f}x" if dense_s and latency_s else "-"
    return f"{1e3 * dense_s:.4g}", f"{1e3 * latency_s:.4g}", gain


def _density(group: GainGroup) -> str:
    known: Sequence[float] = [gain.density for gain in group.gains if gain.density is not None]
    if not known:
        return "-"
    return "-".join(dict.fromkeys(f"{value:.2f}" for value in (min(known), max(known))))
