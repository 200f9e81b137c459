"""Operations that exporters write out in an opset without an operator for them: gated activations and layer norm.

Only what is equal element by element is put together again: a product of functions of one and the same tensor, made
with numbers alone, is an activation (GELU, SiLU, Mish, Hard Swish); a tensor less its mean over its standard deviation
is a layer normalisation. A result that is used elsewhere too stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from accelsim.workload.importers._onnx_graph import Fact, Graph, Node

__all__ = ["put_together"]

_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Neg", "Cast", "Identity"})
_NAMES = {
    "Erf": "Gelu", "Softplus": "Mish", "Tanh": "Gelu", "Sigmoid": "Swish", "HardSigmoid": "HardSwish",
    "Clip": "HardSwish", "Relu": "HardSwish",
}  # fmt: skip
"""Activations by the function that tells them apart, the most telling first."""

_SCALED_AFTERWARDS = frozenset({"Erf", "Tanh", "Clip"})  # by one half, or by one sixth


def put_together(graph: Graph, facts: Mapping[str, Fact | None]) -> Graph:
    """Return the graph with one node in place of each operation that is written out."""
    uses = _Uses(graph, facts)
    replaced: dict[int, Node] = {}
    dropped: set[int] = set()
    for find in (_layer_norm, _activation):
        for node in graph.nodes:
            found = None if id(node) in dropped or id(node) in replaced else find(node, uses)
            if found is None:
                continue
            made, group = found
            if dropped.isdisjoint(map(id, group)) and replaced.keys().isdisjoint(map(id, group)):
                dropped |= {id(member) for member in group}
                replaced[id(group[-1])] = made
    nodes = (replaced.get(id(node), None if id(node) in dropped else node) for node in graph.nodes)
    return replace(
        graph,
        nodes=tuple(node for node in nodes if node is not None),
        joined=tuple(node.name or node.outputs[0] for node in replaced.values()),
    )


class _Uses:
    """Which node makes a tensor, and which nodes use it."""

    def __init__(self, graph: Graph, facts: Mapping[str, Fact | None]) -> None:
        self.maker = {name: node for node in graph.nodes for name in node.outputs}
        self.order = {id(node): position for position, node in enumerate(graph.nodes)}
        self.stored = graph.stored
        self._facts = facts
        self._users: dict[str, list[Node]] = {}
        self._results = set(graph.outputs)
        for node in graph.nodes:
            for name in node.inputs:
                self._users.setdefault(name, []).append(node)

    def is_number(self, name: str) -> bool:
        """Whether a tensor is a constant of one element (or left out)."""
        fact = self._facts.get(name)
        return not name or (fact is not None and fact.known is not None and prod(fact.shape) == 1)

    def only_in(self, name: str, group: Sequence[Node]) -> bool:
        """Whether nobody but nodes of the group uses a tensor."""
        inside = {id(node) for node in group}
        return name not in self._results and all(id(node) in inside for node in self._users.get(name, ()))

    def only_user(self, name: str) -> Node | None:
        """Return the one node that uses a tensor, None where there are more or none."""
        users = self._users.get(name, ())
        return users[0] if len(users) == 1 and name not in self._results else None

    def made_by(self, name: str, *operators: str) -> Node | None:
        """Return the node that makes a tensor if it is one of the operators."""
        node = self.maker.get(name)
        return node if node is not None and node.operator in operators else None

    def operands(self, node: Node) -> list[str]:
        """Return what a node computes on, without numbers."""
        return [name for name in node.inputs if not self.is_number(name)]


def _activation(node: Node, uses: _Uses) -> tuple[Node, list[Node]] | None:
    """Find x f(x), with f made of numbers and element-by-element functions, before the product at `node`."""
    if node.operator != "Mul" or len(set(uses.operands(node))) != 2:
        return None
    group, open_ends = [node], set(uses.operands(node))
    while len(open_ends) > 1:
        made = [(uses.order[id(uses.maker[name])], name) for name in open_ends if name in uses.maker]
        if not made:
            return None
        _, name = max(made)
        maker = uses.maker[name]
        if maker.operator not in _ARITHMETIC | _NAMES.keys() or not uses.only_in(name, group):
            return None
        group.append(maker)
        open_ends = (open_ends - {name}) | set(uses.operands(maker))
    kinds = [operator for operator in _NAMES if any(member.operator == operator for member in group)]
    if not kinds or not open_ends:
        return None
    last, scaled = node, uses.only_user(node.outputs[0])
    by_number = scaled is not None and scaled.operator in {"Mul", "Div"} and len(uses.operands(scaled)) == 1
    if scaled is not None and by_number and kinds[0] in _SCALED_AFTERWARDS:
        last = scaled
    made_node = replace(last, operator=_NAMES[kinds[0]], inputs=tuple(open_ends), attributes={})
    return made_node, [*group[::-1], *([last] if last is not node else [])]


def _layer_norm(node: Node, uses: _Uses) -> tuple[Node, list[Node]] | None:
    """Find (x - mean) / sqrt(mean of its square + number) at the division `node`, and a scale and bias after it."""
    if node.operator != "Div":
        return None
    chain = _followed_back(node.inputs[1], uses, ("Sqrt",), ("Add",), ("ReduceMean",), ("Pow", "Mul"))
    less = uses.made_by(node.inputs[0], "Sub")
    if chain is None or less is None:
        return None
    square, centred = chain[-1], less.outputs[0]
    power = [centred] if square.operator == "Pow" else [centred, centred]
    mean = uses.made_by(less.inputs[1], "ReduceMean")
    if uses.operands(square) != power or mean is None or mean.inputs[0] != less.inputs[0]:
        return None
    if mean.inputs[1:] != chain[2].inputs[1:] or mean.attributes.get("axes") != chain[2].attributes.get("axes"):
        return None
    group = [mean, less, *chain[::-1], node]
    if not all(uses.only_in(member.outputs[0], group) for member in group[:-1]):
        return None
    parameters = []
    for operator in ("Mul", "Add"):
        after = uses.only_user(group[-1].outputs[0])
        names = [] if after is None else [name for name in after.inputs if name in uses.stored]
        if after is None or after.operator != operator or len(names) != 1:
            break
        parameters += names
        group.append(after)
    inputs = (less.inputs[0], *parameters)
    return replace(group[-1], operator="LayerNormalization", inputs=inputs, attributes={}), group


def _followed_back(name: str, uses: _Uses, *steps: tuple[str, ...]) -> list[Node] | None:
    """Return the nodes before a tensor, each of the operators of its step and with one operand that is no number."""
    return list(nodes) if len(nodes := tuple(_back(name, uses, steps))) == len(steps) else None


def _back(name: str, uses: _Uses, steps: Sequence[tuple[str, ...]]) -> Iterator[Node]:
    for operators in steps:
        node = uses.made_by(name, *operators)
        if node is None:
            return
        yield node
        name = uses.operands(node)[0] if uses.operands(node) else ""
