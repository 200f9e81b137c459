"""``accelsim list``: what is shipped."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["list_command"]

_KINDS = ("workloads", "designs", "platforms", "methods", "recipes", "sweeps", "measured", "parameters")


@click.command("list")
@click.argument("kind", required=False, metavar=f"[{'|'.join(_KINDS)}]")
@click.option(
    "--hw", metavar="NAME|FILE", help="Of parameters: the design whose values are shown  [default: sat_vcu1525]"
)
def list_command(kind: str | None, hw: str | None) -> None:
    """List shipped workloads, designs, platforms to compare with, methods of a step, recipes of a training run,
    sweeps, networks whose training throughput was measured, or the parameters of a design, which --set changes;
    all but the parameters where none is named.
    """
    if kind is not None and kind not in _KINDS:
        raise InputError(f"list {kind}: not known{did_you_mean(kind, _KINDS)}; allowed: {', '.join(_KINDS)}")
    if hw is not None and kind != "parameters":
        raise InputError(f"--hw {hw}: is of accelsim list parameters")
    from accelsim.cli.screen import console

    tables: dict[str, Callable[[], Table]] = {
        "workloads": _workloads,
        "designs": _designs,
        "platforms": _platforms,
        "methods": _methods,
        "recipes": _recipes,
        "sweeps": _sweeps,
        "measured": partial(_workloads, measured=True),
        "parameters": partial(_parameters, hw or "sat_vcu1525"),
    }
    out = console()
    if kind is not None:
        out.print(tables[kind]())
        return
    for name in _KINDS[:-1]:
        out.print(f"[bold]{name}[/bold]")
        out.print(tables[name]())
        out.print()
    out.print("accelsim list parameters shows what --set changes of a design")


def _workloads(*, measured: bool = False) -> "Table":
    from accelsim.base.units import show
    from accelsim.cli.screen import table_of, words
    from accelsim.workload.trace import load_trace, workload_names

    table = table_of(words("workload"), "inputs", "parameters", "MACs/sample", "operations")
    for name in workload_names(measured=measured):
        trace = load_trace(name)
        shapes = ", ".join("x".join(str(size) for size in shape) for shape in trace.input_shapes)
        table.add_row(name, shapes, show(trace.parameters, ""), show(trace.macs, ""), str(len(trace.operations)))
    return table


def _designs() -> "Table":
    from accelsim.cli.screen import table_of, words
    from accelsim.hardware.design import design_names, load_design

    table = table_of(words("design"), "array", "clock", "DRAM", words("description"))
    for name in design_names():
        design = load_design(name)
        array = design.array
        table.add_row(
            name,
            f"{array.rows} x {array.cols} x {array.macs_per_pe}",
            f"{design.clock_hz / 1e6:g} MHz",
            f"{design.dram.bandwidth_gb_per_s:g} GB/s",
            design.description,
        )
    return table


def _platforms() -> "Table":
    from accelsim.cli.screen import table_of, words
    from accelsim.hardware.platform import load_platform, platform_names

    table = table_of(
        words("platform"),
        words("kind"),
        "FP32 TFLOPS",
        "FP16 TFLOPS",
        "2:4",
        "GB/s",
        "GB",
        "W",
        "published GOP/s",
        "recalled",
    )
    for name in platform_names():
        platform = load_platform(name)
        compute, memory, power = platform.compute, platform.memory, platform.power
        rates = ["-"] * 2 if compute is None else [_number(compute.fp32_tflops), _number(compute.fp16_tflops)]
        table.add_row(
            name,
            platform.kind,
            *rates,
            "yes" if compute and compute.sparse_2_4 else "-",
            _number(memory.bandwidth_gb_per_s if memory else None),
            _number(memory.capacity_gb if memory else None),
            _number(power.peak_w if power else None),
            _number(platform.published.throughput_gops if platform.published else None),
            str(len(platform.recalled) or ""),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _methods() -> "Table":
    from accelsim.cli.screen import table_of, words
    from accelsim.sparsity.methods import METHODS

    table = table_of(*map(words, ("method", "FF", "BP", "WU", "what it prunes", "source")))
    for method in METHODS.values():
        cells = [
            "dense" if item is None else f"{item.operand} / {item.axis}" for item in (method.ff, method.bp, method.wu)
        ]
        if method.traced:
            cells = ["as traced"] * 3
        table.add_row(method.name, *cells, method.title, method.source)
    return table


def _recipes() -> "Table":
    from accelsim.cli.screen import table_of, words
    from accelsim.sparsity.recipes import RECIPES

    table = table_of(*map(words, ("recipe", "method", "dense share", "fine-tune share", "what is in force", "source")))
    for recipe in RECIPES.values():
        shares = ("-" if share is None else f"{share.value:g}" for share in (recipe.dense, recipe.fine_tuning))
        table.add_row(recipe.name, recipe.method.name, *shares, recipe.title, recipe.source)
    return table


def _sweeps() -> "Table":
    from accelsim.cli.screen import table_of, words
    from accelsim.sweep.spec import load_sweep, sweep_names

    table = table_of(words("sweep"), words("design"), "points", words("what is varied"))
    for name in sweep_names():
        sweep = load_sweep(name)
        table.add_row(name, sweep.inputs.design, f"{sweep.count():,}", sweep.description)
    return table


def _parameters(hw: str) -> "Table":
    """Every value of a design: what it can be, what it means, and where it comes from."""
    from accelsim.cli.screen import table_of, words
    from accelsim.hardware.design import load_design
    from accelsim.hardware.parameters import parameters_of

    table = table_of(words("path", whole=True), *map(words, ("value", "range", "unit", "meaning", "source")))
    for item in parameters_of(load_design(hw)):
        table.add_row(item.path, item.value, item.allowed, item.unit, item.meaning, item.source)
    return table
