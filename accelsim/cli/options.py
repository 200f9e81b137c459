"""Options and checks that several commands share."""

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accelsim.base.errors import InputError

if TYPE_CHECKING:
    from accelsim.hardware.design import Design
    from accelsim.lowering.tasks import Overrides
    from accelsim.workload.trace import Trace

__all__ = [
    "announce_compilation",
    "check_folder",
    "check_output",
    "gathered",
    "open_design",
    "open_traces",
    "plan_option",
    "read_overrides",
    "read_settings",
    "settings_option",
    "step_options",
]

Function = TypeVar("Function", bound=Callable[..., Any])

_STEP_OPTIONS = (
    click.option("--batch", type=int, default=512, show_default=True, help="Samples per step."),
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

plan_option = click.option(
    "--plan", metavar="FILE", help="Execute the plan in FILE (see accelsim schedule -o) instead of the scheduler's."
)


def gathered(
    name: str, options: Sequence[Callable[[Any], Any]], read: Callable[..., Any] = dict
) -> Callable[[Function], Function]:
    """Return what adds `options` to a command; its argument `name` is what `read` makes of their values."""

    def none() -> None:
        """Takes the options, to tell their names."""

    for option in reversed(options):
        option(none)
    own = [param.name for param in none.__click_params__]  # type: ignore[attr-defined]  # as click keeps them

    def decorate(function: Function) -> Function:
        @wraps(function)
        def command(**given: Any) -> Any:
            return function(**{name: read(**{key: given.pop(key) for key in own})}, **given)

        added: Any = command
        for option in reversed(options):
            added = option(added)
        decorated: Function = added
        return decorated

    return decorate


def _step(*, dense: Sequence[str], sparse: Sequence[str], **values: Any) -> dict[str, Any]:
    return {**values, "overrides": read_overrides(dense, sparse)}


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


def open_traces(names: Sequence[str]) -> "list[Trace]":
    """Load traces; those of one model carry the names of their files, to be told apart."""
    from accelsim.workload.names import workloads_of
    from accelsim.workload.trace import load_trace

    traces = [load_trace(name) for name in names]
    called = workloads_of(names, [trace.model for trace in traces])
    return [trace.model_copy(update={"model": name}) for trace, name in zip(traces, called, strict=True)]


def read_overrides(dense: Sequence[str], sparse: Sequence[str]) -> "Overrides":
    """Read ``--dense GLOB`` and ``--sparse GLOB[=N:M]``."""
    from accelsim.lowering.tasks import Overrides
    from accelsim.sparsity.pattern import Pattern

    forced = []
    for item in sparse:
        glob, equals, pattern = item.partition("=")
        forced.append((glob, Pattern.parse(pattern) if equals else None))
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
