"""Which dimension of an input is the batch: a recurrent layer of ONNX says that it is not the first."""

from collections.abc import Iterator, Sequence

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
        *("Add", "Sub", "Mul", "Div", "MatMul", "MatMulNBits", "Slice", "Split"),
    }
)
"""Operators whose results have the dimensions of the operand that is not stored, but for the last."""


def batch_axes(graph: Graph) -> dict[str, int]:
    """Return the dimension of the batch for each input that leads to a recurrent layer whose first one is time.

    The way from the input may be work element by element, projections, embeddings, and views along known dimensions.
    """
    way = _Way(graph)
    axes: dict[str, int] = {}
    for node in graph.nodes:
        if node.operator in _RECURRENT and not node.attributes.get("layout", 0):
            for place in _WITH_BATCH:
                if place < len(node.inputs) and node.inputs[place]:
                    for name, axis in way.inputs_before(node.inputs[place], 1):
                        axes.setdefault(name, axis)
    return axes


class _Way:
    """The way back from a tensor to the inputs of the graph."""

    def __init__(self, graph: Graph) -> None:
        self._inputs, self._stored = graph.inputs, graph.stored
        self._makers = {name: node for node in graph.nodes for name in node.outputs if name}

    def inputs_before(self, name: str, axis: int) -> Iterator[tuple[str, int]]:
        """Follow a dimension of a tensor back to the inputs that have it."""
        while name not in self._inputs:
            node = self._makers.get(name)
            found = None if node is None else self._before(node, axis)
            if found is None:
                return
            name, axis = found
        yield name, axis

    def _before(self, node: Node, axis: int) -> tuple[str, int] | None:
        """Return the operand that has the dimension of a result, and where; None where that is not known."""
        if node.operator == "Gather":
            return self._gathered(node, axis)
        if node.operator in {"Unsqueeze", "Squeeze"}:
            places = self._places(node)
            return (
                None if places is None else (node.inputs[0], _moved(axis, places, removed=node.operator == "Squeeze"))
            )
        if node.operator == "Transpose":
            order = node.attributes.get("perm")
            return None if order is None else (node.inputs[0], order[axis])
        if node.operator not in _KEEP_AXES:
            return None
        computed = [name for name in node.inputs if name and name not in self._stored]
        return (computed[0], axis) if computed else None

    def _gathered(self, node: Node, axis: int) -> tuple[str, int] | None:
        data, index = node.inputs[:2]
        along = node.attributes.get("axis", 0)
        if data in self._stored:
            return None if along else (index, axis)
        one = index in self._stored and not self._stored[index].shape and along >= 0
        return (data, axis + (axis >= along)) if one else None

    def _places(self, node: Node) -> list[int] | None:
        """Return the dimensions that a node adds or removes, None where they are counted from the end or not known."""
        places = node.attributes.get("axes")
        stored = self._stored.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if stored is not None and stored.content is not None:
            places = stored.content().reshape(-1).tolist()
        return None if places is None or min(places) < 0 else sorted(places)


def _moved(axis: int, places: Sequence[int], *, removed: bool) -> int:
    """Return where a dimension of a result was before dimensions were added, or removed, at these places."""
    if removed:
        for place in places:
            axis += axis >= place
        return axis
    return axis - sum(place < axis for place in places)
