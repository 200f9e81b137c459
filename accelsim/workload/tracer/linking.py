"""Linking backward work to the forward operation it belongs to.

Autograd numbers its nodes: an operation of the forward pass and what the backward pass executes for it carry the same
number. A custom function is one node for all that its forward and its backward execute; there operands tell products
apart: a product with the weight is the gradient of the input (BP), one as large as the weight is its gradient (WU), one
that shares a factor is the gradient of the other factor.
"""

from collections.abc import Mapping, Sequence

from accelsim.base.errors import InputError
from accelsim.workload.rules import Role, Source
from accelsim.workload.torch_words import PRODUCTS
from accelsim.workload.tracer.probing import Probe
from accelsim.workload.tracer.records import WEIGHT, Record
from accelsim.workload.tracer.roles import Held, Roles
from accelsim.workload.tracer.works import Call, convolution_operands, macs_of, operands_of, work_of

__all__ = ["Linker"]


class Linker:
    """Finds the records that the backward work of a step belongs to."""

    def __init__(self, roles: Roles, probe: Probe) -> None:
        self._roles, self._probe = roles, probe
        self._nodes: dict[int, list[Record]] = {}
        self._earlier = -1  # the last node of the steps before

    def add(self, record: Record) -> None:
        """Make a record known under its node."""
        self._nodes.setdefault(record.seq, []).append(record)

    def forget(self) -> None:
        """Forget all records: the next step has its own."""
        self._earlier = max(self._nodes, default=self._earlier)
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
            self._check_step(node)
            self._link_convolution(call, node)
        elif call.word in PRODUCTS or call.word == "convolution":
            self._check_step(node)
            return self._link_product(call, self._products(node))
        elif call.is_opaque:
            work_of(call, self._roles, self._module(node))
        return True

    def _check_step(self, node: int) -> None:
        if node <= self._earlier and node not in self._nodes:
            raise InputError(
                "the backward pass goes on to a forward pass of an earlier step, as where models train in turn; a step"
                " ends where an optimizer has run: give accelsim.trace a function that does all of it"
            )

    def _products(self, node: int) -> list[Record]:
        """The products of a node; of a custom function also those of functions that its forward calls."""
        found = [record for record in self.of(node) if record.work.is_product]
        for later in sorted(number for number in self._nodes if number > node) if not found else ():
            records = self._nodes[later]
            if not all(record.inside_function for record in records):
                break
            found += [record for record in records if record.work.is_product]
        return found

    def _module(self, node: int) -> str:
        return next((record.modules[-1] for record in self.of(node)), "")

    def _link_convolution(self, call: Call, node: int) -> None:
        given, candidates = convolution_operands(call), self._products(node)
        if not candidates:
            raise InputError(
                f"{self._module(node) or 'the model'}: the backward pass executes that of a convolution which the"
                " forward pass did not execute"
            )
        owner = self._roles.of(given["weight"])
        record = min(candidates, key=lambda record: (not _shares(record, owner), record.gradients.total()))
        to_input, to_weight, _ = given["output_mask"]
        kernel = WEIGHT if record.work.weight else 1
        computed = [operand for operand, wanted in ((0, to_input), (kernel, to_weight)) if wanted]
        record.gradients.update(dict.fromkeys(computed, record.work.macs))
        self._probe.convolution_backward(call, record)

    def _link_product(self, call: Call, candidates: Sequence[Record]) -> bool:
        """Link a product to the forward that it repeats, to a gradient still missing, or to one computed again."""
        operands, macs = operands_of(call), macs_of(call)
        keys = [self._roles.key(operand) for operand in operands]
        held = [self._roles.of(operand) for operand in operands]
        sides = {id(record): _weight_side(record, keys, held) for record in candidates}
        return _repeats_forward(keys, candidates, sides, macs) or any(
            self._link_input_gradient(call, candidates, sides, again=again)
            or self._link_weight_gradient(call, keys, candidates, again=again)
            or self._link_factors(call, keys, candidates, again=again)
            for again in (False, True)
        )

    def _link_input_gradient(
        self, call: Call, candidates: Sequence[Record], sides: Mapping[int, int | None], *, again: bool
    ) -> bool:
        """A product of the gradient with the weight."""
        macs = macs_of(call)
        for record in candidates:
            side = sides[id(record)]
            if side is not None and record.has_room(0, macs, again=again):
                record.gradients.update({0: macs})
                self._probe.input_gradient(call, record, side)
                return True
        return False

    def _link_weight_gradient(
        self, call: Call, keys: Sequence[int], candidates: Sequence[Record], *, again: bool
    ) -> bool:
        """A product as large as the weight, or as a stack of weights that is summed afterwards."""
        macs, elements = macs_of(call), call.results[0].numel()
        for record in candidates:
            weight = record.work.weight
            if weight and elements % weight.elements == 0 and record.has_room(WEIGHT, macs, again=again):
                record.gradients.update({WEIGHT: macs})
                left = keys[1] in record.reads or self._roles.of(operands_of(call)[0]) is Role.GRADIENT
                self._probe.weight_gradient(call, record, 0 if left else 1)
                return True
        return False

    def _link_factors(self, call: Call, keys: Sequence[int], candidates: Sequence[Record], *, again: bool) -> bool:
        """The gradient of one factor of a product of two activations, a product with the other."""
        macs = macs_of(call)
        factors = [record for record in candidates if not record.work.weight]
        for record in sorted(factors, key=lambda record: -_common(record, keys)):
            missing = [factor for factor in (0, 1) if record.has_room(factor, macs, again=again)]
            if missing:
                fitting = [factor for factor in missing if record.reads[1 - factor] in keys]
                record.gradients.update({(fitting or missing)[0]: macs})
                self._probe.factor_gradient(operands_of(call), keys, record)
                return True
        return False


def _common(record: Record, keys: Sequence[int]) -> int:
    """How many of the operands in `keys` a product reads."""
    return sum(key in record.reads for key in keys)


def _weight_side(record: Record, keys: Sequence[int], held: Sequence[Held]) -> int | None:
    """Which of two operands is the weight of `record`."""
    if record.work.weight is None:
        return None
    return next((side for side in (1, 0) if keys[side] == record.weight_key or _shares(record, held[side])), None)


def _repeats_forward(
    keys: Sequence[int], candidates: Sequence[Record], sides: Mapping[int, int | None], macs: int
) -> bool:
    """Mark the record whose operands are multiplied with each other once more."""
    for record in candidates:
        side = sides[id(record)]
        both = _common(record, keys) == 2 if side is None else keys[1 - side] in record.reads
        if both and not record.recomputed and record.work.macs == macs:
            record.recomputed = True
            return True
    return False


def _shares(record: Record, role: Held) -> bool:
    """Whether `role` names a parameter that is the weight of `record`."""
    weight = record.work.weight
    if weight is None or not isinstance(role, Source):
        return False
    return weight.label == role.label or bool(set(weight.parameters).intersection(role.parameters))
