"""``accelsim export``: a trace as input of another tool."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cli.options import check_output, open_trace

if TYPE_CHECKING:
    from accelsim.lowering.tasks import Step
    from accelsim.workload.exporting import Export, OperandBits, Product
    from accelsim.workload.trace import Trace

__all__ = ["export_command"]

_STAGES = ("FF", "BP", "WU")


@click.command("export")
@click.argument("trace")
@click.option("--format", "form", required=True, metavar="NAME", help="scalesim, timeloop, zigzag or accelforge.")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="PATH",
    help="A .csv file for scalesim, a .yaml file for zigzag and accelforge, a new directory for timeloop.",
)
@click.option("--batch", type=click.IntRange(1, 2**20), default=1, show_default=True, help="Samples per step.")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="FF|BP|WU",
    help="Write the products of this stage of a training step, as GEMMs. Repeatable.",
)
@click.option("--method", help="Take the N:M of this method, not the observed one (writes GEMMs).")
@click.option("--pattern", metavar="N:M", help="Pattern of the method.")
@click.option(
    "--hw",
    default="sat_vcu1525",
    show_default=True,
    metavar="NAME|FILE",
    help="Design with the N:M modes and the precision.",
)
def export_command(
    trace: str,
    form: str,
    output: str,
    batch: int,
    stages: Sequence[str],
    method: str | None,
    pattern: str | None,
    hw: str,
) -> None:
    """Write TRACE (a shipped name or a file) for SCALE-Sim, Timeloop, ZigZag or AccelForge.

    By default the layers of the forward pass, for SCALE-Sim and Timeloop with the N:M that was observed in their
    weights; what a topology of convolutions cannot hold makes it one of GEMMs. Beside NAME.csv stands NAME_layout.csv,
    which SCALE-Sim 3 reads with it. What is left out or changed is listed as notes.

    \b
    accelsim export resnet18_tinyimagenet --format scalesim -o resnet18.csv
    accelsim export vit_cifar100 --format timeloop --stage BP --method bdwp --pattern 2:8 -o vit_bp
    accelsim export resnet18_tinyimagenet --format zigzag --batch 4 -o resnet18.yaml
    """
    from accelsim.workload.exporters.scalesim import LAYOUT_ENDING, misfits
    from accelsim.workload.exporting import EXPORT_FORMATS, forward_layers
    from accelsim.workload.trace import Conv

    _check_choice("--format", form, tuple(EXPORT_FORMATS))
    for stage in stages:
        _check_choice("--stage", stage, _STAGES)
    if pattern and not method:
        raise InputError(f"--pattern {pattern}: needs a method, as in --method bdwp")
    suffix = EXPORT_FORMATS[form].suffix
    if suffix is not None:
        check_output(output, (suffix,))
    if form == "scalesim":
        _check_layout(_beside(Path(output), LAYOUT_ENDING))
    workload = open_trace(trace)
    reasons = []
    if form == "scalesim" and not stages and not method:
        reasons = [*misfits(workload), *([f"a batch of {batch}"] if batch > 1 else [])]
    only_products = form == "scalesim" and not any(isinstance(layer, Conv) for layer in forward_layers(workload))
    if stages or method or reasons or only_products:
        export = _products(workload, form, stages, method, pattern, hw, batch)
    else:
        export = _layers(workload, form, hw, batch)
    _write(Path(output), suffix, export)
    for reason in reasons:
        click.echo(f"note: written as GEMMs, a topology of convolutions cannot hold {reason}", err=True)
    for note in export.notes:
        click.echo(f"note: {note}", err=True)


def _check_choice(option: str, got: str, allowed: Sequence[str]) -> None:
    if got not in allowed:
        raise InputError(f"{option} {got}: not known{did_you_mean(got, allowed)}; allowed: {', '.join(allowed)}")


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.stem}{ending}{target.suffix}")


def _check_layout(path: Path) -> None:
    """Refuse to put a layout file, whose name nobody typed, in the place of anything but one."""
    from accelsim.base.files import read_text
    from accelsim.workload.exporters.scalesim import LAYOUT_COLUMNS

    if path.exists() and not read_text(path, goes_on=True).startswith(",".join(LAYOUT_COLUMNS)):
        raise InputError(f"{path}: exists and is no layout file of ours; the one of this topology would replace it")


def _layers(workload: "Trace", form: str, hw: str, batch: int) -> "Export":
    from accelsim.workload.exporters.accelforge import layer_einsums
    from accelsim.workload.exporters.scalesim import layer_topology
    from accelsim.workload.exporters.timeloop import layer_problems
    from accelsim.workload.exporters.zigzag import layer_workload

    match form:
        case "scalesim":
            return layer_topology(workload)
        case "timeloop":
            return layer_problems(workload, batch)
        case "zigzag":
            return layer_workload(workload, _bits(hw), batch)
        case _:
            return layer_einsums(workload, _bits(hw), batch)


def _written(products: "Sequence[Product]", form: str, hw: str) -> "Export":
    from accelsim.workload.exporters.accelforge import product_einsums
    from accelsim.workload.exporters.scalesim import product_topology
    from accelsim.workload.exporters.timeloop import product_problems
    from accelsim.workload.exporters.zigzag import product_workload

    match form:
        case "scalesim":
            return product_topology(products)
        case "timeloop":
            return product_problems(products)
        case "zigzag":
            return product_workload(products, _bits(hw))
        case _:
            return product_einsums(products, _bits(hw))


def _bits(hw: str) -> "OperandBits":
    from accelsim.hardware.design import load_design
    from accelsim.workload.exporting import OperandBits

    precision = load_design(hw).precision
    return OperandBits(
        operand=precision.operand_bits, accumulator=precision.accumulator_bits, gradient=precision.master_bits
    )


def _products(
    workload: "Trace", form: str, stages: Sequence[str], method: str | None, pattern: str | None, hw: str, batch: int
) -> "Export":
    """The products of a step in some of its stages, or of the forward pass alone where no stage is named."""
    from accelsim.hardware.design import load_design
    from accelsim.lowering.builder import lower
    from accelsim.sparsity.methods import find_method
    from accelsim.sparsity.pattern import Pattern
    from accelsim.workload.exporters.scalesim import crossing_groups
    from accelsim.workload.exporting import left_behind, unwritten_sparsity

    step = lower(
        workload,
        load_design(hw),
        find_method(method or "dense"),
        pattern=Pattern.parse(pattern) if pattern else None,
        batch=batch,
        mode="train" if stages else "infer",
    )
    products = list(_lowered(workload, step, stages or ("FF",), observed=not method))
    export = _written(products, form, hw)
    notes = [*export.notes, *_step_notes(step, stages or ("FF",))]
    if not method:
        notes += [*(crossing_groups(workload) if form == "scalesim" else ()), *unwritten_sparsity(workload)]
    return replace(export, notes=(*notes, *left_behind(workload, forward=not stages)))


def _lowered(workload: "Trace", step: "Step", stages: Sequence[str], *, observed: bool) -> "Iterator[Product]":
    """The products in these stages, with the N:M of the step or that observed in the weights of FF."""
    from accelsim.lowering.tasks import Gemm, Stage
    from accelsim.sparsity.methods import Operand
    from accelsim.workload.exporting import Product, forward_layers, observed_ratio

    ratios = {layer.name: observed_ratio(layer) for layer in forward_layers(workload)} if observed else {}
    for task in step.tasks:
        if isinstance(task, Gemm) and task.stage in stages:
            name = task.name if len(stages) == 1 else f"{task.name} {task.stage}"
            seen = ratios.get(task.operation) if (task.product or task.stage) == "FF" else None
            ratio = seen if observed else task.pattern
            yield Product(
                name=name,
                m=task.m,
                n=task.n,
                k=task.k,
                count=task.count,
                pattern=ratio,
                of_activations=task.w_operand is not Operand.WEIGHT,
                gradient_of_weights=task.stage is Stage.WU,
            )


def _step_notes(step: "Step", stages: Sequence[str]) -> Iterator[str]:
    """Why operations stay dense in these stages, operations with the same reason together."""
    from accelsim.workload.names import few

    reasons = dict.fromkeys((note.stage, note.text) for note in step.notes if note.stage in stages)
    for stage, text in reasons:
        names = (note.operation for note in step.notes if (note.stage, note.text) == (stage, text))
        yield f"{stage} {text}: {few([name for name in names if name])}"


def _write(target: Path, suffix: str | None, export: "Export") -> None:
    from accelsim.base.files import write_atomically
    from accelsim.workload.exporting import write_directory

    if suffix is None:
        write_directory(target, export.texts)
    else:
        for ending, text in reversed(export.texts):
            write_atomically(_beside(target, ending), text)
    click.echo(f"{target}: {export.summary}")
