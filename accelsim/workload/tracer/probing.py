"""Which operands of a product are measured, pass by pass, and along which of their dimensions."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from accelsim.workload.tracer.measure import Measured, Meter
from accelsim.workload.tracer.records import Pass, Record
from accelsim.workload.tracer.roles import Roles
from accelsim.workload.tracer.works import Call, convolution_operands, operands_of, weight_kernel, weight_matrix

__all__ = ["Probe", "Reading"]

Reading = tuple[str, Record, tuple[int, ...]]
"""A method of `Probe`, the record that it measured for, and what else it was given besides the call."""


class Probe:
    """Measures the operands of products for their records; without a meter it does nothing."""

    def __init__(self, roles: Roles, meter: Meter | None) -> None:
        self._roles, self._meter = roles, meter
        self._taken: list[Reading] = []

    def readings(self) -> tuple[Reading, ...]:
        """What was measured of the products with a weight since the last time."""
        taken = tuple(self._taken)
        self._taken.clear()
        return taken

    def forward(self, call: Call, record: Record) -> None:
        """FF: weight and activation, or both factors."""
        left, right = operands_of(call)
        work = record.work
        if work.weight is None:
            self._take(record, "FF", left=self._density(left), right=self._density(right))
            return
        self._taken.append(("forward", record, ()))
        weight, other = (left, right) if work.weight_side == 0 else (right, left)
        matrix = self._matrix(call, record, weight, work.weight_side, forward=True)
        inputs = 1 if work.kind.startswith("conv_transpose") else 2
        self._take(record, "FF", weight=self._weight(matrix, inputs, "input"), activation=self._density(other))

    def input_gradient(self, call: Call, record: Record, side: int) -> None:
        """BP as a product or convolution: the weight is the operand on `side`, the other one the gradient."""
        self._taken.append(("input_gradient", record, (side,)))
        operands = operands_of(call)
        matrix = self._matrix(call, record, operands[side], side, forward=False)
        outputs = 2 if record.work.kind.startswith("conv_transpose") else 1
        reduced = 1 if call.word == "convolution" else -1 if side == 1 else -2
        gradient = self._gradient(operands[1 - side], reduced, "output")
        self._take(record, "BP", weight=self._weight(matrix, outputs, "output"), gradient=gradient)

    def weight_gradient(self, call: Call, record: Record, side: int) -> None:
        """WU as a product or convolution: the gradient is the operand on `side`, the other one the activation."""
        self._taken.append(("weight_gradient", record, (side,)))
        operands = operands_of(call)
        gradient = (
            self._density(operands[side])
            if call.word == "convolution"
            else self._gradient(operands[side], -1 if side == 0 else -2, "batch")
        )
        self._take(record, "WU", activation=self._density(operands[1 - side]), gradient=gradient)

    def convolution_backward(self, call: Call, record: Record) -> None:
        """BP and WU of a convolution as torch computes them, in one operation; not where the kernel is no weight."""
        if record.work.weight is None:
            return
        self._taken.append(("convolution_backward", record, ()))
        given = convolution_operands(call)
        gradient, groups = given["gradient"], given["groups"]
        to_input, to_weight, _ = given["output_mask"]
        if to_input:
            weight = self._weight(weight_kernel(given["weight"], groups), 2 if given["transposed"] else 1, "output")
            channels = partial(torch.unflatten, dim=1, sizes=(groups, -1))
            self._take(record, "BP", weight=weight, gradient=self._gradient(gradient, 2, "output", channels))
        if to_weight:
            dy = self._gradient(gradient, 1, "batch", lambda tensor: tensor.movedim(1, 0).flatten(1))
            self._take(record, "WU", activation=self._density(given["input"]), gradient=dy)

    def factor_gradient(self, operands: Sequence[Tensor], keys: Sequence[int], record: Record) -> None:
        """BP of a product of two activations: the operand that is no factor is the gradient."""
        gradient = next((o for o, key in zip(operands, keys, strict=True) if key not in record.reads), None)
        self._take(record, "BP", gradient=None if gradient is None else self._density(gradient))

    @staticmethod
    def _matrix(call: Call, record: Record, weight: Tensor, side: int, *, forward: bool) -> Tensor:
        groups = record.work.groups
        if call.word == "convolution":
            return weight_kernel(weight, groups)
        return weight_matrix(weight, side, groups, forward=forward)

    def _density(self, tensor: Tensor) -> Measured | None:
        return self._meter.density(tensor, self._roles.key(tensor)) if self._meter else None

    def _weight(self, matrix: Tensor, dimension: int, axis: str) -> Measured | None:
        return self._meter.weight(matrix, self._roles.key(matrix), dimension, axis) if self._meter else None

    def _gradient(
        self, tensor: Tensor, dimension: int, axis: str, view: Callable[[Tensor], Tensor] = lambda same: same
    ) -> Measured | None:
        if self._meter is None:
            return None
        return self._meter.gradient(tensor, self._roles.key(tensor), view, dimension, axis)

    @staticmethod
    def _take(record: Record, where: Pass, **operands: Measured | None) -> None:
        record.measured.update({(where, name): seen for name, seen in operands.items() if seen is not None})
