"""Options that say what is swept or searched."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cli.heeding import tell_of_masks

if TYPE_CHECKING:
    from accelsim.sweep.space import Sweep

__all__ = ["axis_options", "command_line", "cores", "read_sweep"]

Function = TypeVar("Function", bound=Callable[..., int | None])

_AXES = ("method", "pattern", "batch", "optimizer", "engine", "accumulate")
_OPTIONS = (
    click.option("--hw", metavar="NAME|FILE", help="Design to change.  [default: sat_vcu1525]"),
    click.option(
        "--vary",
        multiple=True,
        metavar="PATH=VALUES",
        help="A field of the design and its values: 16,32,64, a range start:stop:step or start:stop:*factor, or, where"
        " points are drawn, an interval 10..80 or 10..80 log. Repeatable; the last one changes fastest.",
    ),
    click.option("--method", metavar="NAMES", help="Methods, as in dense,bdwp.  [default: bdwp]"),
    click.option("--pattern", metavar="N:M,...", help="Patterns, as in 2:4,2:8.  [default: 2:8]"),
    click.option("--batch", metavar="VALUES", help="Samples per step, as in 64,128.  [default: 512]"),
    click.option("--optimizer", metavar="NAMES", help="sgd (with momentum), adam.  [default: sgd]"),
    click.option("--engine", metavar="NAMES", help="Engines that time the step.  [default: closed]"),
    click.option("--accumulate", metavar="VALUES", help="Equal parts of the batch, as in 1,4.  [default: 1]"),
    click.option(
        "--link",
        multiple=True,
        metavar="PATH=EXPR",
        help="A field that follows from others, as in array.cols=array.rows. Repeatable.",
    ),
    click.option(
        "--where",
        multiple=True,
        metavar="EXPR",
        help="Keep points for which it holds, as in 'array.rows >= 16'. Repeatable.",
    ),
    click.option("--fits", is_flag=True, help="Do not simulate designs that their device cannot hold (estimate)."),
)


def axis_options(function: Function) -> Function:
    """Add the options that describe a sweep on the command line."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_sweep(sources: Sequence[str], given: dict[str, Any]) -> "Sweep":
    """Return the sweep of a shipped name or file, or of traces and the options `given`."""
    from accelsim.sweep.spec import load_sweep, make_sweep, sweep_names
    from accelsim.workload.trace import load_trace, workload_names

    if len(sources) == 1 and (sources[0] in sweep_names() or sources[0].endswith((".yaml", ".yml"))):
        extra = [name for name, value in given.items() if value not in {None, (), False}]
        if extra:
            raise InputError(f"--{extra[0]}: {sources[0]} says what is swept; change it there")
        return load_sweep(sources[0])
    near = did_you_mean(sources[0], (*sweep_names(), *workload_names()))
    if len(sources) == 1 and any(f"'{name}'" in near for name in sweep_names()) and not Path(sources[0]).exists():
        raise InputError(f"'{sources[0]}': neither a sweep nor a trace{near}; shipped: {', '.join(sweep_names())}")
    axes = [(name, given[name]) for name in _AXES if given[name] is not None]
    sweep = make_sweep(
        sources,
        given["hw"] or "sat_vcu1525",
        vary=[*axes, *(_pair("vary", text, "array.rows=16,32,64") for text in given["vary"])],
        link=[_pair("link", text, "array.cols=array.rows") for text in given["link"]],
        where=given["where"],
        fits=given["fits"],
        sample=given.get("sample"),
        sampling=_only_with_sample(given, "sampling", "random"),
        seed=_only_with_sample(given, "seed", 0),
    )
    if not any(text.partition("=")[0].strip() == "method" for text in given["vary"]):
        tell_of_masks([load_trace(source) for source in sources])
    return sweep


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise InputError(f"--{option} {text}: a path, = and what follows are needed, as in {example}")
    return path.strip(), value.strip()


def _only_with_sample(given: dict[str, Any], name: str, default: Any) -> Any:
    if given.get(name) is not None and given.get("sample") is None:
        raise InputError(f"--{name}: nothing is drawn without --sample N")
    return default if given.get(name) is None else given[name]


def cores() -> int:
    """Return how many processes can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def command_line(command: str, sources: Sequence[str], output: str, given: dict[str, Any]) -> str:
    """The command line that goes on with a sweep or search."""
    words = ["accelsim", command, *sources]
    for name, value in given.items():
        option = f"-{name}" if len(name) == 1 else f"--{name}"
        if isinstance(value, bool):
            words += [option] if value else []
            continue
        for item in value if isinstance(value, tuple) else [] if value is None else [value]:
            words += [option, str(item)]
    return shlex.join([*words, "-o", output])
