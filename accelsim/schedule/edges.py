"""Tensors that one task hands to the next, and that may stay on the chip in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm, Stage, Step, Task, Update, VectorWork

__all__ = ["Edge", "edges_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """`elements` that task `producer` makes and the next one in order reads, `size` bytes of them.

    `stored`: the producer stores them all the same, as the backward pass or another branch needs them; only the load
    is saved. The gradient of a weight is for its update alone.
    """

    producer: int
    consumer: int
    elements: int
    size: int
    stored: bool


def edges_of(step: Step, order: Sequence[int], design: Design) -> dict[int, Edge]:
    """Return by producer the tensors that the next task in `order` reads.

    A task of FF or BP takes the result of the one before it where the trace says so (`Step.handed`), and all of its row
    operand is there. In a trace without edges it is taken to do so where it reads as many elements (a residual
    addition: at least as many) as that one makes. An update reads the gradient of its weight.
    """
    found = {}
    for producer, consumer in pairwise(order):
        made, reader = step.tasks[producer], step.tasks[consumer]
        flows = step.handed is None or isinstance(reader, Update) or (producer, consumer) in step.handed
        elements = _handed_on(made, reader) if flows else 0
        if elements:
            stored = not isinstance(reader, Update)
            bits = design.precision.operand_bits if stored else design.precision.master_bits
            found[producer] = Edge(
                producer=producer, consumer=consumer, elements=elements, size=elements * bits // 8, stored=stored
            )
    return found


def _handed_on(made: Task, reader: Task) -> int:
    """Elements that `reader` takes from `made`, by their sizes; 0 where it takes none."""
    if isinstance(made, Gemm) and isinstance(reader, Update):  # `tensor` None: a sum, which not every part has
        whole = made.m * made.n * made.count
        of_weight = made.stage is Stage.WU and made.tensor is not None and made.tensor == reader.tensor
        return whole if of_weight and made.operation == reader.operation else 0
    if not isinstance(made, Gemm | VectorWork) or not isinstance(reader, Gemm | VectorWork):
        return 0
    if Stage.WU in {made.stage, reader.stage} or _direction(made) != _direction(reader):
        return 0
    elements = made.m * made.n * made.count if isinstance(made, Gemm) else made.writes
    if isinstance(reader, VectorWork):
        return elements if elements <= reader.reads else 0
    return elements if elements == reader.x_elements * reader.count else 0


def _direction(task: Gemm | VectorWork) -> str:
    return task.direction if isinstance(task, VectorWork) else task.form.value
