"""``accelsim compare``: designs, methods and patterns side by side."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import click

from accelsim.base.errors import InputError
from accelsim.cli.contenders import check_baseline, echo_contenders
from accelsim.cli.heeding import check_heeded, tell_of_masks
from accelsim.cli.options import (
    StepChoice,
    announce_compilation,
    check_output,
    gathered,
    open_design,
    open_traces,
    settings_option,
    settled,
    step_options,
    warnings_option,
)

if TYPE_CHECKING:
    from accelsim.hardware.design import Design
    from accelsim.hardware.platform import Platform
    from accelsim.lowering.case import Case
    from accelsim.platforms.contenders import Contender
    from accelsim.platforms.estimate import Estimate
    from accelsim.results.step import Result
    from accelsim.workload.trace import Trace

__all__ = ["compare_command"]


_OF_PLATFORMS = (
    click.option(
        "--precision",
        default="auto",
        show_default=True,
        help="Of platforms: fp32, tf32, fp16, amp, bf16, or the fastest.",
    ),
    click.option("--compiled", is_flag=True, help="Platforms fuse elementwise work and issue the step as a graph."),
    click.option(
        "--devices", type=int, default=1, show_default=True, help="Of each platform, with --batch samples each."
    ),
    click.option(
        "--link-gb-per-s",
        type=float,
        default=12.0,
        show_default=True,
        help="Between the devices of a platform, 10^9 byte/s.",
    ),
)


class _OfPlatforms(TypedDict):
    """What these options say."""

    precision: str
    compiled: bool
    devices: int
    link_gb_per_s: float


estimate_options = gathered("estimates", _OF_PLATFORMS)
"""Options of platforms; the argument `estimates` is a dict of what `accelsim.platforms.estimate` is given."""


@click.command("compare")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--hw",
    "designs",
    multiple=True,
    default=("sat_vcu1525",),
    show_default=True,
    metavar="NAME|FILE",
    help="Design to run on. Repeatable; the first is the baseline.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("dense", "bdwp"),
    show_default=True,
    help="Sparse-training method. Repeatable; the first is the baseline.",
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    default=("2:8",),
    show_default=True,
    metavar="N:M",
    help="N of every M elements are kept. Repeatable; the first is the baseline.",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="NAME|FILE",
    help="Compare with an estimate of this platform, as in rtx2080ti (accelsim list platforms). Repeatable.",
)
@click.option(
    "--baseline", metavar="NAME", help="Design or platform that others are compared with; by default the first."
)
@estimate_options
@settings_option
@step_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write the results: .json (everything) or .csv (layers; with --platform a row each).",
)
@warnings_option
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as one JSON object.")
def compare_command(
    traces: tuple[str, ...],
    designs: tuple[str, ...],
    methods: tuple[str, ...],
    patterns: tuple[str, ...],
    platforms: tuple[str, ...],
    baseline: str | None,
    estimates: _OfPlatforms,
    settings: tuple[str, ...],
    step: StepChoice,
    output: str | None,
    warnings: str,
    as_json: bool,
) -> None:
    """Time every combination of designs, methods and patterns on each TRACE, relative to the first.

    With --platform, also on GPUs, edge modules, CPUs and published accelerators: estimates, shown with their error
    against published measurements.
    """
    from accelsim.lowering.case import case_of, cases_of
    from accelsim.results.result_file import comparison, write_results

    target = check_output(output, (".json", ".csv"))
    whole: StepChoice = {**step, "accumulate": step["accumulate"] or 1}
    cases = cases_of(case_of(method="dense", **whole), methods, patterns)
    _check_platform_options(platforms, estimates, cases[0])
    for option, given in (
        ("TRACE", traces),
        ("--hw", designs),
        ("--method", methods),
        ("--pattern", patterns),
        ("--platform", platforms),
    ):
        repeated = [item for index, item in enumerate(given) if item in given[:index]]
        if repeated:
            raise InputError(f"{option} {repeated[0]}: is given twice")
    check_heeded(methods, step["mode"])
    workloads = open_traces(traces)
    tell_of_masks(workloads)
    machines = [open_design(name, settings) for name in designs]
    rivals = _rivals(platforms)
    names = [*(design.label for design in machines), *(rival.name for rival in rivals)]
    first = check_baseline(next((each.label for each in machines if each.name == baseline), baseline), names)
    in_parts = step["accumulate"] != 1
    others = [_estimates(workload, rivals, cases, estimates, in_parts=in_parts) for workload in workloads]
    announce_compilation()
    groups = [_compared(workload, machines, cases, step) for workload in workloads]
    if rivals or baseline is not None:
        echo_contenders(_contenders(groups, others), machines, first, target, as_json=as_json)
        return
    if target is not None:
        write_results(target, [result for group in groups for result in group])
    if as_json:
        click.echo(json.dumps(comparison(groups)))
        return
    from accelsim.cli.screen import show_comparison

    show_comparison(groups, every_warning=warnings == "all")
    if target is not None:
        click.echo(f"written: {target}")


def _check_platform_options(platforms: Sequence[str], estimates: Iterable[str], case: "Case") -> None:
    """Refuse what only platforms heed where there is none, and what they do not heed where there is one."""
    context = click.get_current_context()
    if not platforms:
        for name in estimates:
            if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                raise InputError(f"--{name.replace('_', '-')}: is of platforms; name one with --platform")
        return
    if case.mode == "infer":
        raise InputError("--mode infer: estimates of platforms are of training steps; leave out --platform")
    if case.overrides.dense or case.overrides.sparse:
        raise InputError(
            f"--{'dense' if case.overrides.dense else 'sparse'}: platforms run by the rules of the method alone; leave"
            " out --platform"
        )


def _rivals(names: Iterable[str]) -> "list[Platform]":
    from accelsim.hardware.platform import load_platform

    return [load_platform(name) for name in names]


def _compared(
    workload: "Trace", machines: "Sequence[Design]", cases: "Sequence[Case]", step: StepChoice
) -> "list[Result]":
    """Every design in every case, a batch in parts where that is asked for."""
    from accelsim.simulation import compare_cases

    methods = [(case.method.name, None if case.pattern is None else str(case.pattern)) for case in cases]
    found: list[Result] = []
    for machine in machines:
        parts = settled(step, workload, machine, methods)["accumulate"]
        found += compare_cases([workload], [machine], [replace(case, accumulate=parts) for case in cases])
    return found


def _estimates(
    workload: "Trace",
    rivals: "Sequence[Platform]",
    cases: "Sequence[Case]",
    options: _OfPlatforms,
    *,
    in_parts: bool,
) -> "list[Estimate]":
    """Every platform in every case; `in_parts`: a batch that does not fit its memory runs in as few as do."""
    from accelsim.platforms.estimate import estimate

    return [
        estimate(
            workload,
            rival,
            method=case.method.name,
            pattern=case.pattern,
            batch=case.batch,
            optimizer=case.optimizer.name,
            accumulate=in_parts,
            **options,
        )
        for rival in rivals
        for case in cases
    ]


def _contenders(groups: "Sequence[Sequence[Result]]", others: "Sequence[Sequence[Estimate]]") -> "list[Contender]":
    """Simulated steps and estimates as rows, workload by workload."""
    from accelsim.platforms.contenders import contender_of_estimate, contender_of_result

    return [
        item
        for results, estimates in zip(groups, others, strict=True)
        for item in (*map(contender_of_result, results), *map(contender_of_estimate, estimates))
    ]
