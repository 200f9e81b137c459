"""Recordings of PyTorch as trees of calls: the pass to import, its forward calls, and what ran backward for each.

A recording lists what the dispatcher called, from inside a composite operation (`aten::linear`) down to kernels
(`aten::addmm`, `aten::copy_`). What counts is what autograd differentiates: a call is opened where torch defines it by
other differentiable calls, and taken whole otherwise. The calls that a backward pass makes belong to the forward call
with the same sequence number on the same thread.
"""

import re
import typing
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod

from accelsim.base.errors import InputError
from accelsim.base.files import Scalar
from accelsim.workload.trace import LARGEST_TENSOR

__all__ = [
    "COMPILED_FUNCTION",
    "LAUNCH",
    "Backward",
    "Leaf",
    "Operand",
    "Pass",
    "Recording",
    "Row",
    "Tensor",
    "Thread",
    "choose_pass",
    "is_product",
    "may_be_product",
]

_COMPOSITE_WORDS = (
    "_autocast_to_full_precision _autocast_to_reduced_precision _batch_norm_impl_index _convolution_mode _pad_enum"
    " _scaled_dot_product_attention_math _weight_norm absolute adaptive_avg_pool1d adaptive_avg_pool2d"
    " adaptive_avg_pool3d adaptive_max_pool1d adjoint alpha_dropout atleast_1d atleast_2d atleast_3d avg_pool1d"
    " batch_norm bilinear broadcast_tensors broadcast_to chain_matmul chunk clip column_stack concat concatenate"
    " contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d cosine_embedding_loss"
    " cosine_similarity cross cross_entropy_loss diff divide dropout dstack einsum embedding_bag expand_as"
    " feature_alpha_dropout feature_dropout flatten fliplr flipud float_power ger greater greater_equal group_norm gru"
    " gru_cell hinge_embedding_loss hstack inner instance_norm isclose isfinite item kl_div kron l1_loss layer_norm"
    " less less_equal linalg_matmul linalg_matrix_norm linalg_multi_dot linalg_norm linalg_vecdot linear log_sigmoid"
    " log_softmax lstm lstm_cell mH mT margin_ranking_loss matmul max_pool1d max_pool2d max_pool3d meshgrid moveaxis"
    " movedim multiply nanmean narrow negative nll_loss nll_loss2d nll_loss_nd norm_except_dim not_equal numpy_T"
    " one_hot outer pad pairwise_distance pin_memory positive prelu ravel relu6 repeat_interleave reshape reshape_as"
    " resolve_conj resolve_neg rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell row_stack rrelu"
    " scaled_dot_product_attention selu softmax special_softmax square stft subtract sum_to_size swapaxes swapdims"
    " take_along_dim tensor_split tensordot tile to true_divide type_as unflatten unsafe_chunk view_as vstack"
)
_COMPOSITES = frozenset(_COMPOSITE_WORDS.split())
"""Operations that torch defines by differentiable ones (CompositeImplicitAutograd)."""

_OVERLOADED_WORDS = (
    "max min split std std_mean var var_mean where upsample_bilinear2d upsample_bicubic2d upsample_linear1d"
    " upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d"
)
_OVERLOADED = frozenset(_OVERLOADED_WORDS.split())
"""Operations with overloads of both sorts: opened where they call what they stand for."""

_TAKEN_WHOLE = frozenset({"linear", "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Composites that some devices compute in one kernel, without calls inside."""

_EVALUATE = "autograd::engine::evaluate_function: "
_ACCUMULATE = "torch::autograd::AccumulateGrad"
_STEP = re.compile(r"ProfilerStep\s*#\s*(\d+)")
_COLLECTIVES = re.compile(r"record_param_comms|_?c10d(_functional)?::.*|(fsdp|FSDP)::.*|nccl:.*|gloo:.*")
_NOT_FORWARD = re.compile(
    r"Optimizer\.(step|zero_grad)#.*|enumerate\(DataLoader\)#.*|torch\.distributed\..*|profiler::.*"
    rf"|{_COLLECTIVES.pattern}"
)
_OPTIMIZER = re.compile(r"Optimizer\.(step|zero_grad)#.*")
_PRODUCT = re.compile(
    r"(scaled_|grouped_|int_)?mm|addmm|bmm|baddbmm|addbmm|mv|addmv|v?dot|linear|\w*convolution\w*|conv_depthwise\dd"
    r"|(thnn|slow)_conv\w*|\w*dot_product\w*attention\w*|\w*_attention_forward|flash_attn_forward|\w*_rnn(_layer)?"
)
COMPILED_FUNCTION = "CompiledFunction"
"""The autograd function of a region that torch.compile compiled."""

_FUSED = re.compile(r"(triton_(poi|per|red|for|spl|mix)_|(graph_\d+_)?cpp_|kernel_cpp_).*|triton kernel")
"""Kernels that a compiler made of work without products."""

_GRAPH_LAUNCH = re.compile(r"(cuda|hip|cu)GraphLaunch\w*")
LAUNCH = re.compile(r"(cuda|hip|cu)\w*Launch\w*")
"""Calls of the host that start kernels of a device."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor operand: its shape, and what else the recording says of it."""

    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    storage: int | None = None
    offset: int = 0

    @property
    def elements(self) -> int:
        """Elements of its shape."""
        return prod(self.shape)

    @property
    def stored(self) -> int:
        """Elements in memory: dimensions that an expand repeats count once."""
        if self.strides is None or len(self.strides) != len(self.shape):
            return self.elements
        return prod(size for size, step in zip(self.shape, self.strides, strict=True) if step)


Operand = typing.Union[Tensor, Scalar, tuple["Operand", ...]]  # noqa: UP007
"""What a call gets or returns: a tensor, a number, or a list of such."""

Thread = int | tuple[str, str]
"""What tells a thread: its number, or those of process and thread."""


@dataclass(slots=True, eq=False, kw_only=True)
class Row:
    """One call of a recording with the calls it made; `start` orders all calls of all threads."""

    name: str
    start: int
    end: int
    thread: Thread
    inputs: tuple[Operand, ...] = ()
    outputs: tuple[Operand, ...] | None = None
    sequence: int | None = None  # of the autograd node that it creates, if it is the last call to carry the number
    forward_thread: Thread | None = None  # of a call of the backward pass: where its forward ran
    is_module: bool = False
    is_annotation: bool = False
    is_kernel: bool = False  # made by a compiler, called by no dispatcher
    told: str | None = None  # what the user says it is: ignore, or linear
    children: list["Row"] = field(default_factory=list)

    def check(self) -> "Row":
        """Return the row where its values can be those of a call. Raises `TypeError` with the first that cannot."""
        if not isinstance(self.name, str):
            raise TypeError(f"name {self.name!r}")
        for tensor in (*self.tensors, *self.results):
            for sizes in (tensor.shape, tensor.strides or ()):
                if not all(type(size) is int and 0 <= size < LARGEST_TENSOR for size in sizes):
                    raise TypeError(f"{self.name}: shape {list(tensor.shape)} with strides {tensor.strides}"[:200])
            if type(tensor.offset) is not int or not isinstance(tensor.storage, int | None):
                raise TypeError(f"{self.name}: memory {tensor.storage!r} from {tensor.offset!r} on"[:200])
        return self

    @property
    def word(self) -> str:
        """The bare name of the operation: ``aten::_softmax`` and ``aten::softmax_`` are both softmax."""
        return _word(self.name)

    @property
    def is_operation(self) -> bool:
        """Whether it is a call of the dispatcher, and no annotation, module or autograd function around such."""
        return ("::" in self.name and not self.is_annotation) or self.is_kernel or self.told is not None

    @property
    def is_fused(self) -> bool:
        """Whether it is a kernel that a compiler made of work without products."""
        return self.is_kernel and _FUSED.fullmatch(self.name) is not None

    @property
    def is_backward(self) -> bool:
        """Whether the autograd engine called it."""
        return self.forward_thread is not None or self.name.startswith((_EVALUATE, _ACCUMULATE))

    @property
    def tensors(self) -> list[Tensor]:
        """Tensor operands in order, those in lists included."""
        return list(_tensors_in(self.inputs))

    @property
    def results(self) -> list[Tensor]:
        """Tensors it returns, where the recording says so."""
        return list(_tensors_in(self.outputs or ()))

    def tensor(self, at: int) -> Tensor:
        """Operand `at`, counted from 0, of a call that gets a tensor there."""
        given = self.inputs[at] if at < len(self.inputs) else None
        if not isinstance(given, Tensor):
            raise InputError(f"{self.name}: operand {at} is no tensor, as the recording has it")
        return given

    def walk(self) -> Iterator["Row"]:
        """Yield this call and all below it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def inside(self) -> Iterator["Row"]:
        """Yield all calls below this one, in order."""
        for child in self.children:
            yield from child.walk()


@lru_cache(maxsize=4096)
def _word(name: str) -> str:
    return name.rpartition("::")[2].strip("_").removeprefix("native_")


def _tensors_in(values: Sequence[Operand]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from _tensors_in(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """All calls of a file: the outermost ones of every thread, in order of their start."""

    source: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A call that counts, and what it was called by, from outside in."""

    row: Row
    above: tuple[Row, ...]

    @property
    def unit(self) -> Row:
        """The outermost call around it: what the program called."""
        around = (row for row in (*self.above, self.row) if row.is_operation or row.sequence is not None)
        return next(around)

    @property
    def modules(self) -> list[Row]:
        """Modules around it, from outside in."""
        return [row for row in self.above if row.is_module]

    def inside(self, *words: str) -> Row | None:
        """Return the innermost call around it with one of these names."""
        return next((row for row in reversed(self.above) if row.is_operation and row.word in words), None)


@dataclass(frozen=True, slots=True, eq=False)
class Backward:
    """A call of the engine: the node of a forward call, or the accumulation of a gradient."""

    row: Row
    key: tuple[Hashable, int] | None
    """Thread and sequence number of the forward call; None for an accumulation."""

    around: tuple[Hashable, int] | None = None
    """The same of the node that runs it in a backward pass of its own, as checkpointing does."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pass:
    """One forward pass, the backward pass after it, and the forward calls that the backward pass made again."""

    forward: tuple[Leaf, ...]
    backward: tuple[Backward, ...]
    recomputed: tuple[tuple[Leaf, ...], ...]
    notes: tuple[str, ...]
    updates: tuple[Row, ...] = ()
    """Steps of optimizers."""

    @cached_property
    def _creators(self) -> Mapping[tuple[Hashable, int], Row]:
        """The call that created each autograd node: the last one to start with its number."""
        found: dict[tuple[Hashable, int], Row] = {}
        for leaf in (*self.forward, *(leaf for run in self.recomputed for leaf in run)):
            for row in (*leaf.above, leaf.row):
                if row.sequence is not None and not row.is_backward:
                    key = (row.thread, row.sequence)
                    if key not in found or found[key].start <= row.start:
                        found[key] = row
        return found

    @cached_property
    def _nodes(self) -> Mapping[tuple[Hashable, int], list[Row]]:
        found: dict[tuple[Hashable, int], list[Row]] = {}
        for event in self.backward:
            if event.key is not None:
                found.setdefault(event.key, []).append(event.row)
        return found

    @cached_property
    def optimized_memory(self) -> frozenset[int | None]:
        """Memory that a step of the optimizer reads or writes, where the recording numbers memory."""
        rows = (row for update in self.updates for row in update.walk())
        return frozenset(tensor.storage for row in rows for tensor in row.tensors) - {None}

    @cached_property
    def optimized_shapes(self) -> Counter[tuple[int, ...]]:
        """How many tensors of each shape the optimizers step after this pass.

        What they write in place goes through every tensor once, in one call for all or in one for each.
        """
        found: Counter[tuple[int, ...]] = Counter()
        for update in self.updates:
            counts: dict[str, Counter[tuple[int, ...]]] = {}
            for row in update.children if update.start > self.forward[0].row.start else ():
                if row.name.endswith("_"):
                    written = [tensor.shape for tensor in _tensors_in(row.inputs[:1])]
                    counts.setdefault(row.name, Counter()).update(written)
            for shape in set().union(*counts.values()):
                found[shape] += min(count[shape] for count in counts.values() if count[shape])
        return found

    @cached_property
    def has_backward(self) -> bool:
        """Whether a backward pass was recorded."""
        return bool(self.backward)

    def creator(self, event: Backward) -> Row | None:
        """Return the forward call whose node the event is."""
        return None if event.key is None else self._creators.get(event.key)

    def ran(self, row: Row) -> list[Row]:
        """Return what ran backward for the autograd node that this forward call created."""
        if row.sequence is None or self._creators.get((row.thread, row.sequence)) is not row:
            return []
        return self._nodes.get((row.thread, row.sequence), [])

    @staticmethod
    def function(leaf: Leaf) -> Row | None:
        """Return the autograd function around a call, None for a call with a node of its own."""
        own = next((row for row in (leaf.row, *reversed(leaf.above)) if row.sequence is not None), None)
        return None if own is None or own.is_operation else own

    def nodes(self, leaf: Leaf) -> list[Row]:
        """Return what ran backward for a call; for one inside an autograd function, for that function."""
        own = next((row for row in (leaf.row, *reversed(leaf.above)) if row.sequence is not None), None)
        return [] if own is None else self.ran(own)

    def accumulations(self) -> Iterator[tuple[Tensor, Row | None, int]]:
        """Yield each accumulated gradient, the forward call whose backward gave its last share, and its place in order.

        The engine accumulates a gradient as soon as it is complete, so that is the node before it. Gradients of what
        a checkpoint detaches from the graph are no gradients of parameters.
        """
        last: Backward | None = None
        for place, event in enumerate(self.backward):
            if event.key is not None:
                last = event
            elif event.row.tensors:
                gradient = event.row.tensors[0]
                function = None if event.around is None else self._creators.get(event.around)
                detached = function is not None and gradient.shape in [tensor.shape for tensor in function.tensors]
                if not detached:
                    yield gradient, None if last is None else self.creator(last), place


def _opens(row: Row) -> bool:
    """Whether a call is to be replaced by the calls it made.

    One that creates a node of its own counts up the sequence number before it calls anything differentiable.
    """
    if row.told is not None or row.is_kernel:
        return False
    inner = [child for child in row.children if child.is_operation]
    if not row.is_operation or any(child.sequence is not None and child.sequence == row.sequence for child in inner):
        return True
    if row.name.rpartition("::")[2].removesuffix("_") in _COMPOSITES:
        return bool(inner) or row.word not in _TAKEN_WHOLE
    alike = [child for child in inner if child.word == row.word]
    if row.word in _OVERLOADED:
        return bool(alike)
    return any(len(child.tensors) == len(row.tensors) and _casts(row) for child in alike)


def _casts(row: Row) -> bool:
    """Whether a call converts a tensor before it calls itself again, as automatic mixed precision does."""
    return any(inner.word == "to_copy" and inner.tensors and inner.tensors[0].shape for inner in row.walk())


def _leaves(row: Row, above: tuple[Row, ...] = ()) -> Iterator[Leaf]:
    """Yield the calls at and below `row` that count, each once."""
    if _NOT_FORWARD.fullmatch(row.name) or row.is_backward:
        return
    whole = row.is_operation and not _opens(row)
    for child in row.children if row.told is None else ():
        if not whole or child.sequence is not None:  # a whole one may copy what it overwrites and backward needs
            yield from _leaves(child, (*above, row))
    if whole:
        yield Leaf(row, above)


def _units(rows: Sequence[Row], above: tuple[Row, ...] = ()) -> Iterator[tuple[Row, tuple[Row, ...]]]:
    """Yield the outermost calls below annotations and modules, each with what stands around it."""
    for row in rows:
        if _OPTIMIZER.fullmatch(row.name) or row.is_operation or row.sequence is not None or row.is_backward:
            yield row, above
        elif not _NOT_FORWARD.fullmatch(row.name):
            yield from _units(row.children, (*above, row))


@dataclass(slots=True)
class _Draft:
    """A pass while it is collected."""

    forward: list[Leaf] = field(default_factory=list)
    backward: list[Row] = field(default_factory=list)

    @property
    def signature(self) -> tuple[Hashable, ...]:
        """Products with their operands: equal in every step of one training run."""
        products = (leaf.row for leaf in self.forward if is_product(leaf.row))
        return tuple((row.word, tuple(tensor.shape for tensor in row.tensors)) for row in products)


def is_product(row: Row) -> bool:
    """Whether a call multiplies matrices, convolves, or computes attention."""
    return row.is_operation and row.told != "ignore" and may_be_product(row.name)


def may_be_product(name: str) -> bool:
    """Whether a call of this name, made by a dispatcher or a compiler, is a product."""
    return _PRODUCT.fullmatch(_word(name)) is not None


def _drafts(units: Sequence[tuple[Row, tuple[Row, ...]]]) -> list[_Draft]:
    """Split calls in order into passes: a product after a backward pass starts the next one.

    What runs after a backward pass (clipping, the optimizer, metrics) is left out; of what stands between it and the
    next product only work with gradients belongs to the next pass.
    """
    drafts = [_Draft()]
    waiting: list[Leaf] = []
    for row, above in units:
        if row.is_backward:
            drafts[-1].backward.append(row)
            waiting = []
        elif _OPTIMIZER.fullmatch(row.name):
            waiting = []
        elif not drafts[-1].backward:
            drafts[-1].forward += _leaves(row, above)
        else:
            waiting += _leaves(row, above)
            if any(is_product(leaf.row) for leaf in waiting):
                drafts.append(_Draft(forward=[leaf for leaf in waiting if _differentiable(leaf)]))
                waiting = []
    return [draft for draft in drafts if draft.signature]


def _differentiable(leaf: Leaf) -> bool:
    return is_product(leaf.row) or any(row.sequence is not None for row in (leaf.row, *leaf.above))


def _steps(rows: Sequence[Row]) -> list[Row]:
    """Return the annotated steps in order."""
    found = []
    for row in rows:
        if _STEP.fullmatch(row.name):
            found.append(row)
        if not row.is_operation and not row.is_backward:
            found += _steps(row.children)
    return sorted(found, key=lambda row: row.start)


def choose_pass(recording: Recording) -> Pass:
    """Return the last complete pass of a recording; its notes say which of several it is.

    Raises `InputError` where no forward pass is recorded, or where passes of one step differ.
    """
    everything = [row for top in recording.rows for row in top.walk()]
    units = sorted(_units(recording.rows), key=lambda unit: unit[0].start)
    notes = []
    steps = _steps(recording.rows)
    where = "the recording"
    step = None
    if steps:
        drafts, step = _last_complete(steps, units)
        where = step.name
        if len(steps) > 1:
            notes.append(f"{where}, the last complete one of {len(steps)} recorded steps, is the step of the trace")
    else:
        drafts = _drafts(units)
    graphs = _graph_launches(everything, step)
    if not drafts:
        why = f"; {graphs}" if graphs else ""
        raise InputError(
            f"{recording.source}: no forward operation is recorded{why}; the recording must span a whole training step"
        )
    complete = [draft for draft in drafts if draft.backward] or drafts
    if len({draft.signature for draft in complete}) > 1:
        raise InputError(
            f"{recording.source}: {where} holds {len(complete)} forward and backward passes with different products;"
            " record one step, or call step() of the profiler after each"
        )
    if len(complete) > 1:
        notes.append(
            f"{where} holds {len(complete)} forward and backward passes; the last one is the step of the trace"
        )
    chosen = complete[-1]
    if not chosen.backward:
        notes.append(
            "no backward pass is recorded: all parameters are taken as trained, and the gradients that a step computes"
            " follow from the order of the operations"
        )
    threads = {leaf.row.thread for leaf in chosen.forward if is_product(leaf.row)}
    if len(threads) > 1:
        raise InputError(
            f"{recording.source}: the forward pass runs in {len(threads)} threads, as several replicas of a model do;"
            " record a step of one replica"
        )
    if any(_COLLECTIVES.fullmatch(row.name) for row in everything):
        notes.append("collectives of a distributed run are left out: the trace is the work of one process")
    if graphs:
        notes.append(graphs)
    events, recomputed = _backward_of(chosen.backward)
    forward = tuple(leaf for leaf in chosen.forward if leaf.row.thread in threads)  # others move data
    return Pass(
        forward=forward,
        backward=events,
        recomputed=recomputed,
        notes=tuple(notes),
        updates=tuple(row for row in everything if row.name.startswith("Optimizer.step#")),
    )


def _graph_launches(rows: Sequence[Row], step: Row | None) -> str:
    """Say how many graphs of kernels are replayed in a step, whose calls are not recorded; empty for none."""
    launches = [row for row in rows if _GRAPH_LAUNCH.fullmatch(row.name)]
    inside = [row for row in launches if step is None or step.start <= row.start < step.end]
    if not inside:
        return ""
    return (
        f"graphs of kernels are replayed ({inside[0].name}, {len(inside)} time{'s' * (len(inside) > 1)}), and what they"
        " compute is not recorded: it is missing from the trace"
    )


def _last_complete(steps: Sequence[Row], units: Sequence[tuple[Row, tuple[Row, ...]]]) -> tuple[list[_Draft], Row]:
    """Return the passes of the last annotated step that has all that another one has."""
    found = []
    for step in steps:
        drafts = _drafts([unit for unit in units if step.start <= unit[0].start < step.end])
        found.append((drafts, step))
    trained = [(drafts, step) for drafts, step in found if any(draft.backward for draft in drafts)]
    return (trained or [entry for entry in found if entry[0]] or found)[-1]


def _backward_of(rows: Sequence[Row]) -> tuple[tuple[Backward, ...], tuple[tuple[Leaf, ...], ...]]:
    """Return what the engine called, in order, and the runs of forward calls inside it."""
    events: list[Backward] = []
    runs: list[tuple[Leaf, ...]] = []

    def visit(row: Row, around: tuple[Hashable, int] | None) -> None:
        if row.name == _ACCUMULATE:
            events.append(Backward(row, None, around))
        elif row.forward_thread is not None and row.sequence is not None and not row.name.startswith(_EVALUATE):
            events.append(Backward(row, (row.forward_thread, row.sequence), around))
            around = (row.forward_thread, row.sequence)
        run: list[Leaf] = []
        for child in row.children:
            again = [leaf for leaf in _leaves(child, (row,)) if _recomputes(leaf)]
            run += again
            if not again:
                visit(child, around)
        if run:
            runs.append(tuple(Leaf(leaf.row, leaf.above[1:]) for leaf in run))

    for row in rows:
        visit(row, None)
    return tuple(events), tuple(runs)


def _recomputes(leaf: Leaf) -> bool:
    """Whether a call inside the backward pass is differentiable itself: only forward work made again is."""
    return any(row.sequence is not None and not row.is_backward for row in (leaf.row, *leaf.above[1:]))
