"""``accelsim check``: are these files usable?"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.errors import AccelsimError, InputError
from accelsim.workload.names import counted

if TYPE_CHECKING:
    from accelsim.hardware.sourced import Provenance

__all__ = ["check_command"]


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check_command(files: tuple[str, ...]) -> int:
    """Check traces, plans and training runs (.json, .json.gz), design and energy files (.yaml); report every error of
    each.

    Masks that a trace refers to are checked too: their shapes, densities and N:M patterns. What a training run sums up
    has to follow from its steps. Of a plan the form is checked; accelsim schedule TRACE --plan FILE holds it against a
    trace and a design.
    """
    worst = 0
    for name in files:
        try:
            click.echo(f"ok: {name}: {_describe(Path(name))}")
        except AccelsimError as error:
            worst = max(worst, error.exit_code)
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
    return worst


def _describe(path: Path) -> str:
    from accelsim.files import read_text
    from accelsim.hardware.design import load_design
    from accelsim.hardware.energy import load_energy_table
    from accelsim.hardware.machine import load_machine

    if path.suffix in {".json", ".gz"}:
        text = read_text(path)
        known = (describe for format_, describe in _JSON_FORMATS.items() if f'"{format_}' in text)
        return next(known, _describe_trace)(path)
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"{path}: got suffix '{path.suffix}'; allowed: .json, .json.gz, .yaml, .yml")
    if "accelsim-machine/" in read_text(path):
        machine = load_machine(path)
        return f"machine {machine.name}, {_origins(machine.provenance)}"
    if "accelsim-energy/" in read_text(path):
        table = load_energy_table(path)
        return f"energy table {table.name}, {_origins(table.provenance)}"
    design = load_design(path)
    load_energy_table(design.energy)
    return f"design {design.name}, {_origins(design.provenance)}"


def _describe_trace(path: Path) -> str:
    from accelsim.workload.masks_file import check_masks
    from accelsim.workload.trace import load_trace

    trace = load_trace(path)
    masks = check_masks(trace, path)
    size = f"trace of {trace.model}, {len(trace.operations)} operations, {trace.parameters:,} parameters"
    return f"{size}, {masks}" if masks else size


def _describe_training(path: Path) -> str:
    from accelsim.training_results import load_training

    training = load_training(path)
    phases = f"{len(training.phases)} phase{'s' * (len(training.phases) > 1)}"
    where = f"{training.dense.workload} on {training.dense.design}"
    return f"training run of {where}, {training.title}: {training.totals.steps:,} steps in {phases}"


def _describe_plan(path: Path) -> str:
    from accelsim.schedule.plan_file import read_plan

    plan = read_plan(path)
    how = "units side by side" if plan.overlap else "one after another"
    return (
        f"plan of {counted(len(plan.tasks), 'task')} {how}, made for {plan.made_for}; its form alone was checked, not"
        " whether a step and a design can use it (accelsim schedule TRACE --plan)"
    )


_JSON_FORMATS = {"accelsim-training/": _describe_training, "accelsim-plan/": _describe_plan}


def _origins(provenance: "Iterable[Provenance]") -> str:
    kinds = [item.confidence for item in provenance]
    return f"{len(kinds)} values: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
