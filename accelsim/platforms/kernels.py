"""A training step as the kernels that a GPU or CPU runs, from the tasks of a lowered step.

Products: one kernel for FF, BP and WU of each operation; the phases of a strided BP are one kernel here. Everything
else is bound by memory and counts by the elements that it reads and writes:

============  ==================================================================================================
kind          passes over the elements that the forward reads (r) and writes (w)
============  ==================================================================================================
norm          FF reads r twice (statistics, then the result), writes w; BP reads the gradient and the input twice
activation    FF r to w; BP reads output and gradient, writes one
pooling       FF r to w; BP reads w, writes r; what windows share is read and written once
add           FF r to w; where branches part BP adds their gradients: reads 2 w, writes w
softmax       FF r to w; BP reads result and gradient, writes one
embedding     FF r to w; BP clears the table of gradients and adds w to it: reads w, writes w and the table
multiply      FF r to w; BP reads inputs and gradient, writes r; so does other elementwise work
loss          FF r to w; BP reads and writes r
others        FF r to w; BP as its mirror
============  ==================================================================================================

Passes are those of eager frameworks. A graph compiler fuses elementwise work into its producer: an operation of
`_FUSED_KINDS` that is not the first leaves only the side that nothing else reads, one half of its passes. There are no
2:4 convolutions for training, so pruned ones run dense; a pruned gradient is selected and packed before its product.
Mixed precision adds a cast of each weight and of its gradient, and the update reads and writes master weights in FP32;
where everything is in 16 bits so are they.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.passes import Multiple, Passes
from accelsim.lowering.rules import input_gradients
from accelsim.lowering.tasks import Gemm, Generation, Stage, Step, Update, VectorWork
from accelsim.sparsity.methods import Operand
from accelsim.workload.trace import Conv, ConvTranspose, Operation, Trace, Vector

__all__ = ["Kernels", "Software", "compact_share", "kernels_of"]

_PASSES: Mapping[str, Passes] = {
    "norm": Passes(forward_reads=Multiple(reads=2), backward_reads=Multiple(writes=4)),
    "activation": Passes(backward_reads=Multiple(writes=2)),
    "pooling": Passes(),
    "add": Passes(backward_reads=Multiple(writes=2), backward_writes=Multiple(writes=1)),
    "multiply": Passes(backward_reads=Multiple(reads=1, writes=1)),
    "softmax": Passes(backward_reads=Multiple(writes=2)),
    "embedding": Passes(backward_writes=Multiple(writes=1)),
    "dropout": Passes(),
    "reduce": Passes(),
    "loss": Passes(backward_reads=Multiple(reads=1)),
    "copy": Passes(),
    "elementwise": Passes(backward_reads=Multiple(reads=1, writes=1)),
}
_FUSED_KINDS = frozenset({"activation", "add", "multiply", "dropout", "copy", "elementwise", "softmax"})
_CASTS = ("amp", "bf16")
_FP32_BYTES = 4
_ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "amp": 2, "bf16": 2}

# words per weight that an update moves and kernels it takes per tensor when each arithmetic step is a kernel
# of its own: weight decay, momentum, step (SGD); two moments, root, quotient, step (Adam)
_UNFUSED = {"sgd": (11, 4), "adam": (17, 8)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """How a framework runs the step.

    `precision`: fp32, tf32 (products only), fp16 (everything), amp or bf16 (products and activations in 16 bits, master
    weights in FP32). `channels_last`: the layout that matrix units want; without it 16-bit and TF32 convolutions
    transpose what they read and write. `compiled`: elementwise work fused and the step issued as a graph.
    `fused_update`: one kernel updates all weights. `optimizer` None: FF, BP and WU alone.
    """

    precision: Literal["fp32", "tf32", "fp16", "amp", "bf16"] = "amp"
    channels_last: bool = True
    compiled: bool = False
    fused_update: bool = True
    optimizer: Optimizer | None = None

    @property
    def element_bytes(self) -> int:
        """Bytes of an activation."""
        return _ELEMENT_BYTES[self.precision]

    @property
    def master_bytes(self) -> int:
        """Bytes of a weight, gradient or moment that the update reads and writes."""
        return 2 if self.precision == "fp16" else _FP32_BYTES

    @property
    def arithmetic(self) -> str:
        """The arithmetic type of products."""
        return "fp16" if self.precision == "amp" else self.precision


Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kernels:
    """The kernels of a step, one entry each in every array.

    `m`, `n`, `k`, `copies`: that many products of that size, 0 where a kernel is none. `flops`: operations of all of
    them without padding. `bytes`: distinct bytes read and written. `launches`: kernels that are issued.
    `pruned`: one operand has an N:M pattern; `sparse`: it runs as 2:4. `spatial`: convolutions; `winograd`: those that
    Winograd's algorithm suits.
    """

    operations: tuple[str, ...]
    stages: tuple[Stage, ...]
    m: Floats
    n: Floats
    k: Floats
    copies: Floats
    flops: Floats
    bytes: Floats
    launches: Floats
    pruned: Flags
    sparse: Flags
    spatial: Flags
    winograd: Flags

    def __len__(self) -> int:
        return len(self.operations)


class _KernelRow(NamedTuple):
    """One kernel; see `Kernels`."""

    operation: str
    stage: Stage
    bytes: float
    launches: float
    m: float = 0.0
    n: float = 0.0
    k: float = 0.0
    copies: float = 0.0
    flops: float = 0.0
    pruned: bool = False
    sparse: bool = False
    spatial: bool = False
    winograd: bool = False


def kernels_of(trace: Trace, step: Step, software: Software, *, matrix_units: bool = True) -> Kernels:
    """Return the kernels of `step`, which was lowered from `trace`."""
    rows = list(_rows(trace, step, software, matrix_units))
    numbers = np.array([row[2:9] for row in rows], dtype=np.float64).reshape(-1, 7).T
    pruned, sparse, spatial, winograd = np.array([row[9:] for row in rows], dtype=np.bool_).reshape(-1, 4).T
    moved, launches, m, n, k, copies, flops = numbers
    return Kernels(
        operations=tuple(row.operation for row in rows),
        stages=tuple(row.stage for row in rows),
        bytes=moved,
        launches=launches,
        m=m,
        n=n,
        k=k,
        copies=copies,
        flops=flops,
        pruned=pruned,
        sparse=sparse,
        spatial=spatial,
        winograd=winograd,
    )


def _rows(trace: Trace, step: Step, software: Software, matrix_units: bool) -> Iterator[_KernelRow]:
    operations = {operation.name: operation for operation in trace.operations}
    fused = _fused_operations(trace) if software.compiled else frozenset()
    width = software.element_bytes
    transposes = not software.channels_last and matrix_units and software.arithmetic != "fp32"
    for group in _products(step):
        yield _product(group, operations[group[0].operation], step.batch, width, transposes=transposes)
    tensors = trace.tensors
    for task in step.tasks:
        if isinstance(task, VectorWork):
            operation = operations[task.operation]
            if task.sums:
                yield _vector(task.operation, (task.reads + task.writes) * width, fused=software.compiled)
                continue
            assert isinstance(operation, Vector)
            elements = _passes(operation, task.direction, step.batch if operation.scales_with_batch else 1)
            elements -= task.repeats  # what windows share comes from a cache
            if operation.kind == "embedding" and task.direction == "BP":
                elements += sum(other.elements for other in operation.other_parameters)
            yield _vector(operation.name, elements * width, fused=operation.name in fused)
        elif isinstance(task, Generation) and not _is_spatial(operations[task.operation]):
            # reads the master weight, writes kept values and positions
            moved = task.elements * (software.master_bytes + compact_share(width) * width)
            yield _KernelRow(task.operation, task.stage, moved, 1.0)
        elif isinstance(task, Update) and software.optimizer is not None:
            names = [other.name for other in operations[task.operation].other_parameters]
            if task.tensor is not None:
                names.append(task.tensor)
            count = len([name for name in names if name in tensors])
            yield _KernelRow(task.operation, task.stage, *_update(task.elements, count, software))
    if step.mode == "train" and not trace.has_edges:
        yield from _sums_of_gradients(trace, step.batch, width, fused)


def _vector(operation: str, moved: float, *, fused: bool) -> _KernelRow:
    return _KernelRow(operation, Stage.VECTOR, moved * (0.5 if fused else 1.0), 0.0 if fused else 1.0)


def _sums_of_gradients(trace: Trace, batch: int, width: int, fused: frozenset[str]) -> Iterator[_KernelRow]:
    """In a trace without edges: one sum of gradients for each addition, where its branches part."""
    needed = input_gradients(trace)
    for operation in trace.operations:
        if isinstance(operation, Vector) and operation.kind == "add" and not operation.backward_only:
            elements = _passes(operation, "BP", batch if operation.scales_with_batch else 1)
            if elements and needed[operation.name]:
                yield _vector(operation.name, elements * width, fused=operation.name in fused)


def _product(group: Sequence[Gemm], operation: Operation, batch: int, width: int, *, transposes: bool) -> _KernelRow:
    """The kernel of one product, from its phases, which all read the same operand."""
    first, spatial = group[0], _is_spatial(operation)
    # lowering puts a pruned gradient on the weight port in BP; a convolution runs dense, with both where they were
    turned = spatial and first.form is Stage.BP and first.w_operand is Operand.GRADIENT
    sides = [
        (task.n, task.m, task.w_elements, task.x_elements)
        if turned
        else (task.m, task.n, task.x_elements, task.w_elements)
        for task in group
    ]
    m, n = float(sum(side[0] for side in sides)), float(sides[0][1])
    flops = 2.0 * sum(task.count * task.m * task.n * task.k for task in group)  # borders included, which they compute
    operand = float(first.count * sides[0][2])
    weight = float(sum(first.count * side[3] for side in sides))
    result = max(first.count * m * n, _written(operation, first.form, batch))
    pruned = first.pattern is not None
    sparse = pruned and not spatial
    moved, launches = operand + weight * (compact_share(width) if sparse else 1.0) + result, 1.0
    if sparse and first.w_operand is not Operand.WEIGHT:
        moved += weight * (1 + compact_share(width))
        launches += 1.0
    if spatial and transposes:
        # the two that are activations, there and back
        moved += 2.0 * (operand + (weight if first.stage is Stage.WU else result))
        launches += 2.0
    return _KernelRow(
        operation=first.operation,
        stage=first.stage,
        bytes=moved * width,
        launches=launches,
        m=m,
        n=n,
        k=flops / (2.0 * m * n * first.count),
        copies=float(first.count),
        flops=flops,
        pruned=pruned,
        sparse=sparse,
        spatial=spatial,
        winograd=_suits_winograd(operation),
    )


def _written(operation: Operation, stage: Stage, batch: int) -> float:
    """Elements that a scattered product writes, also where no tap of a strided kernel reaches; 0 for others."""
    if isinstance(operation, Conv) and stage is Stage.BP:
        return float(batch * operation.in_channels * prod(operation.in_size))
    if isinstance(operation, ConvTranspose) and stage is Stage.FF:
        return float(batch * operation.out_channels * prod(operation.out_size))
    return 0.0


def _is_spatial(operation: Operation) -> bool:
    """Say whether a kernel for convolutions computes it: not a stack of matrices, as each of some experts has one."""
    stack = isinstance(operation, Conv) and operation.kernel == (1,) and operation.groups > 1
    return isinstance(operation, Conv | ConvTranspose) and not stack


def _suits_winograd(operation: Operation) -> bool:
    """Say whether an operation is a 3 x 3 convolution that moves by one: what Winograd's algorithm is for."""
    return (
        isinstance(operation, Conv)
        and operation.groups == 1
        and operation.kernel == (3, 3)
        and operation.stride == (1, 1)
        and operation.dilation == (1, 1)
    )


def compact_share(width: int) -> float:
    """Share of a matrix of elements of `width` bytes that is left at 2:4: half of them, and two bits for each."""
    return 0.5 + 0.125 / width


def _update(elements: int, tensors: int, software: Software) -> tuple[float, float]:
    """Bytes and launches of the update of some tensors, with the casts of mixed precision."""
    optimizer = software.optimizer
    assert optimizer is not None
    fused = software.fused_update or software.compiled
    words, kernels = (optimizer.words, 0.0) if fused else _UNFUSED[optimizer.name]
    moved = float(words * software.master_bytes)
    launches = float(kernels * tensors)
    if software.precision in _CASTS:
        # the weight to 16 bits for FF and BP, its gradient back to 32, and that once more to undo the scale of the loss
        moved += (_FP32_BYTES + 2) + (2 + _FP32_BYTES) + 2 * _FP32_BYTES
        launches += 0.0 if software.compiled else 2.0 * tensors
    return elements * moved, launches


def _passes(operation: Vector, direction: Literal["FF", "BP"], batch: int) -> float:
    """Elements read and written."""
    return float(sum(_PASSES[operation.kind].moved(direction, batch * operation.reads, batch * operation.writes)))


def _products(step: Step) -> Iterator[Sequence[Gemm]]:
    """The GEMM tasks of a step, the phases of one strided product together."""
    group: list[Gemm] = []
    for task in step.tasks:
        if not isinstance(task, Gemm):
            continue
        if group and "[phase" in task.name and (task.operation, task.stage) == (group[0].operation, group[0].stage):
            group.append(task)
            continue
        if group:
            yield group
        group = [task]
    if group:
        yield group


def _fused_operations(trace: Trace) -> frozenset[str]:
    """Elementwise operations that a graph compiler puts into the kernel in front of them."""
    return frozenset(
        operation.name
        for operation in trace.operations[1:]
        if isinstance(operation, Vector) and operation.kind in _FUSED_KINDS
    )
