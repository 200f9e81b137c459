"""What flows through a step: the tensors that its tasks make, and which tasks read them.

FF follows the edges of the trace. BP runs against them: what BP of an operation makes is a gradient of each of its
inputs. Where a result has several readers (branches) their gradients are summed, one addition as soon as the next is
there: it reads both and writes the sum. Readers of different parts of one result (queries, keys and values of one
projection) have nothing to sum: only what they read beyond the whole of it is.

BP needs results of FF again, which are kept for it: WU its operand, a product of two activations its factors, vector
work what `_KEPT` names. An activation that rides on its producer is undone from its result. Those that a checkpoint
drops are made again in BP, and not kept.

In a trace without edges every operation is taken to read what the one before it wrote, and every result to be kept
until BP of its operation; nothing branches.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from accelsim.lowering.phases import Weighted
from accelsim.lowering.tasks import Gemm, StepTensor, Task, TensorKind, VectorWork
from accelsim.sparsity.methods import Operand
from accelsim.workload.data_flow import input_name
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Operation, Trace, Vector

__all__ = ["StepFlow", "result_elements", "shared_by_windows"]

_KEPT: Mapping[str, Literal["inputs", "result"]] = {
    "norm": "inputs",
    "activation": "inputs",
    "pooling": "result",  # as large as what says where the maxima were
    "multiply": "inputs",
    "softmax": "result",
    "embedding": "inputs",
    "dropout": "result",  # as large as the mask
    "loss": "inputs",
    "elementwise": "inputs",
}
"""What BP of vector work reads besides the gradient, in accordance with what it is charged; others read nothing."""


def result_elements(operation: Operation, batch: int) -> int:
    """Elements that the forward of an operation writes in a step of `batch` samples."""
    samples = batch if operation.scales_with_batch else 1
    if isinstance(operation, Linear):
        return operation.rows_at(samples) * operation.out_features
    if isinstance(operation, Matmul):
        count, m, n, _ = operation.sizes_at(batch)
        return count * m * n
    if isinstance(operation, Vector):
        return samples * operation.writes
    return samples * operation.out_channels * prod(operation.out_size)


def shared_by_windows(trace: Trace, operation: Vector, batch: int) -> int:
    """Elements that a pooling reads once more than its input has, because its windows overlap.

    The trace gives a pooling by its windows; how large its input is follows from the edges. Without them every window
    is taken to read what is its own.
    """
    if operation.kind != "pooling" or len(operation.inputs or ()) != 1:
        return 0
    (source,) = operation.inputs or ()
    named = {input_name(number): batch * prod(shape) for number, shape in enumerate(trace.input_shapes)}
    named |= {other.name: result_elements(other, batch) for other in trace.operations if other.name == source}
    samples = batch if operation.scales_with_batch else 1
    return max(0, samples * operation.reads - named[source])


def _operand_elements(operation: Operation, operand: int, batch: int) -> int:
    """Elements that an operation reads of an operand, at most."""
    samples = batch if operation.scales_with_batch else 1
    if isinstance(operation, Linear):
        return operation.rows_at(samples) * operation.in_features
    if isinstance(operation, Matmul):
        count, m, n, k = operation.sizes_at(batch)
        return count * (k * n if operand else m * k)
    if isinstance(operation, Conv | ConvTranspose):
        return samples * operation.in_channels * prod(operation.in_size)
    several = len(operation.inputs or ()) > 1
    return samples * (max(operation.writes, operation.reads // 2) if several else operation.reads)


@dataclass(slots=True)
class _Open:
    """A tensor to which tasks are still added; see `StepTensor`."""

    elements: int
    kind: TensorKind
    made: list[int]
    read: list[int]
    all_along: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known so far of the gradient of a result: the tensors that it lies in, elements that it covers, sums."""

    tensors: tuple[int, ...]
    elements: int
    sums: int = 0


class StepFlow:
    """Collects the tensors of a step while its tasks are made.

    `tasks`: those of the step so far. `add`: appends a task to BP and returns its number. `wanted`: says whether the
    gradient of what an operation writes is of use. `handed`: pairs of a task and another that takes its result as a
    stream, at the row ports of the array or in the vector unit; empty where the trace has no edges.
    """

    def __init__(
        self,
        trace: Trace,
        batch: int,
        tasks: Sequence[Task],
        add: Callable[[VectorWork], int],
        wanted: Callable[[Operation], bool],
    ) -> None:
        self.known = trace.has_edges
        self.handed: list[tuple[int, int]] = []
        self._batch, self._tasks, self._add, self._wanted = batch, tasks, add, wanted
        self._operations = {operation.name: operation for operation in trace.operations}
        self._whole = {operation.name: result_elements(operation, batch) for operation in trace.operations}
        self._inputs = dict(_edges(trace))
        self._tensors: list[_Open] = []
        self._results: dict[str, tuple[int, ...]] = {
            input_name(number): (self._new(batch * prod(shape), "activation", ()),)
            for number, shape in enumerate(trace.input_shapes)
        }
        self._made_once: set[str] = set()  # operations with a result of their own
        self._gradients: dict[str, _Known] = {}

    def tensors(self) -> tuple[StepTensor, ...]:
        """Return the tensors, once all tasks are there."""
        return tuple(
            StepTensor(own.elements, own.kind, tuple(own.made), tuple(own.read), own.all_along) for own in self._tensors
        )

    def forward(self, operation: Operation, tasks: Sequence[int]) -> None:
        """Note the forward of an operation, or that it is executed again; without tasks its result is its operand."""
        sources = self._sources(operation)
        first, made = self._columns(tasks, "activation")
        for operand, tensors in enumerate(sources):
            self._read(tensors, first, streamed=operand == 0 or not isinstance(operation, Matmul))
        name = operation.name
        if not tasks:
            self._results.setdefault(name, tuple(number for tensors in sources for number in tensors))
        elif name in self._made_once:
            for number in self._results[name]:
                self._tensors[number].made.extend(made)
        else:
            self._made_once.add(name)
            self._results[name] = (self._new(self._whole[name], "activation", made),)

    def drop(self) -> None:
        """Let results of recomputed operations end with FF: what BP reads of them is made again."""
        for operation in self._operations.values():
            if not operation.recomputed:
                continue
            if operation.name in self._made_once:
                self._results[operation.name] = (self._new(self._whole[operation.name], "activation", ()),)
            else:
                sources = self._sources(operation)
                self._results[operation.name] = tuple(number for tensors in sources for number in tensors)

    def of_vector_work(self, operation: Vector, tasks: Sequence[int], *, fused: bool) -> None:
        """Note BP of vector work; without tasks its gradient passes on as it is. `fused`: it rode on its producer."""
        gradient = self._gradients.pop(operation.name, _Known((), 0))
        names = self._inputs[operation.name]
        if not tasks:
            for name in names:
                self._give(name, gradient)
            return
        self._read(gradient.tensors, tasks, streamed=True)
        kept = "result" if fused else _KEPT.get(operation.kind)
        if kept == "inputs":
            for tensors in self._sources(operation):
                self._read(tensors, tasks)
        elif kept == "result":
            self._read(self._results.get(operation.name, ()), tasks)
        self._hand_back(operation, range(len(names)), tasks)

    def of_product(self, operation: Matmul, left: Sequence[int], right: Sequence[int]) -> None:
        """Note the tasks that make the gradients of the left and of the right factor."""
        gradient = self._gradients.pop(operation.name, _Known((), 0))
        sources = self._sources(operation)
        two = len(sources) == len(_FACTORS)
        for factor, tasks in zip(_FACTORS, (left, right), strict=True):
            if tasks:
                self._read(gradient.tensors, tasks, streamed=factor == 0)
                for tensors in sources[1 - factor : 2 - factor] if two else sources:
                    self._read(tensors, tasks)
                self._hand_back(operation, (factor,) if two else range(len(sources)), tasks, factor)

    def of_weighted(self, operation: Weighted, tasks: Sequence[int]) -> tuple[int, ...]:
        """Note BP of an operation with a weight; return where the gradient of its result lies, which WU reads too."""
        gradient = self._gradients.pop(operation.name, _Known((), 0))
        first, _ = self._columns(tasks, None)
        streamed = bool(first) and getattr(self._tasks[first[0]], "w_operand", None) is Operand.WEIGHT
        self._read(gradient.tensors, first, streamed=streamed)
        if tasks:
            self._hand_back(operation, range(len(self._inputs[operation.name])), tasks)
        return gradient.tensors

    def of_wu(self, operation: Weighted, gradient: Iterable[int], tasks: Sequence[int]) -> None:
        """Note WU, which reads the operand of FF and the `gradient` of its result."""
        for tensors in (gradient, *self._sources(operation)):
            self._read(tensors, tasks)

    def of_weights(self, elements: int, made: Sequence[int], read: int, *, all_along: bool = False) -> None:
        """Note the gradient of weights; `all_along`: it is there from part to part of the step."""
        number = self._new(elements, "weight gradient", made)
        self._read((number,), (read,))
        self._tensors[number].all_along = all_along

    def keep(self, operation: Operation) -> None:
        """Where readers are not known, keep a result until BP of its operation, whose tasks are all there now."""
        if not self.known:
            self._read(self._results.get(operation.name, ()), (len(self._tasks) - 1,))

    def _new(self, elements: int, kind: TensorKind, made: Iterable[int]) -> int:
        self._tensors.append(_Open(elements, kind, list(made), []))
        return len(self._tensors) - 1

    def _read(self, tensors: Iterable[int], tasks: Sequence[int], *, streamed: bool = False) -> None:
        """Let tasks read tensors."""
        for own in map(self._tensors.__getitem__, tensors):
            own.read.extend(tasks)
            if streamed and self.known:
                self.handed += [(maker, reader) for maker in own.made for reader in tasks]

    def _sources(self, operation: Operation) -> list[tuple[int, ...]]:
        """Return the tensors that each operand lies in."""
        return [self._results.get(name, ()) for name in self._inputs[operation.name]]

    def _columns(self, tasks: Sequence[int], kind: TensorKind | None) -> tuple[Sequence[int], Sequence[int]]:
        """Return the tasks that read the operand, and those that write the result: columns are summed in between.

        The columns are noted where they have a kind.
        """
        if len(tasks) < _LEAST_WITH_COLUMNS:
            return tasks, tasks
        sums = [index for index in tasks if isinstance(self._tasks[index], VectorWork)]
        products = [index for index in tasks if isinstance(self._tasks[index], Gemm)]
        if not sums or not products:
            return tasks, tasks
        if kind is None:
            return products, sums
        for product, its_sum in zip(products, sums, strict=True):
            gemm = self._tasks[product]
            assert isinstance(gemm, Gemm)
            columns = self._new(gemm.m * gemm.n * gemm.count, kind, (product,))
            self._read((columns,), (its_sum,), streamed=True)
        return products, sums

    def _hand_back(self, operation: Operation, operands: Sequence[int], tasks: Sequence[int], factor: int = 0) -> None:
        """Note the gradients of operands that tasks of BP make."""
        _, made = self._columns(tasks, "gradient")
        for operand in operands:
            name = self._inputs[operation.name][operand]
            elements = _operand_elements(operation, max(operand, factor), self._batch)
            elements = min(elements, self._whole.get(name, elements))
            self._give(name, _Known((self._new(elements, "gradient", made),), elements))

    def _give(self, name: str, more: _Known) -> None:
        """Add to the gradient of a result; what two of its readers both give is summed."""
        producer = self._operations.get(name)
        if producer is None or not more.tensors or not self._wanted(producer):
            return
        known, whole = self._gradients.get(name), self._whole[name]
        more = _Known(more.tensors, min(more.elements, whole))
        if known is None:
            self._gradients[name] = more
            return
        tensors, twice = (*known.tensors, *more.tensors), known.elements + more.elements - whole
        if twice > 0 and self.known:
            called = f"{name}[sum{f' {known.sums + 1}' if known.sums else ''}]"
            work = VectorWork(name=called, operation=name, direction="BP", reads=2 * twice, writes=twice, sums=True)
            task = self._add(work)
            self._read(tensors, (task,), streamed=True)
            sums = self._new(twice, "gradient", (task,))
            tensors = (sums,) if twice == whole else (*tensors, sums)
        summed = known.sums + (twice > 0)
        self._gradients[name] = _Known(tensors, min(known.elements + more.elements, whole), summed)


_FACTORS = (0, 1)
_LEAST_WITH_COLUMNS = 2


def _edges(trace: Trace) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what each operation reads; without edges what the one before it wrote."""
    known, before = trace.has_edges, input_name(0)
    for operation in trace.operations:
        yield operation.name, (operation.inputs or ()) if known else (before,)
        before = operation.name
