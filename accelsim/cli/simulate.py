"""``accelsim simulate``: one training step of a trace on a design."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accelsim.cli.options import (
    announce_compilation,
    check_output,
    open_design,
    open_trace,
    plan_option,
    settings_option,
    step_options,
    warnings_option,
)
from accelsim.cli.recording import check_timeline, record, timeline_options
from accelsim.cli.training import read_run, run_training, training_options

if TYPE_CHECKING:
    from accelsim.hardware.design import Design

__all__ = ["simulate_command"]


@click.command("simulate")
@click.argument("trace")
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
@click.option("--save-design", metavar="FILE", help="Write the design with its --set as a file of its own: .yaml.")
@click.option("-o", "--output", metavar="FILE", help="Write the result: .json (everything) or .csv (layers).")
@warnings_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def simulate_command(
    trace: str,
    hw: str,
    method: str,
    pattern: str,
    settings: tuple[str, ...],
    step: dict[str, Any],
    plan: str | None,
    run: dict[str, Any],
    timeline: str | None,
    window: str | None,
    link_gb_per_s: float | None,
    save_design: str | None,
    output: str | None,
    warnings: str,
    as_json: bool,
) -> None:
    """Time one training step of TRACE (a shipped name or a file) and say where cycles and energy go.

    With --epochs and --dataset-size, or with --steps, time a whole training run: --method may be a recipe then
    (accelsim list recipes).
    """
    from accelsim.results.result_file import write_results
    from accelsim.results.timeline_file import write_timeline
    from accelsim.simulation import simulate

    link = None if link_gb_per_s is None else f"{link_gb_per_s:g}"
    single = {"--plan": plan, "--timeline": timeline, "--window": window, "--link-gb-per-s": link}
    whole = read_run(run, step["mode"], single)
    target, recording = check_output(output, (".json", ".csv")), check_timeline(timeline, window, step["engine"])
    saved = check_output(save_design, (".yaml", ".yml"), "--save-design")
    workload, design = open_trace(trace), open_design(hw, settings)
    announce_compilation()
    if whole is not None:
        del step["mode"]
        every = warnings == "all"
        run_training(
            target, as_json, workload, design, every_warning=every, method=method, pattern=pattern, **step, **whole
        )
        if saved is not None:
            _save(saved, design)
            if not as_json:
                click.echo(f"written: {saved}")
        return
    result = simulate(workload, design, method=method, pattern=pattern, plan=plan, link_gb_per_s=link_gb_per_s, **step)
    recorded = None if recording is None else record(result, design, window)
    if target is not None:
        write_results(target, [result])
    if recording is not None and recorded is not None:
        write_timeline(recording, recorded)
    if saved is not None:
        _save(saved, design)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
        return
    from accelsim.cli.screen import show_result

    show_result(result, every_warning=warnings == "all")
    for path in (target, recording, saved):
        if path is not None:
            click.echo(f"written: {path}")


def _save(path: Path, design: "Design") -> None:
    """Write the design, named after its file."""
    from accelsim.base.files import write_atomically
    from accelsim.hardware.design import design_text

    write_atomically(path, design_text(design, path.stem))
