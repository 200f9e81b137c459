"""``accelsim check``: are these files usable?"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.base.characters import one_line
from accelsim.base.errors import AccelsimError, InputError
from accelsim.workload.names import counted

if TYPE_CHECKING:
    from accelsim.hardware.design import Design
    from accelsim.hardware.sourced import Provenance

__all__ = ["check_command"]


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check_command(files: tuple[str, ...]) -> int:
    """Check traces, plans, results and training runs (.json, .json.gz), design, energy, platform, behaviour and FPGA
    cost files and sweeps (.yaml); report every error of each.

    Of a design on an FPGA the resources are estimated, unit by unit, and held against what its device has beside its
    shell; too few are a warning.

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
            for line in str(error).split("\n"):
                click.echo(f"error: {one_line(line)}", err=True)
    return worst


def _describe(path: Path) -> str:
    from accelsim.base.files import read_text

    if path.suffix in {".json", ".gz"}:
        text = read_text(path)
        known = (describe for format_, describe in _JSON_FORMATS.items() if f'"{format_}' in text)
        return next(known, _describe_trace)(path)
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"{path}: got suffix '{path.suffix}'; allowed: .json, .json.gz, .yaml, .yml")
    text = read_text(path)
    known = (describe for format_, describe in _YAML_FORMATS.items() if format_ in text)
    return next(known, _describe_design)(path)


def _describe_design(path: Path) -> str:
    from accelsim.hardware.design import load_design
    from accelsim.hardware.energy_prices import prices_of
    from accelsim.hardware.energy_table import load_energy_table
    from accelsim.hardware.resources import check_fits

    design = load_design(path)
    prices = prices_of(design, load_energy_table(design.energy))
    for shortfall in check_fits(design):
        click.echo(f"warning: {path}: {shortfall} (estimate)", err=True)
    power = f"{prices.static_w(design.clock_hz):.3g} W whatever it does, {prices.pj_per_mac:.3g} pJ per MAC"
    return f"design {design.name}, {_origins(design.provenance)}; takes {power}{_resources(design)}"


def _resources(design: "Design") -> str:
    """What a design takes of its device, in all and unit by unit; nothing where it has none."""
    from accelsim.hardware.resources import RESOURCES, estimate_resources, has_device, usable

    if not has_device(design):
        return ""
    use, region = estimate_resources(design), {name: usable(design, name) for name in RESOURCES}
    share = [
        f"{getattr(use, name):,} of {available:,} {name.upper()}"
        for name, available in region.items()
        if available is not None
    ]
    shell = _amounts({name: getattr(design.resources, f"shell_{name}") for name in RESOURCES})
    beside = f", beside a shell of {shell}" if shell else ""
    units = [
        f"\n  {unit.unit}: {amounts}"
        for unit in use.units
        if (amounts := _amounts({name: getattr(unit, name) for name in RESOURCES}))
    ]
    return f"; about {', '.join(share)}{beside}{''.join(units)}"


def _amounts(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{amount:,} {name.upper()}" for name, amount in amounts.items() if amount)


def _describe_machine(path: Path) -> str:
    from accelsim.hardware.machine import load_machine

    machine = load_machine(path)
    return f"machine {machine.name}, {_origins(machine.provenance)}"


def _describe_energy(path: Path) -> str:
    from accelsim.hardware.energy_table import load_energy_table

    table = load_energy_table(path)
    return f"energy table {table.name}, {_origins(table.provenance)}"


def _describe_platform(path: Path) -> str:
    from accelsim.hardware.platform import load_platform

    platform = load_platform(path)
    return f"platform {platform.name} ({platform.kind}), {_origins(platform.provenance)}"


def _describe_fpga_costs(path: Path) -> str:
    from accelsim.hardware.resources import load_fpga_costs

    costs = load_fpga_costs(path)
    return f"FPGA costs {costs.name}, {_origins(costs.provenance)}"


def _describe_behaviour(path: Path) -> str:
    from accelsim.hardware.platform import load_behaviour

    behaviour = load_behaviour(path)
    return f"behaviour {behaviour.name}, {_origins(behaviour.provenance)}"


def _describe_sweep(path: Path) -> str:
    from accelsim.sweep.spec import load_sweep

    sweep = load_sweep(path)
    return f"sweep {sweep.name}, {counted(sweep.count(), 'point')} of {sweep.inputs.design}"


def _describe_trace(path: Path) -> str:
    from accelsim.workload.masks_file import check_masks
    from accelsim.workload.trace import load_trace

    trace = load_trace(path)
    masks = check_masks(trace, path)
    size = f"trace of {trace.model}, {len(trace.operations)} operations, {trace.parameters:,} parameters"
    return ", ".join(filter(None, (size, trace.edges, masks)))


def _describe_training(path: Path) -> str:
    from accelsim.results.training import load_training

    training = load_training(path)
    phases = f"{len(training.phases)} phase{'s' * (len(training.phases) > 1)}"
    where = f"{training.dense.workload} on {training.dense.design}"
    return f"training run of {where}, {training.title}: {training.totals.steps:,} steps in {phases}"


def _describe_results(path: Path) -> str:
    from accelsim.results.result_file import load_results

    results = load_results(path)
    what = ", ".join(dict.fromkeys(f"{result.workload} on {result.design}" for result in results))
    return f"{counted(len(results), 'result')} of {what}"


def _describe_plan(path: Path) -> str:
    from accelsim.hardware.design import Design
    from accelsim.hardware.stored import restored
    from accelsim.schedule.plan_file import read_plan

    plan = read_plan(path)
    restored(Design, plan.design, f"{path}: design")
    how = "units side by side" if plan.overlap else "one after another"
    return (
        f"plan of {counted(len(plan.tasks), 'task')} {how}, made for {plan.made_for}; its form alone was checked, not"
        " whether a step and a design can use it (accelsim schedule TRACE --plan)"
    )


_JSON_FORMATS = {
    "accelsim-training/": _describe_training,
    "accelsim-plan/": _describe_plan,
    "accelsim-comparison/": _describe_results,
    "accelsim-result/": _describe_results,
}


def _describe_zeros(path: Path) -> str:
    from accelsim.zeros.zeros_file import load_zeros

    tensors = dict.fromkeys(entry.tensor for entry in load_zeros(path).entries)
    return f"zeros of {', '.join(tensors)}"


_YAML_FORMATS = {
    "accelsim-zeros/": _describe_zeros,
    "accelsim-sweep/": _describe_sweep,
    "accelsim-machine/": _describe_machine,
    "accelsim-energy/": _describe_energy,
    "accelsim-platform/": _describe_platform,
    "accelsim-behaviour/": _describe_behaviour,
    "accelsim-fpga-costs/": _describe_fpga_costs,
}


def _origins(provenance: "Iterable[Provenance]") -> str:
    kinds = [item.confidence for item in provenance]
    return f"{len(kinds)} values: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
