"""``accelsim schedule``: the plan of a step, and why it is so."""

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError
from accelsim.cli.heeding import check_heeded, tell_of_masks
from accelsim.cli.options import (
    StepChoice,
    announce_compilation,
    check_number_of_parts,
    check_output,
    open_design,
    open_trace,
    plan_option,
    settings_option,
    step_options,
)

if TYPE_CHECKING:
    from rich.console import Console

    from accelsim.hardware.design import Design
    from accelsim.lowering.case import Case
    from accelsim.lowering.optimizers import Optimizer
    from accelsim.schedule.plan import Plan

__all__ = ["schedule_command"]


@click.command("schedule")
@click.argument("trace")
@click.option("--hw", default="sat_vcu1525", show_default=True, metavar="NAME|FILE", help="Design to run on.")
@click.option("--method", default="bdwp", show_default=True, help="Sparse-training method (accelsim list methods).")
@click.option("--pattern", default="2:8", show_default=True, metavar="N:M", help="N of every M elements are kept.")
@settings_option
@step_options
@plan_option
@click.option("--explain", metavar="LAYER", help="Show the alternatives to what is planned for this operation.")
@click.option("--all", "every", is_flag=True, help="With --explain: every mapping, not only the best dozen.")
@click.option(
    "-o", "--output", metavar="FILE", help="Write the plan (.json), to be changed or executed (simulate --plan)."
)
def schedule_command(
    trace: str,
    hw: str,
    method: str,
    pattern: str,
    settings: tuple[str, ...],
    step: StepChoice,
    plan: str | None,
    explain: str | None,
    every: bool,
    output: str | None,
) -> None:
    """Show the plan that accelsim simulate executes under the same options: for each layer and stage of TRACE the
    mapping chosen beside the best of each dataflow, then what is decided of the step as a whole, and how far that is
    from the best that any order of its tasks could do.

    --explain LAYER shows what else there was for one operation, with exact costs.
    """
    from accelsim.lowering.case import case_of
    from accelsim.schedule.plan_file import save_plan
    from accelsim.simulation import plan_step

    if every and explain is None:
        raise InputError("--all: shows every mapping of one layer; add --explain LAYER")
    check_number_of_parts(step)
    target = check_output(output, (".json",))
    check_heeded([method], step["mode"])
    workload, design = open_trace(trace), open_design(hw, settings)
    tell_of_masks([workload])
    case = case_of(method=method, pattern=pattern, **step)
    announce_compilation()
    made = plan_step(workload, design, case, plan=plan)
    from accelsim.cli.screen import console

    out = console()
    if explain is None:
        _show_gemms(out, made, design, case.optimizer)
        _show_step(out, made, design, case)
    else:
        from accelsim.cli.explaining import show_explanation
        from accelsim.schedule.explain import explain as explained

        show_explanation(out, explained(made, design, case.optimizer, explain), made, design, every=every)
    if target is not None:
        save_plan(target, made, design, case.optimizer)
        click.echo(f"written: {target}")


def _show_gemms(out: "Console", plan: "Plan", design: "Design", optimizer: "Optimizer") -> None:
    from accelsim.cli.explaining import mapping_cells, shape_of
    from accelsim.cli.screen import table_of, words
    from accelsim.schedule.explain import dataflows_of, mapped_gemms

    flows = dataflows_of(design)
    table = table_of(
        words("layer"),
        words("stage"),
        "m x n x k",
        words("pattern"),
        words("mapping"),
        "tile",
        words("loops"),
        "cycles",
        *flows,
        words("bound"),
    )
    for row in mapped_gemms(plan, design, optimizer):
        chosen = row.chosen
        table.add_row(
            row.gemm.name,
            row.gemm.stage,
            shape_of(row.gemm),
            str(row.gemm.pattern or "dense"),
            *mapping_cells(row.gemm, chosen.mapping)[:-1],
            f"{chosen.cycles:,}",
            *("none" if cycles is None else f"{cycles / chosen.cycles:.3f}x" for cycles in row.best_cycles),
            chosen.bound,
        )
    out.print(table)
    names = ", ".join(flows)
    out.print(
        f"cycles: of the GEMM alone, with the generation in front of it; {names}: the best mapping of that dataflow\n"
        "over the one planned"
    )
    outermost = Counter(mapping.im2col for mapping in plan.mappings if mapping is not None and mapping.im2col)
    if outermost:
        shown = ", ".join(f"{what} in {number:,}" for what, number in outermost.items())
        out.print(f"im2col: outermost in operands whose windows share pixels: {shown}")
    if plan.evaluated:
        out.print(
            f"{plan.evaluated:,} mappings evaluated, {plan.pruned:,} excluded singly by lower bounds, others in bulk"
        )


def _show_step(out: "Console", plan: "Plan", design: "Design", case: "Case") -> None:
    """Cycles of the step beside their lower bound, and the decisions that are not about one GEMM."""
    from accelsim.cli.screen import table_of, words
    from accelsim.engines import ENGINES
    from accelsim.engines.bound import step_bound

    cycles = ENGINES[case.engine](plan, design, case.optimizer).cycles
    bound, limit = step_bound(plan, design, case.optimizer)
    how = "units side by side" if plan.overlap and case.engine == "event" else "one task after another"
    table = table_of(words(""), words("text"))
    table.show_header = False
    what = f"the last of {case.accumulate} parts" if case.accumulate > 1 else "the step"
    table.add_row(what, f"{cycles:,} cycles, {how} ({case.engine} engine)")
    table.add_row(
        "lower bound",
        f"{bound:,} cycles with any mapping in any order, set by {limit}; {what} is {cycles / bound - 1:.1%} above",
    )
    table.add_row("generated ahead", _listed(plan, plan.ahead, "copies behind the update of their weight"))
    table.add_row("generated online", _listed(plan, plan.online, "operands in front of their GEMM"))
    table.add_row("stays on the chip", _listed(plan, plan.resident, "results for the next task"))
    out.print()
    out.print(table)


def _listed(plan: "Plan", tasks: Collection[int], what: str) -> str:
    """How many tasks, and the first few."""
    from accelsim.lowering.tasks import Gemm
    from accelsim.schedule.plan_checks import task_names
    from accelsim.workload.names import few

    names = task_names(plan.step)
    labels = [
        f"{names[index][0]} ({names[index][1]})" if isinstance(plan.step.tasks[index], Gemm) else names[index][0]
        for index in sorted(tasks)
    ]
    return f"{len(labels)} {what}: {few(labels)}" if labels else "nothing"
