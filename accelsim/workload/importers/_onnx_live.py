"""Which nodes of a graph its outputs depend on."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

__all__ = ["captured", "graphs_of", "live"]


def live(nodes: Sequence[tuple[Collection[str], Collection[str]]], outputs: Collection[str]) -> list[bool]:
    """Return for each node, given as the names that it needs and makes, whether an output depends on it.

    >>> live([("x", "a"), ("x", "b"), ("a", "y")], {"y"})
    [True, False, True]
    """
    needed, kept = set(outputs), []
    for needs, makes in reversed(nodes):
        kept.append(not needed.isdisjoint(filter(None, makes)))
        if kept[-1]:
            needed.update(needs)
    return kept[::-1]


def captured(proto: "NodeProto") -> list[str]:
    """Return the tensors that a node needs, those included that only graphs inside it name."""
    return [*proto.input, *(name for graph in graphs_of(proto) for name in _free_names(graph))]


def graphs_of(proto: "NodeProto") -> "list[GraphProto]":
    """Return the graphs inside a node."""
    return [graph for item in proto.attribute for graph in ([item.g] if item.HasField("g") else item.graphs)]


def _free_names(graph: "GraphProto") -> Iterator[str]:
    made = {entry.name for entry in (*graph.input, *graph.initializer)}
    made |= {name for proto in graph.node for name in proto.output}
    used = (name for proto in graph.node for name in captured(proto))
    yield from (name for name in (*used, *(entry.name for entry in graph.output)) if name not in made)
