"""``accelsim simulate`` of a whole training run: its options, and what it looks like on a screen."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from accelsim.base.errors import InputError
from accelsim.cli.heeding import given
from accelsim.cli.options import gathered

if TYPE_CHECKING:
    from rich.console import Console

    from accelsim.results.training import TrainingResult
    from accelsim.sparsity.recipes import Share
    from accelsim.workload.sampled_run import TracePhase

__all__ = ["RunChoice", "RunLength", "check_phases", "read_phases", "read_run", "show_run", "training_options"]

_OPTIONS = (
    click.option(
        "--phase",
        "phases",
        multiple=True,
        metavar="TRACE:STEPS",
        help="Simulate a training run from traces of your own, without TRACE: so many steps with the masks of this one,"
        " as they are. Repeatable, in order.",
    ),
    click.option("--epochs", type=int, metavar="E", help="Simulate a training run of E epochs (with --dataset-size)."),
    click.option("--dataset-size", type=int, metavar="D", help="Samples of an epoch of a training run."),
    click.option("--steps", type=int, metavar="S", help="Simulate a training run of S steps."),
    click.option(
        "--dense-share",
        type=float,
        metavar="0..1",
        help="Share of the run that a recipe trains dense at first  [default: the recipe's]",
    ),
    click.option(
        "--fine-tune-share",
        type=float,
        metavar="0..1",
        help="Share of the run that a recipe fine-tunes at the pattern at last  [default: the recipe's]",
    ),
)


class RunLength(TypedDict):
    """How long a training run is, and the shares of its recipe."""

    epochs: int | None
    dataset_size: int | None
    steps: int | None
    dense_share: float | None
    fine_tune_share: float | None


class RunChoice(RunLength):
    """What `training_options` say."""

    phases: tuple[str, ...]


training_options = gathered("run", _OPTIONS)
"""Options that make a training run of a step; the argument `run` is a dict of them."""


def read_phases(trace: str | None, phases: Sequence[str]) -> "Sequence[TracePhase]":
    """Return the phases that ``--phase`` names or that a sampled run holds; none where TRACE is a trace."""
    from accelsim.workload.names import unique_names
    from accelsim.workload.sampled_run import TracePhase, load_run
    from accelsim.workload.trace import load_trace

    if not phases:
        if trace is None:
            raise click.UsageError("Missing argument 'TRACE'.", click.get_current_context())
        return load_run(trace).phases() if _holds_run(trace) else ()
    if trace is not None:
        raise InputError(f"{trace}: --phase names the traces of a training run; leave TRACE out")
    pairs = [text.rpartition(":") for text in phases]
    for (name, _, steps), text in zip(pairs, phases, strict=True):
        if not name or not steps.isdecimal() or int(steps) < 1:
            raise InputError(f"--phase {text}: expected TRACE:STEPS, as in pruned.json:334")
    titles = unique_names([_title_of(name) for name, *_ in pairs])
    return [
        TracePhase(name=title, steps=int(steps), trace=load_trace(name))
        for title, (name, _, steps) in zip(titles, pairs, strict=True)
    ]


def _title_of(name: str) -> str:
    return Path(name).name.removesuffix(".gz").removesuffix(".json")


def _holds_run(name: str) -> bool:
    """Whether a file holds a sampled run."""
    from accelsim.base.files import parse_json, read_text
    from accelsim.workload.sampled_run import FORMAT
    from accelsim.workload.trace import workload_names

    path = Path(name)
    if name in workload_names() or not path.name.endswith((".json", ".json.gz")) or not path.is_file():
        return False
    data = parse_json(read_text(path), name)
    return isinstance(data, dict) and str(data.get("format")).partition("/")[0] == FORMAT.partition("/")[0]


def check_phases(run: RunChoice, mode: str, of_a_step: Mapping[str, str | None], method: str) -> None:
    """Refuse what a run of own phases does not heed; `of_a_step` as in `read_run`."""
    for name, value in run.items():
        if name != "phases" and value is not None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} {value:g}: a run of phases is as long as its phases say; leave it out")
    if given("method") and method != "traced":
        raise InputError(f"--method {method}: phases run the masks in their traces; leave it out, or say traced")
    if given("pattern"):
        raise InputError("--pattern: phases run the masks in their traces; leave it out")
    _check_whole(mode, of_a_step, ", and phases make a training run")


def _check_whole(mode: str, of_a_step: Mapping[str, str | None], hint: str) -> None:
    for option, value in of_a_step.items():
        if value is not None:
            raise InputError(f"{option} {value}".rstrip() + f": is about one step{hint}")
    if mode != "train":
        raise InputError(f"mode: got '{mode}'; the steps of a training run have the mode train")


def read_run(run: RunChoice, mode: str, of_a_step: Mapping[str, str | None]) -> RunLength | None:
    """Return the arguments of `accelsim.simulate_training` that make a run, None where one step is asked for.

    `of_a_step` are options that only a single step has, with their values.
    """
    if run["epochs"] is run["steps"] is run["dataset_size"] is None:
        for option, share in (("--dense-share", run["dense_share"]), ("--fine-tune-share", run["fine_tune_share"])):
            if share is not None:
                raise InputError(
                    f"{option} {share:g}: is a part of a training run; add --epochs and --dataset-size, or --steps"
                )
        return None
    _check_whole(mode, of_a_step, "; leave --epochs, --dataset-size and --steps out")
    return {"epochs": run["epochs"], "dataset_size": run["dataset_size"], "steps": run["steps"],
            "dense_share": run["dense_share"], "fine_tune_share": run["fine_tune_share"]}  # fmt: skip


def show_run(training: "TrainingResult", target: Path | None, as_json: bool, *, every_warning: bool = False) -> None:
    """Write a training run to `target` and show it."""
    from accelsim.results.training import write_training

    if target is not None:
        write_training(target, training)
    if as_json:
        click.echo(json.dumps(training.to_dict()))
        return
    from accelsim.cli.screen import console, show_notes

    out = console()
    _head(out, training)
    _phases(out, training)
    _totals(out, training)
    if training.notes:
        out.print("\n[yellow]notes[/yellow]")
    for note in training.notes:
        out.print(f"  {note}", soft_wrap=True, markup=False)
    show_notes(
        out, dict.fromkeys(note for phase in training.phases for note in phase.result.notes), every=every_warning
    )
    if target is not None:
        click.echo(f"written: {target}")


def _head(out: "Console", training: "TrainingResult") -> None:
    dense = training.dense
    length = f"{_count(training.totals.steps, 'training step')} of {_count(dense.batch, 'sample')}"
    if training.epochs is not None and training.dataset_size is not None:
        length += f" ({_count(training.epochs, 'epoch')} of {_count(training.dataset_size, 'sample')})"
    out.print(
        f"[bold]{dense.workload}[/bold], {length} on [bold]{dense.design}[/bold] ({dense.engine} engine)",
        soft_wrap=True,
    )
    if training.title != "dense":
        out.print(training.title)
    for words, share in (("dense at first", training.dense_share), ("fine-tuning at last", training.fine_tune_share)):
        if share is not None:
            out.print(f"  {words}: {_of_run(share)}", soft_wrap=True, markup=False)
    out.print()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number > 1)}"


def _of_run(share: "Share") -> str:
    return f"{share.value:.3g} of the steps ({share.source})"


def _phases(out: "Console", training: "TrainingResult") -> None:
    from accelsim.base.units import show, show_duration
    from accelsim.cli.screen import table_of, words
    from accelsim.results.course import mask_density

    densities = [mask_density(phase.result.operations) for phase in training.phases]
    seen = training.method == "traced" and any(density is not None for density in densities)
    table = table_of(
        words("phase"), words("method"), words("pattern"), "steps", *(["density"] * seen), "step time", "phase time",
        "energy", "speedup",
    )  # fmt: skip
    for phase, density in zip(training.phases, densities, strict=True):
        runs_dense = phase.result.method == "dense" != phase.method
        table.add_row(
            phase.name,
            phase.method,
            f"{phase.pattern or '-'}{', runs dense' * runs_dense}",
            f"{phase.steps:,}",
            *(["-" if density is None else f"{density:.3f}"] * seen),
            show(phase.result.step.latency_s, "s"),
            show_duration(phase.latency_s),
            show(phase.energy_j, "J"),
            f"{phase.result.step.speedup:.2f}x",
        )
    out.print(table)


def _totals(out: "Console", training: "TrainingResult") -> None:
    from accelsim.base.units import show_duration
    from accelsim.cli.screen import table_of, words
    from accelsim.results.wording import run_sentence

    totals = training.totals
    rows = {
        "training time": [show_duration(time) for time in (totals.dense_latency_s, totals.latency_s)],
        "energy": [_energy(energy) for energy in (totals.dense_energy_j, totals.energy_j)],
    }
    dense = training.title == "dense"
    table = table_of(words(""), *["dense", training.title][dense:])
    for name, cells in rows.items():
        table.add_row(name, *cells[dense:])
    out.print()
    out.print(table)
    if not dense:
        out.print(f"\n{run_sentence(training)}", soft_wrap=True, markup=False)


def _energy(joules: float) -> str:
    from accelsim.base.units import JOULES_PER_WH, show

    return f"{show(joules / JOULES_PER_WH, 'Wh')} ({show(joules, 'J')})"
