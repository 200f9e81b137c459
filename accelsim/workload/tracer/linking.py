"""Linking backward work to the forward operation it belongs to.

Autograd numbers its nodes: an operation of the forward pass and what the backward pass executes for it carry the same
number. A custom function is one node for all that its forward and its backward execute; there operands tell products
apart: a product with the weight is the gradient of the input (BP), one as large as the weight is its gradient (WU), one
that shares a factor is the gradient of the other factor.
"""

from collections.abc import Sequence

from torch import Tensor

from accelsim.base.errors import InputError
from accelsim.workload.torch_words import PRODUCTS
from accelsim.workload.tracer.probing import Probe
from accelsim.workload.tracer.records import Record
from accelsim.workload.tracer.roles import Role, Roles, Source
from accelsim.workload.tracer.works import Call, convolution_operands, operands_of, work_of

__all__ = ["Linker"]


class Linker:
    """Finds the records that the backward work of a step belongs to."""

    def __init__(self, roles: Roles, probe: Probe) -> None:
        self._roles, self._probe = roles, probe
        self._nodes: dict[int, list[Record]] = {}

    def add(self, record: Record) -> None:
        """Make a record known under its node."""
        self._nodes.setdefault(record.seq, []).append(record)

    def forget(self) -> None:
        """Forget all records: the next step has its own."""
        self._nodes.clear()

    def of(self, node: int) -> list[Record]:
        """Return the records of a node in order."""
        return self._nodes.get(node, [])

    def link(self, call: Call, node: int) -> bool:
        """Take note of what `call`, executed in the backward of `node`, computes for a record.

        Returns False for a product that belongs to none: work of the backward pass alone. Raises `InputError` for an
        operation that may hide products.
        """
        if call.word == "convolution_backward":
            self._link_convolution(call, node)
        elif call.word in PRODUCTS or call.word == "convolution":
            return self._link_product(call, self._products(node))
        elif call.is_opaque:
            work_of(call, self._roles, self._module(node))
        return True

    def _products(self, node: int) -> list[Record]:
        return [record for record in self.of(node) if record.work.is_product]

    def _module(self, node: int) -> str:
        return next((record.modules[-1] for record in self.of(node)), "")

    def _link_convolution(self, call: Call, node: int) -> None:
        given, candidates = convolution_operands(call), self._products(node)
        owner = self._roles.of(given["weight"])
        record = next((record for record in candidates if _shares(record, owner)), None) or next(iter(candidates), None)
        if record is None:
            raise InputError(
                f"{self._module(node) or 'the model'}: the backward pass executes that of a convolution which the"
                " forward pass did not execute"
            )
        to_input, to_weight, _ = given["output_mask"]
        record.input_gradients.update({0} if to_input else ())
        record.weight_gradient |= bool(to_weight)
        self._probe.convolution_backward(call, record)

    def _link_product(self, call: Call, candidates: Sequence[Record]) -> bool:
        operands = operands_of(call)
        keys = [self._roles.key(operand) for operand in operands]
        weighted = [record for record in candidates if record.work.weight]
        return (
            self._link_input_gradient(call, keys, operands, weighted)
            or self._link_weight_gradient(call, keys, operands, weighted)
            or self._link_factors(keys, operands, [record for record in candidates if not record.work.weight])
        )

    def _link_input_gradient(
        self, call: Call, keys: Sequence[int], operands: Sequence[Tensor], candidates: Sequence[Record]
    ) -> bool:
        """A product with the weight: of the gradient, or of the input, which is the forward computed again."""
        held = [self._roles.of(operand) for operand in operands]
        for record in candidates:
            is_weight = [keys[side] == record.weight_key or _shares(record, held[side]) for side in (0, 1)]
            if not any(is_weight):
                continue
            side = 1 if is_weight[1] else 0
            if keys[1 - side] in record.reads:
                record.recomputed = True
            else:
                record.input_gradients.add(0)
                self._probe.input_gradient(call, record, side)
            return True
        return False

    def _link_weight_gradient(
        self, call: Call, keys: Sequence[int], operands: Sequence[Tensor], candidates: Sequence[Record]
    ) -> bool:
        """A product as large as the weight, or as a stack of weights that is summed afterwards."""
        for record in candidates:
            assert record.work.weight is not None, "candidates have a weight"
            if call.results[0].numel() % record.work.weight.elements == 0:
                record.weight_gradient = True
                left = keys[1] in record.reads or self._roles.of(operands[0]) is Role.GRADIENT
                self._probe.weight_gradient(call, record, 0 if left else 1)
                return True
        return False

    def _link_factors(self, keys: Sequence[int], operands: Sequence[Tensor], candidates: Sequence[Record]) -> bool:
        """The gradient of one factor, a product with the other; or the product of both factors computed again."""
        common = {id(record): sum(key in record.reads for key in keys) for record in candidates}
        for record in sorted(candidates, key=lambda record: -common[id(record)]):
            if common[id(record)] == 2:
                record.recomputed = True
                return True
            missing = [factor for factor in (0, 1) if factor not in record.input_gradients]
            if missing:
                fitting = [factor for factor in missing if record.reads[1 - factor] in keys]
                record.input_gradients.add((fitting or missing)[0])
                self._probe.factor_gradient(operands, keys, record)
                return True
        return False


def _shares(record: Record, role: Source | Role | None) -> bool:
    """Whether `role` names a parameter that is the weight of `record`."""
    weight = record.work.weight
    if weight is None or not isinstance(role, Source):
        return False
    return weight.label == role.label or bool(set(weight.parameters).intersection(role.parameters))
