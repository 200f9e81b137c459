"""``accelsim report``: a page with everything about a step, dense against sparse; the shipped reports, made again."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from accelsim.base.errors import InputError
from accelsim.cli.heeding import check_heeded, tell_of_masks
from accelsim.cli.options import (
    StepChoice,
    announce_compilation,
    check_folder,
    check_number_of_parts,
    open_design,
    open_traces,
    read_settings,
    settings_option,
    step_options,
)
from accelsim.cli.progress import progress_bar

if TYPE_CHECKING:
    from accelsim.hardware.design import Design
    from accelsim.results.step import Results
    from accelsim.results.training import TrainingResult
    from accelsim.workload.trace import Trace

__all__ = ["report_command"]


@click.command("report")
@click.argument("sources", nargs=-1, metavar="TRACE|RESULTS...")
@click.option("--hw", "designs", multiple=True, metavar="NAME|FILE",
              help="Design to run on; results hold theirs, and another is refused. Repeatable."
              "  [default: sat_vcu1525]")  # fmt: skip
@click.option("--method", "methods", multiple=True, default=("bdwp",), show_default=True,
              help="Sparse-training method beside dense. Repeatable.")  # fmt: skip
@click.option("--pattern", "patterns", multiple=True, default=("2:8",), show_default=True, metavar="N:M",
              help="N of every M elements are kept. Repeatable.")  # fmt: skip
@settings_option
@step_options
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder of the report: its page is index.html.")
@click.option("--all", "everything", is_flag=True, help="Make the shipped reports again, each in its folder of DIR.")
@click.option("--only", multiple=True, metavar="NAME", help="With --all, make this one. Repeatable.")
def report_command(
    sources: tuple[str, ...],
    designs: tuple[str, ...],
    methods: tuple[str, ...],
    patterns: tuple[str, ...],
    output: str,
    everything: bool,
    only: tuple[str, ...],
    settings: tuple[str, ...],
    step: StepChoice,
) -> None:
    """Write a report that a browser opens from its file: TRACE (a shipped name or a file) dense against sparse, or
    what RESULTS hold: steps and training runs (.json of simulate and compare), or one sweep (.csv); with the figures,
    and tables as .csv, beside it.
    """
    ctx, folder = click.get_current_context(), check_folder(output)
    assert folder is not None, "the option is required"
    given = [param.opts[0] for param in ctx.command.params
             if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE]  # fmt: skip
    if everything or only:
        others = [*sources, *(name for name in given if name not in {"sources", "-o", "--all", "--only"})]
        _write_shipped(folder, only, everything, others)
        return
    if not sources:
        raise InputError("report: name a trace or result files, or make the shipped reports again with --all")
    from accelsim.report.writing import check_replaceable, write_report

    check_replaceable(folder)
    forms = {source: _form_of(source) for source in sources}
    if "sweep" in forms.values():
        _check_alone(sources, given)
        from accelsim.report.sweeps import write_sweep_report

        click.echo(f"written: {write_sweep_report(folder, sources[0], command=_command(ctx))}")
        return
    files = [source for source in sources if forms[source] != "trace"]
    traces: Sequence[Trace] = ()
    runs: Sequence[TrainingResult] = ()
    if files:
        results, runs = _read(sources, forms, designs, settings, given)
    else:
        announce_compilation()
        machines = [open_design(name, settings) for name in designs or ("sat_vcu1525",)]
        traces, results = _simulate(sources, machines, methods, patterns, step)
    with progress_bar("report", "figures") as show:
        page = write_report(folder, results, traces=traces, runs=runs, command=_command(ctx), progress=show)
    click.echo(f"written: {page}")


def _write_shipped(folder: Path, only: Sequence[str], everything: bool, others: Sequence[str]) -> None:
    if not everything:
        raise InputError(f"--only {only[0]}: belongs to --all, which makes the shipped reports again")
    if others:
        raise InputError(f"{others[0]}: --all makes the shipped reports again, which know no such choice")
    from accelsim.studies.reports.shipped import REPORTS, write_reports

    announce_compilation()
    names = only or tuple(REPORTS)
    with progress_bar("report", "reports") as show:
        show(0, len(names), names[0])
        made: list[Path] = []

        def done(report: Path) -> None:
            made.append(report)
            click.echo(f"written: {report}")
            show(len(made), len(names), "".join(names[len(made) : len(made) + 1]))

        write_reports(folder, *only, done=done)


def _form_of(source: str) -> str:
    """What a file holds: results, training, sweep; else a trace, and what it is instead, the reading of traces says."""
    from accelsim.base.files import parse_json, read_text
    from accelsim.workload.trace import FORMAT, workload_names

    path = Path(source)
    if source in workload_names() or not path.is_file():
        return "trace"
    if path.suffix in {".csv", ".parquet"}:
        return "sweep"  # of which its reading says why it is none
    if not path.name.endswith((".json", ".json.gz")):
        raise InputError(f"{source}: got suffix '{path.suffix}'; traces and results are .json or .json.gz, sweeps .csv")
    data = parse_json(read_text(path), source)
    form = str(data.get("format")).partition("/")[0] if isinstance(data, dict) else ""
    if form == "accelsim-training":
        return "training"
    return "trace" if form == FORMAT.partition("/")[0] else "results"


def _check_alone(sources: Sequence[str], given: Sequence[str]) -> None:
    """Refuse what a page of a sweep cannot show."""
    if len(sources) > 1:
        raise InputError(f"{sources[1]}: a report on a sweep is about one file, as {sources[0]}")
    unused = [name for name in given if name not in {"sources", "-o"}]
    if unused:
        raise InputError(f"{unused[0]}: {sources[0]} holds a sweep, which says so already")


def _read(
    sources: Sequence[str],
    forms: Mapping[str, str],
    designs: Sequence[str],
    settings: Sequence[str],
    given: Sequence[str],
) -> "tuple[Results, list[TrainingResult]]":
    """Results and training runs of files, which hold their designs; those that are named have to be the same."""
    from accelsim.hardware.design import check_same
    from accelsim.results.result_file import load_results
    from accelsim.results.step import told_apart
    from accelsim.results.training import load_training

    files = [source for source in sources if forms[source] != "trace"]
    traces = [source for source in sources if source not in files]
    if traces:
        raise InputError(f"{traces[0]}: a trace is to be simulated, {files[0]} holds results; report on either")
    unused = [name for name in given if name not in {"sources", "--hw", "--set", "-o"}]
    if unused:
        raise InputError(f"{unused[0]}: {files[0]} holds results, which say so already")
    results = told_apart([result for file in files if forms[file] == "results" for result in load_results(file)])
    runs = [load_training(file) for file in files if forms[file] == "training"]
    if not results and not runs:
        raise InputError(f"{files[0]}: no results to report on")
    changes = read_settings(settings)
    for result in (*results, *(run.dense for run in runs)):
        check_same(result.basis.design, files[0], designs, changes)
    return results, runs


def _simulate(
    sources: Sequence[str],
    machines: "Sequence[Design]",
    methods: Sequence[str],
    patterns: Sequence[str],
    step: StepChoice,
) -> "tuple[list[Trace], Results]":
    from accelsim.lowering.case import case_of, cases_of
    from accelsim.simulation import compare_cases

    check_heeded(methods, step["mode"])
    check_number_of_parts(step)
    traces = open_traces(sources)
    tell_of_masks(traces)
    cases = cases_of(case_of(method="dense", pattern=None, **step), tuple(dict.fromkeys(("dense", *methods))), patterns)
    with progress_bar("simulate", "steps") as show:
        return traces, compare_cases(traces, machines, cases, show)


def _command(ctx: click.Context) -> str:
    """The command line that makes this report again."""
    words = ["accelsim", "report"]
    for param in ctx.command.params:
        assert param.name
        if ctx.get_parameter_source(param.name) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[param.name]
        option = [] if isinstance(param, click.Argument) else [param.opts[0]]
        for item in value if isinstance(value, tuple) else [value]:
            words += [*option, str(item)]
    return shlex.join(words)
