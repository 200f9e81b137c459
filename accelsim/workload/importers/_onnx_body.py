"""What a node of the file stands for where that is several nodes: operators of runtimes, of quantised numbers, If.

An expansion reads the shapes before its node and writes nodes of the standard, so that everything after it knows these
alone. The last of them make the results of the node under their own names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.workload.importers._onnx_graph import STANDARD, Content, Fact, Graph, Node, Stored

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["Body", "Expansion", "Step", "node_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node that a body holds. What no shape inference knows of its results is given.

    `shapes` of the results, or `same`: that of the first input; `kind`: their element type, by default that of the
    first input. `opset` is that of its operator.
    """

    node: Node
    proto: "NodeProto"
    opset: int
    shapes: tuple[Shape, ...] | None = None
    same: bool = False
    kind: int | None = None


class Body:
    """The nodes that stand for `node`, and the tensors that these need."""

    def __init__(
        self, onnx: ModuleType, graph: Graph, node: Node, facts: Mapping[str, Fact | None], types: Mapping[str, Any]
    ) -> None:
        self.onnx, self.file, self.node = onnx, graph.file, node
        self._graph = graph
        self.steps: list[Step] = []
        self.stored: list[tuple[Stored, int]] = []
        self._facts, self._types = facts, types
        self._opset = onnx.defs.onnx_opset_version()

    def error(self, text: str) -> InputError:
        """Return an error that names file and node."""
        return InputError(f"{self.file}: {self.node.where}: {text}")

    def given(self, position: int) -> str:
        """Return the name of an input, empty where it is left out."""
        return self.node.inputs[position] if position < len(self.node.inputs) else ""

    def needed(self, position: int) -> str:
        """Return the name of an input. Raises `InputError` where it is left out."""
        name = self.given(position)
        if not name:
            raise self.error(f"its input {position + 1} is missing")
        return name

    def result(self, position: int) -> str:
        """Return the name of a result, empty where it is left out."""
        return self.node.outputs[position] if position < len(self.node.outputs) else ""

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute. Raises `InputError` where it is left out and has no default."""
        value = self.node.attributes.get(name, default)
        if value is None:
            raise self.error(f"its attribute {name} is missing")
        return value

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor. Raises `InputError` where it is not known."""
        fact = self._facts.get(name)
        if fact is None:
            raise self.error(f"the shape of its input '{name}' depends on values that the file does not hold")
        return fact.shape

    def known(self, name: str) -> NDArray[np.generic] | None:
        """Return what a small constant tensor holds, None where that is not known."""
        fact = self._facts.get(name)
        return None if fact is None else fact.known

    def kind(self, name: str) -> int:
        """Return the element type of a tensor."""
        return int(self._types[name].tensor_type.elem_type)

    def content(self, name: str) -> Content | None:
        """Return a reader of a stored tensor, None where no file holds its numbers."""
        stored = self._graph.stored.get(name)
        return None if stored is None else stored.content

    def unpacked(self, name: str, shape: Shape, content: Content | None) -> str:
        """Store the real numbers that a packed tensor stands for, under its name."""
        self.stored.append((Stored(name=name, shape=shape, floating=True, content=content), self.real))
        return name

    @property
    def real(self) -> int:
        """The element type of real numbers."""
        return int(self.onnx.TensorProto.FLOAT)

    def _new(self) -> str:
        first = next(name for name in self.node.outputs if name)
        return f"{first}/{len(self.steps) + len(self.stored)}"

    def add(
        self, operator: str, inputs: Sequence[str], *, to: str = "", shape: Shape | None = None,
        same: bool = False, kind: int | None = None, **attributes: Any,
    ) -> str:  # fmt: skip
        """Add a node of one result, named `to` where it is one of the file's, and return the name of that."""
        name, shapes = to or self._new(), None if shape is None else (shape,)
        self.several(operator, inputs, [name], shapes=shapes, same=same, kind=kind, **attributes)
        return name

    def several(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], *, shapes: tuple[Shape, ...] | None = None,
        same: bool = False, kind: int | None = None, **attributes: Any,
    ) -> None:  # fmt: skip
        """Add a node of several results."""
        given = {name: value for name, value in attributes.items() if value is not None}
        proto = self.onnx.helper.make_node(operator, list(inputs), list(outputs), **given)
        node = Node(
            operator=operator, name=self.node.name, inputs=tuple(inputs), outputs=tuple(outputs), attributes=given,
            module=self.node.module, origin=self.node,
        )  # fmt: skip
        self.steps.append(Step(node=node, proto=proto, opset=self._opset, shapes=shapes, same=same, kind=kind))

    def split(self, name: str, sizes: Sequence[int]) -> list[str]:
        """Add the parts of a tensor along its last dimension, whose shape may not be known before."""
        given = self.integers(sizes)
        outputs = [f"{given}/{position}" for position in range(len(sizes))]
        self.several("Split", [name, given], outputs, axis=-1)
        return outputs

    def number(self, value: float) -> str:
        """Store a number and return its name; it has the type of the first input where that is a real one."""
        first = self.needed(0)
        fact = self._facts.get(first)
        return self.constant(np.array(value, np.float32), self.kind(first) if fact and fact.floating else self.real)

    def integers(self, values: Sequence[int]) -> str:
        """Store whole numbers and return their name."""
        return self.constant(np.array(values, np.int64))

    def constant(self, array: NDArray[np.generic], kind: int | None = None) -> str:
        """Store an array, which is no parameter, and return its name."""
        name, floating = self._new(), array.dtype.kind == "f"
        if kind is None:
            kind = self.real if floating else int(self.onnx.TensorProto.INT64)
        stored = Stored(name=name, shape=array.shape, floating=floating, in_node=True, content=lambda: array)
        self.stored.append((stored, kind))
        return name


Expansion = Callable[[Body], None]


def node_of(
    onnx: ModuleType, file: str, proto: "NodeProto", *, module: str | None = None, origin: Node | None = None
) -> Node:
    """Return a node of the file as plain values."""
    if any(isinstance(text, bytes) for text in (proto.op_type, proto.name, *proto.input, *proto.output)):
        raise InputError(f"{file}: damaged: the name of a node or tensor is not text (UTF-8 expected)")
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in proto.attribute}
    return Node(
        operator=proto.op_type,
        domain="" if proto.domain in STANDARD else proto.domain,
        name=proto.name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={
            name: value.decode(errors="replace") if isinstance(value, bytes) else value
            for name, value in attributes.items()
        },
        module=module,
        origin=origin,
    )
