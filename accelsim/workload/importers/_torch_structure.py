"""What follows for the operands of recorded calls from shapes, places and the order of the backward pass.

A profile says nothing of which tensor is which:

- A weight is the kernel of a convolution, the second argument of `linear`, a factor whose shape has a gradient that is
  accumulated right after the backward of the product, or of the view (as in ``x @ w.t()``) made right before it, or the
  matrix that is multiplied with data of three or more dimensions. Where none of these decides, the file is refused.
- Weights whose gradients are accumulated as one are the same (tied).
- The first dimension of a tensor holds the samples. An operand that a broadcast repeats over it is shared by them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from accelsim.base.errors import InputError
from accelsim.workload.importers._torch_ops import (
    ASKED,
    Held,
    Part,
    Parts,
    Seen,
    parameters_of,
    sources_of,
    takes_input,
)
from accelsim.workload.importers._torch_results import result_shape
from accelsim.workload.importers._torch_rows import Leaf, Pass, Row, Tensor, is_product
from accelsim.workload.importers._torch_trace import SEVERAL_ROWS, Base, Settled, per_sample, rows_of_a_sample
from accelsim.workload.importers._torch_words import CONVOLUTIONS, NOT_COUNTED, VIEWS
from accelsim.workload.names import few
from accelsim.workload.rules import Role
from accelsim.workload.torch_words import KIND_OF, MASKS, PRODUCTS

__all__ = ["Structure"]

_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_DROPPING = frozenset({"mul", "dropout", "fused_dropout"})
_CUTS = frozenset({"split", "split_with_sizes", "chunk", "unsafe_chunk", "tensor_split", "unsafe_split"})
_BROADCAST = frozenset({"add", "multiply", "elementwise"})
_VIEWING = re.compile(rf"{'|'.join(VIEWS)}|numpy_T|mT|mH|adjoint|to|reshape|flatten|contiguous")
_VECTOR = {0: "bias"}
_BIASES = {word: _VECTOR for word, at in PRODUCTS.items() if at}
_LISTED = 1000  # places of parameters in a list, after those of arguments
_UNSIZED = "vector work whose result has a size that a profile does not hold is not counted"
_ANOTHER_WAY = "record an execution trace (ExecutionTraceObserver)"


@dataclass(slots=True, eq=False, kw_only=True)
class _Use:
    """One use of a parameter, under a number of its own."""

    number: int
    shape: tuple[int, ...]
    leaf: Leaf
    name: str


@dataclass(frozen=True, slots=True)
class _Gradient:
    """An accumulated gradient, the call whose backward came before it, and its place in the backward pass."""

    shape: tuple[int, ...]
    creator: Row | None
    unit: Row | None
    place: int


class Structure:
    """What follows for operands from shapes and places."""

    def __init__(self, made: Pass, batch: int, source: str) -> None:
        self._made, self._batch, self._source = made, batch, source
        self._uses: dict[tuple[int, int], _Use] = {}
        self._made_of: dict[int, Base] = {}
        self._first: tuple[int, ...] | None = None
        self._assumed: dict[str, dict[str, None]] = {}
        self._weights: dict[int, tuple[int, tuple[int, ...]] | None] = {}
        self._unit_of: dict[int, Row] = {}
        for leaf in (*made.forward, *(leaf for run in made.recomputed for leaf in run)):
            for row in leaf.unit.walk():
                self._unit_of[id(row)] = leaf.unit
        self._last_place: dict[int, int] = {}
        for place, event in enumerate(made.backward):
            creator = made.creator(event)
            if creator is not None and (unit := self._unit_of.get(id(creator))) is not None:
                self._last_place[id(unit)] = place
        self._asked = False
        self._accumulations = self._of_parameters()
        self._gradients: dict[int, list[tuple[int, ...]]] = {}
        for gradient in self._accumulations:
            if gradient.unit is not None:
                self._gradients.setdefault(id(gradient.unit), []).append(gradient.shape)
        self._viewed = self._views_before()

    def _of_parameters(self) -> list["_Gradient"]:
        """Return the gradients that are accumulated, without those of inputs that ask for one.

        An input holds the samples and stands where a call takes data; where a step of the optimizer is recorded, it
        steps fewer tensors of that shape than have a gradient.
        """
        found = [
            _Gradient(gradient.shape, creator, self._unit_of.get(id(creator)), place)
            for gradient, creator, place in self._made.accumulations()
        ]
        kept, stepped = list(found), self._made.optimized_shapes
        for gradient in found:
            row, alike = gradient.creator, sum(one.shape == gradient.shape for one in kept)
            all_stepped = bool(stepped) and alike <= stepped[gradient.shape]
            if row is None or row.word == "t" or all_stepped:
                continue
            names = parameters_of(row)
            places = [tensor for at, tensor in _placed(row) if tensor.shape == gradient.shape and at not in names]
            if any(takes_input(row, tensor, self._batch) for tensor in places[:1]):
                kept.remove(gradient)
                self._asked |= not stepped
        return kept

    def _views_before(self) -> dict[int, list[tuple[int, ...]]]:
        """Return for each call of the program the shapes of the parameters that the calls right before it only view.

        A tied one gets its gradient elsewhere: then the view has a backward and the shape of a parameter.
        """
        all_shapes = {gradient.shape for gradient in self._accumulations}
        found: dict[int, list[tuple[int, ...]]] = {}
        seen: list[tuple[int, ...]] = []
        units = {id(leaf.unit): leaf.unit for leaf in self._made.forward}
        for key, unit in units.items():
            if _VIEWING.fullmatch(unit.word):
                ran = any(self._made.ran(row) for row in unit.walk())
                tied = {tensor.shape for tensor in unit.tensors if ran and self._batch not in tensor.shape} & all_shapes
                seen += self._gradients.get(key, sorted(tied))
            else:
                found[key], seen = seen, []
        return found

    def enter(self, leaf: Leaf) -> None:
        """Take note of the first operand that holds the samples: the input."""
        if self._first is None:
            names = parameters_of(leaf.unit)
            given = [one for at, one in _placed(leaf.unit) if at not in names] or leaf.unit.tensors
            self._first = next((one.shape for one in given if self._holds(one)), None)

    def leave(self, leaf: Leaf) -> None:
        """Nothing to note."""

    def _accumulated(self, leaf: Leaf) -> list[tuple[int, ...]]:
        """Shapes of the gradients that are accumulated right after the backward of what the program called."""
        return self._gradients.get(id(leaf.unit), [])

    def _holds(self, tensor: Tensor) -> bool:
        """Whether a tensor has room for the samples, and is not repeated over them.

        They lie along its first dimension, or its second after the positions of a sequence.
        """
        shape = tensor.shape
        leading = shape[:1] if len(shape) < 3 else shape[:2]
        if self._batch not in shape and not any(size % self._batch == 0 for size in leading):
            return False
        repeated = tensor.strides is not None and tensor.strides[:1] == (0,) and shape[0] > 1
        return not repeated and tensor.elements > 0 and tensor.elements % self._batch == 0

    def _grows(self, leaf: Leaf, tensor: Tensor) -> bool:
        """Whether every sample has its own part of an operand."""
        if leaf.row.word in {"embedding", "embedding_bag"} and self._batch > 1 and self._batch not in tensor.shape:
            if self._holds(tensor):
                self._assume("indices of an embedding that are not as many as the samples are shared by them", leaf)
            return False
        if self._holds(tensor):
            return True
        flattened = is_product(leaf.row) and tensor.elements % self._batch == 0
        return flattened and any(self._holds(given) for given in leaf.unit.tensors)

    # Weights

    def _weight(self, leaf: Leaf) -> tuple[int, tuple[int, ...]] | None:
        """Return the place and the shape of the weight of a product, None for a product of two activations."""
        if id(leaf.row) not in self._weights:
            self._weights[id(leaf.row)] = self._find_weight(leaf)
        return self._weights[id(leaf.row)]

    def _find_weight(self, leaf: Leaf) -> tuple[int, tuple[int, ...]] | None:
        row = leaf.row
        if row.word in CONVOLUTIONS or row.word == "linear":
            return 1, row.tensor(1).shape
        at = PRODUCTS.get(row.word)
        if at is None:
            return None
        sides = (row.tensor(at), row.tensor(at + 1))
        if (linear := leaf.inside("linear")) is not None and len(linear.tensors) > 1:
            shape = linear.tensors[1].shape
            return (at + 1 if sides[1].shape == shape[::-1] else at), shape
        own = [shape for shape in self._accumulated(leaf) if prod(shape) > 1]
        for shapes in (own, self._viewed.get(id(leaf.unit), ())):
            if (found := self._by_gradient(leaf, at, sides, shapes)) is not None:
                return found
        return self._by_dimensions(leaf, at, sides)

    def _by_gradient(
        self, leaf: Leaf, at: int, sides: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]
    ) -> tuple[int, tuple[int, ...]] | None:
        """Find the factor whose gradient is accumulated."""
        fits = [(side, shape) for side in (1, 0) for shape in shapes if _same_matrix(sides[side], shape)]
        if len({side for side, _ in fits}) == 2 and len(shapes) < 2:
            raise self._error(
                leaf,
                f"both factors have the shape of the parameter, and a profile does not say which it is; {_ANOTHER_WAY}",
            )
        return (at + fits[0][0], fits[0][1]) if fits else None

    def _by_dimensions(self, leaf: Leaf, at: int, sides: Sequence[Tensor]) -> tuple[int, tuple[int, ...]] | None:
        """Tell a weight from data by what `matmul` got: a matrix beside a stack of them that holds the samples."""
        product = leaf.inside("matmul")
        given = product.tensors if product is not None else []
        if len(given) == 2 and min(len(tensor.shape) for tensor in given) == 2 < max(len(t.shape) for t in given):
            side = 1 if len(given[1].shape) == 2 else 0
            if self._holds(given[1 - side]):
                fits = [each for each in (1, 0) if _same_matrix(sides[each], given[side].shape)]
                return (at + (fits[0] if len(fits) == 1 else side if len(sides[0].shape) > 2 else 1)), given[side].shape
        if len(sides[0].shape) > 2:
            held = [self._holds(side) for side in sides]
            if any(held) and not all(held):
                raise self._undecided(leaf)
            return None
        if not any(self._holds(side) for side in sides) or min(len(side.shape) for side in sides) < 2:
            return None
        bias = leaf.row.inputs[0]
        if leaf.row.word == "addmm" and isinstance(bias, Tensor) and bias.shape == sides[1].shape[1:]:
            self._assume("the second factor of addmm with a vector is taken as a weight", leaf)
            return at + 1, sides[1].shape
        raise self._undecided(leaf)

    def _undecided(self, leaf: Leaf) -> InputError:
        return self._error(leaf, f"which factor is a weight, if one is, cannot be told from a profile; {_ANOTHER_WAY}")

    def _assume(self, text: str, leaf: Leaf) -> None:
        where = " and ".join(_text(tensor.shape) for tensor in leaf.row.tensors[-2:])
        self._assumed.setdefault(text, {}).setdefault(where)

    def _use(self, leaf: Leaf, at: int, shape: tuple[int, ...], name: str) -> Parts:
        use = self._uses.get((id(leaf.row), at))
        if use is None:
            use = _Use(number=len(self._uses), shape=shape, leaf=leaf, name=name)
            self._uses[id(leaf.row), at] = use
        return Parts((Part(use.number),), prod(shape), shape[0] if shape else 1)

    # Operands

    def of(self, leaf: Leaf, at: int) -> Held:
        """See `Roles`."""
        tensor = leaf.row.inputs[at] if at < len(leaf.row.inputs) else None
        if not isinstance(tensor, Tensor):
            return Held(0)
        source = self._source_of(leaf, at, tensor)
        if source is not None:
            return Held(tensor.stored, Role.PARAMETER, source)
        grows = self._grows(leaf, tensor)
        weight = self._weight(leaf) if is_product(leaf.row) else None
        if not grows and weight is not None and at == self._data_at(leaf, weight[0]):
            self._assume("products on rows that are no multiple of the batch are computed once per step", leaf)
        noise = leaf.inside(*_DROPOUTS) is not None and leaf.row.word == "mul" and at == 1
        return Held(tensor.stored, Role.NOISE if noise else _role(grows=grows), grows=grows)

    @staticmethod
    def _data_at(leaf: Leaf, weight_at: int) -> int:
        """Return the place of what is multiplied with the weight."""
        first = PRODUCTS.get(leaf.row.word, 0)
        return first if weight_at != first else first + 1

    def _source_of(self, leaf: Leaf, at: int, tensor: Tensor) -> Parts | None:
        """Return the parameter that an operand is by its place, or by a gradient accumulated after the operation."""
        names = parameters_of(leaf.row) if leaf.inside("instance_norm") is None else {}
        weight = self._weight(leaf) if is_product(leaf.row) else None
        if weight is not None and weight[0] == at:
            return self._use(leaf, at, weight[1], "weight")
        if is_product(leaf.row):
            names = _BIASES.get(leaf.row.word, names)
        elif self._is_bias_of_linear(leaf, tensor):
            names = {at: "bias"}
        if at in names and not (names is _VECTOR and len(tensor.shape) > 1):
            reshaped = leaf.inside("prelu")
            return self._use(leaf, at, reshaped.tensors[1].shape if reshaped else tensor.shape, names[at])
        shape = self._given(leaf, at, tensor)
        own = list(self._accumulated(leaf))
        for taken in (weight[1] if weight else None, *(other.shape for i, other in _placed(leaf.row) if i in names)):
            if taken in own:
                own.remove(taken)
        alike = [i for i, other in _placed(leaf.row) if other.shape == shape][-max(own.count(shape), 1) :]
        beside = any(self._holds(other) for other in leaf.row.tensors if other.shape != shape)
        learned = is_product(leaf.row) or (beside and at in alike)  # else prepared for the operation that uses it
        return self._use(leaf, at, shape, "parameter") if shape in own and learned else None

    def _is_bias_of_linear(self, leaf: Leaf, tensor: Tensor) -> bool:
        linear = leaf.inside("linear")
        biases = linear.tensors[2:3] if linear is not None and leaf.row.word == "add" else []
        return any(bias.shape == tensor.shape for bias in biases)

    def _given(self, leaf: Leaf, at: int, tensor: Tensor) -> tuple[int, ...]:
        """Return the shape of an operand as the program gave it: `linear` flattens its input."""
        linear = leaf.inside("linear")
        flattened = (
            linear is not None and at == PRODUCTS.get(leaf.row.word) and linear.tensors[0].elements == tensor.elements
        )
        return linear.tensors[0].shape if linear is not None and flattened else tensor.shape

    def tensors(self, leaf: Leaf) -> list[tuple[Tensor, Held]]:
        """See `Roles`; of a broadcast, operands that are repeated over the samples are shared by them."""
        found: list[tuple[Tensor, Held]] = []
        shape = max((tensor.shape for tensor in leaf.row.tensors), key=len, default=())
        longest = max((tensor.shape for tensor in leaf.row.tensors if len(tensor.shape) == len(shape)), default=())
        for at, value in enumerate(leaf.row.inputs):
            if isinstance(value, Tensor):
                held = self.of(leaf, at)
                shared = value.shape[:1] != longest[:1] or len(value.shape) != len(longest)
                if held.grows and shared and KIND_OF.get(leaf.row.word, "elementwise") in _BROADCAST:
                    held = Held(held.stored, held.role if held.role is Role.NOISE else Role.CONSTANT)
                found.append((value, held))
            elif isinstance(value, tuple):
                for tensor in value:
                    if isinstance(tensor, Tensor):
                        grows = self._holds(tensor)
                        found.append((tensor, Held(tensor.stored, _role(grows=grows), grows=grows)))
        return found

    def sources(self, leaf: Leaf) -> list[tuple[int, Parts]]:
        """See `Roles`."""
        placed = ((at, self.of(leaf, at).source) for at in range(len(leaf.row.inputs)))
        return [(at, source) for at, source in placed if source is not None]

    def counts(self, leaf: Leaf) -> bool:
        """See `Roles`; vector work whose result has no recorded size is left out with a note."""
        counts = self._works_on_data(leaf)
        if not counts or is_product(leaf.row) or NOT_COUNTED.fullmatch(leaf.row.word):
            return counts
        if self._result_shape(leaf) is None:
            where = _text(leaf.row.tensors[0].shape) if leaf.row.tensors else "no tensor"
            self._assumed.setdefault(_UNSIZED, {}).setdefault(f"{leaf.row.name} on {where}")
            return False
        return True

    def _result_shape(self, leaf: Leaf) -> tuple[int, ...] | None:
        return result_shape(leaf.row, self._made.ran(leaf.row)) if leaf.row.tensors else None

    def _works_on_data(self, leaf: Leaf) -> bool:
        """Whether a call works on data or on what is trained.

        Without a gradient, only what has as many of something as there are samples is work on data.
        """
        word = leaf.row.word
        if leaf.inside(*_DROPOUTS) is not None:
            return word in _DROPPING
        if self._made.nodes(leaf) or word == "embedding":
            return not self._is_mask(leaf)
        growing = [tensor for tensor, role in self.tensors(leaf) if role.grows]
        if is_product(leaf.row):
            return bool(growing) or self._weight(leaf) is not None
        return any(self._batch in tensor.shape for tensor in growing) or (bool(growing) and not self._made.has_backward)

    def _is_mask(self, leaf: Leaf) -> bool:
        """Whether a call applies a mask to a weight; the weight is then what is listed."""
        shapes = [tensor.shape for tensor in leaf.row.tensors if tensor.shape]
        accumulated = leaf.row.word in MASKS and len(shapes) > 1 and shapes[0] in self._accumulated(leaf)
        return accumulated and all(shape == shapes[0] for shape in shapes)

    def constant(self, leaf: Leaf, at: int) -> Parts | None:
        """See `Roles`; a profile cannot tell."""
        return None

    def listed(self, leaf: Leaf, at: int, tensor: Tensor, name: str) -> Parts:
        """See `Roles`."""
        return self._use(leaf, _LISTED + at, tensor.shape, name)

    def is_trained(self, leaf: Leaf, at: int) -> bool:
        """See `Roles`: whether the gradient of the weight is computed in this very call."""
        weight = self._weight(leaf)
        if weight is None:
            return False
        if weight[1] in self._accumulated(leaf):
            return True
        linear = leaf.inside("linear")
        if linear is not None:
            prepared = (row for row in linear.walk() if row.word in {"t", "to_copy"} and row.tensors)
            return any(self._made.ran(row) for row in prepared if row.tensors[0].shape == weight[1])
        raise self._error(leaf, f"one of its gradients is computed, and a profile does not say which; {_ANOTHER_WAY}")

    def is_zeros(self, leaf: Leaf, tensor: Tensor) -> bool:
        """See `Roles`: whether zeros of its last two sizes are made before the call."""
        made = (each.row for each in self._made.forward if each.row.start < leaf.unit.start)
        return any(
            row.word == "zeros" and isinstance(row.inputs[0], tuple) and row.inputs[0][-2:] == tensor.shape[-2:]
            for row in made
        )

    def result(self, leaf: Leaf) -> tuple[tuple[int, ...], bool]:
        """See `Roles`."""
        shape = self._result_shape(leaf) or ()
        grows = any(role.grows for _, role in self.tensors(leaf)) and self._holds(Tensor(shape))
        return shape, grows

    # Afterwards

    def settle(self, operations: Sequence[Seen]) -> Settled:
        """See `Following`."""
        in_use = {part.base: seen for seen in operations for source in sources_of(seen) for part in source.parts}
        uses = [use for use in self._uses.values() if use.number in in_use]
        waiting = [use for use in uses if self._has_gradient(use, in_use[use.number])]
        same, others = self._tied(waiting)
        bases = {use.number: Base(prod(use.shape), trained=use in waiting) for use in uses} | self._made_of
        notes = [f"{text}: {few(list(where))}" for text, where in self._assumed.items()]
        if self._asked:
            notes.append(ASKED)
        if rows_of_a_sample(self._first or (), self._batch) > 1:
            notes.append(SEVERAL_ROWS)
        notes.append("the input is what the first operation reads, with the samples along the first dimension")
        if len(waiting) < len(uses) and self._made.has_backward:
            notes.append(
                "parameters that are not trained count once for every use: a profile does not say which are the same"
            )
        return Settled(
            bases=bases,
            same=same,
            others=tuple(others),
            input_shapes=(per_sample(self._first or (), self._batch),),
            notes=tuple(notes),
        )

    def _has_gradient(self, use: _Use, seen: Seen) -> bool:
        """Whether the step computes the gradient of a parameter in one use of it."""
        if use.name == "weight" and seen.weight is not None:
            return seen.weight_gradient
        if use.shape in self._accumulated(use.leaf):
            return self._allowed_by_mask(use)
        if seen.weight is not None:  # the bias of a layer that is used again, or of a part of one
            weight = next(one for one in self._uses.values() if one.number == seen.weight.parts[0].base)
            return seen.weight_gradient and weight.shape not in self._accumulated(use.leaf)
        return bool(self._made.nodes(use.leaf)) and self._allowed_by_mask(use)

    def _allowed_by_mask(self, use: _Use) -> bool:
        """Whether the backward of a norm computes the gradient of its weight or bias, as its last argument says."""
        at = {"weight": 1, "bias": 2}.get(use.name)
        masks = [
            value for node in self._made.nodes(use.leaf) for row in node.walk() for value in row.inputs
            if isinstance(value, tuple) and len(value) == 3 and all(isinstance(flag, bool) for flag in value)
        ]  # fmt: skip
        return at is None or not masks or bool(masks[-1][at])

    def _tied(self, uses: Sequence[_Use]) -> tuple[dict[int, tuple[Part, ...]], list[tuple[int, Row | None]]]:
        """Tell which uses are of one parameter, and the accumulated gradients that belong to no use.

        Every use gives its share before the gradient of the parameter is accumulated, and the last share comes right
        before. So a gradient belongs to the use before it, or to the only one that waits for one of its shape; the
        gradients after a `split` or `cat` belong to the uses of what it made.
        """
        accumulated = self._accumulations
        same: dict[int, tuple[Part, ...]] = {}
        others: list[tuple[int, Row | None]] = []
        left = list(uses) if accumulated else []
        for index, gradient in enumerate(accumulated):
            mine = self._belonging(gradient, accumulated[index + 1 :], left)
            if not mine:
                mine = self._parts(gradient, left)
                base = len(self._uses) + index
                if mine:
                    self._made_of[base] = Base(prod(gradient.shape), trained=True)
                    same.update(_cut(base, mine))
                else:
                    others.append((prod(gradient.shape), gradient.creator))
            else:
                same.update({use.number: (Part(mine[0].number),) for use in mine[1:]})
            left = [use for use in left if use not in mine]
        if left:
            raise self._error(
                left[0].leaf,
                f"no gradient of the shape {_text(left[0].shape)} is accumulated: its {left[0].name} is computed from"
                f" parameters of other shapes; {_ANOTHER_WAY}",
            )
        return same, others

    def _belonging(self, gradient: "_Gradient", rest: Sequence["_Gradient"], left: Sequence[_Use]) -> list[_Use]:
        """Return the uses of the parameter with this gradient."""
        later = [each for each in rest if each.shape == gradient.shape]
        alike = [use for use in left if use.shape == gradient.shape]
        here = [use for use in alike if use.leaf.unit is gradient.unit]
        if any(each.unit is gradient.unit for each in later):
            here = here[:1]
        before = [use for use in alike if use.leaf.unit is not gradient.unit and self._place(use) < gradient.place]
        if before and later and (here or len(before) > 1):
            raise self._error(
                before[0].leaf,
                f"a profile does not say which of several weights of its shape it shares; {_ANOTHER_WAY}",
            )
        return here + before

    def _parts(self, gradient: "_Gradient", left: Sequence[_Use]) -> list[_Use]:
        """Return the uses of the parts that a call cut from the parameter with this gradient, in order."""
        if gradient.unit is None or gradient.unit.word not in _CUTS:
            return []
        before = [
            use for use in left
            if use.shape[1:] == gradient.shape[1:] and use.shape[0] < gradient.shape[0]
            and self._place(use) < gradient.place
        ]  # fmt: skip
        return before if sum(use.shape[0] for use in before) == gradient.shape[0] else []

    def _place(self, use: _Use) -> int:
        """Return where in the backward pass the last share of a use comes from."""
        return self._last_place.get(id(use.leaf.unit), -1)

    def _error(self, leaf: Leaf, what: str) -> InputError:
        shapes = " and ".join(_text(tensor.shape) for tensor in leaf.row.tensors[:3])
        return InputError(f"{self._source}: {leaf.row.name} on {shapes}: {what}")


def _cut(base: int, uses: Sequence[_Use]) -> dict[int, tuple[Part, ...]]:
    """Return the rows of a parameter that each use has."""
    found: dict[int, tuple[Part, ...]] = {}
    start = 0
    for use in sorted(uses, key=lambda use: use.number):
        found[use.number] = (Part(base, f"[{start}:{start + use.shape[0]}]"),)
        start += use.shape[0]
    return found


def _role(*, grows: bool) -> Role:
    return Role.ACTIVATION if grows else Role.CONSTANT


def _placed(row: Row) -> list[tuple[int, Tensor]]:
    return [(at, value) for at, value in enumerate(row.inputs) if isinstance(value, Tensor)]


def _same_matrix(side: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a factor can be a parameter of that shape, transposed and with dimensions of 1 or not."""
    return sorted(size for size in side.shape if size > 1) == sorted(size for size in shape if size > 1)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
