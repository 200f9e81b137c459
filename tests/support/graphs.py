"""Random graphs of operations whose results are all of one size, with edges."""

from typing import Any

from hypothesis import strategies as st
from platform_cases import linear, vector

from accelsim.base.files import validate
from accelsim.workload.trace import Trace

SIZE = 64
PARAMETERS = 10**9
KINDS = {"linear": 1, "norm": 1, "activation": 1, "add": 2, "multiply": 2, "copy": 1}
"""Kinds of operations, and how many results they read."""


def square(name: str, *inputs: str, **changes: object) -> dict[str, Any]:
    """A linear layer whose result is as large as its operand."""
    shape = {"in_features": SIZE, "out_features": SIZE, "weight": {"name": f"{name}.weight"}}
    return {**linear(name), **shape, "inputs": list(inputs), **changes}


def work(name: str, kind: str, *inputs: str) -> dict[str, Any]:
    """Vector work on results, all of one size."""
    return {**vector(kind, len(inputs) * SIZE, SIZE, name=name), "inputs": list(inputs)}


def trace_of(operations: list[dict[str, Any]]) -> Trace:
    """The trace of operations."""
    head = {"format": "accelsim-trace/1", "model": "graph", "input_shapes": [[SIZE]], "parameters": PARAMETERS}
    data = {**head, "origin": {"exporter": "test", "source": "test"}, "operations": operations}
    return validate(Trace, data, "test")


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Operations that each read some of those before them; what nothing else reads, a last product each does."""
    operations = [square("o0", "input:0")]
    for number in range(1, draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(sorted(KINDS)))
        inputs = [f"o{draw(st.integers(0, number - 1))}" for _ in range(KINDS[kind])]
        name = f"o{number}"
        operations.append(square(name, *inputs) if kind == "linear" else work(name, kind, *inputs))
    read = {name for entry in operations for name in entry["inputs"]}
    ends = [entry["name"] for entry in operations if entry["name"] not in read]
    return [*operations, *(square(f"end of {name}", name) for name in ends)]
