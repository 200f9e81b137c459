"""``accelsim simulate``: one training step of a trace on a design."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.cli.heeding import check_heeded, tell_of_link, tell_of_masks
from accelsim.cli.options import (
    RunStep,
    StepChoice,
    announce_compilation,
    check_number_of_parts,
    check_output,
    open_design,
    open_trace,
    plan_option,
    settings_option,
    settled,
    step_options,
    warnings_option,
)
from accelsim.cli.recording import check_timeline, record, timeline_options
from accelsim.cli.training import RunChoice, RunLength, check_phases, read_phases, read_run, show_run, training_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accelsim.hardware.design import Design
    from accelsim.results.training import TrainingResult
    from accelsim.workload.sampled_run import TracePhase
    from accelsim.workload.trace import Trace

__all__ = ["simulate_command"]


@click.command("simulate")
@click.argument("trace", required=False)
@click.option("--hw", default="sat_vcu1525", show_default=True, metavar="NAME|FILE", help="Design to run on.")
@click.option("--method", default="bdwp", show_default=True, help="Sparse-training method (accelsim list methods).")
@click.option("--pattern", default="2:8", show_default=True, metavar="N:M", help="N of every M elements are kept.")
@settings_option
@step_options
@plan_option
@training_options
@timeline_options
@click.option(
    "--link-gb-per-s",
    type=float,
    help="Link of each rank, 10^9 byte/s: charges the messages between ranks of a distributed step.",
)
@click.option(
    "--by-layer",
    is_flag=True,
    help="Show what each layer gains over the dense step in FF, BP and WU, the masks in the trace, and why not more.",
)
@click.option("--save-design", metavar="FILE", help="Write the design with its --set as a file of its own: .yaml.")
@click.option("-o", "--output", metavar="FILE", help="Write the result: .json (everything) or .csv (layers).")
@warnings_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def simulate_command(
    trace: str | None,
    hw: str,
    method: str,
    pattern: str,
    settings: tuple[str, ...],
    step: StepChoice,
    plan: str | None,
    run: RunChoice,
    timeline: str | None,
    window: str | None,
    link_gb_per_s: float | None,
    by_layer: bool,
    save_design: str | None,
    output: str | None,
    warnings: str,
    as_json: bool,
) -> None:
    """Time one training step of TRACE (a shipped name or a file) and say where cycles and energy go.

    With --epochs and --dataset-size, or with --steps, time a whole training run: --method may be a recipe then
    (accelsim list recipes). So do --phase, and a TRACE that holds a run, as accelsim.tracing writes with every=N: there
    the masks of the traces run as they are.
    """
    from accelsim.results.result_file import write_results
    from accelsim.results.timeline_file import write_timeline
    from accelsim.simulation import simulate

    link = None if link_gb_per_s is None else f"{link_gb_per_s:g}"
    single = {"--plan": plan, "--timeline": timeline, "--window": window, "--link-gb-per-s": link,
              "--by-layer": "" if by_layer else None}  # fmt: skip
    phases = read_phases(trace, run["phases"])
    if phases:
        check_phases(run, step["mode"], single, method)
    else:
        check_heeded([method], step["mode"])
    whole = None if phases else read_run(run, step["mode"], single)
    target, recording = check_output(output, (".json", ".csv")), check_timeline(timeline, window, step)
    saved = check_output(save_design, (".yaml", ".yml"), "--save-design")
    workload = None if phases or trace is None else open_trace(trace)
    design = open_design(hw, settings)
    if workload is not None:
        tell_of_masks([workload])
        tell_of_link(workload)
    announce_compilation()
    if workload is None or whole is not None:
        training = _run_of(workload, phases, design, step, method, pattern, whole)
        _save(saved, design)
        show_run(training, target, as_json, every_warning=warnings == "all")
        _tell([] if as_json else [saved])
        return
    step = settled(step, workload, design, [(method, pattern)])
    check_timeline(timeline, window, step)
    result = simulate(workload, design, method=method, pattern=pattern, plan=plan, link_gb_per_s=link_gb_per_s, **step)
    recorded = None if recording is None else record(result, design, window)
    if target is not None:
        write_results(target, [result])
    if recording is not None and recorded is not None:
        write_timeline(recording, recorded)
    _save(saved, design)
    if as_json:
        from accelsim.results.gains import gains_data

        click.echo(json.dumps(gains_data(result) if by_layer else result.to_dict()))
        return
    from accelsim.cli.screen import show_result

    show_result(result, by_layer=by_layer, every_warning=warnings == "all")
    _tell([target, recording, saved])


def _tell(paths: "Sequence[Path | None]") -> None:
    """Say what was written."""
    for path in paths:
        if path is not None:
            click.echo(f"written: {path}")


def _run_of(
    workload: "Trace | None",
    phases: "Sequence[TracePhase]",
    design: "Design",
    step: StepChoice,
    method: str,
    pattern: str,
    run: RunLength | None,
) -> "TrainingResult":
    """Simulate a training run, of phases or of a workload; its steps have the mode train."""
    from accelsim.training import simulate_phases, simulate_training

    check_number_of_parts(step)
    options: RunStep = {"batch": step["batch"], "optimizer": step["optimizer"], "engine": step["engine"],
                        "overrides": step["overrides"], "accumulate": step["accumulate"]}  # fmt: skip
    if workload is None or run is None:
        return simulate_phases(phases, design, **options)
    return simulate_training(workload, design, method=method, pattern=pattern, **options, **run)


def _save(path: Path | None, design: "Design") -> None:
    """Write the design where a file is given, which it is named after."""
    if path is None:
        return
    from accelsim.base.files import write_atomically
    from accelsim.hardware.design import design_text

    write_atomically(path, design_text(design, path.stem))
