"""``accelsim import``: a trace from the file of another tool."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from accelsim.base.errors import InputError
from accelsim.cli.options import check_output

__all__ = ["import_command"]


@click.command("import")
@click.argument("file")
@click.option("--format", "form", metavar="NAME", help="Format of FILE, where its name and first keys do not tell it.")
@click.option("--name", help="Name of the model in the trace  [default: from FILE]")
@click.option("--batch", type=click.IntRange(1, 2**20), help="Samples that the shapes of FILE hold.")
@click.option(
    "--size",
    "settings",
    multiple=True,
    metavar="DIM=NUMBER",
    help="Number in place of a symbolic dimension of FILE. Repeatable.",
)
@click.option(
    "--input",
    "values",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Number in an input of FILE that decides what is computed. Repeatable.",
)
@click.option(
    "--call",
    "calls",
    multiple=True,
    metavar="NAME=WHAT",
    help="What a call of a recording is: ignore, or linear(X, W) with the places of data and weight. Repeatable.",
)
@click.option("-o", "--output", required=True, metavar="FILE", help="Trace to write, .json or .json.gz.")
def import_command(
    file: str,
    form: str | None,
    name: str | None,
    batch: int | None,
    settings: Sequence[str],
    values: Sequence[str],
    calls: Sequence[str],
    output: str,
) -> None:
    """Write the trace of what FILE describes: a SCALE-Sim topology, an ONNX model, a PyTorch profile.

    What FILE does not say is listed as notes, and kept in the trace.

    \b
    accelsim import topology.csv -o topology.json
    """
    from accelsim.workload.importing import ImportOptions, import_trace
    from accelsim.workload.trace import save_trace

    if not output.endswith((".json", ".json.gz")):
        raise InputError(f"-o {output}: the name of a trace ends in .json or .json.gz")
    target = check_output(output, (".json", ".gz"))
    if target is not None and target.exists() and Path(file).exists() and target.samefile(file):
        raise InputError(f"-o {output}: is the file to import")
    options = ImportOptions(
        name=name, batch=batch, sizes=_read_sizes(settings), inputs=_read_inputs(values), calls=_read_calls(calls)
    )
    trace = import_trace(file, form, options)
    words = ["accelsim", "import", Path(file).name, *([f"--format={form}"] if form else [])]
    words += [f"--name={name}"] * bool(name) + [f"--batch={batch}"] * bool(batch) + [f"--size={s}" for s in settings]
    words += [f"--input={value}" for value in values] + [f"--call={call}" for call in calls]
    command = trace.origin.command or shlex.join([*words, "-o", Path(output).name])
    trace = trace.model_copy(update={"origin": trace.origin.model_copy(update={"command": command})})
    save_trace(trace, output)
    for assumption in trace.origin.assumptions:
        click.echo(f"note: {assumption}", err=True)
    click.echo(f"{output}: {len(trace.operations)} operations, {trace.size}")


def _read_sizes(settings: Sequence[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for setting in settings:
        dimension, _, number = (part.strip() for part in setting.partition("="))
        if not dimension or not number.isascii() or not number.isdecimal() or len(number) > 18:
            raise InputError(f"--size {setting}: expected DIM=NUMBER with a whole number, as in batch=1")
        if dimension in sizes:
            raise InputError(f"--size {setting}: {dimension} is set twice")
        sizes[dimension] = int(number)
    return sizes


def _read_inputs(values: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in values:
        name, _, number = (part.strip() for part in text.rpartition("="))
        try:
            value = float({"true": "1", "false": "0"}.get(number.lower(), number))
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value):
            raise InputError(f"--input {text}: expected NAME=NUMBER, as in sr=16000")
        if name in found:
            raise InputError(f"--input {text}: {name} is set twice")
        found[name] = value
    return found


def _read_calls(settings: Sequence[str]) -> dict[str, str]:
    calls: dict[str, str] = {}
    for setting in settings:
        name, _, what = (part.strip() for part in setting.partition("="))
        if not name or not what:
            raise InputError(f"--call {setting}: expected NAME=ignore or NAME=linear(X, W)")
        if name in calls:
            raise InputError(f"--call {setting}: {name} is said twice")
        calls[name] = what
    return calls
