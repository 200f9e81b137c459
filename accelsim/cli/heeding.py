"""Options that would be ignored are errors, and masks that would be are told of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from accelsim.base.errors import InputError

if TYPE_CHECKING:
    from accelsim.workload.trace import Trace

__all__ = ["check_heeded", "given", "tell_of_link", "tell_of_masks"]


def given(name: str) -> bool:
    """Whether the user has given an option of the command that runs; `name` is that of its parameter."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def check_heeded(methods: Sequence[str], mode: str = "train") -> None:
    """Refuse options that none of `methods` (names, also of recipes), or the `mode`, heeds.

    So a pattern where no method prunes by one, operations forced sparse or dense where all is dense, and the optimizer
    of a step without an update. Names that are not known are left to whoever reads them.
    """
    from accelsim.sparsity.methods import METHODS

    context = click.get_current_context()
    known = [METHODS.get(name.rpartition(":")[2]) for name in methods]
    what = f"method{'s' * (len(methods) > 1)} {', '.join(repr(name) for name in methods)}"
    takes = "takes" if len(methods) == 1 else "take"
    if all(method is not None and not method.takes_pattern for method in known):
        for name in ("pattern", "patterns"):
            if given(name):
                raise InputError(
                    f"--pattern {_first(context.params[name])}: {what} {takes} no pattern; leave it out, or choose a"
                    " method that does (accelsim list methods)"
                )
    if all(method is not None and not method.is_sparse for method in known):
        for name in ("dense", "sparse"):
            if given(name):
                raise InputError(f"--{name} {_first(_values(name))}: with {what} all runs dense; leave it out")
    if mode == "infer" and given("optimizer"):
        raise InputError(
            f"--optimizer {_first(_values('optimizer'))}: a step with --mode infer has no update; leave it out"
        )


def _values(name: str) -> Any:
    """What was given to an option that the command gathers with others."""
    params = click.get_current_context().params
    overrides = params.get("step", {}).get("overrides")
    if name in {"dense", "sparse"} and overrides is not None:
        return [glob if isinstance(glob, str) else glob[0] for glob in getattr(overrides, name)]
    return params.get(name, params.get("step", {}).get(name))


def _first(value: Any) -> str:
    return str(value if isinstance(value, str) else value[0])


def tell_of_masks(traces: "Sequence[Trace]") -> None:
    """Say which traces have masks, where the user has chosen no method and so none that runs them."""
    from accelsim.lowering.seen import has_masks

    if given("method") or given("methods"):
        return
    for trace in traces:
        if has_masks(trace):
            click.echo(
                f"note: {trace.model}: this trace has masks, which the default method replaces by its own: --method"
                " traced runs them as they are",
                err=True,
            )


def tell_of_link(trace: "Trace") -> None:
    """Say so where a link is given and the step has no messages for it."""
    from accelsim.workload.trace import Collective

    if given("link_gb_per_s") and not any(isinstance(operation, Collective) for operation in trace.operations):
        click.echo("note: --link-gb-per-s: the trace has no messages between ranks; nothing is charged", err=True)
