"""What a step executed, operation by operation."""

from dataclasses import dataclass, field
from typing import Literal

from accelsim.workload.tracer.measure import Measured
from accelsim.workload.tracer.works import Work

__all__ = ["Pass", "Record", "StepSeen"]

Pass = Literal["FF", "BP", "WU"]


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """One operation of the forward pass as it was executed, and what was seen of its backward.

    `seq` numbers the autograd node that the operation belongs to. `reads` are the storages of a product's operands.
    """

    work: Work
    word: str
    modules: tuple[str, ...]
    calls: tuple[int, ...]
    parameters: tuple[str, ...]
    seq: int
    reads: tuple[int, ...] = ()
    with_gradient: bool = False  # executed while gradients were recorded, by autograd itself or in a custom function
    requires_gradient: bool = False  # and an operand requires one
    input_gradients: set[int] = field(default_factory=set)  # operands whose gradient was seen to be computed
    weight_gradient: bool = False
    recomputed: bool = False
    backward_only: bool = False
    measured: dict[tuple[Pass, str], Measured] = field(default_factory=dict)

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
    nodes: set[int] = field(default_factory=set)  # autograd nodes whose backward executed an operation
    left_out: set[str] = field(default_factory=set)
    inputs: list[tuple[int, ...]] = field(default_factory=list)  # shapes of what enters the model
    backward: bool = False
    masked: bool = False  # whether weights were chosen or masked while the model ran
