"""The walk over an ONNX graph that finds what each node computes on what.

It knows of every tensor whether it depends on the inputs and which parameters it consists of. As in a traced model, a
tensor computed from parameters alone, and as large as one of them, still is that parameter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.workload import rules
from accelsim.workload.importers._onnx_graph import Content, Fact, Graph, Node, Stored, is_made_up, shown
from accelsim.workload.importers._onnx_layout import Strides, contiguous, in_order_of
from accelsim.workload.rules import Role, Source

__all__ = [
    "Call",
    "Operator",
    "Operators",
    "Producers",
    "Seen",
    "Value",
    "View",
    "Walk",
    "Weight",
    "Work",
]

_MASKING: Mapping[str, Callable[..., NDArray[np.generic]]] = {"Mul": np.multiply, "Where": np.where}
_REARRANGING = frozenset({"Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_ELEMENT_BY_ELEMENT = frozenset({"activation", "add", "multiply", "dropout", "elementwise"})


Producers = tuple[object, ...]
"""What wrote a tensor: inputs of the graph by their number, and results of work (`Work.result`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor in the walk.

    `strides`: distances in memory, 0 where elements are repeated. `gradient`: whether a gradient flows through it.
    `source` is known of constants too where they lie in the file and might be parameters, such as a scale of one
    element. `product`: the position of the product that it is the result of. `producers` wrote it; views keep them.
    """

    shape: tuple[int, ...]
    role: Role
    strides: Strides
    gradient: bool = False
    floating: bool = True
    known: NDArray[np.generic] | None = None
    source: Source | None = None
    content: Content | None = None
    product: int | None = None
    producers: Producers = ()

    @property
    def elements(self) -> int:
        """Number of elements, repeated ones included."""
        return prod(self.shape)

    @property
    def quantised(self) -> bool:
        """Whether it holds whole numbers that stand for real ones, so that a gradient flows through it."""
        return self.gradient and not self.floating

    @property
    def in_memory(self) -> int:
        """Number of elements without those that an Expand repeats."""
        return prod(size for size, step in zip(self.shape, self.strides, strict=True) if step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """The weight of a product. `content` gives it as (groups, inputs, outputs, taps) where the file holds it."""

    label: str
    elements: int
    frozen: bool = False
    content: Content | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(rules.Work):
    """What a node computes.

    `with_batch`: which count holds the samples of a product of two activations, `gradients` which of these have one.
    `reads`: the producers of each operand, of a product with a weight its data first; `result` stands for what it
    writes.
    """

    word: str
    reads: tuple[Producers, ...] = field(compare=False)
    with_batch: int = 0
    weight: Weight | None = None
    parameters: tuple[str, ...] = ()
    depends: bool = True
    input_gradient: bool = True
    gradients: tuple[bool, bool] = (True, True)
    result: object = field(default_factory=object, compare=False)

    def followed_by(self, **changes: Any) -> "Work":
        """Return work with these changes that reads what this one writes."""
        return replace(self, **{"reads": ((self.result,),), "result": object(), **changes})

    def again(self, *reads: Producers) -> "Work":
        """Return the same work on other operands."""
        return replace(self, reads=reads, result=object())


@dataclass(frozen=True, slots=True)
class Seen:
    """A piece of work and the node it belongs to. `first_use`: no node before it uses its weight."""

    work: Work
    node: Node
    first_use: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A node with its operands (None where left out) and what is known of its results.

    `made`: what wrote a result, by its position, where that is not the last work of the node.
    """

    walk: "Walk"
    node: Node
    operands: tuple[Value | None, ...]
    results: tuple[Fact | None, ...]
    made: dict[int, Producers] = field(default_factory=dict)

    @property
    def data(self) -> list[Value]:
        """The operands that are data, without settings such as axes and without those left out."""
        taken = self.walk.operators.data.get(self.node.operator)
        return [value for value in self.operands[:taken] if value is not None]

    def operand(self, position: int) -> Value | None:
        """Return an operand, None where it is left out."""
        return self.operands[position] if position < len(self.operands) else None

    def needed(self, position: int) -> Value:
        """Return an operand. Raises `InputError` where it is left out."""
        value = self.operand(position)
        if value is None:
            raise self.error(f"its input {position + 1} is missing")
        return value

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute or its default."""
        return self.node.attributes.get(name, default)

    def known(self, position: int, name: str) -> list[int] | None:
        """Return integers that are an attribute in old opsets and an input in newer ones; None where left out."""
        if name in self.node.attributes:
            return [int(item) for item in self.node.attributes[name]]
        value = self.operand(position)
        if value is None:
            return None
        if value.known is None:
            raise self.error(f"its {name} depend on values that the file does not hold")
        return [int(item) for item in value.known.reshape(-1)]

    @property
    def result(self) -> Fact:
        """The first result. Raises `InputError` where its shape is not known."""
        fact = self.results[0]
        if fact is None:
            raise self.error("the shape of its result depends on values that the file does not hold")
        return fact

    def error(self, text: str) -> InputError:
        """Return an error that names file and node."""
        return InputError(f"{self.walk.graph.file}: {self.node.where}: {text}")


Operator = Callable[[Call], Sequence[Work]]
View = Callable[[Call], "Sequence[Value] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """What is known of operators: views, work, those without an entry, and inputs that are settings, not data."""

    views: Mapping[str, View]
    work: Mapping[str, Operator]
    free: frozenset[str]
    noise: frozenset[str]
    data: Mapping[str, int]


class Walk:
    """One pass over a graph at one batch size: `seen` holds its work in order."""

    def __init__(self, graph: Graph, facts: Mapping[str, Fact | None], operators: Operators) -> None:
        self.graph = graph
        self.seen: list[Seen] = []
        self.elements: dict[str, int] = {}
        self.notes: dict[str, list[str]] = {}
        self._facts = facts
        self.operators = operators
        self._labels: dict[tuple[str, str | None], str] = {}
        self._used: set[str] = set()
        self._in_nodes = not any(stored.floating and prod(stored.shape) > 1 and not stored.in_node
                                 for stored in graph.stored.values())  # fmt: skip
        self.biases = _biases(graph)
        self._quantised = _quantised(graph)
        self._tables: list[tuple[str, Stored]] = []
        self._values = {name: self._input(name, number) for number, name in enumerate(graph.inputs)}
        for node in graph.nodes:
            try:
                self._visit(node)
            except (ArithmeticError, LookupError, ValueError) as error:
                raise InputError(
                    f"{graph.file}: {node.where}: its inputs and attributes do not fit together ({error})"
                ) from error

    def _fact(self, name: str) -> Fact:
        fact = self._facts.get(name)
        if fact is None:
            raise InputError(
                f"{self.graph.file}: the shape of tensor '{name}' depends on values that the file does not hold"
            )
        return fact

    def _input(self, name: str, number: int) -> Value:
        fact = self._fact(name)
        return Value(
            shape=fact.shape, role=Role.ACTIVATION, strides=contiguous(fact.shape), gradient=False,
            floating=fact.floating, producers=(number,),
        )  # fmt: skip

    def _stored(self, name: str) -> Value:
        """Return a tensor of the file: a parameter where it may be trained, else a constant."""
        fact, stored = self._fact(name), self.graph.stored.get(name)
        elements = prod(fact.shape)
        value = Value(
            shape=fact.shape, role=Role.CONSTANT, strides=contiguous(fact.shape), floating=fact.floating,
            known=fact.known, content=stored.content if stored else None,
        )  # fmt: skip
        if stored is None or not elements or (stored.in_node and not self._in_nodes):
            return value
        real = stored.floating or name in self._quantised
        trained = real and elements > 1 and not stored.masks
        return replace(
            value,
            role=Role.PARAMETER if trained else Role.CONSTANT,
            gradient=trained,
            source=Source(label=name, elements=elements, parameters=(name,)),
        )

    def value(self, name: str) -> Value | None:
        """Return a tensor by name, None for the empty name of an operand left out."""
        if not name:
            return None
        if name not in self._values:
            self._values[name] = self._stored(name)
        return self._values[name]

    def _visit(self, node: Node) -> None:
        if node.operator == "Constant":
            return
        call = Call(
            self, node, tuple(map(self.value, node.inputs)), tuple(self._facts.get(name) for name in node.outputs)
        )
        known = self.operators
        view = None if node.operator in known.free or node.operator not in known.views else known.views[node.operator]
        values = view(call) if view else None
        if values is not None:
            self._values.update(zip(node.outputs, values, strict=False))
            return
        operands = call.data
        roles = {value.role for value in operands}
        role = Role.CONSTANT
        producers: Producers = ()
        if node.operator in known.noise:
            role = Role.NOISE
        elif node.operator not in known.free:
            role = _role_of_result(roles)
            producers = tuple(dict.fromkeys(one for value in operands for one in value.producers))
            if roles & {Role.ACTIVATION, Role.PARAMETER, Role.DERIVED}:
                producers = self.record(call, known.work[node.operator](call)) or producers
        self._set_results(call, operands, role, producers)

    def record(self, call: Call, works: Sequence[Work]) -> Producers:
        """Take note of work of a node, and return what stands for the result of its last; () where there is none."""
        for work in works:
            label = work.weight.label if work.weight else None
            self.seen.append(Seen(work, call.node, first_use=label is not None and label not in self._used))
            self._used |= {name for name in (label, *work.parameters) if name}
        return (works[-1].result,) if works else ()

    def _set_results(self, call: Call, operands: Sequence[Value], role: Role, producers: Producers) -> None:
        product = len(self.seen) - 1 if self.seen and self.seen[-1].node is call.node else None
        gradient = role is not Role.NOISE and any(value.gradient for value in operands)
        quantised = any(value.quantised for value in operands)
        sources = [value for value in operands if value.role is Role.PARAMETER and value.source]
        for place, (name, fact) in enumerate(zip(call.node.outputs, call.results, strict=True)):
            if not name or fact is None:
                continue
            elements = prod(fact.shape)
            if role is Role.ACTIVATION and not elements:
                raise call.error(f"its result '{name}' has shape {shown(fact.shape)}: sizes of at least 1 are needed")
            value = Value(
                shape=fact.shape, role=role, strides=self._strides(fact.shape, operands, product),
                gradient=gradient and (fact.floating or quantised), floating=fact.floating, known=fact.known,
                product=product, producers=call.made.get(place, producers),
            )  # fmt: skip
            if role is Role.PARAMETER:
                value = _same_parameter(call, value, sources)
            self._values[name] = value

    def _strides(self, shape: tuple[int, ...], operands: Sequence[Value], position: int | None) -> Strides:
        """Work element by element keeps the order in memory of its first operand of full shape."""
        if position is not None and self.seen[position].work.kind in _ELEMENT_BY_ELEMENT:
            for value in operands:
                if value.shape == shape and value.in_memory == value.elements:
                    return in_order_of(shape, value.strides)
        return contiguous(shape)

    def copy(self, call: Call, value: Value, shape: Sequence[int]) -> Value:
        """Record the copy of a value, repeated to `shape`, that a view cannot serve, and return the value behind it."""
        if value.role in {Role.CONSTANT, Role.NOISE}:
            return value
        work = Work(
            kind="copy", word="copy", counts=(value.in_memory, prod(shape)), depends=value.role is Role.ACTIVATION,
            input_gradient=value.gradient, reads=(value.producers,),
        )  # fmt: skip
        self.seen.append(Seen(work, call.node))
        return replace(value, producers=(work.result,))

    def bias(self, product: int, label: str) -> None:
        """Give the product at a position a bias."""
        seen = self.seen[product]
        parameters = tuple(dict.fromkeys((*seen.work.parameters, label)))
        self.seen[product] = replace(seen, work=replace(seen.work, parameters=parameters))
        self._used.add(label)

    def note(self, kind: str, name: str) -> None:
        """Keep a name for a sentence about all names of a kind."""
        names = self.notes.setdefault(kind, [])
        if name not in names:
            names.append(name)

    def claim(self, source: Source, node: Node, leaf: str) -> str:
        """Return the name under which the trace lists a parameter that `node` uses, and count its elements.

        Names that an exporter made up give way to the module's with `leaf`. Exporters merge parameters of equal
        content; where all elements are the same, each module has its own again.
        """
        label = source.label
        if len(source.parameters) == 1:
            stored = self.graph.stored[source.parameters[0]]
            label = self._own_label(source, node, leaf, stored) + label.removeprefix(stored.name)
        self.elements.setdefault(label, source.elements)
        return label

    def _own_label(self, source: Source, node: Node, leaf: str, stored: Stored) -> str:
        place = source.alias or (node.module if node.module is not None else node.result)
        key = (stored.name, place if stored.uniform else None)
        if key not in self._labels:
            self._labels[key] = self._new_label(source, node, leaf, stored)
        return self._labels[key]

    def _new_label(self, source: Source, node: Node, leaf: str, stored: Stored) -> str:
        made_up = is_made_up(stored.name)
        bias = self.biases.get(node.result) if made_up and leaf == "weight" else None
        taken = set(self._labels.values())
        merged = any(name == stored.name for name, _ in self._labels)
        wanted = [] if made_up or merged else [stored.name]
        if merged:
            self.note("merged", stored.name)
        if source.alias and not is_made_up(source.alias):
            wanted.append(source.alias)
        if bias is not None:
            wanted.append(f"{bias.removesuffix('bias')}weight")
        if node.module is not None:
            own = leaf if made_up else stored.name.rpartition(".")[2]
            wanted.append(f"{node.module}.{own}".removeprefix("."))
        wanted += [stored.name, f"{stored.name} of {node.name or node.result}"]
        return next((name for name in wanted if name not in taken and self._free(name, stored)), wanted[-1])

    def _free(self, name: str, stored: Stored) -> bool:
        return name == stored.name or name not in self.graph.stored

    def remember_table(self, label: str, source: Source) -> None:
        """Keep an embedding table: a weight of the same content is tied to it."""
        if source.parameters == (source.label,):
            self._tables.append((label, self.graph.stored[source.label]))

    def tied_table(self, source: Source) -> str | None:
        """Return the embedding table that holds the transpose of the weight, element by element."""
        stored = self.graph.stored.get(source.label)
        if stored is None or stored.content is None or stored.uniform:
            return None
        for label, table in self._tables:
            if table.name != stored.name and table.content is not None and _transposes(table, stored):
                self.note("tied", f"{stored.name} to {label}")
                return label
        return None


def _biases(graph: Graph) -> dict[str, str]:
    """Return the bias that is added to a tensor, by that tensor, where the file names it so."""
    return {
        name: bias
        for node in graph.nodes
        if node.operator == "Add"
        for name, bias in (node.inputs, node.inputs[::-1])
        if bias in graph.stored and bias.endswith("bias")
    }


def _quantised(graph: Graph) -> set[str]:
    """Return the stored tensors of whole numbers that are taken as real ones, as they are or in part."""
    found = set[str]()
    for node in reversed(graph.nodes):
        if node.operator == "DequantizeLinear" or (node.operator in _REARRANGING and node.outputs[0] in found):
            found.add(node.inputs[0])
    return {name for name in found if name in graph.stored}


def _transposes(table: Stored, weight: Stored) -> bool:
    """Whether the weight is the table or its transpose; a row tells most of them apart."""
    if table.content is None or weight.content is None or len(weight.shape) != len(table.shape):
        return False
    for left in (table.content(), table.content().T):
        right = weight.content()
        if left.shape == right.shape and np.array_equal(left[0], right[0]) and np.array_equal(left, right):
            return True
    return False


def _role_of_result(roles: set[Role]) -> Role:
    order = (Role.ACTIVATION, Role.PARAMETER, Role.DERIVED, Role.NOISE)
    return next((role for role in order if role in roles), Role.CONSTANT)


def _same_parameter(call: Call, value: Value, sources: Sequence[Value]) -> Value:
    """Return the result of work on parameters alone: still a parameter where it is as large as one, or joins them."""
    parts = [operand.source for operand in sources if operand.source]
    if call.node.operator == "Concat":
        return _joined(call, value, parts)
    alike = [part for part in parts if part.elements == value.elements]
    if call.node.operator in _MASKING and all(operand.content for operand in call.data):
        value = replace(value, content=_masked(call))
    if alike and call.node.operator not in {"MatMul", "Gemm", "Einsum", "Conv", "ConvTranspose", "Gather"}:
        return replace(value, source=alike[0])
    return replace(value, role=Role.DERIVED)


def _joined(call: Call, value: Value, parts: Sequence[Source]) -> Value:
    """Return joined parameters; all parts of one, in whatever order, are that one."""
    tensors = tuple(dict.fromkeys(name for part in parts for name in part.parameters))
    elements = sum(part.elements for part in parts)
    whole = len(tensors) == 1 and elements == prod(call.walk.graph.stored[tensors[0]].shape)
    label = tensors[0] if whole else "+".join(part.label for part in parts)
    contents = [operand.content for operand in call.data if operand.content]

    def content() -> NDArray[np.generic]:
        joined: NDArray[np.generic] = np.concatenate([read() for read in contents], call.node.attributes["axis"])
        return joined

    source = Source(label=label, elements=elements, parameters=tensors)
    return replace(value, source=source, content=content if len(contents) == len(call.data) else None)


def _masked(call: Call) -> Content:
    apply, parts = _MASKING[call.node.operator], [value.content for value in call.data if value.content]
    return lambda: apply(*(part() for part in parts))
