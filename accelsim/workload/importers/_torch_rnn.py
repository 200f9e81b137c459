"""Recurrent layers in one kernel (cuDNN, MIOpen, oneDNN), opened into the products that they compute."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeGuard

from accelsim.workload.importers._torch_rows import Operand, Row, Tensor

__all__ = ["GATES", "RNNS", "Recurrent", "recurrent"]

GATES: Mapping[int, tuple[tuple[str, int, int], ...]] = MappingProxyType({
    1: (("add", 2, 1), ("tanh", 1, 1)),
    3: (
        ("add", 2, 1), ("sigmoid", 1, 1), ("add", 2, 1), ("sigmoid", 1, 1), ("clone", 1, 1), ("mul", 2, 1),
        ("add", 2, 1), ("tanh", 1, 1), ("sub", 2, 1), ("clone", 1, 1), ("mul", 2, 1), ("add", 2, 1),
    ),
    4: (
        ("add", 8, 4), ("sigmoid", 1, 1), ("sigmoid", 1, 1), ("tanh", 1, 1), ("sigmoid", 1, 1), ("mul", 2, 1),
        ("mul", 2, 1), ("add", 2, 1), ("tanh", 1, 1), ("mul", 2, 1),
    ),
})  # fmt: skip
"""What one step of a recurrent layer does beside its products, by its gates (plain, GRU, LSTM): calls as torch opens
the layer, with what they read and write in widths of the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """A call of a recurrent kernel.

    `layers` holds input weights, recurrent weights and biases of each layer and direction, in order of execution.
    `steps` and `sequences`: positions of a sequence, and sequences side by side. `reverse`: the only direction is the
    one from the last step to the first.
    """

    steps: int
    sequences: int
    hidden: int
    layers: tuple[tuple[Tensor, Tensor, tuple[Tensor, ...]], ...]
    gates: int
    directions: int = 1
    reverse: bool = False

    def is_reverse(self, number: int) -> bool:
        """Whether layer and direction `number` run from the last step to the first."""
        return self.reverse or (self.directions == 2 and number % 2 == 1)


def _are_tensors(given: Operand) -> TypeGuard[tuple[Tensor, ...]]:
    return isinstance(given, tuple) and all(isinstance(each, Tensor) for each in given)


def _cudnn(
    row: Row, *, weights: int, hidden: int, projection: int | None, batch_first: int, both_ways: int, sizes: int
) -> Recurrent | None:
    source, given = row.inputs[0], row.inputs[weights]
    stride, width = row.inputs[weights + 1], row.inputs[hidden]
    projected = projection is not None and row.inputs[projection] != 0
    packed = sizes < len(row.inputs) and bool(row.inputs[sizes])
    tensors = given if _are_tensors(given) else ()
    if not isinstance(source, Tensor) or not isinstance(stride, int) or not isinstance(width, int) or not tensors:
        return None
    if len(source.shape) != 3 or projected or packed or stride not in {2, 4} or len(tensors) % stride:
        return None
    groups = [tensors[at : at + stride] for at in range(0, len(tensors), stride)]
    steps, sequences = source.shape[:2][::-1] if row.inputs[batch_first] is True else source.shape[:2]
    return Recurrent(
        steps=steps,
        sequences=sequences,
        hidden=width,
        layers=tuple((group[0], group[1], group[2:]) for group in groups),
        gates=groups[0][0].shape[0] // width,
        directions=2 if row.inputs[both_ways] is True else 1,
    )


def _onednn(row: Row) -> Recurrent | None:
    source, width = row.inputs[0], row.inputs[10] if len(row.inputs) > 10 else None
    weights = [value for value in row.inputs[1:5] if isinstance(value, Tensor)]
    if not isinstance(source, Tensor) or not isinstance(width, int) or len(weights) != 4 or row.inputs[8]:
        return None
    return Recurrent(
        steps=source.shape[0],
        sequences=source.shape[1],
        hidden=width,
        layers=((weights[0], weights[1], tuple(weights[2:])),),
        gates=weights[0].shape[0] // width,
        reverse=row.inputs[7] is True,
    )


RNNS: Mapping[str, Callable[[Row], Recurrent | None]] = MappingProxyType({
    "cudnn_rnn": lambda row: _cudnn(row, weights=1, hidden=7, projection=8, batch_first=10, both_ways=13, sizes=14),
    "miopen_rnn": lambda row: _cudnn(row, weights=1, hidden=6, projection=None, batch_first=8, both_ways=11, sizes=12),
    "mkldnn_rnn_layer": _onednn,
})  # fmt: skip


def recurrent(row: Row) -> Recurrent | None:
    """Return what a recurrent kernel computes, None where the recording does not hold it all."""
    try:
        return RNNS[row.word](row)
    except IndexError:
        return None
