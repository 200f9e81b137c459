"""The closed-form engine: executes a plan task after task.

GEMMs cost what the array and the buffer pipeline take (`accelsim.cost`). Units work one after another, whatever the
plan lets overlap, with one exception: with pre-generation SORE follows WUVE as a stream, so generation costs only what
it adds to the update. Without it, and for pruned gradients, SORE works before the GEMM, once for each full fetch of the
operand. The event engine says what overlap hides of this.
"""

from accelsim.engines.timing import Timing
from accelsim.engines.work import works_of
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.schedule.plan import Plan

__all__ = ["run"]


def run(plan: Plan, design: Design, optimizer: Optimizer) -> Timing:
    """Return what every task of `plan` takes on `design`, in order of execution."""
    return Timing(rows=tuple(row for work in works_of(plan, design, optimizer) for row in work.rows))
