"""The tasks of one training step, in the words that everything after lowering uses."""

from dataclasses import dataclass
from enum import StrEnum
from math import gcd
from typing import Literal, NamedTuple

from accelsim.sparsity.methods import Operand
from accelsim.sparsity.pattern import Pattern

__all__ = [
    "Gemm",
    "Generation",
    "Im2col",
    "Note",
    "Overrides",
    "Scattered",
    "Spatial",
    "Stage",
    "Step",
    "StepTensor",
    "StepWeight",
    "Task",
    "TensorKind",
    "Update",
    "VectorWork",
]


class Stage(StrEnum):
    """Stages of a training step."""

    FF = "FF"
    BP = "BP"
    WU = "WU"
    GENERATE = "GENERATE"
    UPDATE = "UPDATE"
    VECTOR = "VECTOR"


class Spatial(NamedTuple):
    """One spatial dimension of an im2col operand: tap t at position p is pixel p x stride + t x dilation - padding."""

    positions: int
    pixels: int
    taps: int
    stride: int
    dilation: int
    padding: int

    @property
    def overlaps(self) -> bool:
        """Whether two positions read the same pixel through different taps."""
        common = gcd(self.stride, self.dilation)
        return self.taps > self.stride // common and self.positions > self.dilation // common


@dataclass(frozen=True, slots=True, kw_only=True)
class Im2col:
    """An im2col operand whose windows share pixels: the rows or columns of `operand` along the dimension `positions` of
    the GEMM are the positions of `images`, those along `windows` are channels x kernel taps, of which `channels` are
    there (others fill up the last N:M group)."""

    operand: Literal["x", "w"]
    positions: Literal["m", "n", "k"]
    windows: Literal["m", "n", "k"]
    images: int
    channels: int
    spatial: tuple[Spatial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """`count` independent products Y[m, n] = X[m, k] W[k, n]; W is sparse along k where `pattern` is given.

    `x_elements`, `w_elements`: distinct elements of one copy in DRAM (an im2col operand repeats them). `w_operand` says
    what takes the weight port, `tensor` which weight it is. `macs`: dense multiply-accumulates of all copies that the
    operation needs, without the padding of k to whole groups and without borders that meet no tap. `product` says which
    product it is where it runs in another stage: a forward in the backward pass, or one of the optimizer. `window`:
    the im2col operand whose windows share pixels, if any.
    """

    name: str
    operation: str
    stage: Stage
    m: int
    n: int
    k: int
    count: int
    x_elements: int
    w_elements: int
    w_operand: Operand
    macs: int
    tensor: str | None = None
    pattern: Pattern | None = None
    product: Stage | None = None
    window: Im2col | None = None

    @property
    def form(self) -> Stage:
        """Which product it is: FF, BP or WU."""
        return self.product or self.stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A compact N:M copy of a weight that FF or BP reads; `passes` is 0 where another direction's pass yields it."""

    name: str
    operation: str
    reader: Stage
    tensor: str
    pattern: Pattern
    elements: int
    passes: int = 1
    stage: Stage = Stage.GENERATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The optimizer's step on the trained elements of an operation.

    `dense_elements` of them are read dense even when compact copies are generated in advance. `sums`: no update, but
    the gradients of a part of the step are added to those of the parts before it.
    """

    name: str
    operation: str
    tensor: str | None
    elements: int
    dense_elements: int
    sums: bool = False
    stage: Stage = Stage.UPDATE


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorWork:
    """Elements that one forward or backward pass of vector work reads and writes.

    `repeats`: elements that the unit takes once more from the chip, where the windows of a pooling overlap. `sums`: it
    adds up gradients of what the operation wrote, where its readers part.
    """

    name: str
    operation: str
    direction: Literal["FF", "BP"]
    reads: int
    writes: int
    repeats: int = 0
    sums: bool = False
    stage: Stage = Stage.VECTOR


Task = Gemm | Generation | Update | VectorWork

Scattered = tuple[str, Stage]
"""An operation and the direction, FF or BP, in which its taps are scattered over the result."""


TensorKind = Literal["activation", "gradient", "weight gradient"]


class StepTensor(NamedTuple):
    """A tensor in DRAM: the tasks that write it, none where it is there before the step, and those that read it.

    `all_along`: it stays from the start to the end of the step.
    """

    elements: int
    kind: TensorKind
    made: tuple[int, ...]
    read: tuple[int, ...]
    all_along: bool = False


class StepWeight(NamedTuple):
    """Parameters of a model by tensor: their elements, and whether they are trained."""

    name: str
    elements: int
    trained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the user should know about an operation: why it stayed dense, or that a group was padded.

    `operation` and `stage` are None where it is about the step as a whole.
    """

    operation: str | None
    stage: Stage | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Operations forced dense or sparse by name pattern; a sparse one may bring its own N:M pattern."""

    dense: tuple[str, ...] = ()
    sparse: tuple[tuple[str, Pattern | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step in order of execution; `after[i]` holds the tasks that task i waits for.

    A step in `parts` has the tasks of its last part, of `batch` samples: those before it have no update and no
    generation behind one, and the first has no gradients to add its own to.
    `columns`: the scattered products, each as operation and FF or BP, that are there as columns, not phase by phase.
    `tensors`: what the tasks write and read, weights apart. `handed`: pairs of a task and another that takes its result
    as a stream, at the row ports of the array or in the vector unit; None where the trace has no edges, and nothing is
    known of it. `weights`: all parameters of the model.
    """

    model: str
    method: str
    pattern: Pattern | None
    batch: int
    mode: Literal["train", "infer"]
    tasks: tuple[Task, ...]
    after: tuple[tuple[int, ...], ...]
    notes: tuple[Note, ...]
    columns: frozenset[Scattered] = frozenset()
    tensors: tuple[StepTensor, ...] = ()
    handed: frozenset[tuple[int, int]] | None = None
    weights: tuple[StepWeight, ...] = ()
    parts: int = 1

    @property
    def macs_dense(self) -> int:
        """Multiply-accumulates of all GEMMs executed dense."""
        return sum(task.macs for task in self.tasks if isinstance(task, Gemm))
