"""Which dimension of an input is the batch: a recurrent layer of ONNX says that it is not the first."""

from collections.abc import Iterator
from typing import Any

from accelsim.workload.importers._onnx_file import Opened
from accelsim.workload.importers._onnx_graph import Graph, Node

__all__ = ["batch_axes"]

_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
_WITH_BATCH = (0, 5, 6)  # the sequence and the initial states: each has its batch second
_KEEP_AXES = frozenset(
    {
        *("Identity", "Cast", "CastLike", "Dropout", "QuantizeLinear", "DequantizeLinear", "LayerNormalization"),
        *(
            "Relu",
            "LeakyRelu",
            "Elu",
            "Selu",
            "Gelu",
            "Sigmoid",
            "Tanh",
            "Softplus",
            "HardSwish",
            "HardSigmoid",
            "Clip",
        ),
        *("Add", "Sub", "Mul", "Div", "MatMul", "MatMulNBits"),
    }
)
"""Operators whose results have the dimensions of the operand that is not stored, but for the last."""


def batch_axes(file: Opened) -> dict[str, int]:
    """Return the dimension of the batch for each input that leads to a recurrent layer whose first one is time.

    The way from the input may be work element by element, projections, embeddings and transpositions.
    """
    graph = file.graph
    makers = {name: node for node in graph.nodes for name in node.outputs if name}
    axes: dict[str, int] = {}
    for node in graph.nodes:
        if node.operator in _RECURRENT and not node.attributes.get("layout", 0):
            for place in _WITH_BATCH:
                if place < len(node.inputs) and node.inputs[place]:
                    for name, axis in _inputs_before(graph, makers, node.inputs[place], 1):
                        axes.setdefault(name, axis)
    return axes


def _inputs_before(graph: Graph, makers: dict[str, Node], name: str, axis: int) -> Iterator[tuple[str, int]]:
    """Follow a dimension of a tensor back to the inputs that have it."""
    while name not in graph.inputs:
        node = makers.get(name)
        found = None if node is None else _before(graph, node, axis)
        if found is None:
            return
        name, axis = found
    yield name, axis


def _before(graph: Graph, node: Node, axis: int) -> tuple[str, int] | None:
    """Return the operand that has the dimension of a result, and where; None where that is not known."""
    attributes: Any = node.attributes
    if node.operator == "Transpose":
        return (node.inputs[0], attributes["perm"][axis]) if "perm" in attributes else None
    if node.operator == "Gather":
        is_table = node.inputs[0] in graph.stored and not attributes.get("axis", 0)
        return (node.inputs[1], axis) if is_table else None
    if node.operator not in _KEEP_AXES:
        return None
    computed = [name for name in node.inputs if name and name not in graph.stored]
    return (computed[0], axis) if computed else None
