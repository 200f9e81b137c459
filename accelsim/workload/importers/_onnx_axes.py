"""Which dimension of an input is the batch: some layers of ONNX say that it is not the first."""

from collections.abc import Iterator, Sequence

from accelsim.workload.importers._onnx_graph import Graph, Node

__all__ = ["batch_axes"]

_STATES = {
    **{("", operator): (0, 5, 6) for operator in ("LSTM", "GRU", "RNN")},  # the sequence and the initial states
    ("com.microsoft", "DynamicQuantizeLSTM"): (0, 5, 6),
    ("com.microsoft", "Attention"): (4,),  # keys and values of the past, one after the other
    ("com.microsoft", "QAttention"): (8,),
}
"""Inputs whose second dimension is the batch, by domain and operator; a recurrent layer may have it otherwise."""

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
    """Return the dimension of the batch for each input that leads to a layer which has it second.

    The way from the input may be work element by element, projections, embeddings, and views along known dimensions.
    """
    way = _Way(graph)
    axes: dict[str, int] = {}
    for node in graph.nodes:
        places = () if node.attributes.get("layout", 0) else _STATES.get((node.domain, node.operator), ())
        for read in (node.inputs[place] for place in places if place < len(node.inputs)):
            for name, axis in way.inputs_before(read, 1):
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
            before = None if places is None else _moved(axis, places, removed=node.operator == "Squeeze")
            return None if before is None else (node.inputs[0], before)
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


def _moved(axis: int, places: Sequence[int], *, removed: bool) -> int | None:
    """Return where a dimension was before some were removed, or added, at these places; None for one that was not."""
    if removed:
        for place in places:
            axis += axis >= place
        return axis
    return None if axis in places else axis - sum(place < axis for place in places)
