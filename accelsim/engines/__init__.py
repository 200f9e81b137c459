"""Engines execute a plan and return a `Timing`; all have the same signature. They hold no policy and do not search."""

from collections.abc import Callable, Mapping

from accelsim.engines import closed_form, event
from accelsim.engines.timing import Timing
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.schedule.plan import Plan

__all__ = ["ENGINES"]

ENGINES: Mapping[str, Callable[[Plan, Design, Optimizer], Timing]] = {"closed": closed_form.run, "event": event.run}
