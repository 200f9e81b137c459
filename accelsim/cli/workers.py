"""Who evaluates points: processes of this machine, or the workers of a Dask scheduler."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accelsim.base.errors import InputError
from accelsim.cli.axes import cores

if TYPE_CHECKING:
    from accelsim.sweep.inputs import Inputs

__all__ = ["dask_options", "evaluating"]

Function = TypeVar("Function", bound=Callable[..., int | None])

_OPTIONS = (
    click.option(
        "--dask",
        metavar="ADDRESS",
        help="Have a Dask scheduler's workers do it: tcp://HOST:PORT, or scheduler-file:PATH (extra dask).",
    ),
    click.option(
        "--dask-wait", type=float, metavar="SECONDS", help="How long to wait where it has no worker.  [default: 600]"
    ),
)


def dask_options(function: Function) -> Function:
    """Add the options that have the workers of a Dask scheduler evaluate points."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@contextlib.contextmanager
def evaluating(
    inputs: "Inputs", jobs: int | None, dask: str | None, dask_wait: float | None, *, usual_jobs: int | None = None
) -> Iterator[Any]:
    """Yield what `run_sweep` takes: an executor or None, and how many chunks at once, by default one per core."""
    if dask is None:
        if dask_wait is not None:
            raise InputError("--dask-wait: nothing is waited for without --dask")
        yield None, (usual_jobs or cores()) if jobs is None else jobs
        return
    if jobs is not None:
        raise InputError("--jobs: with --dask, its workers do the work, as many as there are")
    if dask_wait is not None and not 0 <= dask_wait <= 1e9:
        raise InputError(f"--dask-wait {dask_wait:g}: seconds from 0 are needed")
    from accelsim.sweep.cluster import WAIT_S, cluster_executor

    wait_s = WAIT_S if dask_wait is None else dask_wait
    with cluster_executor(dask, inputs, wait_s=wait_s, tell=lambda text: click.echo(text, err=True)) as found:
        yield found
