"""What a step executed, operation by operation."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from accelsim.workload.data_flow import ONE_OPERAND, input_name
from accelsim.workload.rules import Entry
from accelsim.workload.tracer.collectives import Message
from accelsim.workload.tracer.flow import Producers
from accelsim.workload.tracer.measure import Measured
from accelsim.workload.tracer.works import Work

__all__ = ["AFTERWARDS", "WEIGHT", "Pass", "Record", "StepSeen", "add_edges"]

AFTERWARDS = "work after the backward pass"
"""What is left out of a step, as notes have it."""

WEIGHT = -1
"""The weight among the operands of a product; 0 and 1 are its activations in order."""

Pass = Literal["FF", "BP", "WU"]


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """One operation of the forward pass as it was executed, and what was seen of its backward.

    `seq` numbers the autograd node that the operation belongs to. `reads` are the storages of a product's operands.
    `sources` are the producers of each operand, of a product the data first, then its weight or other factor. `repeats`
    is the record of the forward pass that one of the backward pass computes again. `name` is what the trace calls it,
    None before it is named and where it is in none.
    """

    work: Work
    word: str
    modules: tuple[str, ...]
    calls: tuple[int, ...]
    parameters: tuple[str, ...]
    seq: int
    sources: tuple[Producers, ...] = ()
    repeats: "Record | None" = None
    name: str | None = None
    reads: tuple[int, ...] = ()
    with_gradient: bool = False  # executed while gradients were recorded, by autograd itself or in a custom function
    inside_function: bool = False  # in the forward of a custom function, where gradients are not recorded
    requires_gradient: bool = False  # and an operand requires one, or is part of a tensor that does
    gradients: Counter[int] = field(default_factory=Counter)  # their multiply-accumulates, by operand: 0, 1 or WEIGHT
    recomputed: bool = False
    backward_only: bool = False
    measured: dict[tuple[Pass, str], Measured] = field(default_factory=dict)

    def has_room(self, operand: int, macs: int, *, again: bool) -> bool:
        """Whether a product of so many multiply-accumulates can be the gradient of an operand, or a part of it.

        A gradient has as many as the forward product; with `again` it may be one that was computed before.
        """
        done, whole = self.gradients[operand], self.work.macs
        return (again or operand not in self.gradients or done < whole) and done % max(whole, 1) + macs <= whole

    def runs(self, operand: int) -> int:
        """How often the gradient of an operand was computed."""
        return max(1, -(-self.gradients[operand] // max(self.work.macs, 1)))

    @property
    def weight_key(self) -> int | None:
        """The storage of its weight."""
        return self.reads[self.work.weight_side] if self.work.weight else None

    @property
    def place(self) -> str:
        """The module that executes it and its own name, for messages."""
        return ".".join(part for part in (self.modules[-1], self.word) if part)


@dataclass(slots=True)
class StepSeen:
    """What one step executed: forward operations, runs of forward work in the backward pass, and what was trained."""

    records: list[Record] = field(default_factory=list)
    again: list[list[Record]] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    nodes: set[int] = field(default_factory=set)  # autograd nodes whose backward ran
    left_out: Counter[str] = field(default_factory=Counter)  # multiply-accumulates of products that are no work of it
    late: list[Record] = field(default_factory=list)  # outside of the model, after the last backward pass so far
    updates: list[Record] = field(default_factory=list)  # products of the optimizer
    messages: list[Message] = field(default_factory=list)  # between ranks
    differentiated: bool = False  # whether any gradient was computed, be it to be differentiated again
    calls: list[set[int]] = field(default_factory=list)  # first dimensions of the inputs of each call of the model
    dispatched: int = 0  # multiply-accumulates that were executed, by a count of their own
    rounds: int = 0  # forward passes of the model after a backward pass
    evaluated: bool = False  # whether it began with the model in evaluation mode, without gradients
    optimized: bool = False  # whether an optimizer of the model ran
    layout: tuple[str, int] | None = None  # a module with batch_first=False, and the samples it got
    inputs: list[tuple[int, ...]] = field(default_factory=list)  # shapes of what enters the model
    backward: bool = False
    masked: bool = False  # whether weights were chosen or masked while the model ran


def add_edges(
    entries: Sequence[Entry], sources: Sequence[Sequence[Producers]], inputs: int, known: Iterable[str] = ()
) -> list[Entry]:
    """Return entries with `inputs`, from the producers of each operand of each, which have their names.

    Edges go to operations in front, those in `known` among them, and to the first `inputs` inputs of the network; an
    entry that reads another one, as a loss reads a gradient that stands behind, does not say what it reads. Records
    without a name are in no trace: they are looked through.
    """
    legal = {*known, *map(input_name, range(inputs))}
    made = []
    for entry, operands in zip(entries, sources, strict=True):
        names = [name for producers in operands for name in _names_behind(producers)]
        read = list(dict.fromkeys(names)) if entry["kind"] in ONE_OPERAND else names
        made.append(entry | {"inputs": read if legal.issuperset(read) else None})
        legal.add(str(entry["name"]))
    return made


def _names_behind(producers: Producers) -> list[str]:
    """Names of producers, each once; of a record that is in no trace those of what it reads."""
    names: dict[str, None] = {}
    waiting, seen = [*reversed(producers)], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, int):
            names[input_name(one)] = None
        elif isinstance(one, Record) and one.name is not None:
            names[one.name] = None
        elif isinstance(one, Record) and id(one) not in seen:
            seen.add(id(one))
            behind = (one.repeats,) if one.repeats else [source for operand in one.sources for source in operand]
            waiting += reversed(behind)
    return list(names)
