"""``accelsim simulate``: one training step of a trace on a design."""

import json

import click

from accelsim.cli.options import (
    announce_compilation,
    check_output,
    open_design,
    plan_option,
    read_overrides,
    step_options,
)
from accelsim.cli.recording import check_timeline, record, timeline_options
from accelsim.cli.training import read_run, run_training, training_options

__all__ = ["simulate_command"]


@click.command("simulate")
@click.argument("trace")
@click.option("--hw", default="sat_vcu1525", show_default=True, metavar="NAME|FILE", help="Design to run on.")
@click.option("--method", default="bdwp", show_default=True, help="Sparse-training method (accelsim list methods).")
@click.option("--pattern", default="2:8", show_default=True, metavar="N:M", help="N of every M elements are kept.")
@step_options
@plan_option
@training_options
@timeline_options
@click.option("-o", "--output", metavar="FILE", help="Write the result: .json (everything) or .csv (layers).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def simulate_command(
    trace: str,
    hw: str,
    method: str,
    pattern: str,
    batch: int,
    mode: str,
    optimizer: str,
    engine: str,
    settings: tuple[str, ...],
    dense: tuple[str, ...],
    sparse: tuple[str, ...],
    plan: str | None,
    epochs: int | None,
    dataset_size: int | None,
    steps: int | None,
    dense_share: float | None,
    fine_tune_share: float | None,
    timeline: str | None,
    window: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Time one training step of TRACE (a shipped name or a file) and say where cycles and energy go.

    With --epochs and --dataset-size, or with --steps, time a whole training run: --method may be a recipe then
    (accelsim list recipes).
    """
    from accelsim.lowering.optimizers import find_optimizer
    from accelsim.results.step import write_results
    from accelsim.results.timeline_file import write_timeline
    from accelsim.simulation import plan_step, simulate
    from accelsim.sparsity.methods import find_method
    from accelsim.workload.trace import load_trace

    single = {"--plan": plan, "--timeline": timeline, "--window": window}
    run = read_run(epochs, dataset_size, steps, dense_share, fine_tune_share, mode, single)
    target, recording = check_output(output, (".json", ".csv")), check_timeline(timeline, window, engine)
    workload, design = load_trace(trace), open_design(hw, settings)
    overrides = read_overrides(dense, sparse)
    announce_compilation()
    if run is not None:
        run_training(
            target, as_json, workload, design, method=method, pattern=pattern, batch=batch, optimizer=optimizer,
            engine=engine, overrides=overrides, **run,
        )  # fmt: skip
        return
    result = simulate(
        workload,
        design,
        method=method,
        pattern=pattern,
        batch=batch,
        mode=mode,
        optimizer=optimizer,
        engine=engine,
        overrides=overrides,
        plan=plan,
    )
    update, recorded = find_optimizer(optimizer), None
    if recording is not None:
        executed = plan_step(
            workload, design, find_method(method), pattern, batch, mode, overrides,
            optimizer=update, engine=engine, plan=plan,
        )  # fmt: skip
        recorded = record(executed, design, update, window, result.step.cycles)
    if target is not None:
        write_results(target, [result])
    if recording is not None and recorded is not None:
        write_timeline(recording, recorded)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
        return
    from accelsim.cli.screen import show_result

    baseline = result
    if method != "dense" or plan is not None:
        baseline = simulate(
            workload, design, method="dense", batch=batch, mode=mode, optimizer=optimizer, engine=engine
        )
    show_result(result, baseline)
    for path in (target, recording):
        if path is not None:
            click.echo(f"written: {path}")
