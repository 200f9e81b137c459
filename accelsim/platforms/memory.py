"""The device memory that a training step needs.

Parameters, their gradients and optimizer state in the precision of the update, a 16-bit copy where that is mixed; and
what FF keeps for BP: the results of products, and of vector work unless BP needs no more of it than a result already
kept (normalisation and addition under an activation, which are overwritten in place; copies; additions). Workspaces,
fragmentation and the framework's own share are left out, so a step that fits here may still fail to.
"""

from accelsim.lowering.step_flow import result_elements
from accelsim.platforms.kernels import Software
from accelsim.workload.trace import Trace, Vector

__all__ = ["kept_elements", "largest_batch", "step_bytes"]

_NOT_KEPT = frozenset({"add", "copy"})
_LARGEST_ASSUMED_BATCH = 256


def step_bytes(trace: Trace, batch: int, software: Software) -> float:
    """Bytes of device memory that a step of `batch` samples needs."""
    fixed, per_sample = _parts(trace, software)
    return fixed + batch * per_sample


def largest_batch(trace: Trace, software: Software, capacity_bytes: float) -> int:
    """The largest power of two, 256 at most, whose step fits; 1 where none does."""
    fixed, per_sample = _parts(trace, software)
    batch = _LARGEST_ASSUMED_BATCH
    while batch > 1 and fixed + batch * per_sample > capacity_bytes:
        batch //= 2
    return batch


def _parts(trace: Trace, software: Software) -> tuple[float, float]:
    mixed = software.precision in ("amp", "bf16")
    words = 2 + (0 if software.optimizer is None else software.optimizer.state_words)
    fixed = trace.parameters * (words * software.master_bytes + (2 if mixed else 0))
    return float(fixed), float(kept_elements(trace) * software.element_bytes)


def kept_elements(trace: Trace) -> int:
    """Elements per sample that FF keeps for BP."""
    kept = 0
    operations = [operation for operation in trace.operations if operation.in_forward]
    for index, operation in enumerate(operations):
        later = operations[index + 1] if index + 1 < len(operations) else None
        overwritten = isinstance(later, Vector) and later.kind == "activation"
        if isinstance(operation, Vector):
            in_place = operation.kind == "norm" and overwritten
            kept += 0 if operation.kind in _NOT_KEPT or in_place else operation.writes
        else:
            kept += result_elements(operation, 1)
    return kept
