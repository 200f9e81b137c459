"""PyTorch execution traces (``ExecutionTraceObserver``, the host traces of Chakra): calls with the tensors they touch.

Every tensor has the number of its memory, so data flow is followed, not guessed: what comes from outside the step is a
parameter where its gradient is accumulated or where it stands in the place of one (weights of layers, of norms, of
embeddings); it is an input where it holds the samples of the batch, and a constant otherwise. As in a traced model, a
tensor computed from parameters alone, and as large as one of them, still is that parameter.
"""

import contextlib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, Literal, TypedDict

from accelsim.base.errors import InputError
from accelsim.base.files import Plain, Scalar
from accelsim.workload.importers._torch_file import Entries
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
from accelsim.workload.importers._torch_rows import COMPILED_FUNCTION, Leaf, Operand, Pass, Recording, Row, Tensor
from accelsim.workload.importers._torch_trace import (
    SEVERAL_ROWS,
    Base,
    Settled,
    build,
    per_sample,
    refuse_early,
    rows_of_a_sample,
)
from accelsim.workload.importers._torch_words import CONVOLUTIONS, NOT_COUNTED, VIEWS
from accelsim.workload.importing import ImportOptions
from accelsim.workload.rules import Role
from accelsim.workload.torch_words import KIND_OF, MASKS, PRODUCTS, READ_WHAT_THEY_WRITE, SAME_CONTENT, SELECTS
from accelsim.workload.trace import Trace

__all__ = ["read"]

_SCHEMA = re.compile(r"1\.\d+\.\d+(-chakra\.\d+\.\d+\.\d+)?")
_REDUCING = frozenset({"reduce", "loss"})
_RANDOM = frozenset({"randn", "rand", "randint"})
_USER_SCOPE = 7
_NO_VALUE = frozenset({None, "<None>"})


class _Attribute(TypedDict):
    name: str
    value: Scalar


class _Operands(TypedDict, total=False):
    """Operands of a node: per operand its value (of tensors their numbers), shape, type and strides."""

    values: list[Plain]
    shapes: list[Plain]
    types: list[str]
    strides: list[Plain]


class _Node(TypedDict, total=False):
    """A node as execution traces have it: new ones with `attrs`, old ones with these beside the rest."""

    name: str
    id: int
    parent: int
    ctrl_deps: int
    attrs: list[_Attribute]
    inputs: list[Plain] | _Operands
    input_shapes: list[Plain]
    input_types: list[str]
    outputs: list[Plain] | _Operands
    output_shapes: list[Plain]
    output_types: list[str]


def read(path: Path, options: ImportOptions) -> Trace:
    """Return the trace of the last complete step in the file at `path`.

    Raises `InputError` for a file that cannot be read or says too little.
    """
    source = str(path)
    entries = Entries(path, "nodes")
    refuse_early(entries, _first_calls(entries), options.batch)
    nodes: list[Any] = list(entries)
    data = entries.around()
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise InputError(f"{source}: no execution trace of PyTorch: it has no list of nodes")
    schema = str(data.get("schema"))
    if not _SCHEMA.fullmatch(schema):
        raise InputError(f"{source}: schema '{schema}' is not known; known are 1.x.y and 1.x.y-chakra.0.0.4")
    try:
        rows = [_row(node, position).check() for position, node in enumerate(nodes)]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{source}: a node is not as schema {schema} has it ({type(error).__name__}: {error})"
        ) from None
    recording = Recording(source=source, rows=_nested(nodes, rows))
    return build(recording, _Flow, options, [f"execution trace {schema}"])


# Reading


def _first_calls(entries: Iterable[Any]) -> Iterator[Row]:
    """Yield the nodes that can be read, in the order of the file."""
    for position, node in enumerate(entries):
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            yield _row(node, position).check()


def _nested(nodes: Sequence[_Node], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the outermost calls of all threads.

    Nodes are numbered as they start and written as they end; both together say what ran inside what, also where an
    exception kept the observer from noting an end. A file sorted by number keeps only what the nodes say of it.
    """
    sorted_by_start = all(earlier.start < later.start for earlier, later in pairwise(rows))
    if sorted_by_start:
        return _by_parent(nodes, rows)
    tops: list[Row] = []
    open_rows: dict[Hashable, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.start):
        around = open_rows.setdefault(row.thread, [])
        while around and around[-1].end < row.end:
            around.pop()
        (around[-1].children if around else tops).append(row)
        around.append(row)
    return _with_ends(tops)


def _by_parent(nodes: Sequence[_Node], rows: Sequence[Row]) -> tuple[Row, ...]:
    known: dict[int | None, Row] = {row.start: row for row in rows}
    tops: list[Row] = []
    for node, row in zip(nodes, rows, strict=True):
        parent = known.get(node.get("ctrl_deps", node.get("parent")))
        (parent.children if parent is not None and parent is not row else tops).append(row)
    return _with_ends(tops)


def _with_ends(tops: Sequence[Row]) -> tuple[Row, ...]:
    """Replace positions by the numbers of the calls that follow: a step lasts until the next call of its thread."""

    def close(rows: Sequence[Row], end: int) -> None:
        for row, following in zip(rows, [*(later.start for later in rows[1:]), end], strict=False):
            row.end = following
            close(row.children, following)

    last = max((row.start for top in tops for row in top.walk()), default=0) + 1
    for thread in {row.thread for row in tops}:
        close([row for row in tops if row.thread == thread], last)
    return tuple(tops)


def _row(node: _Node, position: int) -> Row:
    attributes = _attributes(node)
    backward = int(attributes["scope"]) == 1 or int(attributes["fw_tid"]) != 0
    sequence = int(attributes["seq_id"])
    return Row(
        name=node["name"],
        start=int(node["id"]),
        end=position,
        thread=int(attributes["tid"]),
        inputs=tuple(_values(node, "inputs", "input_shapes", "input_types")),
        outputs=tuple(_values(node, "outputs", "output_shapes", "output_types")),
        sequence=sequence if sequence >= 0 else None,
        forward_thread=int(attributes["fw_tid"]) if backward and sequence >= 0 else None,
        is_annotation=int(attributes["scope"]) == _USER_SCOPE,
        is_kernel=bool(attributes.get("kernel_backend")),
    )


def _attributes(node: _Node) -> Mapping[str, Any]:
    return {entry["name"]: entry["value"] for entry in node["attrs"]} if "attrs" in node else node


def _values(
    node: _Node,
    field: Literal["inputs", "outputs"],
    flat_shapes: Literal["input_shapes", "output_shapes"],
    flat_types: Literal["input_types", "output_types"],
) -> Iterator[Operand]:
    given = node[field]
    if isinstance(given, dict):
        values, shapes, types = given.get("values"), given.get("shapes"), given.get("types")
        strides = given.get("strides")
    else:
        values, shapes, types, strides = given, node[flat_shapes], node[flat_types], None
    for at, (value, shape, kind) in enumerate(zip(values or (), shapes or (), types or (), strict=True)):
        step = strides[at] if strides and at < len(strides) else None  # keyword arguments of kernels have none
        yield _value(value, shape, kind, step)


def _value(value: Any, shape: Any, kind: str, strides: Any) -> Operand:
    if "nullptr" in kind:
        return None
    if kind.startswith("Tensor"):
        return Tensor(tuple(shape), tuple(strides) if strides is not None else None, value[1], value[2])
    if isinstance(value, list):
        kinds = _kinds_of_elements(kind)
        inner = zip(value, shape, kinds, strides or [None] * len(value), strict=False)
        return tuple(_value(*each) for each in inner)
    return None if value in _NO_VALUE else value


def _kinds_of_elements(kind: str) -> list[str]:
    """Return the types of the elements of a list or tuple, as in ``GenericList[Tuple[Int,String],Int]``."""
    found, depth = [""], 0
    for letter in kind.partition("[")[2].removesuffix("]"):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


# Following tensors


_WORK = frozenset({Role.PARAMETER, Role.ACTIVATION, Role.DERIVED})
_OWN = frozenset({Role.ACTIVATION, Role.NOISE})


@dataclass(frozen=True, slots=True)
class _Value:
    """What a piece of memory holds from `offset` on, as long as nothing else is put there."""

    offset: int
    elements: int
    role: Role = Role.CONSTANT
    source: Parts | None = None
    grows: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether it can be prepared before the step."""
        return self.role is Role.CONSTANT

    @property
    def is_work(self) -> bool:
        """Whether what is computed from it belongs to the step."""
        return self.role in _WORK


class _Flow:
    """Follows the tensors of one pass from call to call."""

    def __init__(self, made: Pass, batch: int, source: str) -> None:
        self._made, self._batch, self._source = made, batch, source
        self._memory: dict[int, list[_Value]] = {}
        self._bases: dict[int, Base] = {}
        self._constants: dict[int, Parts] = {}
        self._inputs: list[tuple[tuple[int, ...], bool]] = []
        self._has_regions = any(_region(leaf) is not None for leaf in made.forward)
        self._cast: set[tuple[int | None, int]] = set()
        self._entered: set[int] = set()
        self._asked = False
        self._untold: list[Tensor] = []
        outside = self._from_outside()
        self._trained, self._others = self._find_trained({key: placed for key, (_, placed) in outside.items()})
        self._exact = any(
            batch in tensor.shape and _takes_data(row, at) and tensor.storage not in self._trained
            for row, placed in outside.values()
            for at, tensor in placed
        )

    def _find_trained(
        self, outside: Mapping[int, Sequence[tuple[int, Tensor]]]
    ) -> tuple[dict[int, list[Tensor]], list[tuple[int, Row | None]]]:
        """Find the tensors from outside whose gradients are accumulated, and the gradients of no known tensor."""
        trained: dict[int, list[Tensor]] = {}
        others: list[tuple[int, Row | None]] = []
        wanted: dict[tuple[int, tuple[int, ...]], list[Row | None]] = {}
        for gradient, creator, _ in self._made.accumulations():
            wanted.setdefault((id(creator), gradient.shape), []).append(creator)
        for (_, shape), (creator, *more) in wanted.items():
            alike = [] if creator is None else [each for each in outside.get(id(creator), ()) if each[1].shape == shape]
            alike = list({(tensor.storage, tensor.offset): (at, tensor) for at, tensor in alike}.values())
            count = len(more) + 1
            named = [] if creator is None else [each for each in alike if each[0] in parameters_of(creator)]
            alike = named if len(named) >= count else alike
            if creator is not None and len(alike) > count:
                alike = self._by_mask(creator, alike, count)
            inputs = [each for each in alike if creator is not None and self._is_input(creator, *each)]
            alike = [each for each in alike if each not in inputs]
            count -= len(inputs)
            self._asked |= bool(inputs) and not self._made.optimized_memory
            for _, tensor in alike:
                trained.setdefault(tensor.storage or 0, []).append(tensor)
            others += [(prod(shape), creator)] * (count - len(alike))
        return trained, others

    def _is_input(self, creator: Row, at: int, tensor: Tensor) -> bool:
        """Whether a tensor with a gradient is an input that asks for one: it holds the samples, and nothing steps it.

        Where no step of the optimizer is recorded, its place tells.
        """
        if tensor.shape[:1] != (self._batch,) or not _takes_data(creator, at):
            return False
        if self._made.optimized_memory:
            return tensor.storage not in self._made.optimized_memory
        return takes_input(creator, tensor, self._batch)

    def _from_outside(self) -> dict[int, tuple[Row, list[tuple[int, Tensor]]]]:
        """Return for each forward call the tensors from outside the step among its operands, with their places."""
        made: set[int | None] = set()
        found: dict[int, tuple[Row, list[tuple[int, Tensor]]]] = {}
        for leaf in (*self._made.forward, *(leaf for run in self._made.recomputed for leaf in run)):
            region = _region(leaf)
            if region is not None:  # what its kernels make is not recorded
                given = {tensor.storage for tensor in region.tensors}
                made |= {tensor.storage for tensor in leaf.row.tensors} - given
            for row in (*leaf.above, leaf.row):
                if id(row) not in found:
                    placed = [(at, tensor) for at, tensor in _placed(row) if tensor.storage not in made]
                    found[id(row)] = row, placed
            inputs = {tensor.storage for tensor in leaf.row.tensors}
            made |= {tensor.storage for tensor in leaf.row.results} - inputs
        return found

    def _by_mask(self, creator: Row, alike: list[tuple[int, Tensor]], count: int) -> list[tuple[int, Tensor]]:
        """Choose among equal operands: those that the optimizer steps, or whose gradient the backward of a norm has."""
        optimized = [each for each in alike if each[1].storage in self._made.optimized_memory]
        if len(optimized) == count:
            return optimized
        names = parameters_of(creator)
        masks = [
            value for node in self._made.ran(creator) for row in node.walk() for value in row.inputs
            if isinstance(value, tuple) and len(value) == 3 and all(isinstance(flag, bool) for flag in value)
        ]  # fmt: skip
        if masks:
            place = {"weight": 1, "bias": 2}
            chosen = [each for each in alike if masks[-1][place.get(names.get(each[0], ""), 0)]]
            if len(chosen) == count:
                return chosen
        raise InputError(
            f"{self._source}: {creator.name}: {count} of {len(alike)} equal operands has a gradient, and only the step"
            " of the optimizer would say which; record it as well"
        )

    # Operands

    def enter(self, leaf: Leaf) -> None:
        """Give a role to every tensor that comes from outside the step."""
        for row in (*leaf.above, leaf.row):
            if id(row) in self._entered:
                continue
            self._entered.add(id(row))
            region = _region(leaf) if row is leaf.row else None
            written = [] if row.name.endswith("_") else row.results
            for at, tensor in _placed(row):
                if not tensor.elements or self._covering(tensor) or (at and tensor in written):
                    continue
                if region is None:
                    self._from_elsewhere(tensor, at, row)
                else:
                    self._from_kernels(tensor, region)

    def _from_kernels(self, tensor: Tensor, region: Row) -> None:
        """Give a role to what a compiled region made in a kernel of its own, which is not recorded or not explained.

        A tensor with room for the samples is data, unless it has the sizes of a trained operand: then it is that,
        converted or in another layout.
        """
        value = _Value(tensor.offset, tensor.elements)
        sizes = sorted(tensor.shape)
        alike = [
            one for one in region.tensors if sorted(one.shape) == sizes and (one.storage, one.offset) not in self._cast
        ]
        sources = [(one, source) for one in alike if (source := self._value(one).source) is not None]
        if sources and self._batch not in tensor.shape:
            one, source = sources[0]
            self._cast.add((one.storage, one.offset))
            value = replace(value, role=Role.PARAMETER, source=source)
        elif self._holds(tensor.shape):
            value = replace(value, role=Role.ACTIVATION, grows=True)
        self._memory.setdefault(tensor.storage or 0, []).append(value)

    def _from_elsewhere(self, tensor: Tensor, at: int, row: Row) -> None:
        names = parameters_of(row)
        trained = [one for one in self._trained.get(tensor.storage or 0, ()) if _covers(one, tensor)]
        whole = trained[0] if trained else tensor
        value = _Value(whole.offset, whole.elements)
        takes_data = _takes_data(row, at)
        if trained or at in names:
            base = len(self._bases)
            self._bases[base] = Base(whole.elements, bool(trained))
            rows = whole.shape[0] if whole.shape else 1
            value = replace(value, role=Role.PARAMETER, source=Parts((Part(base),), whole.elements, rows))
        elif takes_data and self._holds(tensor.shape) and (self._batch in tensor.shape or not self._exact):
            value = replace(value, role=Role.ACTIVATION, grows=True)
            if not self._from_region(tensor, row):
                self._inputs.append((tensor.shape, "loss" in row.word))
        elif takes_data and tensor.elements > 1 and row.is_operation and not NOT_COUNTED.fullmatch(row.word):
            self._untold.append(tensor)
        self._memory.setdefault(tensor.storage or 0, []).append(value)

    def _from_region(self, tensor: Tensor, row: Row) -> bool:
        """Whether a compiled region before a call made its operand: a gradient flows, and from no other operand."""
        others = [other for other in row.tensors if other.storage != tensor.storage]
        return self._has_regions and bool(self._made.ran(row)) and not any(self._covering(other) for other in others)

    def _holds(self, shape: Sequence[int]) -> bool:
        """Whether a shape has room for the samples of the batch."""
        return prod(shape) > 0 and bool(shape) and (shape[0] % self._batch == 0 or self._batch in shape)

    def _covering(self, tensor: Tensor) -> _Value | None:
        values = self._memory.get(tensor.storage or 0, ())
        return next((v for v in values if v.offset <= tensor.offset < v.offset + max(v.elements, 1)), None)

    def _value(self, tensor: Tensor) -> _Value:
        """Return what a tensor holds; a slice of a parameter is named as such."""
        value = self._covering(tensor) or _Value(tensor.offset, tensor.elements)
        source = value.source
        part = min(tensor.stored, value.elements)
        if source is None or part >= source.elements:
            return value
        width = source.elements // source.rows
        start = tensor.offset - value.offset
        whole_rows = not (part % width or start % width)
        where = f"[{start // width}:{(start + part) // width}]" if whole_rows else f"[{start}+{part}]"
        parts = tuple(replace(one, suffix=one.suffix + where) for one in source.parts)
        return replace(value, source=Parts(parts, part, part // width if whole_rows else 1))

    def _held(self, tensor: Tensor) -> Held:
        value = self._value(tensor)
        stored = min(tensor.stored, value.elements) if tensor.strides is None else tensor.stored
        grows = value.grows and stored % self._batch == 0
        return Held(stored, value.role, value.source, grows)

    def of(self, leaf: Leaf, at: int) -> Held:
        """See `Roles`."""
        value = leaf.row.inputs[at] if at < len(leaf.row.inputs) else None
        return self._held(value) if isinstance(value, Tensor) else Held(0)

    def tensors(self, leaf: Leaf) -> list[tuple[Tensor, Held]]:
        """See `Roles`."""
        return [(tensor, self._held(tensor)) for tensor in leaf.row.tensors]

    def sources(self, leaf: Leaf) -> list[tuple[int, Parts]]:
        """See `Roles`."""
        placed = ((at, self._value(tensor).source) for at, tensor in _placed(leaf.row))
        return [(at, source) for at, source in placed if source is not None]

    def result(self, leaf: Leaf) -> tuple[tuple[int, ...], bool]:
        """See `Roles`."""
        if not leaf.row.results:
            return (0,), False
        first = leaf.row.results[0]
        return first.shape, self._grows(leaf, first)

    def _grows(self, leaf: Leaf, result: Tensor) -> bool:
        """Whether every sample has its own part of a result: as of an operand, unless it is reduced over the batch."""
        word = leaf.row.word
        if any(self._value(tensor).grows for tensor in leaf.row.tensors):
            return self._holds(result.shape) if KIND_OF.get(word) in _REDUCING else result.elements % self._batch == 0
        made_for_batch = word in {"expand", "repeat"} or NOT_COUNTED.fullmatch(word) is not None
        repeated = word == "repeat" and result.elements == self._batch * leaf.row.tensors[0].elements
        return self._batch > 1 and (repeated or (made_for_batch and self._batch in result.shape[:2]))

    def counts(self, leaf: Leaf) -> bool:
        """See `Roles`; choosing what weights to keep, and masking them, is work of the method and not of the model."""
        values = [self._value(tensor) for tensor in leaf.row.tensors]
        return any(value.is_work for value in values) and self._masked(leaf, values) is None

    @staticmethod
    def _masked(leaf: Leaf, values: Sequence[_Value]) -> _Value | None:
        """Return what a call makes of parameters alone when it chooses what to keep of them, or masks them."""
        sources = [value.source for value in values if value.source]
        if not sources or any(value.role in {Role.ACTIVATION, Role.DERIVED} for value in values):
            return None
        result = _Value(0, 0)
        if leaf.row.word in SELECTS:
            return replace(result, role=Role.PARAMETER, source=sources[0]) if leaf.row.word == "abs" else result
        elements = max(tensor.elements for tensor in leaf.row.tensors)
        others = [tensor for tensor, value in zip(leaf.row.tensors, values, strict=True) if not value.source]
        masks = leaf.row.word in MASKS and any(tensor.elements == elements > 1 for tensor in others)
        alike = len(sources) == 1 and sources[0].elements == elements
        return replace(result, role=Role.PARAMETER, source=sources[0]) if masks and alike else None

    def constant(self, leaf: Leaf, at: int) -> Parts | None:
        """See `Roles`; a kernel computed from parameters counts as constant."""
        tensor = leaf.row.tensor(at)
        value = self._value(tensor)
        kernel = leaf.row.word in CONVOLUTIONS
        if value.role in _OWN or (not kernel and (value.role is Role.DERIVED or len(tensor.shape) != 2)):
            return None
        return self._constant(tensor)

    def _constant(self, tensor: Tensor) -> Parts:
        if tensor.storage not in self._constants:
            base = len(self._bases)
            self._bases[base] = Base(tensor.stored, trained=False)
            self._constants[tensor.storage or 0] = Parts((Part(base),), tensor.stored)
        return self._constants[tensor.storage or 0]

    def listed(self, leaf: Leaf, at: int, tensor: Tensor, name: str) -> Parts:
        """See `Roles`."""
        return self._value(tensor).source or self._constant(tensor)

    def is_trained(self, leaf: Leaf, at: int) -> bool:
        """See `Roles`."""
        source = self.of(leaf, at).source
        return source is not None and any(self._bases[part.base].trained for part in source.parts)

    def is_zeros(self, leaf: Leaf, tensor: Tensor) -> bool:
        """See `Roles`."""
        return self._value(tensor).is_constant

    # Results

    def leave(self, leaf: Leaf) -> None:
        """Give results that lie in new memory the role of what they are computed from."""
        row = leaf.row
        inputs = {tensor.storage for tensor in row.tensors}
        values = [self._value(tensor) for tensor in row.tensors]
        known = {tensor.storage for tensor, value in zip(row.tensors, values, strict=True) if not value.is_constant}
        made = {result: self._made_value(leaf, result, values) for result in row.results if result.storage not in known}
        for result, value in made.items():
            if result.elements and not (value.is_constant and result.storage in inputs):
                self._memory[result.storage or 0] = [value]

    def _made_value(self, leaf: Leaf, result: Tensor, values: Sequence[_Value]) -> _Value:
        word = leaf.row.word
        made = _Value(result.offset, result.stored, grows=self._grows(leaf, result))
        if word == "bernoulli":
            return replace(made, role=Role.NOISE)
        if word in _RANDOM and made.grows and not self._exact:  # inputs made up in the step
            self._inputs.append((result.shape, False))
            return replace(made, role=Role.ACTIVATION)
        if (NOT_COUNTED.fullmatch(word) and word not in VIEWS | SAME_CONTENT) or not values:
            return made
        if any(value.role is Role.ACTIVATION for value in values):
            return replace(made, role=Role.ACTIVATION)
        if any(value.source for value in values):
            source = self._source_of_result(leaf, result, values)
            chosen = source is None and self._masked(leaf, values) is not None
            role = Role.PARAMETER if source else Role.CONSTANT if chosen else Role.DERIVED
            return replace(made, role=role, source=source)
        roles = {value.role for value in values}
        return replace(made, role=next((role for role in (Role.DERIVED, Role.NOISE) if role in roles), made.role))

    def _source_of_result(self, leaf: Leaf, result: Tensor, values: Sequence[_Value]) -> Parts | None:
        """Return the parameter that a tensor computed from parameters alone still is, None where it is none."""
        word = leaf.row.word
        sources = [value.source for value in values if value.source]
        if (masked := self._masked(leaf, values)) is not None:
            return masked.source
        if word in {"cat", "stack"}:
            return _joined(sources)
        if word in SAME_CONTENT:
            return sources[0]
        computed = word in PRODUCTS or word in CONVOLUTIONS or word in READ_WHAT_THEY_WRITE
        return next((one for one in sources if one.elements == result.elements and not computed), None)

    # Afterwards

    def settle(self, operations: Sequence[Seen]) -> Settled:
        """See `Following`."""
        bases = dict(self._bases)
        for seen in operations:
            for part in seen.weight.parts if seen.weight and seen.weight_gradient else ():
                bases[part.base] = replace(bases[part.base], trained=True)
        used = {part.base for seen in operations for source in sources_of(seen) for part in source.parts}
        unused = [number for number, base in bases.items() if base.trained and number not in used]
        inputs = [shape for shape, is_loss in self._inputs if not is_loss] or [shape for shape, _ in self._inputs]
        notes = [ASKED] if self._asked else []
        if self._untold:
            notes.append(
                "tensors from outside the step that are neither trained, nor weights, nor as large as the batch are"
                " taken as constants"
            )
        if any(rows_of_a_sample(shape, self._batch) > 1 for shape in inputs):
            notes.append(SEVERAL_ROWS)
        return Settled(
            bases=bases,
            same={},
            others=(*self._others, *((bases[number].elements, None) for number in unused)),
            input_shapes=tuple(per_sample(shape, self._batch) for shape in inputs),
            notes=tuple(notes),
        )


def _placed(row: Row) -> Iterator[tuple[int, Tensor]]:
    """Yield the tensors among the arguments of a call with their places."""
    for at, value in enumerate(row.inputs):
        if isinstance(value, Tensor):
            yield at, value
        elif isinstance(value, tuple):
            yield from ((at, tensor) for tensor in value if isinstance(tensor, Tensor))


def _region(leaf: Leaf) -> Row | None:
    """Return the function of the compiled region around a call."""
    return next((row for row in leaf.above if row.name == COMPILED_FUNCTION), None)


def _takes_data(row: Row, at: int) -> bool:
    """Whether data may stand at a place of the arguments of a call."""
    return not parameters_of(row) or at == (1 if row.word.startswith("embedding") else 0)


def _covers(whole: Tensor, part: Tensor) -> bool:
    return whole.offset <= part.offset < whole.offset + max(whole.elements, 1)


def _joined(sources: Sequence[Parts]) -> Parts:
    parts = tuple(part for source in sources for part in source.parts)
    return Parts(parts, sum(source.elements for source in sources), sum(source.rows for source in sources))
