"""``accelsim flops``: multiplications under zeros, dense, needed and executed on machines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cli.options import open_trace

if TYPE_CHECKING:
    from accelsim.flops import Executor, FlopTable
    from accelsim.workload.trace import Trace
    from accelsim.zeros.masks import Masks

__all__ = ["flops_command"]

_FORMAT = "accelsim-flops/1"


@click.command("flops")
@click.argument("trace")
@click.option("--zeros", "file", metavar="FILE", help="Zeros of the tensors, a YAML file (accelsim schema zeros).")
@click.option("--method", metavar="NAME", help="A sparse-training method instead (accelsim list methods).")
@click.option("--pattern", metavar="N:M", help="Its pattern.")
@click.option(
    "--machine",
    "machines",
    multiple=True,
    metavar="NAME|FILE",
    help="Design or platform that executes, ideal, or one_sided_32. Repeatable.",
)
@click.option("--batch", type=int, default=1, show_default=True, help="Samples per step.")
@click.option("--count", metavar="RULE", help="Ratios by a counting rule instead of MACs: rigl (2 v d + 1 per output).")
@click.option(
    "--update-every",
    type=click.IntRange(1, 10**9),
    metavar="STEPS",
    help="Steps from one renewal of the masks to the next, at which all gradients of the weights are computed.",
)
@click.option("--all", "every", is_flag=True, help="Show every layer.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def flops_command(
    trace: str,
    file: str | None,
    method: str | None,
    pattern: str | None,
    machines: tuple[str, ...],
    batch: int,
    count: str | None,
    update_every: int | None,
    every: bool,
    as_json: bool,
) -> None:
    """Count the multiply-accumulates of a training step of TRACE (a shipped name or a file) under zeros: dense, needed
    (both factors kept, the result needed), and what each machine executes; the weights that are kept, and their size.

    accelsim flops resnet50_imagenet --zeros zeros.yaml --machine sat_vcu1525 --machine one_sided_32
    """
    from accelsim.flops import count_flops

    workload = open_trace(trace)
    if count not in {None, "rigl"}:
        raise InputError(f"--count {count}: no such rule{did_you_mean(str(count), ['rigl'])}; allowed: rigl")
    masks = _masks(workload, file, method, pattern)
    found = count_flops(
        workload,
        masks,
        [_machine(name) for name in dict.fromkeys(machines)],
        batch=batch,
        count=count,
        update_every=update_every,
    )
    if as_json:
        click.echo(json.dumps(_plain(found)))
        return
    _show(found, every=every, rule=count)


def _masks(trace: "Trace", file: str | None, method: str | None, pattern: str | None) -> "Masks":
    """Return the zeros of a file or of a method; none for a dense step."""
    from accelsim.flops import masks_of_method
    from accelsim.sparsity.methods import find_method
    from accelsim.sparsity.pattern import Pattern
    from accelsim.zeros.resolve import masks_of
    from accelsim.zeros.zeros_file import load_zeros

    if file is not None:
        if method is not None or pattern is not None:
            raise InputError("--zeros and --method: give one of them; a method is zeros of its own")
        return masks_of(trace, load_zeros(file))
    if method is None and pattern is None:
        return {}
    chosen = find_method(method or "bdwp")
    if not chosen.takes_pattern:
        raise InputError(f"--method {chosen.name}: prunes by no pattern; a traced density is across: traced in --zeros")
    return masks_of_method(trace, chosen.name, Pattern.parse(pattern or "2:8"))


def _machine(name: str) -> "Executor":
    """Return a machine by its name: a hypothetical one, a design or a platform, or the file of one."""
    from accelsim.base.files import read_text
    from accelsim.flops import HYPOTHETICAL, Executor, of_design, of_platform
    from accelsim.hardware.design import design_names, load_design
    from accelsim.hardware.platform import find_platform, load_platform, platform_names

    if name in HYPOTHETICAL:
        return Executor(name, HYPOTHETICAL[name])
    if name in design_names():
        return of_design(load_design(name))
    if find_platform(name) is not None:
        return of_platform(load_platform(name))
    if not name.endswith((".yaml", ".yml")):
        near = did_you_mean(name, [*HYPOTHETICAL, *design_names(), *platform_names()])
        raise InputError(f"--machine {name}: no design or platform of this name, and no YAML file{near}")
    if "accelsim-platform/" in read_text(Path(name)):
        return of_platform(load_platform(name))
    return of_design(load_design(name))


def _plain(table: "FlopTable") -> "dict[str, object]":
    return {
        "format": _FORMAT,
        "workload": table.workload,
        "batch": table.batch,
        "macs_dense": table.macs_dense,
        "macs_needed": table.macs_needed,
        "macs_executed": table.macs_executed,
        "weights": table.weights,
        "weights_kept": table.weights_kept,
        "size_mb": table.size_mb,
        "inference_flops_ratio": table.inference_flops_ratio,
        "training_flops_ratio": table.training_flops_ratio,
        "layers": [asdict(layer) for layer in table.layers],
    }


def _show(table: "FlopTable", *, every: bool, rule: str | None) -> None:
    from accelsim.cli.screen import console, table_of, words

    out, dense = console(), table.macs_dense
    out.print(f"{table.workload}: a training step of {table.batch:,} sample{'s' * (table.batch != 1)}", highlight=False)
    rows = table_of(words(""), "MACs", "of dense", "at most")
    amounts = {"dense": float(dense), "needed": table.macs_needed, **table.macs_executed}
    for name, macs in amounts.items():
        share = macs / dense
        rows.add_row(name, f"{macs:,.0f}", f"{share:.1%}", f"{1 / share:.2f}x" if share else "")
    out.print(rows)
    counted = "" if rule is None else f", as {rule} counts"
    out.print(
        f"inference {table.inference_flops_ratio:.3f} of dense, training {table.training_flops_ratio:.3f}{counted}\n"
        f"{table.weights_kept:,} of {table.weights:,} weights kept;"
        f" {table.size_mb['bitmap']:.3f} MB with a bitmap, {table.size_mb['nm']:.3f} MB with N:M indices,"
        f" {table.size_mb['csr']:.3f} MB as CSR (32 bits a weight)"
    )
    _layers(table, every=every)


_FIRST = 12


def _layers(table: "FlopTable", *, every: bool) -> None:
    from accelsim.cli.screen import console, table_of, words

    masked = [layer for layer in table.layers if every or sum(layer.needed.values()) < sum(layer.dense.values())]
    shown = masked if every else masked[:_FIRST]
    if not shown:
        return
    names = list(table.macs_executed)
    rows = table_of(words("layer"), "density", "FF needed", "BP", "WU", *names)
    for layer in shown:
        parts = [
            f"{layer.needed[stage] / layer.dense[stage]:.1%}" if layer.dense[stage] else "" for stage in layer.dense
        ]
        whole = sum(layer.dense.values())
        on = [f"{layer.executed[name] / whole:.1%}" for name in names]
        rows.add_row(layer.name, f"{layer.density:.3f}", *parts, *on)
    out = console()
    out.print()
    out.print(rows)
    if len(masked) > len(shown):
        out.print(f"and {len(masked) - len(shown):,} more layers with zeros (--all)")
