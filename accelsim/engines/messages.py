"""What the messages between the ranks of a distributed step cost on a link of given speed.

The usual ring algorithms move over the link of one rank, of a tensor of S bytes among p ranks (Patarasu and Yuan,
"Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 2009): 2 (p - 1) / p S to reduce it for
all, (p - 1) / p S to gather, scatter or exchange it, S to hand it on. The rank waits for each: nothing hides a message
here, so this is the most that it costs.
"""

from collections.abc import Iterator
from math import ceil

from accelsim.base.units import GIGA
from accelsim.cost.charges import Bound
from accelsim.engines.timing import TaskTiming
from accelsim.lowering.case import Case
from accelsim.lowering.tasks import Stage
from accelsim.workload.trace import Collective, Trace

__all__ = ["message_rows"]

_ONCE = {"all_gather", "reduce_scatter", "all_to_all", "gather", "scatter"}


def message_rows(trace: Trace, case: Case, clock_hz: float) -> Iterator[TaskTiming]:
    """Yield one row per message of a step; none without a link, and in inference those of the forward pass."""
    for operation in trace.operations:
        if case.link_gb_per_s is None or not isinstance(operation, Collective):
            continue
        if case.mode == "train" or operation.direction == "FF":
            moved = operation.bytes * (case.batch if operation.scales_with_batch else 1) * _share(operation)
            yield TaskTiming(
                name=operation.name,
                operation=operation.name,
                stage=Stage(operation.direction),
                count=1,
                cycles=ceil(moved / (case.link_gb_per_s * GIGA) * clock_hz),
                bound=Bound.LINK,
            )


def _share(operation: Collective) -> float:
    """What of the tensor passes the link of a rank."""
    others = (operation.group - 1) / operation.group
    if operation.operation == "all_reduce":
        return 2 * others
    return others if operation.operation in _ONCE else float(operation.group > 1)
