"""``accelsim schema``: the JSON Schema of a file format, for editors."""

import json
from typing import Any

import click

from accelsim.base.errors import InputError, did_you_mean

__all__ = ["schema_command", "schema_kinds", "schema_of"]

_KINDS = ("trace", "design", "energy", "platform", "behaviour", "plan", "sweep", "run", "zeros")


@click.command("schema")
@click.argument("kind", metavar="|".join(_KINDS))
def schema_command(kind: str) -> None:
    """Print the JSON Schema of a trace, design, energy, platform, behaviour, plan, sweep, (sampled) run or zeros
    file."""
    if kind not in _KINDS:
        raise InputError(f"schema {kind}: not known{did_you_mean(kind, _KINDS)}; allowed: {', '.join(_KINDS)}")
    click.echo(json.dumps(schema_of(kind), indent=2))


def schema_kinds() -> tuple[str, ...]:
    """Return the kinds of files that have a schema."""
    return _KINDS


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file."""
    from accelsim.base.files import FileModel
    from accelsim.hardware.design import Design
    from accelsim.hardware.energy_table import EnergyTable
    from accelsim.hardware.platform import Behaviour, Platform
    from accelsim.hardware.sourced import SourcedModel, sourced_schema
    from accelsim.schedule.plan_file import PlanFile
    from accelsim.sweep.spec import SweepFile
    from accelsim.workload.sampled_run import SampledRun
    from accelsim.workload.trace import Trace
    from accelsim.zeros.zeros_file import ZerosFile

    plain: dict[str, type[FileModel]] = {
        "trace": Trace,
        "plan": PlanFile,
        "sweep": SweepFile,
        "run": SampledRun,
        "zeros": ZerosFile,
    }
    sourced: dict[str, type[SourcedModel]] = {
        "design": Design,
        "energy": EnergyTable,
        "platform": Platform,
        "behaviour": Behaviour,
    }
    return plain[kind].model_json_schema() if kind in plain else sourced_schema(sourced[kind])
