"""The DRAM that a step needs at once, counted over its tasks in the order of a plan.

Weights are there all the time: dense in the precision of operands where a task reads them so, and a compact copy for
each direction and pattern that is generated ahead; what is no operand of a product, as biases and tables, is dense. So
are master weights and the state of the optimizer of what is trained. Everything else is there from the first task that
writes it to the last one that reads it (`Step.tensors`): results of FF, those that BP needs the longer, inputs of the
network from the start; gradients of results; gradients of weights from WU to the update, where a step runs in parts all
the time, beside what WU of a part adds to them. A gradient of weights that stays on the chip takes no DRAM.
"""

from collections.abc import Collection, Sequence, Set
from dataclasses import astuple, dataclass

from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Stage, Step, StepTensor
from accelsim.sparsity.methods import Operand

__all__ = ["StepMemory", "memory_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMemory:
    """Bytes of DRAM at the moment of a step when it needs most.

    `weights`: what FF and BP read, compact copies included; `masters`: what the update reads and writes; `state`: of
    the optimizer; `gradients`: of weights and of results; `activations`: results of FF and inputs of the network.
    """

    weights: int
    masters: int
    state: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))


def memory_of(
    step: Step,
    design: Design,
    optimizer: Optimizer,
    *,
    order: Sequence[int],
    online: Collection[int] = (),
    resident: Set[int] = frozenset(),
) -> StepMemory:
    """Return the DRAM that a step needs where its tasks run in `order`.

    `online`: GEMMs in front of which their sparse operand is generated; `resident`: tasks whose result stays on chip.
    """
    precision = design.precision
    gradients, activations = _at_most(step, design, order, resident)
    trained = sum(weight.elements for weight in step.weights if weight.trained) if step.mode == "train" else 0
    masters = _bytes(trained, precision.master_bits)
    return StepMemory(
        weights=_weights(step, design, online),
        masters=masters,
        state=optimizer.state_words * masters,
        gradients=gradients,
        activations=activations,
    )


def _bytes(elements: int, bits: float) -> int:
    return -int(-elements * bits // 8)


def _weights(step: Step, design: Design, online: Collection[int]) -> int:
    """Bytes of the weights as products read them."""
    copies = {
        (gemm.tensor, gemm.form, gemm.pattern)
        if gemm.pattern is not None and gemm.w_operand is Operand.WEIGHT and index not in online
        else (gemm.tensor, None, None)
        for index, gemm in enumerate(step.tasks)
        if isinstance(gemm, Gemm) and gemm.tensor is not None and gemm.form is not Stage.WU
    }
    read = {tensor for tensor, *_ in copies}
    total = 0
    elements = {weight.name: weight.elements for weight in step.weights}
    for tensor, _, pattern in (*copies, *((name, None, None) for name in elements if name not in read)):
        bits = design.precision.operand_bits if pattern is None else design.compact_bits(pattern)
        total += _bytes(elements.get(tensor, 0), bits)
    return total


def _at_most(step: Step, design: Design, order: Sequence[int], resident: Set[int]) -> tuple[int, int]:
    """Bytes of gradients and of activations at the moment when there are most of both together."""
    place = [0] * len(step.tasks)
    for at, index in enumerate(order):
        place[index] = at
    change = [0] * (len(order) + 1), [0] * (len(order) + 1)
    for tensor in step.tensors:
        if tensor.kind == "weight gradient" and not resident.isdisjoint(tensor.made):
            continue
        begins, ends = _life(tensor, place)
        bits = design.precision.master_bits if tensor.kind == "weight gradient" else design.precision.operand_bits
        own, size = change[tensor.kind == "activation"], _bytes(tensor.elements, bits)
        own[begins] += size
        own[ends + 1] -= size
    most, gradients, activations = (0, 0), 0, 0
    for more_gradients, more_activations in zip(*change, strict=True):
        gradients += more_gradients
        activations += more_activations
        if gradients + activations > sum(most):
            most = gradients, activations
    return most


def _life(tensor: StepTensor, place: Sequence[int]) -> tuple[int, int]:
    """The places in the order at which a tensor begins and ends."""
    if tensor.all_along:
        return 0, len(place) - 1
    places = [place[index] for index in (*tensor.made, *tensor.read)]
    return min(places) if tensor.made else 0, max(places, default=0)
