"""``accelsim info``: what a trace holds, and what a method would make of it."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from accelsim.cli.options import open_design, open_trace

if TYPE_CHECKING:
    from rich.console import Console

    from accelsim.lowering.summary import LayerGroup, OperandSummary, Summary

__all__ = ["info_command"]

# Columns of observed sparsity. Operands of WU are those of FF and BP again, and shown where they have a pattern.
_SEEN = {
    "FF weight": ("FF", "weight"),
    "BP weight": ("BP", "weight"),
    "FF activation": ("FF", "activation"),
    "FF factors": ("FF", "left"),
    "": ("FF", "right"),
    "BP gradient": ("BP", "gradient"),
    "WU activation": ("WU", "activation"),
    "WU gradient": ("WU", "gradient"),
}
_SHOWN_NAMES = 4


@click.command("info")
@click.argument("trace")
@click.option("--hw", default="sat_vcu1525", show_default=True, metavar="NAME|FILE", help="Design the method runs on.")
@click.option("--method", default="bdwp", show_default=True, help="Sparse-training method (accelsim list methods).")
@click.option("--pattern", default="2:8", show_default=True, metavar="N:M", help="N of every M elements are kept.")
@click.option("--batch", type=int, default=512, show_default=True, help="Samples per step.")
@click.option("--all", "every", is_flag=True, help="Show every operation: equal layers one by one, vector work too.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def info_command(trace: str, hw: str, method: str, pattern: str, batch: int, every: bool, as_json: bool) -> None:
    """Show what TRACE (a shipped name or a file) holds: its layers, what was observed of their sparsity, and what a
    sparse-training method would leave dense, and why.

    MACs/B is the arithmetic intensity: the MACs of one product of the layer over the bytes of its input, weight and
    output, each moved once in 16 bits, at the given batch. It is the same for FF, BP and WU, and so for the step.
    """
    from accelsim.lowering.summary import summarise
    from accelsim.sparsity.methods import find_method
    from accelsim.sparsity.pattern import Pattern

    summary = summarise(
        open_trace(trace), open_design(hw, ()), find_method(method), pattern=Pattern.parse(pattern), batch=batch
    )
    if as_json:
        click.echo(json.dumps(summary.to_dict()))
        return
    from accelsim.cli.screen import console

    out = console()
    groups = _groups(summary, every)
    _head(out, summary)
    _layers(out, groups, every)
    _observed(out, groups, summary.pattern)
    _kinds(out, summary)
    _stages(out, summary, every)


def _groups(summary: "Summary", every: bool) -> "Sequence[LayerGroup]":
    from accelsim.lowering.summary import LayerGroup, group_layers

    if every:
        return [LayerGroup(label=layer.name, layers=(layer,)) for layer in summary.layers]
    return group_layers([layer for layer in summary.layers if layer.macs])


def _head(out: "Console", summary: "Summary") -> None:
    from accelsim.workload.trace import macs_text

    origin = summary.origin
    inputs = " and ".join(_shape(shape) for shape in summary.input_shapes)
    versions = f" ({', '.join(origin.versions)})" if origin.versions else ""
    seen = "shapes alone were traced"
    if origin.steps:
        samples = f" of {origin.batch} samples" if origin.batch else ""
        seen = f"{origin.steps} step{'s' * (origin.steps > 1)}{samples} traced with their operands"
    out.print(f"[bold]{summary.model}[/bold], input {inputs}")
    sizes = f"{summary.parameters:,} parameters, {macs_text(summary.macs, summary.macs_once)}"
    out.print(f"{len(summary.layers):,} operations, {sizes}")
    out.print(f"from {origin.source}, {seen}", markup=False)
    out.print(f"by {origin.exporter}{versions}", markup=False)
    out.print(summary.edges)
    for text in origin.assumptions:
        out.print(f"assumed: {text}", markup=False)
    named = sum(layer.parameters for layer in summary.layers)
    if named < summary.parameters:
        out.print(f"{summary.parameters - named:,} of the parameters belong to no operation")


def _layers(out: "Console", groups: "Sequence[LayerGroup]", every: bool) -> None:
    from accelsim.cli.screen import table_of, words

    counted = () if every else ("count",)
    table = table_of(
        words("layer"), *counted, words("kind"), "input", "weight", "output", "MACs", "share", "parameters", "MACs/B"
    )
    for group in groups:
        layer = group.layers[0]
        count = () if every else (str(len(group.layers)) if len(group.layers) > 1 else "",)
        table.add_row(
            group.label,
            *count,
            layer.kind,
            *(_shape(shape) for shape in (layer.input, layer.weight, layer.output)),
            _count(group.macs),
            _percent(group.share),
            "tied" if layer.weight and layer.kind != "matmul" and not group.parameters else _count(group.parameters),
            "" if layer.macs_per_byte is None else f"{layer.macs_per_byte:,.{0 if layer.macs_per_byte >= 10 else 1}f}",
        )
    out.print()
    out.print(table)


def _observed(out: "Console", groups: "Sequence[LayerGroup]", pattern: str) -> None:
    """What was observed of the operands, and how near each weight comes to the pattern asked for."""
    from accelsim.cli.screen import table_of, words

    rows = [[_sparsity(group.seen(*operand)) for operand in _SEEN.values()] for group in groups]
    shown = [index for index in range(len(_SEEN)) if any(row[index] for row in rows)]
    if not shown:
        return
    table = table_of(words("layer"), *(list(_SEEN)[index] for index in shown))
    for group, row in zip(groups, rows, strict=True):
        if any(row):
            table.add_row(group.label, *(row[index] for index in shown))
    out.print("\nobserved")
    out.print(table)
    out.print(f"N:M where all groups obey it, else share of nonzeros; in brackets share of groups that obey {pattern}")


def _sparsity(seen: "Sequence[OperandSummary]") -> str:
    """The pattern, else the density, and the share of conforming groups where it is not plain; equal in all of `seen`
    but for the numbers."""
    if not seen or (seen[0].stage == "WU" and not seen[0].pattern):
        return ""
    text = seen[0].pattern or _range([entry.density for entry in seen if entry.density is not None], "{:.3g}")
    shares = [entry.conforming for entry in seen if entry.conforming is not None]
    near = shares and min(shares) < 1 and any(entry.density != 1 for entry in seen)
    return f"{text} ({_range(shares, '{:.1%}')})" if near else text


def _range(values: Sequence[float], style: str) -> str:
    return "-".join(dict.fromkeys(style.format(value) for value in (min(values), max(values)))) if values else ""


def _kinds(out: "Console", summary: "Summary") -> None:
    from accelsim.cli.screen import table_of, words

    table = table_of(words("kind"), "operations", "MACs", "share", "parameters", "activations")
    for kind in summary.kinds:
        table.add_row(
            kind.kind,
            f"{kind.operations:,}",
            _count(kind.macs),
            _percent(kind.share),
            _count(kind.parameters),
            _count(kind.activations),
        )
    totals = (sum(getattr(kind, name) for kind in summary.kinds) for name in ("macs", "parameters", "activations"))
    macs, parameters, activations = map(_count, totals)
    table.add_row("all", f"{len(summary.layers):,}", macs, "", parameters, activations)
    out.print()
    out.print(table)
    out.print(
        f"per sample; activations: elements that FF reads and writes besides weights; MACs/B: MACs per byte of input,\n"
        f"weight and output, each moved once in 16 bits at batch {summary.batch}, the same in FF, BP and WU"
    )
    if summary.macs_once:
        out.print("work done once per step stands in the tables with all it does in a step")


def _stages(out: "Console", summary: "Summary", every: bool) -> None:
    from accelsim.cli.screen import table_of, words
    from accelsim.sparsity.methods import case_name, find_method

    method = find_method(summary.method)
    what = case_name(method.name, summary.pattern if method.takes_pattern else None)
    out.print(f"\none step of {summary.batch:,} samples under [bold]{what}[/bold] on [bold]{summary.design}[/bold]")
    table = table_of(words("stage"), "MACs", "sparse", "dense", words("why dense"), words("which"))
    for stage in summary.stages:
        first = [stage.stage, _count(stage.macs), _percent(stage.sparse_macs / stage.macs) if stage.macs else ""]
        for reason in stage.dense:
            which = "all" if reason.macs == stage.macs else _names(reason.operations, every)
            table.add_row(*first, _percent(reason.macs / stage.macs), reason.text, which)
            first = [""] * 3
        if first[0]:
            table.add_row(*first)
    out.print(table)


def _names(operations: Sequence[str], every: bool) -> str:
    from accelsim.lowering.summary import merge_names

    names = merge_names(operations)
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES and not every else ""
    return ", ".join(names if every else names[:_SHOWN_NAMES]) + more


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)


def _count(number: int) -> str:
    from accelsim.base.units import show

    return "" if not number else str(number) if number < 1000 else show(number, "").strip()


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}" if share else ""
