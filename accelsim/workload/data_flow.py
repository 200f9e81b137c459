"""Data-flow edges between the operations of a trace: names and rules. `accelsim.workload.trace` says what they mean."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from accelsim.base.errors import did_you_mean
from accelsim.workload.names import counted

__all__ = ["ONE_OPERAND", "as_operation", "input_name", "input_number", "wrong_edges"]

_INPUT = re.compile(r"input:(0|[1-9][0-9]*)")

ONE_OPERAND = frozenset({
    *(f"{kind}{rank}d" for kind in ("conv", "conv_transpose") for rank in (1, 2, 3)),
    *("linear", "norm", "activation", "pooling", "softmax", "embedding", "dropout", "reduce"),
})  # fmt: skip
"""Kinds of operations that read one tensor of data, and so name it once."""


class _Reads(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def inputs(self) -> tuple[str, ...] | None: ...


def input_name(number: int) -> str:
    """Return what edges call an input of the network, numbered from 0.

    >>> input_name(1), input_number("input:1")
    ('input:1', 1)
    """
    return f"input:{number}"


def input_number(name: str) -> int | None:
    """Return the number of an input of the network, None where the name is none of such."""
    found = _INPUT.fullmatch(name)
    return int(found[1]) if found else None


def as_operation(name: str) -> str:
    """Return a name for an operation that edges do not take for an input of the network.

    >>> as_operation("input:0"), as_operation("conv:0")
    ('input_0', 'conv:0')
    """
    return name if input_number(name) is None else name.replace(":", "_")


def wrong_edges(operations: Sequence[_Reads], network_inputs: int) -> list[tuple[int, int, str, str]]:
    """Return what is wrong with edges: number of the operation, place of the edge in it, its name, and a sentence.

    `network_inputs`: how many inputs the network has.
    """
    if all(operation.inputs is None for operation in operations):
        return []
    place = {operation.name: number for number, operation in enumerate(operations)}
    found = []
    for number, operation in enumerate(operations):
        names = operation.inputs or ()
        for at, name in enumerate(names):
            what = _wrong(name, number, operations, place, network_inputs)
            if not what and operation.kind in ONE_OPERAND and name in names[:at]:
                what = f"stands twice, and {operation.kind} reads one tensor"
            if what:
                found.append((number, at, name, what))
    return found


def _wrong(name: str, number: int, operations: Sequence[_Reads], place: Mapping[str, int], network_inputs: int) -> str:
    """Return what is wrong with the edge of an operation to `name`, "" where nothing is."""
    of_network = input_number(name)
    if of_network is not None:
        beyond = of_network >= network_inputs
        return f"the network has {counted(network_inputs, 'input')}, counted from input:0" if beyond else ""
    there = place.get(name)
    if there is None and name.startswith("input:"):
        return "inputs of the network are input:0, input:1 and so on"
    if there is None:
        legal = [operation.name for operation in operations[:number]] + [*map(input_name, range(network_inputs))]
        return f"no operation has this name{did_you_mean(name, legal)}"
    if there < number:
        return ""
    if there == number:
        return "an operation cannot read its own output"
    circle = _reaches(operations, place, there, operations[number].name)
    reads = f" and reads what comes from '{operations[number].name}', a circle" if circle else ""
    return f"stands later, as operations[{there}]{reads}; an operation reads what earlier ones wrote"


def _reaches(operations: Sequence[_Reads], place: Mapping[str, int], start: int, wanted: str) -> bool:
    """Whether edges lead from an operation back to one of the name `wanted`."""
    waiting, seen = [start], {start}
    while waiting:
        for name in operations[waiting.pop()].inputs or ():
            if name == wanted:
                return True
            before = place.get(name)
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)
    return False
