"""``accelsim schema``: the JSON Schema of a file format, for editors."""

import json

import click

from accelsim.base.errors import InputError, did_you_mean

__all__ = ["schema_command"]

_KINDS = ("trace", "design", "energy", "platform", "behaviour", "plan", "sweep", "run", "zeros")


@click.command("schema")
@click.argument("kind", metavar="|".join(_KINDS))
def schema_command(kind: str) -> None:
    """Print the JSON Schema of a trace, design, energy, platform, behaviour, plan, sweep, (sampled) run or zeros
    file."""
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

    if kind not in _KINDS:
        raise InputError(f"schema {kind}: not known{did_you_mean(kind, _KINDS)}; allowed: {', '.join(_KINDS)}")
    plain: dict[str, type[FileModel]] = {
        "trace": Trace,
        "plan": PlanFile,
        "sweep": SweepFile,
        "run": SampledRun,
        "zeros": ZerosFile,
    }
    if kind in plain:
        schema = plain[kind].model_json_schema()
    else:
        sourced: dict[str, type[SourcedModel]] = {
            "design": Design,
            "energy": EnergyTable,
            "platform": Platform,
            "behaviour": Behaviour,
        }
        schema = sourced_schema(sourced[kind])
    click.echo(json.dumps(schema, indent=2))
