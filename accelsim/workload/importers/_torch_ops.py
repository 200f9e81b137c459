"""From one recorded call to operations of a trace: kind, sizes per sample, weight, and gradients.

What an operand holds is decided by the importer (`Roles`): an execution trace follows tensors, a profile knows
positions and shapes alone.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, Protocol

from accelsim.base.errors import InputError
from accelsim.workload import rules
from accelsim.workload.importers._torch_attention import opened
from accelsim.workload.importers._torch_rnn import GATES, RNNS, recurrent
from accelsim.workload.importers._torch_rows import Leaf, Operand, Pass, Row, Tensor, is_product
from accelsim.workload.importers._torch_words import ATTENTION, CONVOLUTIONS, NOT_COUNTED, PARAMETERS
from accelsim.workload.rules import Role
from accelsim.workload.torch_words import HIDES_PRODUCTS, KIND_OF, PRODUCTS, SHOWN_AS

__all__ = [
    "ASKED",
    "Held",
    "Part",
    "Parts",
    "Reader",
    "Roles",
    "Seen",
    "how_to_say",
    "merge_bias",
    "numbers",
    "pair_of",
    "parameters_of",
    "sources_of",
    "takes_input",
]

ASKED = (
    "a tensor with a gradient whose rows are the samples is taken as an input that asks for one, and no parameter: no"
    " step of the optimizer is recorded that would tell"
)
_NUMBERS = "PyTorch 2.1 and later record numbers with record_shapes=True"


def how_to_say(row: Row) -> str:
    """Return what the user can do about a call that a recording does not explain."""
    return f"say what it is: --call '{row.name}=ignore' or '{row.name}=linear(X, W)' with the places of data and weight"


@dataclass(frozen=True, slots=True)
class Part:
    """A parameter, or the part of it that a suffix as in ``[0:8]`` names."""

    base: int
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parameters that an operand consists of, by number: a recording has no names for them."""

    parts: tuple[Part, ...]
    elements: int
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Held:
    """What an operand holds. `stored` elements are read; `grows`: every sample of the batch has its own."""

    stored: int
    role: Role = Role.CONSTANT
    source: Parts | None = None
    grows: bool = False


class Roles(Protocol):
    """What an importer knows of operands."""

    def of(self, leaf: Leaf, at: int) -> Held:
        """Return the role of the tensor at a position of the arguments."""

    def tensors(self, leaf: Leaf) -> list[tuple[Tensor, Held]]:
        """Return all tensor operands in order with their roles."""

    def sources(self, leaf: Leaf) -> list[tuple[int, Parts]]:
        """Return the parameters among the operands with their positions."""

    def result(self, leaf: Leaf) -> tuple[tuple[int, ...], bool]:
        """Return the shape of the first result, and whether every sample has its own."""

    def counts(self, leaf: Leaf) -> bool:
        """Whether a call works on data or on what is trained, and not on constants alone."""

    def constant(self, leaf: Leaf, at: int) -> Parts | None:
        """Return the source of an operand that is a constant matrix, None where it is none."""

    def listed(self, leaf: Leaf, at: int, tensor: Tensor, name: str) -> Parts:
        """Return the source of a parameter that a call gets as one of many, the one at `at` among them."""

    def is_trained(self, leaf: Leaf, at: int) -> bool:
        """Whether the step computes the gradient of a weight operand somewhere."""

    def is_zeros(self, leaf: Leaf, tensor: Tensor) -> bool:
        """Whether an operand is a constant made for the call, as the first state of a recurrent layer is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One operation of the trace; `fields` are its sizes per sample."""

    leaf: Leaf
    word: str
    kind: str
    fields: tuple[tuple[str, Any], ...]
    weight: Parts | None = None
    parameters: tuple[tuple[str, Parts], ...] = ()
    input_gradient: bool = False
    weight_gradient: bool = False
    recomputed: bool = False
    backward_only: bool = False

    @property
    def is_product(self) -> bool:
        """Whether the array executes it."""
        return self.weight is not None or self.kind == "matmul"


def sources_of(seen: Seen) -> list[Parts]:
    """Return all parameters of an operation, its weight last."""
    return [source for _, source in seen.parameters] + ([seen.weight] if seen.weight is not None else [])


def numbers(value: Operand) -> tuple[int, ...] | None:
    """Return a list of whole numbers, or None for anything else."""
    if not isinstance(value, tuple):
        return None
    whole = tuple(part for part in value if isinstance(part, int))
    return whole if len(whole) == len(value) else None


def parameters_of(row: Row) -> Mapping[int, str]:
    """Return the arguments of a call that are parameters where they come from outside, by what they are called."""
    if row.word == "group_norm":
        return {2: "weight", 3: "bias"} if "native" not in row.name else {1: "weight", 2: "bias"}
    return PARAMETERS.get(row.word, {})


def takes_input(row: Row, tensor: Tensor, batch: int) -> bool:
    """Whether a call takes an operand with a gradient as data: its rows are the samples, and those of no other are.

    A vector that is added to a product is its bias.
    """
    if PRODUCTS.get(row.word) and tensor is row.inputs[0] and len(tensor.shape) == 1:
        return False
    others = [other for other in row.tensors if other is not tensor]
    return tensor.shape[:1] == (batch,) and not any(batch in other.shape[:1] for other in others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads the calls of one pass at a batch of `batch` samples."""

    source: str
    batch: int
    roles: Roles
    made: Pass

    def read(self, leaf: Leaf) -> list[Seen]:
        """Return the operations that a call amounts to; none for views, casts and work on constants.

        Raises `InputError` for a call that may hold products which the recording does not show.
        """
        row = leaf.row
        if row.told == "ignore" or row.is_fused:
            return []
        if row.name.startswith("quantized::") or row.word == "int_mm":
            raise self.error(leaf, "is quantised; a trace describes training in floating point")
        if row.word in ATTENTION and len(row.tensors) >= 3:
            return self._attention(leaf)
        if row.word in RNNS:
            return list(self._recurrent(leaf))
        if row.word in PRODUCTS or row.word in CONVOLUTIONS or row.word == "linear":
            return self._product(leaf) if self.roles.counts(leaf) else []
        if self._is_opaque(row):
            raise self.error(leaf, f"may hold matrix products that cannot be read from a recording; {how_to_say(row)}")
        if NOT_COUNTED.fullmatch(row.word) or not self.roles.counts(leaf):
            return []
        return self._vector(leaf)

    @staticmethod
    def _is_opaque(row: Row) -> bool:
        if not row.name.startswith(("aten::", "prims::", "prim::")) or any(map(is_product, row.inside())):
            return True
        return row.word not in KIND_OF and HIDES_PRODUCTS.fullmatch(row.word) is not None

    def error(self, leaf: Leaf, what: str) -> InputError:
        """Return the error of a call."""
        shapes = ", ".join("x".join(map(str, tensor.shape)) or "a number" for tensor in leaf.row.tensors[:4])
        return InputError(f"{self.source}: {leaf.row.name} on {shapes or 'no tensor'}: {what}")

    # Products

    def _product(self, leaf: Leaf) -> list[Seen]:
        if leaf.row.word in CONVOLUTIONS:
            return [self._convolution(leaf)]
        at = PRODUCTS.get(leaf.row.word, 0)
        left, right = leaf.row.inputs[at : at + 2]
        if not isinstance(left, Tensor) or not isinstance(right, Tensor):
            raise self.error(leaf, "its factors are not recorded")
        if leaf.row.word == "linear":  # the weight lies transposed
            right = Tensor((*right.shape[:-2], *right.shape[-2:][::-1]), storage=right.storage)
            left = Tensor((prod(left.shape[:-1]), left.shape[-1]), storage=left.storage)
        return [self._matrices(leaf, at, left, right)]

    def _matrices(self, leaf: Leaf, at: int, left: Tensor, right: Tensor) -> Seen:
        m = left.shape[-2] if len(left.shape) > 1 else 1
        n = right.shape[-1] if len(right.shape) > 1 else 1
        batch, k = prod(left.shape[:-2]), left.shape[-1]
        roles = (self.roles.of(leaf, at), self.roles.of(leaf, at + 1))
        for side, features, vectors in ((1, n, m), (0, m, n)):
            weight = roles[side].source or (
                self.roles.constant(leaf, at + side) if roles[1 - side].role is Role.ACTIVATION else None
            )
            found = weight and rules.with_weight(weight.elements, batch, features, vectors, k)
            if weight is None or not found:
                continue
            kind, fixed, rows = found
            rows, grows = self._share(leaf, rows, grows=roles[1 - side].grows, what="rows")
            counted: rules.Fixed = (("rows", rows),) if kind == "linear" else (("in_size", (rows,)),)
            to_input, to_weight = self._matrix_gradients(leaf, at, _Sides(m, n, k, side, (left, right)))
            return Seen(
                leaf=leaf,
                word=kind,
                kind=kind,
                fields=(*fixed, *counted, ("scales_with_batch", grows)),
                weight=weight,
                parameters=self._parameters(leaf, weight),
                input_gradient=to_input,
                weight_gradient=to_weight,
            )
        return self._factors(leaf, (batch, m, n, k), roles)

    def _factors(self, leaf: Leaf, sizes: tuple[int, int, int, int], roles: tuple[Held, Held]) -> Seen:
        """A product of two activations; samples lie side by side in its batch, or in the rows of one factor."""
        batch, m, n, k = sizes
        left, right = (role.grows for role in roles)
        grows = left or right
        if grows and batch % self.batch == 0:
            batch //= self.batch
        elif left and right:
            raise self.error(leaf, "multiplies samples of a batch with each other; a trace has no entry for it")
        elif left:
            m, _ = self._share(leaf, m, grows=True, what="rows")
        elif right:
            n, _ = self._share(leaf, n, grows=True, what="columns")
        return Seen(
            leaf=leaf,
            word="matmul",
            kind="matmul",
            fields=(("batch", batch), ("m", m), ("n", n), ("k", k), ("scales_with_batch", grows)),
            parameters=self._parameters(leaf, None),
            input_gradient=bool(self.made.nodes(leaf)),
        )

    def _share(self, leaf: Leaf, count: int, *, grows: bool, what: str) -> tuple[int, bool]:
        if grows and count % self.batch:
            raise self.error(leaf, f"{count} {what} are no multiple of the batch {self.batch}")
        return (count // self.batch if grows else count), grows

    def _convolution(self, leaf: Leaf) -> Seen:
        row, places = leaf.row, CONVOLUTIONS[leaf.row.word]
        source, kernel = row.inputs[:2]
        if not isinstance(source, Tensor) or not isinstance(kernel, Tensor):
            raise self.error(leaf, "its input and kernel are not recorded")
        given = {field: row.inputs[at] if at < len(row.inputs) else None for field, at in places.items()}
        transposed = bool(given.get("transposed", "transpose" in row.word))
        groups = given["groups"]
        geometry = {name: numbers(given.get(name)) for name in ("stride", "padding", "dilation")}
        if transposed:
            geometry["output_padding"] = numbers(given.get("output_padding"))
        if not isinstance(groups, int) or None in geometry.values():
            raise self.error(leaf, f"stride and padding are not recorded; {_NUMBERS}")
        role, weight = self.roles.of(leaf, 0), self.roles.of(leaf, 1)
        trained = weight.source or self.roles.constant(leaf, 1)
        if trained is None:
            raise self.error(leaf, "its kernel is computed from the input; only trained and constant ones can be read")
        images, grows = self._share(leaf, source.shape[0], grows=role.grows, what="images")
        sizes = {name: value or () for name, value in geometry.items()}
        kind, fixed = rules.convolution(source.shape, kernel.shape, groups, transposed=transposed, **sizes)
        kind, fixed = rules.several_images(kind, fixed, images, partial(self.error, leaf))
        to_input, to_weight = self._kernel_gradients(leaf, source, kernel)
        return Seen(
            leaf=leaf,
            word=kind,
            kind=kind,
            fields=(*fixed, ("scales_with_batch", grows)),
            weight=trained,
            parameters=self._parameters(leaf, trained),
            input_gradient=to_input,
            weight_gradient=to_weight,
        )

    def _parameters(self, leaf: Leaf, weight: Parts | None) -> tuple[tuple[str, Parts], ...]:
        """Return the parameters among the operands that are not the weight, with what they are called."""
        names = parameters_of(leaf.row)
        if PRODUCTS.get(leaf.row.word):
            names = {0: "bias"}
        used = {part.base for part in weight.parts} if weight else set()
        found: dict[int, tuple[str, Parts]] = {}
        for at, source in self.roles.sources(leaf):
            for part in source.parts:
                if part.base not in used:
                    found.setdefault(part.base, (names.get(at, "parameter"), replace(source, parts=(part,))))
        return tuple(found.values())

    # Gradients

    def _matrix_gradients(self, leaf: Leaf, at: int, sides: "_Sides") -> tuple[bool, bool]:
        """Whether the backward pass computes the gradients of the input and of the weight."""
        nodes = self.made.nodes(leaf)
        inner = [row for node in nodes for row in node.walk()]
        for row in inner:
            if row.word == "linear_backward" and (mask := _mask(row)):
                return bool(mask[0]), bool(mask[1])
        if leaf.row.word in _ON_VECTORS:
            return any(row.word == "mv" for row in inner), any(row.word in {"ger", "outer"} for row in inner)
        products = [pair for row in inner if (pair := pair_of(row)) is not None]
        guesses = [sides.gradients(pair) for pair in products]
        clear = [found for found in guesses if sum(found) == 1]
        open_ones = [found for found in guesses if sum(found) == 2]
        alike = self._alike(leaf)
        to_input, to_weight = (sum(found[side] for found in clear) >= alike for side in (0, 1))
        if open_ones and len(clear) + len(open_ones) >= 2 * alike:
            return True, True
        if open_ones:
            return (False, True) if self.roles.is_trained(leaf, at + sides.weight) else (True, False)
        return to_input, to_weight

    def _alike(self, leaf: Leaf) -> int:
        """Count the products of the same sizes from this one on that share its backward.

        A function of several, as a compiled region is one, has one backward for all; where that lacks gradients, the
        first products lack them, as nothing before them is trained.
        """
        function = self.made.function(leaf)
        if function is None:
            return 1
        size = _size(leaf.row)
        inside = (each for each in self.made.forward if self.made.function(each) is function)
        return sum(_size(each.row) == size and each.row.start >= leaf.row.start for each in inside)

    def _kernel_gradients(self, leaf: Leaf, source: Tensor, kernel: Tensor) -> tuple[bool, bool]:
        to_input = to_weight = False
        for node in self.made.nodes(leaf):
            for row in node.walk():
                if "conv" not in row.word or "backward" not in row.word:
                    continue
                shapes = [tensor.shape for tensor in row.tensors]
                if leaf.row.sequence is None and (source.shape not in shapes or kernel.shape not in shapes):
                    continue  # of another convolution in the same autograd function
                if (mask := _mask(row)) is not None:
                    to_input, to_weight = to_input or bool(mask[0]), to_weight or bool(mask[1])
                to_input |= row.word.endswith("_input")
                to_weight |= row.word.endswith("_weight")
        return to_input, to_weight

    # Attention and vector work

    def _attention(self, leaf: Leaf) -> list[Seen]:
        """Open attention in one kernel: the product of queries and keys, softmax, dropout, the product with values."""
        order, dropout_at = ATTENTION[leaf.row.word]
        outer = leaf.inside("scaled_dot_product_attention")
        row = outer if outer is not None and len(outer.tensors) >= 3 else leaf.row  # before any padding
        query, key, value = row.tensors[:3]
        if any(len(tensor.shape) != 4 for tensor in (query, key, value)):
            raise self.error(leaf, "attention over packed sequences cannot be read")
        (batch, heads, rows, width), (_, _, columns, _), (_, _, _, out) = (
            tensor.shape if order == "BHTD" or row is outer else tuple(tensor.shape[i] for i in (0, 2, 1, 3))
            for tensor in (query, key, value)
        )
        dropout = leaf.row.inputs[dropout_at] if dropout_at < len(leaf.row.inputs) else 0.0
        if not isinstance(dropout, int | float):
            raise self.error(leaf, f"its dropout is not recorded; {_NUMBERS}")
        grows = any(role.grows for _, role in self.roles.tensors(leaf)[:3])
        count = (self._share(leaf, batch, grows=grows, what="sequences")[0]) * heads
        steps = opened(row, leaf, self.made, (count, rows, columns, width, out), dropout=bool(dropout))
        gradient = bool(self.made.nodes(leaf))
        scales = ("scales_with_batch", grows)
        return [
            Seen(leaf=leaf, word=word, kind=KIND_OF.get(word, word), fields=(*sizes, scales), input_gradient=gradient)
            for word, sizes in steps
        ]

    def _recurrent(self, leaf: Leaf) -> Iterator[Seen]:
        """Open a recurrent kernel: per layer the product with all inputs, then one product and its gates per step."""
        layer = recurrent(leaf.row)
        if layer is None:
            raise self.error(leaf, "only recurrent layers without packed sequences and projections can be opened")
        ran = self.made.nodes(leaf)
        masks = [mask for node in ran for row in node.walk() if "rnn" in row.word and (mask := _mask(row))]
        to_input, to_state, _, to_weights = (
            masks[-1] if masks and len(masks[-1]) == 4 else self._wanted(leaf, reverse=layer.reverse)
        )
        to_input, to_state = to_input and bool(ran), to_state and bool(ran)
        to_weights = to_weights and bool(ran)
        share, grows = self._share(leaf, layer.sequences, grows=self.roles.of(leaf, 0).grows, what="sequences")

        def product(at: int, weight: Tensor, bias: tuple[int, Tensor] | None, rows: int, *, gradient: bool) -> Seen:
            sizes = {"in_features": weight.shape[1], "out_features": weight.shape[0], "rows": rows * share}
            return Seen(
                leaf=leaf,
                word="linear",
                kind="linear",
                fields=(*sizes.items(), ("scales_with_batch", grows)),
                weight=self.roles.listed(leaf, at, weight, "weight"),
                parameters=(("bias", self.roles.listed(leaf, *bias, "bias")),) if bias else (),
                input_gradient=gradient,
                weight_gradient=bool(to_weights),
            )

        def vector(word: str, reads: int, writes: int, *, gradient: bool = bool(ran)) -> Seen:
            fields = (("reads", reads * share), ("writes", writes * share), ("scales_with_batch", grows))
            kind = KIND_OF.get(word, "elementwise")
            return Seen(leaf=leaf, word=word, kind=kind, fields=fields, input_gradient=gradient)

        width = layer.hidden
        for number, (inputs, states_weight, biases) in enumerate(layer.layers):
            at = number * (2 + len(biases))
            first, second = ((at + 2 + i, bias) for i, bias in enumerate(biases)) if biases else (None, None)
            passes_on = bool(to_input or (ran and number >= layer.directions))
            if layer.is_reverse(number):
                copied = layer.steps * inputs.shape[1]
                yield vector("flip", copied, copied, gradient=passes_on)
            yield product(at, inputs, first, layer.steps, gradient=passes_on)
            for step in range(layer.steps):
                yield product(at + 1, states_weight, second, 1, gradient=bool(to_state or (step and ran)))
                for word, reads, writes in GATES[layer.gates]:
                    yield vector(word, reads * width, writes * width)
            yield vector("stack", layer.steps * width, layer.steps * width)
            if layer.directions == 2 and layer.is_reverse(number):
                yield vector("cat", 2 * layer.steps * width, 2 * layer.steps * width)

    def _wanted(self, leaf: Leaf, *, reverse: bool) -> tuple[bool, bool, bool, bool]:
        """Whether the gradients of input, states and weights of a recurrent kernel are of use.

        The kernel computes all of them; that of the input is of use where something before it is trained or it asks for
        one, that of a state where that is no zeros.
        """
        before = [each for each in self.made.forward if each.row.start < leaf.row.start]
        if reverse:  # both directions read the same
            while before and before.pop().row.word not in RNNS:
                pass
        earlier = any(self.made.nodes(each) for each in before)
        source, state = leaf.row.inputs[0], leaf.row.tensors[-1]
        shapes = [gradient.shape for gradient, creator, _ in self.made.accumulations() if creator is leaf.row]
        asks = isinstance(source, Tensor) and source.shape in shapes
        to_state = state.shape in shapes or (earlier and not self.roles.is_zeros(leaf, state))
        return earlier or asks, to_state, to_state, True

    def _vector(self, leaf: Leaf) -> list[Seen]:
        """Count what an operation without a product reads and writes, parameters and dropout masks excluded."""
        word, operands = leaf.row.word, self.roles.tensors(leaf)
        roles = {held.role for _, held in operands}
        kind = "dropout" if Role.NOISE in roles else KIND_OF.get(word, "elementwise")
        shape, grows = self.roles.result(leaf)
        writes = prod(shape)
        alone = Role.ACTIVATION not in roles  # work on parameters: then they are what is read
        numbers_too = not any(tensor.shape for tensor, _ in operands)  # a number beside a tensor is no operand
        read = [
            (held.stored, held.grows)
            for tensor, held in operands
            if held.role is not Role.NOISE and (alone or held.source is None) and (tensor.shape or numbers_too)
        ]
        read = rules.what_is_read(kind, word, read, (writes, grows), partial(self._pooling_reads, leaf, shape))
        scales = grows or any(each for _, each in read)
        if scales:
            reads, writes = sum(size for size, each in read if each), writes if grows else 0
            sizes = {"reads": reads // self.batch, "writes": writes // self.batch}
        else:
            sizes = {"reads": sum(size for size, _ in read), "writes": writes}
        shown = kind if kind == "dropout" else SHOWN_AS.get(word, word)
        return [
            Seen(
                leaf=leaf,
                word=shown,
                kind=kind,
                fields=(*sizes.items(), ("scales_with_batch", scales)),
                parameters=self._parameters(leaf, None),
                input_gradient=bool(self.made.nodes(leaf)),
            )
        ]

    def _pooling_reads(self, leaf: Leaf, result: tuple[int, ...]) -> int:
        """Elements of all windows: window size times outputs, or the exact windows of an adaptive pooling."""
        window = numbers(leaf.row.inputs[1]) if len(leaf.row.inputs) > 1 else None
        if window is None:
            raise self.error(leaf, f"its window is not recorded; {_NUMBERS}")
        return rules.of_windows(leaf.row.word, leaf.row.tensors[0].shape, result, window)


_ON_VECTORS = frozenset({"mv", "addmv", "dot", "vdot"})


@dataclass(frozen=True, slots=True)
class _Sides:
    """A product (m, k) times (k, n) with a weight on one side: 0 left, 1 right."""

    m: int
    n: int
    k: int
    weight: int
    operands: tuple[Tensor, Tensor]

    def gradients(self, product: tuple[Tensor, Tensor]) -> tuple[bool, bool]:
        """Whether a product of the backward pass can be the gradient of the input, and that of the weight.

        That of the input reduces the features of the result, that of the weight the rows.
        """
        rows, features = (self.m, self.n) if self.weight else (self.n, self.m)
        (p, q), r = product[0].shape[-2:], product[1].shape[-1]
        to_input = q == features and sorted((p, r)) == sorted((rows, self.k))
        to_weight = q == rows and sorted((p, r)) == sorted((self.k, features))
        if to_input and to_weight:
            storages = {tensor.storage for tensor in product} - {None}
            if self.operands[self.weight].storage in storages:
                return True, False
            if self.operands[1 - self.weight].storage in storages:
                return False, True
        return to_input, to_weight


def pair_of(row: Row) -> tuple[Tensor, Tensor] | None:
    """Return the factors of a matrix product, None for any other call."""
    at = PRODUCTS.get(row.word)
    if row.told == "linear":
        left, right = row.tensors[:2]
        return Tensor((prod(left.shape[:-1]), left.shape[-1])), Tensor(right.shape[::-1])
    if at is None or not row.is_operation:
        return None
    pair = [side for side in row.inputs[at : at + 2] if isinstance(side, Tensor) and len(side.shape) >= 2]
    return (pair[0], pair[1]) if len(pair) == 2 else None


def _size(row: Row) -> tuple[int, ...] | None:
    """Return batch, m, k and n of a matrix product."""
    pair = pair_of(row)
    return None if pair is None else (*pair[0].shape, pair[1].shape[-1])


def _mask(row: Row) -> tuple[Hashable, ...] | None:
    """Return which results a call of the backward pass computes: its last list of truth values."""
    lists = [value for value in row.inputs if isinstance(value, tuple) and value]
    flags = [value for value in lists if all(isinstance(part, bool) for part in value) and len(value) >= 2]
    return flags[-1] if flags else None


def merge_bias(last: Seen | None, seen: Seen, operands: Iterator[tuple[Tensor, Held]], batch: int) -> Seen | None:
    """Return the product `last` with the vector that `seen` adds to it as its bias, None where it adds none."""
    if last is None or seen.leaf.row.word != "add" or last.kind != "linear" or last.weight is None:
        return None
    sizes = dict(last.fields)
    rows = sizes["rows"] * (batch if sizes["scales_with_batch"] else 1)
    vector = other = None
    for tensor, role in operands:
        if role.source and role.source.elements == sizes["out_features"]:
            vector = role.source
        elif tensor.elements == rows * sizes["out_features"]:
            other = tensor
    if vector is None or other is None:
        return None
    return replace(last, parameters=(*last.parameters, ("bias", vector)))
