"""The last check of a trace: every multiply-accumulate that the step executed is in it, or named as left out."""

from accelsim.base.errors import InputError
from accelsim.workload.trace import Matmul, Operation, Trace, Vector
from accelsim.workload.tracer.records import StepSeen

__all__ = ["check_complete"]


def check_complete(trace: Trace, step: StepSeen, batch: int, dispatched: int) -> None:
    """Refuse a trace that holds more or fewer multiply-accumulates than the step at `batch` samples executed.

    `dispatched` comes from the count below the recorder. Without a backward pass the forward pass alone is compared.
    Raises `InputError`.
    """
    traced = sum(
        _runs(operation, backward=step.backward or step.differentiated) * operation.macs_at(batch)
        for operation in trace.operations
    )
    named = step.left_out.total()
    if traced + named != dispatched:
        raise InputError(
            f"the step executes {dispatched:,} multiply-accumulates, and the trace would hold {traced:,} and name"
            f" {named:,} as left out; the tracer does not understand this step, and a wrong trace is worse than none:"
            " please report it"
        )


def _runs(operation: Operation, *, backward: bool) -> int:
    """How often a step executes products of the size of the forward one."""
    if isinstance(operation, Vector):
        return 0
    if isinstance(operation, Matmul) and operation.in_update:
        return 1
    runs = 1 + operation.recomputed
    if not backward or (operation.backward_only and not operation.differentiated_again):
        return runs
    if isinstance(operation, Matmul):
        left = operation.left_gradient * operation.left_gradient_runs
        right = operation.right_gradient * operation.right_gradient_runs
        return runs + (left + right if operation.input_gradient else 0)
    inputs = operation.input_gradient_runs if operation.input_gradient else 0
    return runs + inputs + operation.adds_to_gradient * operation.weight_gradient_runs
