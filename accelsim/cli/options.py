"""Options and checks that several commands share."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar

import click

from accelsim.base.errors import InputError

if TYPE_CHECKING:
    from accelsim.hardware.design import Design
    from accelsim.lowering.tasks import Overrides
    from accelsim.workload.trace import Trace

__all__ = [
    "FEWEST",
    "RunStep",
    "StepChoice",
    "announce_compilation",
    "check_folder",
    "check_number_of_parts",
    "check_output",
    "gathered",
    "open_design",
    "open_trace",
    "open_traces",
    "plan_option",
    "read_overrides",
    "read_settings",
    "settings_option",
    "settled",
    "step_options",
    "warnings_option",
]

Function = TypeVar("Function", bound=Callable[..., int | None])
Returned = TypeVar("Returned", bound=int | None)


class RunStep(TypedDict):
    """What `step_options` say of the steps of a training run."""

    batch: int
    optimizer: str
    engine: str
    overrides: "Overrides"
    accumulate: int


class StepChoice(RunStep):
    """What `step_options` say of a step."""

    mode: str


class _Option(Protocol):
    """What adds an option to a command."""

    def __call__(self, command: Function, /) -> Function: ...


FEWEST = 0
"""Stands for as few parts as fit."""


_FEWEST_TEXT = "as few as fit"

_STEP_OPTIONS = (
    click.option("--batch", type=int, default=512, show_default=True, help="Samples per step."),
    click.option(
        "--accumulate",
        metavar="PARTS",
        is_flag=False,
        flag_value=_FEWEST_TEXT,
        default="1",
        show_default=True,
        help="Equal parts in which the batch runs where it does not fit the DRAM; without a number as few as fit.",
    ),
    click.option("--mode", default="train", show_default=True, help="train, or infer (FF and its vector work alone)."),
    click.option("--optimizer", default="sgd", show_default=True, help="sgd (with momentum) or adam."),
    click.option("--engine", default="closed", show_default=True, help="Engine that times the step."),
    click.option("--dense", multiple=True, metavar="GLOB", help="Keep matching operations dense. Repeatable."),
    click.option(
        "--sparse",
        multiple=True,
        metavar="GLOB[=N:M]",
        help="Run matching operations sparse, also where they would stay dense. Repeatable.",
    ),
)

settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a field of the design, as in array.rows=64. Repeatable.",
)

warnings_option = click.option(
    "--warnings",
    type=click.Choice(["few", "all"]),
    default="few",
    show_default=True,
    help="Of each warning, name the first operations that it is about, or all.",
)

plan_option = click.option(
    "--plan", metavar="FILE", help="Execute the plan in FILE (see accelsim schedule -o) instead of the scheduler's."
)


def gathered(
    name: str, options: Sequence[_Option], read: Callable[..., Mapping[str, Any]] = dict
) -> Callable[[Callable[..., Returned]], Callable[..., Returned]]:
    """Return what adds `options` to a command; its argument `name` is what `read` makes of their values."""

    def none() -> None:
        """Takes the options, to tell their names."""

    for option in reversed(options):
        option(none)
    own = [param.name for param in none.__click_params__]  # type: ignore[attr-defined]  # as click keeps them

    def decorate(function: Callable[..., Returned]) -> Callable[..., Returned]:
        @wraps(function)
        def command(**given: Any) -> Returned:
            return function(**{name: read(**{key: given.pop(key) for key in own})}, **given)

        added: Callable[..., Returned] = command
        for option in reversed(options):
            added = option(added)
        return added

    return decorate


def _step(
    *, batch: int, accumulate: str, mode: str, optimizer: str, engine: str, dense: Sequence[str], sparse: Sequence[str]
) -> StepChoice:
    overrides, parts = read_overrides(dense, sparse), FEWEST
    if accumulate != _FEWEST_TEXT:
        if not accumulate.isdecimal() or int(accumulate) < 1:
            raise InputError(
                f"--accumulate {accumulate}: a whole number from 1 is needed, or none for as few parts as fit"
            )
        parts = int(accumulate)
    return {"batch": batch, "accumulate": parts, "mode": mode, "optimizer": optimizer, "engine": engine,
            "overrides": overrides}  # fmt: skip


def settled(
    step: StepChoice, trace: "Trace", design: "Design", methods: Sequence[tuple[str, str | None]]
) -> StepChoice:
    """Return what was chosen of a step, with a number of parts in which the dense step and those of methods fit."""
    from accelsim.lowering.case import case_of
    from accelsim.simulation import fewest_parts

    if step["accumulate"] != FEWEST:
        return step
    whole: StepChoice = {**step, "accumulate": 1}
    cases = [case_of(method=method, pattern=pattern, **whole) for method, pattern in methods]
    return {**step, "accumulate": fewest_parts(trace, design, [cases[0].dense, *cases])}


def check_number_of_parts(step: RunStep) -> None:
    """Refuse to find out how many parts a batch takes, where that is not done."""
    if step["accumulate"] == FEWEST:
        raise InputError("--accumulate: the number of parts is needed here")


def read_settings(settings: Sequence[str]) -> dict[str, str]:
    """Read ``--set PATH=VALUE``."""
    changes: dict[str, str] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path.strip() or not value.strip():
            raise InputError(f"--set {setting}: expected PATH=VALUE, as in array.rows=64")
        if path.strip() in changes:
            raise InputError(f"--set {setting}: {path.strip()} is set twice")
        changes[path.strip()] = value.strip()
    return changes


def open_design(name: str, settings: Sequence[str]) -> "Design":
    """Load a design and apply ``--set PATH=VALUE``.

    Warns where the design does not fit its device, and where a change does less than it may seem to.
    """
    from accelsim.hardware.design import load_design
    from accelsim.hardware.resources import check_fits
    from accelsim.hardware.sourced import override

    changes = read_settings(settings)
    design = override(load_design(name), changes)
    for shortfall in check_fits(design):
        click.echo(f"warning: design {design.label} does not fit its device: {shortfall} (estimate)", err=True)
    for remark in design.remarks:
        click.echo(f"note: {remark}", err=True)
    return design


def open_trace(name: str) -> "Trace":
    """Load a trace, shipped or a file; one that another tool wrote (.csv, .onnx) as `accelsim import` reads it.

    Says what such a file leaves open and is assumed.
    """
    from accelsim.workload.importing import import_trace
    from accelsim.workload.trace import load_trace

    if not name.endswith((".csv", ".onnx")) or not Path(name).is_file():
        return load_trace(name)
    trace = import_trace(name)
    for assumption in trace.origin.assumptions:
        click.echo(f"note: {assumption}", err=True)
    return trace


def open_traces(names: Sequence[str]) -> "list[Trace]":
    """Load traces; those of one model carry the names of their files, to be told apart."""
    from accelsim.workload.names import workloads_of

    traces = [open_trace(name) for name in names]
    called = workloads_of(names, [trace.model for trace in traces])
    return [trace.model_copy(update={"model": name}) for trace, name in zip(traces, called, strict=True)]


def read_overrides(dense: Sequence[str], sparse: Sequence[str]) -> "Overrides":
    """Read ``--dense GLOB`` and ``--sparse GLOB[=N:M]``."""
    from accelsim.lowering.tasks import Overrides
    from accelsim.sparsity.pattern import Pattern

    forced = []
    for item in sparse:
        glob, equals, pattern = item.partition("=")
        misread = re.fullmatch(r"(?:(.*)[:@ ])?(\d+:\d+)", item)  # as in fc:2:8, or without a name
        if misread or not glob:
            example = f"{(misread and misread[1]) or 'fc'}={misread[2] if misread else '2:8'}"
            raise InputError(f"--sparse {item}: expected GLOB or GLOB=N:M, as in '{example}' or 'layer1.*'")
        try:
            forced.append((glob, Pattern.parse(pattern) if equals else None))
        except InputError as error:
            raise InputError(f"--sparse {item}: {error}") from None
    return Overrides(dense=tuple(dense), sparse=tuple(forced))


def check_output(path: str | None, suffixes: Sequence[str], option: str = "-o") -> Path | None:
    """Refuse an output that could not be written, before anything is computed."""
    if path is None:
        return None
    target = Path(path)
    if not target.name.endswith(tuple(suffixes)):
        raise InputError(f"{option} {path}: got suffix '{target.suffix}'; allowed: {', '.join(suffixes)}")
    if target.is_dir() or not target.parent.is_dir():
        raise InputError(f"{option} {path}: {'is a directory' if target.is_dir() else f'no directory {target.parent}'}")
    return target


def check_folder(path: str | None) -> Path | None:
    """Refuse a folder for reports that could not be made, before anything is computed."""
    if path is None:
        return None
    folder = Path(path)
    nearest = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not nearest.is_dir():
        raise InputError(f"-o {path}: {nearest} is no directory")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"-o {path}: {nearest} cannot be written to")
    return folder


step_options = gathered("step", _STEP_OPTIONS, _step)
"""Options of a step besides its method and pattern; the argument `step` is a dict of what `simulate` is given."""


def announce_compilation(*, sweep: bool = False) -> None:
    """Say so when this run, or this sweep, has to compile the kernels first."""
    from accelsim.base.jit import compiled_before
    from accelsim.cost.compiled import bandwidth_search, mapping_search, pipeline

    needed = (bandwidth_search.search_step,) if sweep else (mapping_search.search, pipeline.evaluate)
    if not all(map(compiled_before, needed)):
        about = "30" if sweep else "20"
        click.echo(f"compiling the timing kernels, once on this machine (about {about} s) ...", err=True)
