"""Lowering: one training step of a trace as GEMMs, N:M generation, weight updates and vector work, in order.

FF runs the operations in the order of the trace, BP and WU in reverse. With X the input, W the weight and Y the output
of an operation, as matrices in im2col form:

=====  ======================  ==============  ==========  =================
stage  product                 m               n           k
=====  ======================  ==============  ==========  =================
FF     Y = X W                 batch x space   outputs     inputs x taps
BP     dX = dY W^T             batch x space   inputs      outputs x taps
WU     dW = X^T dY             inputs x taps   outputs     batch x space
=====  ======================  ==============  ==========  =================

A strided BP does not multiply inserted zeros: each residue of the stride (a phase) is one GEMM with the kernel taps
that reach it. A transposed convolution swaps FF and BP. The pruned operand always takes the weight port, so where dY is
the pruned one in BP the product is transposed, dX^T = W dY^T.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import product
from math import prod
from typing import Literal, Protocol

from accelsim.base.errors import InputError, did_you_mean
from accelsim.sparsity.methods import Axis, Method, Operand, SparseOperand
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.observed import OperandSparsity
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace, Vector

__all__ = [
    "Gemm",
    "Generation",
    "Note",
    "Overrides",
    "Stage",
    "Step",
    "Target",
    "Update",
    "VectorWork",
    "check_batch",
    "check_supported",
    "lower",
]

LARGEST_BATCH = 2**20
LARGEST_MACS = 2**60

Weighted = Conv | ConvTranspose | Linear


class Target(Protocol):
    """What lowering has to know of a machine: its N:M modes, and whether an activation rides on its producer."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def patterns(self) -> frozenset[Pattern]:
        """N:M patterns that it executes."""

    @property
    def fuses_activations(self) -> bool:
        """Whether an activation right after a norm or an addition costs no pass of its own."""


class Stage(StrEnum):
    """Stages of a training step."""

    FF = "FF"
    BP = "BP"
    WU = "WU"
    GENERATE = "GENERATE"
    UPDATE = "UPDATE"
    VECTOR = "VECTOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """`count` independent products Y[m, n] = X[m, k] W[k, n]; W is sparse along k where `pattern` is given.

    `x_elements`, `w_elements`: distinct elements of one copy in DRAM (an im2col operand repeats them). `w_operand` says
    what takes the weight port, `tensor` which weight it is. `macs`: dense multiply-accumulates of all copies without
    the padding of k to whole groups.
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

    `dense_elements` of them are read dense even when compact copies are generated in advance.
    """

    name: str
    operation: str
    tensor: str | None
    elements: int
    dense_elements: int
    stage: Stage = Stage.UPDATE


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorWork:
    """Elements that one forward or backward pass of vector work reads and writes."""

    name: str
    operation: str
    direction: Literal["FF", "BP"]
    reads: int
    writes: int
    stage: Stage = Stage.VECTOR


Task = Gemm | Generation | Update | VectorWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the user should know about an operation: why it stayed dense, or that a group was padded."""

    operation: str
    stage: Stage
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Operations forced dense or sparse by name pattern; a sparse one may bring its own N:M pattern."""

    dense: tuple[str, ...] = ()
    sparse: tuple[tuple[str, Pattern | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step in order of execution; `after[i]` holds the tasks that task i waits for."""

    model: str
    method: str
    pattern: Pattern | None
    batch: int
    mode: Literal["train", "infer"]
    tasks: tuple[Task, ...]
    after: tuple[tuple[int, ...], ...]
    notes: tuple[Note, ...]

    @property
    def macs_dense(self) -> int:
        """Multiply-accumulates of all GEMMs executed dense."""
        return sum(task.macs for task in self.tasks if isinstance(task, Gemm))


# What may be sparse in each stage of a traced step, most wanted first.
_SEEN_IN: Mapping[Stage, tuple[tuple[Operand, Axis], ...]] = {
    Stage.FF: ((Operand.WEIGHT, Axis.INPUT),),
    Stage.BP: ((Operand.WEIGHT, Axis.OUTPUT), (Operand.GRADIENT, Axis.OUTPUT)),
    Stage.WU: ((Operand.GRADIENT, Axis.BATCH),),
}

# Passes of vector work per element read (r) and written (w) by the forward: (forward reads, forward writes, backward
# reads, backward writes), each as (multiple of r, multiple of w). With two bytes an element a norm moves 14 bytes
# per output over FF and BP (statistics accumulate while the input is made; BP reads dY and X for the two sums and
# again for dX), a residual addition 6 (its gradient is passed on unchanged), softmax takes three passes over its input.
_PASSES: Mapping[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "norm": ((1, 0), (0, 1), (0, 4), (1, 0)),
    "activation": ((1, 0), (0, 1), (0, 2), (1, 0)),
    "pooling": ((1, 0), (0, 1), (0, 1), (1, 0)),
    "add": ((1, 0), (0, 1), (0, 0), (0, 0)),
    "multiply": ((1, 0), (0, 1), (1, 1), (1, 0)),
    "softmax": ((3, 0), (0, 1), (0, 4), (1, 0)),
    "embedding": ((1, 0), (0, 1), (0, 2), (0, 1)),
    "dropout": ((1, 0), (0, 1), (0, 2), (1, 0)),
    "reduce": ((1, 0), (0, 1), (0, 1), (1, 0)),
    "loss": ((1, 0), (0, 1), (1, 0), (1, 0)),
    "copy": ((1, 0), (0, 1), (0, 1), (1, 0)),
    "elementwise": ((1, 0), (0, 1), (1, 1), (1, 0)),
}


def lower(
    trace: Trace,
    design: Target,
    method: Method,
    *,
    pattern: Pattern | None,
    batch: int,
    mode: Literal["train", "infer"] = "train",
    overrides: Overrides | None = None,
) -> Step:
    """Return one step of `trace` at `batch` samples under `method` with its N:M `pattern` on `design`.

    First layer, last layer and layers whose reduced channels the group does not divide stay dense, and so does all that
    the design has no mode for; `notes` says which and why. Raises `InputError` for a batch or product that is too
    large and for overrides that match nothing or contradict each other.
    """
    check_batch(batch)
    check_supported(design, method, pattern, overrides)
    rules = _Rules(trace, design, method, pattern, overrides or Overrides())
    builder = _Builder(trace, design, rules, batch)
    builder.forward()
    if mode == "train":
        builder.backward()
    tasks = tuple(builder.tasks)
    for task in tasks:
        if isinstance(task, Gemm) and task.m * task.n * task.k * task.count > LARGEST_MACS:
            raise InputError(
                f"operation '{task.operation}': its {task.stage} product {task.m} x {task.n} x {task.k} x {task.count}"
                " is too large to be counted; lower the batch or check the sizes"
            )
    return Step(
        model=trace.model,
        method=method.name,
        pattern=pattern if method.is_sparse and not method.traced else None,
        batch=batch,
        mode=mode,
        tasks=tasks,
        after=tuple(builder.after),
        notes=tuple(dict.fromkeys(rules.notes)),
    )


def check_batch(batch: int) -> None:
    """Raise `InputError` for a number of samples per step that cannot be."""
    if not 1 <= batch <= LARGEST_BATCH:
        raise InputError(f"batch: got {batch}; allowed: 1 to {LARGEST_BATCH}")


def check_supported(design: Target, method: Method, pattern: Pattern | None, overrides: Overrides | None) -> None:
    """Refuse a pattern that a sparse design lacks; a design without any sparse mode runs everything dense instead."""
    if not method.is_sparse or not design.patterns:
        return
    wanted = [own for _, own in overrides.sparse if own is not None] if overrides else []
    if not method.traced:
        if pattern is None:
            raise InputError(f"method '{method.name}' needs a pattern, as in 2:8")
        wanted.append(pattern)
    for item in wanted:
        if item not in design.patterns:
            legal = ", ".join(str(known) for known in sorted(design.patterns))
            raise InputError(
                f"pattern {item}: design '{design.name}' has no such mode; allowed: {legal} (array.patterns)"
            )


class _Rules:
    """Decides which operand of which stage runs sparse, and keeps notes."""

    def __init__(
        self, trace: Trace, design: Target, method: Method, pattern: Pattern | None, overrides: Overrides
    ) -> None:
        self.method = method
        self.pattern = pattern
        self.supported = design.patterns
        self.notes: list[Note] = []
        weighted = [operation for operation in trace.operations if isinstance(operation, Weighted)]
        self.first = weighted[0].name if weighted and not input_gradients(trace)[weighted[0].name] else None
        self.last = weighted[-1].name if len(weighted) > 1 else None
        names = [operation.name for operation in weighted]
        self.dense = _matches(names, overrides.dense, "--dense")
        self.sparse: dict[str, Pattern | None] = {}
        for glob, own in overrides.sparse:
            self.sparse.update(dict.fromkeys(_matches(names, (glob,), "--sparse"), own))
        both = sorted(self.dense & self.sparse.keys())
        if both:
            raise InputError(f"--dense and --sparse: both match '{both[0]}'; an operation can have only one of them")

    def decide(self, operation: Weighted, stage: Stage, batch_rows: int) -> tuple[SparseOperand, Pattern] | None:
        """Return the sparse operand and its pattern, or None where the stage runs dense; notes the reason."""
        operand = {Stage.FF: self.method.ff, Stage.BP: self.method.bp, Stage.WU: self.method.wu}[stage]
        pattern = self.pattern
        if self.method.traced:
            operand, pattern = self._observed(operation, stage)
        if operand is None or pattern is None:
            return None
        forced = operation.name in self.sparse
        pattern = self.sparse.get(operation.name) or pattern
        groups_along = batch_rows if operand.axis is Axis.BATCH else _channels(operation, operand.axis)
        reason = self._dense_reason(operation, pattern, groups_along, operand.axis, forced)
        if reason:
            self._note(operation, stage, f"kept dense, {reason}")
            return None
        if forced and operand.axis is not Axis.BATCH and groups_along % pattern.group:
            self._note(operation, stage, f"{groups_along} channels padded to whole groups of {pattern.group}")
        return operand, pattern

    def _dense_reason(
        self, operation: Weighted, pattern: Pattern, groups_along: int, axis: Axis, forced: bool
    ) -> str | None:
        by_default = not forced and not self.method.traced
        indivisible = axis is not Axis.BATCH and groups_along % pattern.group
        reasons = (
            (pattern not in self.supported, f"the design has no {pattern} mode"),
            (operation.name in self.dense, "--dense"),
            (by_default and operation.name == self.first, "first layer"),
            (by_default and operation.name == self.last, "last layer"),
            (by_default and indivisible, f"{groups_along} {axis} channels are no multiple of {pattern.group}"),
        )
        return next((text for holds, text in reasons if holds), None)

    def _observed(self, operation: Weighted, stage: Stage) -> tuple[SparseOperand | None, Pattern | None]:
        """Return the operand whose observed groups fit a mode of the design, and the sparsest such mode."""
        seen = getattr(operation.observed, stage, None)
        for operand, axis in _SEEN_IN[stage]:
            entry = None if seen is None else seen.operands.get(operand)
            if entry is None or (entry.pattern is None and operand is not Operand.WEIGHT):
                continue
            if entry.pattern is None:
                if entry.density != 1:
                    self._note(operation, stage, f"kept dense, density {entry.density:.3g} without an N:M pattern")
            elif entry.axis != axis:
                self._note(
                    operation, stage, f"kept dense, {entry.pattern} along {entry.axis}, which {stage} does not reduce"
                )
            else:
                return SparseOperand(operand=operand, axis=axis), self._mode_for(entry)
        return None, None

    def _mode_for(self, entry: OperandSparsity) -> Pattern:
        """The sparsest mode of the design that every observed group fits, else the pattern as it was observed."""
        fitting = [
            mode for mode in self.supported if (most := entry.most_in(mode.group)) is not None and most <= mode.kept
        ]
        return min(fitting, key=lambda mode: (mode.density, mode.group), default=Pattern.parse(entry.pattern or ""))

    def _note(self, operation: Weighted, stage: Stage, text: str) -> None:
        self.notes.append(Note(operation=operation.name, stage=stage, text=text))


def _matches(names: Sequence[str], globs: Sequence[str], option: str) -> set[str]:
    found: set[str] = set()
    for glob in globs:
        hits = {name for name in names if fnmatchcase(name, glob)}
        if not hits:
            raise InputError(f"{option} {glob}: matches no operation with a weight{did_you_mean(glob, names)}")
        found |= hits
    return found


def _channels(operation: Weighted, axis: Axis) -> int:
    """Channels or features of one group of the operation along an axis."""
    if isinstance(operation, Linear):
        return operation.in_features if axis is Axis.INPUT else operation.out_features
    return (operation.in_channels if axis is Axis.INPUT else operation.out_channels) // operation.groups


def input_gradients(trace: Trace) -> dict[str, bool]:
    """Say for each operation whether the gradient of its input is computed.

    Where the trace leaves it open: from the first operation with a weight onwards, that one excluded, or from the
    first embedding on.
    """
    needed, found = False, {}
    for operation in trace.operations:
        derived = needed
        if isinstance(operation, Weighted) or (isinstance(operation, Vector) and operation.kind == "embedding"):
            needed = True
        found[operation.name] = derived if operation.input_gradient is None else operation.input_gradient
    return found


@dataclass(frozen=True, slots=True)
class _Phase:
    """Positions of a strided transposed product that the same kernel taps reach."""

    label: str
    positions: int
    taps: int


def _phases(sizes: Sequence[int], operation: Conv | ConvTranspose) -> Iterator[_Phase]:
    """Split `sizes` positions by residue of the stride; phases that no tap or position has are left out."""
    per_dimension = []
    geometry = zip(sizes, operation.kernel, operation.stride, operation.padding, operation.dilation, strict=True)
    for size, kernel, stride, padding, dilation in geometry:
        entries = []
        for residue in sorted({tap * dilation % stride for tap in range(kernel)}):
            taps = sum(tap * dilation % stride == residue for tap in range(kernel))
            positions = (size - 1 + padding - residue) // stride - (padding - 1 - residue) // stride
            if positions > 0:
                entries.append((residue, positions, taps))
        per_dimension.append(entries)
    single = all(stride == 1 for stride in operation.stride)
    for combination in product(*per_dimension):
        label = "" if single else f"[phase {','.join(str(residue) for residue, _, _ in combination)}]"
        yield _Phase(label, prod(entry[1] for entry in combination), prod(entry[2] for entry in combination))


class _Builder:
    """Collects the tasks of a step with what each waits for."""

    def __init__(self, trace: Trace, design: Target, rules: _Rules, batch: int) -> None:
        self.trace = trace
        self.fuse = design.fuses_activations
        self.rules = rules
        self.batch = batch
        self.gradients = input_gradients(trace)
        self.tasks: list[Task] = []
        self.after: list[tuple[int, ...]] = []
        self.chain: tuple[int, ...] = ()  # what the next task of FF or BP waits for
        self.trained: dict[str, list[int]] = {}  # tensor to its WU tasks
        self.readers: dict[str, list[Gemm]] = {}  # tensor to the FF and BP tasks that read it
        self.fused = {
            later.name
            for earlier, later in zip(trace.operations, trace.operations[1:], strict=False)
            if self.fuse
            and isinstance(earlier, Vector)
            and isinstance(later, Vector)
            and earlier.kind in {"norm", "add"}
            and later.kind == "activation"
            and earlier.writes == later.reads
        }

    def add(self, task: Task, after: tuple[int, ...]) -> int:
        """Append a task and return its index."""
        self.tasks.append(task)
        self.after.append(after)
        if isinstance(task, Gemm) and task.tensor is not None and task.stage is not Stage.WU:
            self.readers.setdefault(task.tensor, []).append(task)
        return len(self.tasks) - 1

    def in_turn(self, task: Task) -> None:
        """Append a task that waits for the one before it in FF or BP."""
        self.chain = (self.add(task, self.chain),)

    def forward(self) -> None:
        """FF and its vector work, in the order of the trace."""
        for operation in self.trace.operations:
            if not operation.backward_only:
                self._forward_of(operation, "")

    def _forward_of(self, operation: Weighted | Matmul | Vector, suffix: str) -> None:
        batch = self.batch if operation.scales_with_batch else 1
        if isinstance(operation, Vector):
            if operation.name not in self.fused:
                self._vector(operation, batch, "FF", suffix)
        elif isinstance(operation, Matmul):
            self.in_turn(_matmul(operation, Stage.FF, suffix, batch, operation.m, operation.n, operation.k))
        else:
            sparse = self.rules.decide(operation, Stage.FF, batch)
            for gemm in _weight_gemms(operation, Stage.FF, batch, sparse, suffix):
                self.in_turn(gemm)

    def backward(self) -> None:
        """BP and WU in reverse order, each update once all gradients of its tensor are there, then its generation."""
        known: set[str] = set()
        first_uses: dict[str, list[str]] = {}  # operation to the tensors that none before it uses
        for operation in self.trace.operations:
            first_uses[operation.name] = [name for name in _parameter_names(operation) if name not in known]
            known.update(first_uses[operation.name])
        for operation in reversed(self.trace.operations):
            batch = self.batch if operation.scales_with_batch else 1
            if operation.recomputed or operation.backward_only:
                self._forward_of(operation, "[recomputed]" if operation.recomputed else "[backward]")
            ready = self.chain
            if operation.backward_only:
                pass
            elif isinstance(operation, Vector):
                if self.gradients[operation.name] and operation.name not in self.fused:
                    self._vector(operation, batch, "BP", "")
            elif isinstance(operation, Matmul):
                self._matmul_backward(operation, batch)
            else:
                self._weighted_backward(operation, batch, ready)
            self._update(operation, first_uses[operation.name], ready)

    def _matmul_backward(self, operation: Matmul, batch: int) -> None:
        if not self.gradients[operation.name]:
            return
        m, n, k = operation.m, operation.n, operation.k
        if operation.left_gradient:
            self.in_turn(_matmul(operation, Stage.BP, "[dA]", batch, m, k, n))
        if operation.right_gradient:
            self.in_turn(_matmul(operation, Stage.BP, "[dB]", batch, k, n, m))

    def _weighted_backward(self, operation: Weighted, batch: int, ready: tuple[int, ...]) -> None:
        if self.gradients[operation.name]:
            sparse = self.rules.decide(operation, Stage.BP, batch)
            for gemm in _weight_gemms(operation, Stage.BP, batch, sparse):
                self.in_turn(gemm)
        if operation.adds_to_gradient:
            rows = batch * _positions(operation)
            sparse = self.rules.decide(operation, Stage.WU, rows)
            index = self.add(_wu_gemm(operation, batch, sparse), ready)
            self.trained.setdefault(operation.weight.name, []).append(index)

    def _vector(self, operation: Vector, batch: int, direction: Literal["FF", "BP"], suffix: str) -> None:
        passes = _PASSES[operation.kind]
        read_factor, write_factor = passes[:2] if direction == "FF" else passes[2:]
        reads = batch * (read_factor[0] * operation.reads + read_factor[1] * operation.writes)
        writes = batch * (write_factor[0] * operation.reads + write_factor[1] * operation.writes)
        if reads or writes:
            name = operation.name + suffix
            self.in_turn(
                VectorWork(name=name, operation=operation.name, direction=direction, reads=reads, writes=writes)
            )

    def _update(self, operation: Weighted | Matmul | Vector, names: Sequence[str], ready: tuple[int, ...]) -> None:
        """Update the tensors whose last gradient this operation gave, and generate their compact copies."""
        tensors = self.trace.tensors
        trained = [name for name in names if not tensors[name][1]]
        if not trained:
            return
        weight = operation.weight.name if isinstance(operation, Weighted) else None
        after = tuple(dict.fromkeys((*ready, *(i for name in trained for i in self.trained.get(name, ())))))
        dense = sum(tensors[name][0] for name in trained if name != weight)
        generations: list[Generation] = []
        if weight in trained:
            readers = self.readers[weight]
            if any(reader.pattern is None or reader.w_operand is not Operand.WEIGHT for reader in readers):
                dense += tensors[weight][0]
            generations = self._generations(operation.name, weight, readers)
        update = self.add(
            Update(
                name=operation.name,
                operation=operation.name,
                tensor=weight if weight in trained else None,
                elements=sum(tensors[name][0] for name in trained),
                dense_elements=dense,
            ),
            after,
        )
        for generation in generations:
            self.add(generation, (update,))

    def _generations(self, operation: str, tensor: str, readers: Sequence[Gemm]) -> list[Generation]:
        """One compact copy per direction and pattern that reads the tensor sparse."""
        wanted = dict.fromkeys(
            (reader.stage, reader.pattern)
            for reader in readers
            if reader.pattern is not None and reader.w_operand is Operand.WEIGHT
        )
        share = self.rules.method.one_mask
        return [
            Generation(
                name=f"{operation}[{stage} copy]",
                operation=operation,
                reader=stage,
                tensor=tensor,
                pattern=pattern,
                elements=self.trace.tensors[tensor][0],
                passes=0 if share and index else 1,
            )
            for index, (stage, pattern) in enumerate(wanted)
            if pattern is not None
        ]


def _parameter_names(operation: Weighted | Matmul | Vector) -> Iterator[str]:
    if isinstance(operation, Weighted):
        yield operation.weight.name
    for other in operation.other_parameters:
        yield other.name


def _positions(operation: Weighted) -> int:
    """Rows per sample that WU reduces: output positions (input positions of a transposed convolution)."""
    if isinstance(operation, Linear):
        return operation.rows
    return prod(operation.out_size if isinstance(operation, Conv) else operation.in_size)


def _matmul(operation: Matmul, stage: Stage, suffix: str, batch: int, m: int, n: int, k: int) -> Gemm:
    count = batch * operation.batch
    return Gemm(
        name=operation.name + suffix,
        operation=operation.name,
        stage=stage,
        m=m,
        n=n,
        k=k,
        count=count,
        x_elements=m * k,
        w_elements=k * n,
        w_operand=Operand.ACTIVATION,
        macs=count * m * n * k,
    )


def _weight_gemm(
    operation: Weighted,
    stage: Stage,
    label: str,
    sparse: tuple[SparseOperand, Pattern] | None,
    *,
    m: int,
    n: int,
    channels: int,
    taps: int,
    x_elements: int,
) -> Gemm:
    """A product of an activation or gradient (m x k) with a weight (k x n), k = channels x taps, all groups."""
    count = 1 if isinstance(operation, Linear) else operation.groups
    macs = count * m * n * channels * taps
    pattern = None
    if sparse is not None:
        operand, pattern = sparse
        channels = -(-channels // pattern.group) * pattern.group
    k = channels * taps
    x_elements = min(m * k, x_elements)
    gemm = Gemm(
        name=operation.name + label,
        operation=operation.name,
        stage=stage,
        m=m,
        n=n,
        k=k,
        count=count,
        x_elements=x_elements,
        w_elements=k * n,
        w_operand=Operand.WEIGHT,
        macs=macs,
        tensor=operation.weight.name,
        pattern=pattern,
    )
    if sparse is not None and operand.operand is Operand.GRADIENT:
        return replace(gemm, m=n, n=m, x_elements=k * n, w_elements=x_elements, w_operand=Operand.GRADIENT)
    return gemm


def _weight_gemms(
    operation: Weighted, stage: Stage, batch: int, sparse: tuple[SparseOperand, Pattern] | None, suffix: str = ""
) -> Iterator[Gemm]:
    """FF or BP: one GEMM, or one per phase where the taps of a strided kernel are scattered over the result."""
    inputs, outputs = _channels(operation, Axis.INPUT), _channels(operation, Axis.OUTPUT)
    reduced, produced = (inputs, outputs) if stage is Stage.FF else (outputs, inputs)
    if isinstance(operation, Linear):
        read, phases = operation.rows, [_Phase("", operation.rows, 1)]
    else:
        source, target = operation.in_size, operation.out_size
        if stage is Stage.BP:
            source, target = target, source
        scattered = isinstance(operation, ConvTranspose) is (stage is Stage.FF)
        one = _Phase("", prod(target), prod(operation.kernel))
        read, phases = prod(source), list(_phases(target, operation)) if scattered else [one]
    for phase in phases:
        yield _weight_gemm(
            operation,
            stage,
            phase.label + suffix,
            sparse,
            m=batch * phase.positions,
            n=produced,
            channels=reduced,
            taps=phase.taps,
            x_elements=batch * reduced * read,
        )


def _wu_gemm(operation: Weighted, batch: int, sparse: tuple[SparseOperand, Pattern] | None) -> Gemm:
    """WU: dW = X^T dY, with dY on the weight port."""
    inputs = _channels(operation, Axis.INPUT)
    outputs = _channels(operation, Axis.OUTPUT)
    k = batch * _positions(operation)
    if isinstance(operation, Linear):
        m, n, count, x_elements, w_elements = inputs, outputs, 1, k * inputs, k * outputs
    else:
        taps, count = prod(operation.kernel), operation.groups
        m, n = (inputs * taps, outputs) if isinstance(operation, Conv) else (inputs, outputs * taps)
        x_elements = min(m * k, batch * inputs * prod(operation.in_size))
        w_elements = min(k * n, batch * outputs * prod(operation.out_size))
    return Gemm(
        name=operation.name,
        operation=operation.name,
        stage=Stage.WU,
        m=m,
        n=n,
        k=k,
        count=count,
        x_elements=x_elements,
        w_elements=w_elements,
        w_operand=Operand.GRADIENT,
        macs=count * m * n * k,
        tensor=operation.weight.name,
        pattern=None if sparse is None else sparse[1],
    )
