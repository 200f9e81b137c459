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

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from accelsim.base.errors import InputError
from accelsim.lowering.case import Case, check_batch
from accelsim.lowering.passes import Multiple, Passes
from accelsim.lowering.phases import Weighted, col2im, column_gemm, matmul, positions, weight_gemms, wu_gemm
from accelsim.lowering.rules import Rules, Target, check_supported, input_gradients
from accelsim.lowering.step_flow import StepFlow, shared_by_windows
from accelsim.lowering.tasks import (
    Gemm,
    Generation,
    Note,
    Overrides,
    Scattered,
    Stage,
    Step,
    StepWeight,
    Task,
    Update,
    VectorWork,
)
from accelsim.sparsity.methods import Method, Operand, SparseOperand
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.trace import Collective, Conv, ConvTranspose, Matmul, Operation, Trace, Vector

__all__ = ["lower", "lower_case"]

LARGEST_MACS = 2**60


# With two bytes an element a norm moves 14 bytes per output over FF and BP (statistics accumulate while the input is
# made; BP reads dY and X for the two sums and again for dX), a residual addition 6 (its gradient is passed on
# unchanged; where the branches part `accelsim.lowering.step_flow` has the sum of theirs), softmax takes three passes
# over its input. A pooling reads its input once and writes its gradient once: what windows share comes from the chip.
# Where the maxima of a max pool were is not counted.
_PASSES: Mapping[str, Passes] = {
    "norm": Passes(backward_reads=Multiple(writes=4)),
    "activation": Passes(backward_reads=Multiple(writes=2)),
    "pooling": Passes(),
    "add": Passes(backward_reads=Multiple(), backward_writes=Multiple()),
    "multiply": Passes(backward_reads=Multiple(reads=1, writes=1)),
    "softmax": Passes(forward_reads=Multiple(reads=3), backward_reads=Multiple(writes=4)),
    "embedding": Passes(backward_reads=Multiple(writes=2), backward_writes=Multiple(writes=1)),
    "dropout": Passes(backward_reads=Multiple(writes=2)),
    "reduce": Passes(),
    "loss": Passes(backward_reads=Multiple(reads=1)),
    "copy": Passes(),
    "elementwise": Passes(backward_reads=Multiple(reads=1, writes=1)),
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
    columns: Collection[Scattered] = (),
    messages_timed: bool = False,
    parts: int = 1,
) -> Step:
    """Return one step of `trace` at `batch` samples under `method` with its N:M `pattern` on `design`.

    First layer, last layer and layers whose reduced channels the group does not divide stay dense, and so does all that
    the design has no mode for; `notes` says which and why. `columns` are scattered products to be lowered as
    columns, not phase by phase. A note names messages between ranks unless they are timed elsewhere. `parts`: the step
    has so many of `batch` samples each, and this is the last. Raises `InputError` for a batch or product that is too
    large and for overrides that match nothing or contradict each other.
    """
    check_batch(batch)
    check_supported(design, method, pattern, overrides)
    rules = Rules(trace, design, method, pattern, overrides or Overrides())
    builder = _Builder(trace, design, rules, batch, frozenset(columns), messages_timed=messages_timed, parts=parts)
    builder.forward()
    if mode == "train":
        builder.backward()
    tasks = tuple(builder.tasks)
    if not tasks:
        raise InputError(
            f"trace '{trace.model}': a step ({mode}) has nothing to do: no operation computes or moves anything"
        )
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
        notes=tuple(dict.fromkeys((*rules.notes, *_assumed(trace)))),
        columns=builder.as_columns,
        tensors=builder.flow.tensors(),
        handed=frozenset(builder.flow.handed) if builder.flow.known else None,
        weights=tuple(_weights(trace)),
        parts=parts,
    )


def lower_case(trace: Trace, design: Target, case: Case, *, columns: Collection[Scattered] = ()) -> Step:
    """Return the step of `trace` in a case, see `lower`; dense training ignores overrides."""
    return lower(
        trace,
        design,
        case.method,
        pattern=case.pattern,
        batch=case.batch // case.accumulate,
        mode=case.mode,
        overrides=case.overrides if case.method.is_sparse else None,
        columns=columns,
        messages_timed=case.link_gb_per_s is not None,
        parts=case.accumulate,
    )


_WITHOUT_EDGES = (
    "the trace does not say what each operation reads (inputs): gradients of branches are not summed, what may stay on"
    " the chip is told by equal sizes, and every result is taken to be kept for the backward pass"
)


def _assumed(trace: Trace) -> Iterator[Note]:
    """Yield what is assumed of a trace without edges, where some operation reads two results."""
    both = (isinstance(operation, Matmul) or operation.kind in {"add", "multiply"} for operation in trace.operations)
    if not trace.has_edges and any(both):
        yield Note(operation=None, stage=None, text=_WITHOUT_EDGES)


class _Builder:
    """Collects the tasks of a step with what each waits for."""

    def __init__(
        self,
        trace: Trace,
        design: Target,
        rules: Rules,
        batch: int,
        columns: frozenset[Scattered],
        *,
        messages_timed: bool,
        parts: int,
    ) -> None:
        self.parts = parts
        self.messages_timed = messages_timed
        self.trace = trace
        self.rules = rules
        self.batch = batch
        self.as_columns = columns
        self.gradients = input_gradients(trace)
        self.tasks: list[Task] = []
        self.after: list[tuple[int, ...]] = []
        self.chain: tuple[int, ...] = ()  # what the next task of FF or BP waits for
        self.trained: dict[str, list[int]] = {}  # tensor to its WU tasks
        self.readers: dict[str, list[Gemm]] = {}  # tensor to the FF and BP tasks that read it
        self.fused = dict(_fused(trace)) if design.fuses_activations else {}
        self.flow = StepFlow(trace, batch, self.tasks, self.in_turn, self._wants_gradient)

    def _wants_gradient(self, operation: Operation) -> bool:
        """Say whether the gradient of what an operation writes is of use to it or to what is before it."""
        own = isinstance(operation, Weighted) and operation.adds_to_gradient
        return own or self.gradients[operation.name]

    def add(self, task: Task, after: tuple[int, ...]) -> int:
        """Append a task and return its index."""
        self.tasks.append(task)
        self.after.append(after)
        if isinstance(task, Gemm) and task.tensor is not None and task.stage is not Stage.WU:
            self.readers.setdefault(task.tensor, []).append(task)
        return len(self.tasks) - 1

    def in_turn(self, task: Task) -> int:
        """Append a task that waits for the one before it in FF or BP, and return its index."""
        self.chain = (self.add(task, self.chain),)
        return self.chain[0]

    def _elsewhere(self, stage: Stage, gemms: Sequence[Gemm]) -> None:
        """Append forward products that run in another stage."""
        for gemm in gemms:
            self.in_turn(gemm if stage is gemm.stage else replace(gemm, stage=stage, product=gemm.stage))

    def forward(self) -> None:
        """FF and its vector work, in the order of the trace."""
        for operation in self.trace.operations:
            if operation.in_forward:
                self._forward_of(operation, "", Stage.FF)

    def _forward_of(self, operation: Weighted | Matmul | Vector, suffix: str, stage: Stage) -> None:
        """The forward of an operation, run in `stage`."""
        start = len(self.tasks)
        self._run_forward(operation, suffix, stage)
        self.flow.forward(operation, range(start, len(self.tasks)))

    def _run_forward(self, operation: Weighted | Matmul | Vector, suffix: str, stage: Stage) -> None:
        batch = self.batch if operation.scales_with_batch else 1
        if isinstance(operation, Collective):
            self._message(operation, "FF")
        elif isinstance(operation, Vector):
            if operation.name not in self.fused:
                self._vector(operation, batch, "FF", suffix)
        elif isinstance(operation, Matmul):
            self._elsewhere(stage, [matmul(operation, Stage.FF, suffix, *operation.sizes_at(self.batch))])
        else:
            sparse = self.rules.decide(operation, Stage.FF, batch)
            self._elsewhere(stage, self._products(operation, Stage.FF, batch, sparse, suffix))
            self._sum_columns(operation, Stage.FF, batch, suffix)

    def backward(self) -> None:
        """BP and WU in reverse order, each update once all gradients of its tensor are there, then its generation.

        Work of the backward pass that is differentiated again comes first, the optimizer's products last.
        """
        self.flow.drop()
        for operation in self.trace.operations:
            if operation.differentiated_again:
                self._forward_of(operation, "[backward]", Stage.BP)
        first_uses = self._first_uses()
        for operation in reversed(self.trace.operations):
            if operation.recomputed:
                self._forward_of(operation, "[recomputed]", Stage.BP)
            elif operation.backward_only and not operation.differentiated_again:
                self._forward_of(operation, "[backward]", Stage.BP)
            ready = self.chain
            if operation.in_forward or operation.differentiated_again:
                self._gradients_of(operation, ready)
            self._update(operation, first_uses[operation.name], ready)
        for operation in self.trace.operations:
            if _in_update(operation):
                self._forward_of(operation, "", Stage.UPDATE)

    def _first_uses(self) -> dict[str, list[str]]:
        """Return for each operation the tensors that none before it uses."""
        known: set[str] = set()
        first_uses = {}
        for operation in self.trace.operations:
            first_uses[operation.name] = [name for name in _parameter_names(operation) if name not in known]
            known.update(first_uses[operation.name])
        return first_uses

    def _gradients_of(self, operation: Weighted | Matmul | Vector, ready: tuple[int, ...]) -> None:
        """BP and WU of one operation."""
        if isinstance(operation, Collective):
            self._message(operation, "BP")
        if isinstance(operation, Vector):
            self._vector_backward(operation)
        elif isinstance(operation, Matmul):
            self._matmul_backward(operation)
        else:
            self._weighted_backward(operation, self.batch if operation.scales_with_batch else 1, ready)
        self.flow.keep(operation)

    def _vector_backward(self, operation: Vector) -> None:
        """BP of vector work: an activation that rides on a norm does so here too, on an addition nothing is there."""
        wanted = self.gradients[operation.name]
        if not wanted:
            return
        start, rides_on = len(self.tasks), self.fused.get(operation.name)
        if rides_on != "norm" and not isinstance(operation, Collective):
            self._vector(operation, self.batch if operation.scales_with_batch else 1, "BP", "")
        self.flow.of_vector_work(operation, range(start, len(self.tasks)), fused=rides_on is not None)

    def _message(self, operation: Collective, direction: Literal["FF", "BP"]) -> None:
        if operation.direction == direction and not self.messages_timed:
            self.rules.note_collective(operation, self.batch if operation.scales_with_batch else 1)

    def _matmul_backward(self, operation: Matmul) -> None:
        if not self.gradients[operation.name]:
            return
        batch, m, n, k = operation.sizes_at(self.batch)
        start = len(self.tasks)
        if operation.left_gradient:
            self._again(operation.left_gradient_runs, [matmul(operation, Stage.BP, "[dA]", batch, m, k, n)])
        middle = len(self.tasks)
        if operation.right_gradient:
            self._again(operation.right_gradient_runs, [matmul(operation, Stage.BP, "[dB]", batch, k, n, m)])
        self.flow.of_product(operation, range(start, middle), range(middle, len(self.tasks)))

    def _again(self, runs: int, gemms: Sequence[Gemm]) -> None:
        """Append products that a step executes `runs` times, one run after the other."""
        for run in range(1, runs + 1):
            for gemm in gemms:
                self.in_turn(replace(gemm, name=gemm.name + f"[run {run}]") if run > 1 else gemm)

    def _weighted_backward(self, operation: Weighted, batch: int, ready: tuple[int, ...]) -> None:
        start = len(self.tasks)
        if self.gradients[operation.name]:
            sparse = self.rules.decide(operation, Stage.BP, batch)
            self._again(operation.input_gradient_runs, self._products(operation, Stage.BP, batch, sparse))
            self._sum_columns(operation, Stage.BP, batch)
        gradient = self.flow.of_weighted(operation, range(start, len(self.tasks)))
        start = len(self.tasks)
        if operation.adds_to_gradient:
            self._weight_gradient(operation, batch, ready)
        self.flow.of_wu(operation, gradient, range(start, len(self.tasks)))

    def _weight_gradient(self, operation: Weighted, batch: int, ready: tuple[int, ...]) -> None:
        """WU of an operation."""
        gemm = wu_gemm(operation, batch, self.rules.decide(operation, Stage.WU, positions(operation, batch)))
        if operation.weight.derived:  # BP of what made it waits for its gradient
            self._again(operation.weight_gradient_runs, [gemm])
            return
        index = self.add(gemm, ready)
        for run in range(2, operation.weight_gradient_runs + 1):
            index = self.add(replace(gemm, name=f"{gemm.name}[run {run}]"), (index,))
        self.trained.setdefault(operation.weight.name, []).append(index)

    def _products(
        self,
        operation: Weighted,
        stage: Stage,
        batch: int,
        sparse: tuple[SparseOperand, Pattern] | None,
        suffix: str = "",
    ) -> list[Gemm]:
        """FF or BP of an operation with a weight, in the form that was asked for."""
        if isinstance(operation, Conv | ConvTranspose) and (operation.name, stage) in self.as_columns:
            return [column_gemm(operation, stage, batch, sparse, suffix)]
        return list(weight_gemms(operation, stage, batch, sparse, suffix))

    def _sum_columns(self, operation: Weighted, stage: Stage, batch: int, suffix: str = "") -> None:
        """Append the sums behind products in columns."""
        if isinstance(operation, Conv | ConvTranspose) and (operation.name, stage) in self.as_columns:
            for run in range(operation.input_gradient_runs if stage is Stage.BP else 1):
                self.in_turn(col2im(operation, stage, batch, suffix + (f"[run {run + 1}]" if run else "")))

    def _vector(self, operation: Vector, batch: int, direction: Literal["FF", "BP"], suffix: str) -> None:
        repeats = shared_by_windows(self.trace, operation, self.batch)
        of_input = batch * operation.reads - repeats
        reads, writes = _PASSES[operation.kind].moved(direction, of_input, batch * operation.writes)
        if reads or writes:
            self.in_turn(
                VectorWork(
                    name=operation.name + suffix, operation=operation.name, direction=direction, reads=reads,
                    writes=writes, repeats=repeats,
                )
            )  # fmt: skip

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
        made = tuple(index for name in trained for index in self.trained.get(name, ()))
        if self.parts > 1:
            after = made = (self._sum_of_parts(operation.name, trained, made, after),)
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
        elements = sum(tensors[name][0] for name in trained)
        self.flow.of_weights(elements, made or (update,), update, all_along=self.parts > 1)
        for generation in generations:
            self.add(generation, (update,))

    def _sum_of_parts(self, operation: str, trained: Sequence[str], made: Sequence[int], after: tuple[int, ...]) -> int:
        """Add the gradients of this part of the step to those of the parts before it, and return the task."""
        elements = sum(self.trace.tensors[name][0] for name in trained)
        name = f"{operation}[sum of parts]"
        task = Update(name=name, operation=operation, tensor=None, elements=elements, dense_elements=0, sums=True)
        index = self.add(task, after)
        self.flow.of_weights(elements, made or (index,), index)
        return index

    def _generations(self, operation: str, tensor: str, readers: Sequence[Gemm]) -> list[Generation]:
        """One compact copy per direction and pattern that reads the tensor sparse."""
        wanted = dict.fromkeys(
            (reader.form, reader.pattern)
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
        ]


def _weights(trace: Trace) -> Iterator[StepWeight]:
    """Yield all parameters; those that no operation names stand together, as if they were not trained."""
    left = trace.parameters
    for name, (elements, frozen) in trace.tensors.items():
        left -= elements
        yield StepWeight(name, elements, not frozen)
    if left:
        yield StepWeight("", left, trained=False)


def _fused(trace: Trace) -> Iterator[tuple[str, str]]:
    """Yield the activations that ride on a norm or an addition, each with the kind of that.

    They are all that reads its result; in a trace without edges they stand right behind it.
    """
    operations = trace.operations
    if trace.has_edges:
        named = {operation.name: operation for operation in operations}
        readers = Counter(name for operation in operations for name in operation.inputs or ())
        pairs = [
            (named[name], operation)
            for operation in operations
            for name in operation.inputs or ()
            if name in named and readers[name] == 1
        ]
    else:
        pairs = list(pairwise(operations))
    for earlier, later in pairs:
        if (
            isinstance(earlier, Vector)
            and isinstance(later, Vector)
            and earlier.kind in {"norm", "add"}
            and later.kind == "activation"
            and earlier.writes == later.reads
        ):
            yield later.name, earlier.kind


def _in_update(operation: Weighted | Matmul | Vector) -> bool:
    return isinstance(operation, Matmul) and operation.in_update


def _parameter_names(operation: Weighted | Matmul | Vector) -> Iterator[str]:
    if isinstance(operation, Weighted) and not operation.weight.derived:
        yield operation.weight.name
    for other in operation.other_parameters:
        yield other.name
