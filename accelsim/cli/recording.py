"""Options of ``accelsim simulate`` that write the timeline of the step."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from accelsim.base.errors import InputError
from accelsim.cli.options import check_output

if TYPE_CHECKING:
    from accelsim.cli.options import StepChoice
    from accelsim.hardware.design import Design
    from accelsim.results.step import Result
    from accelsim.results.timeline_file import Timeline

__all__ = ["check_timeline", "record", "timeline_options"]

Function = TypeVar("Function", bound=Callable[..., int | None])


def timeline_options(function: Function) -> Function:
    """Add ``--timeline`` and ``--window``."""
    function = click.option(
        "--window",
        metavar="START:END",
        help="Show the jobs of GEMMs in this part of the timeline: in cycles (20000:35000) or time (1.5ms:2ms); an end"
        " that is left out is that of the step.",
    )(function)
    return click.option(
        "--timeline",
        metavar="FILE",
        help="Write when each unit does what, for Perfetto, chrome://tracing and accelsim plot timeline: .json or"
        " .json.gz (engine event).",
    )(function)


def check_timeline(timeline: str | None, window: str | None, step: "StepChoice") -> Path | None:
    """Refuse a timeline that could not be made or written, before anything is computed."""
    if timeline is None:
        if window is not None:
            raise InputError(f"--window {window}: is a part of a timeline; add --timeline FILE")
        return None
    engine, parts = step["engine"], step["accumulate"]
    if engine != "event":
        raise InputError(
            f"--timeline {timeline}: only the event engine has a notion of time; got '{engine}', use --engine event"
        )
    if parts > 1:
        raise InputError(f"--timeline {timeline}: shows a step that runs at once; leave --accumulate {parts} out")
    return check_output(timeline, (".json", ".json.gz"), "--timeline")


def record(result: "Result", design: "Design", window: str | None) -> "Timeline":
    """Return the timeline of a simulated step; says where jobs are drawn together."""
    from accelsim.lowering.optimizers import find_optimizer
    from accelsim.results.timeline import make_timeline, read_window

    assert result.plan is not None, "a result that was just made has its plan"
    part = None if window is None else read_window(window, design.clock_hz, result.step.cycles)
    timeline = make_timeline(result.plan, design, find_optimizer(result.optimizer), window=part)
    if timeline.about.jobs_per_slice > 1:
        click.echo(
            f"note: {timeline.about.jobs:,} jobs in the window; up to {timeline.about.jobs_per_slice} neighbours of a"
            " GEMM are one slice",
            err=True,
        )
    return timeline
