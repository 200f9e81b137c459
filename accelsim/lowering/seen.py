"""What a trace saw of the masks in it, beside the modes of a machine: what results keep of a trace."""

from collections.abc import Collection
from dataclasses import dataclass

from accelsim.lowering.phases import Weighted
from accelsim.lowering.rules import input_gradients
from accelsim.lowering.tasks import Stage
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.observed import OperandSparsity, forward_pattern
from accelsim.workload.trace import Conv, Matmul, Trace

__all__ = ["DEPTHWISE", "SeenOperand", "SeenOperation", "along_output_as_well", "has_masks", "seen_in"]

DEPTHWISE = "depthwise"
"""Kind of a convolution whose groups have one input channel each."""

_DENSE = 0.95  # share of nonzeros from which a weight without a pattern is taken to be dense
_STAGES = {Stage.FF: ("weight",), Stage.BP: ("weight", "gradient"), Stage.WU: ("gradient",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenOperand:
    """A weight, or a gradient with a pattern, as one stage read it.

    `density`: share of nonzeros, None where it was not counted. `pattern`: the tightest N:M that every group along
    `axis` obeys, None where there is none. `unstructured`: it has zeros, and those of no pattern, or of one that zeros
    at random would obey as well. `conforming`: of groups that were counted, the share that obeys each mode of the
    design.
    """

    stage: str
    operand: str
    density: float | None
    pattern: str | None
    axis: str | None
    unstructured: bool
    conforming: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenOperation:
    """An operation with products: its kind as in the trace or ``depthwise``, its weights, and what was seen of them."""

    name: str
    kind: str
    weights: int
    operands: tuple[SeenOperand, ...]

    def seen(self, stage: str) -> SeenOperand | None:
        """What was seen in a stage: of the weight, or of the gradient where that has a pattern and the weight none."""
        own = [operand for operand in self.operands if operand.stage == stage]
        return next((operand for operand in own if operand.pattern and not operand.unstructured), next(iter(own), None))


def seen_in(trace: Trace, modes: Collection[Pattern]) -> tuple[SeenOperation, ...]:
    """Return the operations of a trace that have products, with what was seen of their masks beside the `modes`."""
    return tuple(
        SeenOperation(
            name=operation.name,
            kind=_kind_of(operation),
            weights=operation.weight_elements if isinstance(operation, Weighted) else 0,
            operands=tuple(_operands(operation, modes)) if isinstance(operation, Weighted) else (),
        )
        for operation in trace.operations
        if isinstance(operation, Weighted | Matmul)
    )


def has_masks(trace: Trace) -> bool:
    """Whether weights of a trace were seen to be sparse: by a pattern, or by more than a few zeros."""
    return any(
        weight is not None and (weight.pattern is not None or 0 < (weight.density or 0) < _DENSE)
        for operation in trace.operations
        if isinstance(operation, Weighted) and operation.observed and operation.observed.FF
        for weight in [operation.observed.FF.weight]
    )


def along_output_as_well(trace: Trace) -> Trace | None:
    """Return the trace as if masks that are N:M along the input were so along the output, which BP reduces.

    None where BP reads no such mask, as where those of BP have a pattern of their own.
    """
    found, gradients = {}, input_gradients(trace)
    for operation in trace.operations:
        own = operation.observed if isinstance(operation, Weighted) and gradients[operation.name] else None
        if own is None or own.BP is None or own.BP.weight is None or (pattern := forward_pattern(own)) is None:
            continue
        seen = own.BP.weight
        if seen.unstructured or seen.axis == "input":
            weight = OperandSparsity(density=pattern.density, pattern=str(pattern), axis="output", groups=(), mask=None)
            backward = own.BP.model_copy(update={"weight": weight})
            found[operation.name] = {"observed": own.model_copy(update={"BP": backward})}
    if not found:
        return None
    operations = tuple(each.model_copy(update=found.get(each.name)) for each in trace.operations)
    return trace.model_copy(update={"operations": operations})


def _kind_of(operation: Weighted | Matmul) -> str:
    if isinstance(operation, Conv) and operation.groups > 1 and operation.channels("input") == 1:
        return DEPTHWISE
    return operation.kind


def _operands(operation: Weighted, modes: Collection[Pattern]) -> list[SeenOperand]:
    found = []
    for stage, names in _STAGES.items():
        seen = getattr(operation.observed, stage, None)
        for name in names:
            entry: OperandSparsity | None = None if seen is None else seen.operands.get(name)
            if entry is None or (name == "gradient" and entry.pattern is None):
                continue
            found.append(
                SeenOperand(
                    stage=stage,
                    operand=name,
                    density=entry.density,
                    pattern=entry.pattern,
                    axis=entry.axis,
                    unstructured=entry.unstructured,
                    conforming=tuple(
                        (str(mode), share) for mode in sorted(modes) if (share := entry.conforming(mode)) is not None
                    ),
                )
            )
    return found
