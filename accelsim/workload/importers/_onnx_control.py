"""Graphs inside nodes of ONNX, put in the place of their nodes: the branch that an If takes, changes to scores."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from accelsim.workload.importers._onnx_body import Body, Step
from accelsim.workload.importers._onnx_file import Opened
from accelsim.workload.importers._onnx_live import captured, graphs_of
from accelsim.workload.importers._onnx_tensors import constant, is_constant, stored_in

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

__all__ = ["decided", "flex_attention"]


def decided(file: Opened, body: Body, taken: Collection[str]) -> None:
    """Add the nodes of the branch that an If takes, where shapes, constants and given inputs decide it.

    `taken` are names that its tensors must not have. Raises `InputError` where the data decides.
    """
    condition = body.known(body.needed(0))
    if condition is None:
        raise body.error(f"decides at run time what is executed; {_way_out(file, body.needed(0))}")
    name = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
    graph = body.attribute(name)
    names = _Names(f"{body.node.result}/", taken)
    _put_in(file, body, graph, names)
    for inner, outer in zip(graph.output, body.node.outputs, strict=True):
        if outer:
            body.add("Identity", [names.of(inner.name)], to=outer)


def _way_out(file: Opened, condition: str) -> str:
    """Say which inputs would decide it, if these are single numbers."""
    makers = {name: proto for proto in file.protos for name in proto.output}
    found, open_ends = set[str](), [condition]
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends += captured(makers[name]) if name in makers else []
    entries = [entry for entry in file.model.graph.input if entry.name in found and entry.name in file.graph.inputs]
    sizes = [[dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in entries]
    if entries and all(prod(shape) == 1 for shape in sizes):
        return f"give what decides it: {' '.join(f'--input {entry.name}=NUMBER' for entry in entries)}"
    return "export the model without control flow"


class _Names:
    """Names of the tensors of an inner graph in the outer one: their own, but where these are taken."""

    def __init__(self, prefix: str, taken: Collection[str], given: Mapping[str, str] | None = None) -> None:
        self._prefix, self._taken, self._new = prefix, taken, dict(given or {})

    def make(self, name: str) -> str:
        """Return the name of a tensor that the inner graph makes."""
        self._new[name] = f"{self._prefix}{name}" if name in self._taken else name
        return self._new[name]

    def of(self, name: str) -> str:
        """Return the name of a tensor that the inner graph uses, perhaps one of the outer graph."""
        return self._new.get(name, name)

    def without(self, names: Collection[str]) -> "_Names":
        """Return the names as a graph inside that makes these itself sees them."""
        kept = {name: new for name, new in self._new.items() if name not in names}
        return _Names(self._prefix, self._taken, kept)


def _put_in(file: Opened, body: Body, graph: "GraphProto", names: _Names) -> None:
    """Add the nodes and stored tensors of an inner graph."""
    for stored, kind in stored_in(file.onnx, file.path, graph):
        body.stored.append((replace(stored, name=names.make(stored.name)), kind))
    for proto in graph.node:
        if is_constant(proto):
            stored, kind = constant(file.onnx, file.path, proto)
            body.stored.append((replace(stored, name=names.make(stored.name)), kind))
            continue
        own = _renamed(proto, names)
        own.output[:] = [names.make(name) if name else "" for name in proto.output]
        body.steps.append(Step(node=file.node(own), proto=own, opset=file.opset))


def _renamed(proto: "NodeProto", names: _Names) -> "NodeProto":
    """Return a node whose inputs, and those of the graphs inside it, have the names of the outer graph."""
    own = type(proto)()
    own.CopyFrom(proto)
    own.input[:] = [names.of(name) for name in proto.input]
    for graph in graphs_of(own):
        made = {entry.name for entry in (*graph.input, *graph.initializer)}
        made |= {name for inner in graph.node for name in inner.output}
        inside = names.without(made)
        for inner in graph.node:
            inner.CopyFrom(_renamed(inner, inside))
        for entry in graph.output:
            entry.name = inside.of(entry.name)
    return own


def flex_attention(file: Opened, body: Body, taken: Collection[str]) -> None:
    """Add attention whose scores and probabilities may be changed by graphs of the file."""
    query, key, value = (body.needed(position) for position in range(3))
    (samples, heads, rows, width), (_, shared, positions, _) = body.shape(query), body.shape(key)
    depth, group = body.shape(value)[3], heads // shared
    if shared != heads:
        query = body.add("Reshape", [query], shape=(samples, shared, group, rows, width))
        key = body.add("Reshape", [key], shape=(samples, shared, 1, positions, width))
        value = body.add("Reshape", [value], shape=(samples, shared, 1, positions, depth))
    key = body.add("Transpose", [key], perm=[0, 1, 3, 2] if shared == heads else [0, 1, 2, 4, 3])
    scores = body.add("MatMul", [query, key])
    whole = (samples, heads, rows, positions)
    if shared != heads:
        scores = body.add("Reshape", [scores], shape=whole)
    scores = body.add("Mul", [scores, body.number(body.attribute("scale", width**-0.5))])
    scores = _changed(file, body, "score_mod", scores, taken)
    scores = body.add("Softmax", [scores], axis=-1)
    scores = _changed(file, body, "prob_mod", scores, taken)
    if shared != heads:
        scores = body.add("Reshape", [scores], shape=(samples, shared, group, rows, positions))
        result = body.add("MatMul", [scores, value])
        body.add("Reshape", [result], to=body.node.result, shape=(samples, heads, rows, depth))
    else:
        body.add("MatMul", [scores, value], to=body.node.result)


def _changed(file: Opened, body: Body, attribute: str, scores: str, taken: Collection[str]) -> str:
    graph: GraphProto = body.node.attributes.get(attribute)
    if graph is None:
        return scores
    names = _Names(f"{body.node.result}/{attribute}/", taken, {graph.input[0].name: scores})
    _put_in(file, body, graph, names)
    outputs: Sequence[ValueInfoProto] = graph.output
    return names.of(outputs[0].name)
