"""Tracing a PyTorch model: shapes of its forward pass, operation by operation, without memory for tensors.

One dispatch mode sees every operation that PyTorch executes, below modules, functions and autograd, on fake tensors.
The model runs forward and backward at two batch sizes; what grows with the batch is divided by it, the rest is work
done once per step. Four decisions shape a trace:

- Attention is opened into its products, softmax and dropout.
- Work on constants alone (masks, position indices) is left out: it can be prepared before training.
- Casts between number formats are left out: the precision belongs to the design, not to the trace.
- A tensor computed from parameters alone, and as large as one of them, still is that parameter (masked, cast or
  normalised weights).
"""

import logging
import platform
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, replace
from enum import Enum
from functools import partial
from math import prod
from typing import Any, Literal

try:
    import torch
except ModuleNotFoundError:
    raise ModuleNotFoundError("tracing needs PyTorch: pip install 'accelsim[torch]'", name="torch") from None
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (  # private by name only: torch documents it for compilers
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from accelsim import __version__
from accelsim.errors import InputError
from accelsim.files import validate
from accelsim.workload.trace import FORMAT, LARGEST_DIMENSION, Trace

__all__ = ["InputSpec", "trace_model"]

_PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "vdot": 0, "addmm": 1, "baddbmm": 1, "addbmm": 1, "addmv": 1}
"""Matrix products of torch, by the position of their first factor."""

_KINDS = {
    "norm": "batch_norm batch_norm_legit batch_norm_legit_no_training batch_norm_with_update cudnn_batch_norm"
    " layer_norm group_norm fused_rms_norm",
    "activation": "relu relu6 gelu silu sigmoid tanh elu celu selu leaky_relu hardtanh hardswish hardsigmoid mish"
    " softplus softshrink hardshrink glu threshold log_sigmoid_forward prelu_kernel rrelu_with_noise clamp_min",
    "pooling": "max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d"
    " adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d",
    "add": "add sub rsub",
    "multiply": "mul div",
    "softmax": "softmax log_softmax safe_softmax",
    "embedding": "embedding embedding_bag",
    "dropout": "dropout",
    "reduce": "sum mean amax amin max min argmax argmin prod var var_mean std std_mean norm linalg_vector_norm"
    " logsumexp cumsum any all",
    "loss": "nll_loss_forward nll_loss2d_forward mse_loss binary_cross_entropy smooth_l1_loss huber_loss",
    "copy": "clone copy cat stack constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d index"
    " index_select gather slice_scatter select_scatter roll flip repeat repeat_interleave im2col col2im pixel_shuffle"
    " pixel_unshuffle",
}
"""Vector operations of torch by kind, without leading underscores and `native_`; any other is elementwise."""

_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_READ_WHAT_THEY_WRITE = frozenset({"embedding", "embedding_bag", "index", "index_select", "gather"})
_SHOWN_AS = {
    "clone": "copy",
    "batch_norm_legit": "batch_norm",
    "batch_norm_legit_no_training": "batch_norm",
    "batch_norm_with_update": "batch_norm",
    "cudnn_batch_norm": "batch_norm",
    "safe_softmax": "softmax",
    "max_pool2d_with_indices": "max_pool2d",
    "max_pool3d_with_indices": "max_pool3d",
}
_RESHAPED = frozenset({"unsafe_view", "reshape_alias", "transpose", "t", "squeeze", "unsqueeze", "swapaxes", "detach"})
"""Views that a comparison of memory may miss, and views written in place (`transpose_`)."""

_CASTS = frozenset({"to_copy", "lift_fresh", "lift_fresh_copy"})
_SAME_CONTENT = _CASTS | _RESHAPED | {"clone", "repeat"}
_FACTORIES = re.compile(r"new_\w+|\w+_like|zero|fill|uniform|normal|random|bernoulli|exponential")
_HIDES_PRODUCTS = re.compile(
    r"(.*_)?(\w*mm|matmul|linear|bilinear|trilinear|conv\w*|\w*rnn\w*|lstm\w*|gru\w*|attention|cdist|dot|einsum)(_.*)?"
    r"|linalg_.*|transformer_encoder_layer_fwd|scaled_dot_product_.*"
)
_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "transposed", "output_padding", "groups")
_TABLES = ("_parameters", "_buffers", "_modules")  # where an nn.Module keeps what it registers


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model: its shape without the batch, and integers below a bound where it holds tokens.

    >>> InputSpec.parse("3x64x64")
    InputSpec(shape=(3, 64, 64), dtype='float32', below=None)
    >>> str(InputSpec.parse("128:int64:30522"))
    '128:int64:30522'
    """

    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"] = "float32"
    below: int | None = None

    def __post_init__(self) -> None:
        if not self.shape or not all(1 <= size <= LARGEST_DIMENSION for size in self.shape):
            raise InputError(f"input '{self}': sizes from 1 to {LARGEST_DIMENSION} are allowed")
        if self.dtype == "float32" and self.below is not None:
            raise InputError(f"input '{self}': only int64 has a bound")
        if self.dtype == "int64" and (self.below is None or self.below < 1):
            raise InputError(f"input '{self}': int64 needs a bound of at least 1, as tokens lie below it")

    @classmethod
    def parse(cls, text: str) -> "InputSpec":
        """Read ``3x64x64`` (float32) or ``128:int64:30522``. Raises `InputError` for anything else."""
        match = re.fullmatch(r"([0-9]{1,9}(?:x[0-9]{1,9})*)(?::float32|:int64:([0-9]{1,12}))?", text.strip())
        if match is None:
            raise InputError(
                f"input '{text}': SIZExSIZE as in 3x64x64 (float32, without the batch) or SIZE:int64:BOUND as in"
                " 128:int64:30522 (tokens below 30522) is needed"
            )
        shape = tuple(int(size) for size in match[1].split("x"))
        return cls(shape, "int64", int(match[2])) if match[2] else cls(shape)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        bound = "" if self.below is None else f":{self.dtype}:{self.below}"
        return "x".join(map(str, self.shape)) + bound


class _Role(Enum):
    """What a tensor that is no parameter holds; a tensor without a role is a constant."""

    ACTIVATION = "computed from the inputs"
    DERIVED = "computed from parameters, and no longer one of them"
    NOISE = "a dropout mask"


@dataclass(frozen=True, slots=True)
class _Source:
    """The parameters that a tensor consists of."""

    label: str
    elements: int
    rows: int
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """One operation at one batch size: sizes that must not depend on the batch, and those that may."""

    kind: str
    fixed: tuple[tuple[str, Any], ...]
    counts: tuple[int, ...]
    weight: _Source | None = None
    input_gradient: bool = False  # whether an operand of the product other than the weight has a gradient


@dataclass(frozen=True, slots=True)
class _Seen:
    """One operation as it was executed: its work, its place in the model, and what its backward pass computes."""

    work: _Work
    word: str
    modules: tuple[str, ...]
    calls: tuple[int, ...]
    parameters: tuple[str, ...]
    with_gradient: bool
    input_gradient: bool
    output_gradient: bool
    recomputed: bool = False

    @property
    def place(self) -> str:
        """The module that executes it and its own name, for messages."""
        return ".".join(part for part in (self.modules[-1], self.word) if part)


@dataclass(frozen=True, slots=True)
class _Call:
    """An operation of torch as the dispatch mode receives it, with its tensors (all fake)."""

    recorder: "_Recorder"
    word: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: Any

    @property
    def tensors(self) -> list[Tensor]:
        """Tensor operands in order."""
        return list(_tensors_in((*self.args, *self.kwargs.values())))

    @property
    def results(self) -> list[Tensor]:
        """Tensors it returns."""
        return list(_tensors_in((self.out,)))


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Walk arguments or the output of a model: tensors in sequences, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors_in(tuple(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for inner in value:
            yield from _tensors_in(inner)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _tensors_in(tuple(vars(value).values()))


def _plain(name: str) -> str:
    """Return a name without the level that ``torch.compile`` adds."""
    return name.removeprefix("_orig_mod").replace("._orig_mod", "").removeprefix(".")


def _stored(tensor: Tensor) -> int:
    """Elements that `tensor` reads from memory: dimensions that an expand repeats count once."""
    return prod(size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step)


class _Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Sees every operation; keeps those of the forward pass, and those that checkpointing executes again."""

    def __init__(self, model: nn.Module, fake: FakeTensorMode) -> None:
        super().__init__()
        self.operations: list[_Seen] = []
        self.again: list[list[_Seen]] = []
        self.parameters: dict[str, Tensor] = {_plain(name): tensor for name, tensor in model.named_parameters()}
        self.constants: dict[str, int] = {}
        self.backward = self.paused = False
        self._fake = fake
        self._stack: list[tuple[str, int]] = [("", 0)]
        self._calls = 0
        self._run_open = False
        self._last_product: set[int] = set()  # storages of its result, while it is the last operation
        self._roles: dict[int, _Source | _Role] = {}
        self._kept: dict[int, Any] = {}  # storages by id: kept alive, so that no id comes back
        self._fixed = {self._key(fake.from_tensor(buffer)): _plain(name) for name, buffer in model.named_buffers()}
        for name, parameter in self.parameters.items():
            rows = parameter.shape[0] if parameter.dim() else 1
            self.mark(fake.from_tensor(parameter), _Source(name, parameter.numel(), rows, (name,)))

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Follow the calls of the modules of `model` by hooks, removed afterwards."""
        hooks = []
        try:
            for name, module in model.named_modules():
                hooks.append(module.register_forward_pre_hook(partial(self._enter, _plain(name))))
                hooks.append(module.register_forward_hook(self._leave, always_call=True))
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, name: str, *_: Any) -> None:
        self._calls += 1
        self._stack.append((name, self._calls))

    def _leave(self, *_: Any) -> None:
        self._stack.pop()

    def _key(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        self._kept[id(storage)] = storage
        return id(storage)

    def mark(self, tensor: Tensor, role: _Source | _Role | None) -> None:
        """Give the storage of `tensor` a role; None makes it a constant."""
        if role is None:
            self._roles.pop(self._key(tensor), None)
        else:
            self._roles[self._key(tensor)] = role

    def role(self, tensor: Tensor) -> _Source | _Role | None:
        """Return what `tensor` holds; a slice of a parameter is named as such."""
        role = self._roles.get(self._key(tensor))
        if not isinstance(role, _Source) or (part := _stored(tensor)) >= role.elements:
            return role
        width = role.elements // role.rows
        start = tensor.storage_offset()
        whole_rows = not (part % width or start % width)
        where = f"{start // width}:{(start + part) // width}" if whole_rows else f"{start}+{part}"
        return replace(role, label=f"{role.label}[{where}]", elements=part, rows=part // width if whole_rows else 1)

    def constant(self, tensor: Tensor) -> _Source:
        """Return the source of an untrained operand of a product, such as a filter kept in a buffer."""
        made = f"{self._stack[-1][0]}.constant_{len(self.constants) + 1}".removeprefix(".")
        label = self._fixed.setdefault(self._key(tensor), made)
        self.constants[label] = _stored(tensor)
        return _Source(label, self.constants[label], 1, ())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute `func` on fake tensors and record it."""
        if func.namespace == "prim":
            return func(*args, **(kwargs or {}))
        args, kwargs = self._faked(args), self._faked(kwargs or {})
        if torch.is_inference_mode_enabled():  # composite operations arrive whole then
            with self:
                if (parts := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return parts
        out = func(*args, **kwargs)
        if self.paused or (self.backward and not torch.is_grad_enabled()):
            self._run_open = False
        else:
            word = func.overloadpacket.__name__
            call = _Call(self, word.strip("_").removeprefix("native_"), tuple(args), kwargs, out)
            self._see(call, func, in_place=word.endswith("_"))
        return out

    def _faked(self, value: Any) -> Any:
        """Replace real tensors by fake ones: else in-place operations would write into the user's buffers."""
        if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
            return self._fake.from_tensor(value)
        if isinstance(value, list | tuple):
            return type(value)(self._faked(inner) for inner in value)
        if isinstance(value, dict):
            return {key: self._faked(inner) for key, inner in value.items()}
        return value

    def _see(self, call: _Call, func: Any, *, in_place: bool) -> None:
        roles = [self.role(tensor) for tensor in call.tensors]
        if _FACTORIES.fullmatch(call.word):
            for result in call.results:
                if call.word == "bernoulli":
                    self.mark(result, _Role.NOISE)
        elif (not in_place and self._is_view(call)) or call.word in _CASTS | _RESHAPED:
            self._pass_on(call, roles)
        elif any(isinstance(role, _Source) or role in {_Role.ACTIVATION, _Role.DERIVED} for role in roles):
            self._record(call, func, roles)
            self._pass_on(call, roles)
        elif _Role.NOISE in roles:
            for result in call.results:
                self.mark(result, _Role.NOISE)

    def _is_view(self, call: _Call) -> bool:
        inputs = {self._key(tensor) for tensor in call.tensors}
        return all(self._key(result) in inputs for result in call.results)

    def _pass_on(self, call: _Call, roles: Sequence[_Source | _Role | None]) -> None:
        """Give results that lie in new memory the role of what they are computed from."""
        known = {self._key(tensor) for tensor, role in zip(call.tensors, roles, strict=True) if role}
        for result in call.results:
            if self._key(result) not in known:
                self.mark(result, self._role_of_result(call, result, roles))

    @staticmethod
    def _role_of_result(call: _Call, result: Tensor, roles: Sequence[_Source | _Role | None]) -> _Source | _Role | None:
        sources = [role for role in roles if isinstance(role, _Source)]
        if _Role.ACTIVATION in roles:
            return _Role.ACTIVATION
        if not sources:
            return next((role for role in roles if role), None)
        if call.word in {"cat", "stack"}:
            return _joined(sources)
        if call.word in _SAME_CONTENT:
            return sources[0]
        if call.word in _PRODUCTS or call.word == "convolution" or call.word in _READ_WHAT_THEY_WRITE:
            return _Role.DERIVED
        alike = [source for source in sources if source.elements == result.numel()]
        return alike[0] if alike else _Role.DERIVED

    def _record(self, call: _Call, func: Any, roles: Sequence[_Source | _Role | None]) -> None:
        operations = self._open_list()
        if call.word == "add" and operations and self._is_bias(call, roles, operations):
            return
        work = self._work(call, func, roles)
        weight = work.weight.parameters if work.weight else ()
        used = [name for role in roles if isinstance(role, _Source) for name in role.parameters if name not in weight]
        active = torch.is_grad_enabled()
        if work.kind == "dropout" or work.weight or work.kind == "matmul":
            word = work.kind
        else:
            word = _SHOWN_AS.get(call.word, call.word)
        seen = _Seen(
            work=work,
            word=word,
            modules=tuple(name for name, _ in self._stack),
            calls=tuple(number for _, number in self._stack),
            parameters=tuple(dict.fromkeys(used)),
            with_gradient=active,
            input_gradient=active and work.input_gradient,
            output_gradient=active and any(tensor.requires_grad for tensor in call.tensors),
        )
        operations.append(seen)
        self._last_product = {self._key(result) for result in call.results if work.weight}

    def _open_list(self) -> list[_Seen]:
        """Where operations go now: the forward pass, or the present run of recomputed ones."""
        if not self.backward:
            return self.operations
        if not self._run_open:
            self.again.append([])
        self._run_open = True
        return self.again[-1]

    def _work(self, call: _Call, func: Any, roles: Sequence[_Source | _Role | None]) -> _Work:
        if call.word in _PRODUCTS:
            return _product(call)
        if call.word == "convolution":
            return _convolution(call)
        known = call.word in _KIND_OF
        if func.namespace not in {"aten", "prims"} or (not known and _HIDES_PRODUCTS.fullmatch(call.word)):
            raise InputError(
                f"{self.here}: operation {func} may hold matrix products that the tracer cannot read; write it with"
                " torch.nn or torch.nn.functional operations"
            )
        return _vector(call, roles)

    @property
    def here(self) -> str:
        """The module that runs, for messages."""
        return self._stack[-1][0] or "the model"

    def _is_bias(self, call: _Call, roles: Sequence[_Source | _Role | None], operations: list[_Seen]) -> bool:
        """Whether a vector is added to the product just computed: a bias, which the product then carries."""
        bias = next((role for role in roles if isinstance(role, _Source)), None)
        keys = {self._key(tensor) for tensor in call.tensors}
        last = operations[-1]
        if bias is None or not keys & self._last_product or ("out_features", bias.elements) not in last.work.fixed:
            return False
        operations[-1] = replace(last, parameters=tuple(dict.fromkeys((*last.parameters, *bias.parameters))))
        self._last_product = {self._key(result) for result in call.results}
        return True


def _joined(sources: Sequence[_Source]) -> _Source:
    elements, rows = sum(source.elements for source in sources), sum(source.rows for source in sources)
    names = tuple(name for source in sources for name in source.parameters)
    return _Source("+".join(source.label for source in sources), elements, rows, names)


def _product(call: _Call) -> _Work:
    """Read a product of two matrices, or of two stacks of matrices: with a weight, or of two activations."""
    at = _PRODUCTS[call.word]
    left, right = call.args[at : at + 2]
    m, n = (left.shape[-2] if left.dim() > 1 else 1), (right.shape[-1] if right.dim() > 1 else 1)
    batch, k = prod(left.shape[:-2]), left.shape[-1]
    for operand, other, features, vectors in ((right, left, n, m), (left, right, m, n)):
        weight = _weight_in(call.recorder, operand, other)
        groups, rest = divmod(weight.elements, k * features) if weight else (0, 0)
        if not groups or rest or batch % groups:
            continue
        rows, gradient = vectors * batch // groups, bool(other.requires_grad)
        if groups == 1:
            return _Work("linear", (("in_features", k), ("out_features", features)), (rows,), weight, gradient)
        shape = (("in_channels", groups * k), ("out_channels", groups * features), ("kernel", (1,)), ("groups", groups))
        return _Work("conv1d", shape, (rows,), weight, gradient)  # one matrix per group, applied to each row
    return _Work("matmul", (), (batch, m, n, k), None, bool(left.requires_grad or right.requires_grad))


def _weight_in(recorder: _Recorder, operand: Tensor, other: Tensor) -> _Source | None:
    role = recorder.role(operand)
    if role is None and operand.dim() == 2 and recorder.role(other) is _Role.ACTIVATION:
        return recorder.constant(operand)
    return role if isinstance(role, _Source) else None


def _convolution(call: _Call) -> _Work:
    given = dict(zip(_CONVOLUTION, call.args, strict=False)) | dict(call.kwargs)
    source, kernel = given["input"], given["weight"]
    role = call.recorder.role(kernel)
    if role is _Role.ACTIVATION:
        raise InputError(
            f"{call.recorder.here}: a convolution whose kernel is computed from the input cannot be traced;"
            " only trained and constant kernels can"
        )
    weight = role if isinstance(role, _Source) else call.recorder.constant(kernel)
    rank, transposed, groups = kernel.dim() - 2, given["transposed"], given["groups"]
    fixed = {
        "in_channels": source.shape[1],
        "out_channels": kernel.shape[1] * groups if transposed else kernel.shape[0],
        "in_size": tuple(source.shape[2:]),
        "kernel": tuple(kernel.shape[2:]),
        **{field: _full(given[field], rank) for field in ("stride", "padding", "dilation")},
        **({"output_padding": _full(given["output_padding"], rank)} if transposed else {}),
        "groups": groups,
    }
    kind = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    return _Work(kind, tuple(fixed.items()), (source.shape[0],), weight, bool(source.requires_grad))


def _full(values: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(values) * rank if len(values) == 1 else tuple(values)


def _vector(call: _Call, roles: Sequence[_Source | _Role | None]) -> _Work:
    """Count what an operation without a product reads and writes, parameters and dropout masks excluded."""
    kind = "dropout" if _Role.NOISE in roles else _KIND_OF.get(call.word, "elementwise")
    alone = _Role.ACTIVATION not in roles  # work on parameters: then they are what is read
    read = [_stored(tensor) for tensor, role in zip(call.tensors, roles, strict=True)
            if role is not _Role.NOISE and (alone or not isinstance(role, _Source))]  # fmt: skip
    writes = call.results[0].numel()
    reads = sum(read)
    if kind == "pooling":
        reads = _pooling_reads(call)
    elif call.word in _READ_WHAT_THEY_WRITE:
        reads = writes
    elif call.word == "copy":
        reads = read[-1]  # into memory that is written, not read
    elif kind == "norm":
        reads = read[0]
    return _Work(kind, (), (reads, writes))


def _pooling_reads(call: _Call) -> int:
    """Elements of all windows: window size times outputs, or the exact windows of an adaptive pooling."""
    source, result = call.args[0], call.results[0]
    window = call.args[1]
    if not call.word.startswith("adaptive"):
        return int(result.numel() * prod(_full(window, result.dim() - 2)))
    rank = len(window)
    taken = [sum(-(-(i + 1) * size // out) - i * size // out for i in range(out))
             for size, out in zip(source.shape[-rank:], result.shape[-rank:], strict=True)]  # fmt: skip
    return int(prod(result.shape[:-rank]) * prod(taken))


def trace_model(
    model: nn.Module,
    inputs: Sequence[InputSpec],
    *,
    batch: int = 2,
    train: bool = True,
    name: str | None = None,
    source: str = "a model in memory",
    assumptions: Sequence[str] = (),
    command: str | None = None,
) -> Trace:
    """Return the trace of `model` on `inputs`, with the batch as their first dimension.

    The model runs forward and backward (of the sum of its outputs) on fake tensors at `batch` and `batch + 1`, in
    training mode unless `train` is false; it, its gradients and the random state stay as they were. Raises
    `InputError` when the inputs do not fit the model, or when it does something that a trace cannot express.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model: a torch.nn.Module is needed, got {type(model).__name__}")
    if batch < 1:
        raise InputError(f"batch: got {batch}, at least 1 is needed")
    with _left_as_it_was(model, train):
        first, second = (_run(model, inputs, size) for size in (batch, batch + 1))
    operations = _mark_recomputed(first)
    _check_same(operations, second.operations, batch)
    entries = _entries(first, operations, second.operations, batch)
    data = {
        "format": FORMAT,
        "model": name or type(model).__name__,
        "input_shapes": [list(spec.shape) for spec in inputs],
        "parameters": sum(parameter.numel() for parameter in first.parameters.values()) + sum(first.constants.values()),
        "origin": {
            "exporter": f"accelsim trace {__version__}",
            "source": source,
            "versions": [
                f"torch {torch.__version__.partition('+')[0]}",
                f"python {'.'.join(platform.python_version_tuple()[:2])}",
            ],
            "assumptions": list(assumptions),
            "command": command,
        },
        "operations": entries,
    }
    return validate(Trace, data, source)


@contextmanager
def _left_as_it_was(model: nn.Module, train: bool) -> Iterator[None]:
    """Set the mode; afterwards put back attributes, parameters, buffers, gradients and random states."""
    modules = list(model.modules())
    kept = [(dict(vars(module)), {table: dict(vars(module).get(table, {})) for table in _TABLES}) for module in modules]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    state, fast, onednn = random.getstate(), torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    log = logging.getLogger("torch._subclasses.fake_tensor")  # it logs what is raised anyway
    muted = log.disabled
    try:
        log.disabled = True
        torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation for a whole encoder layer
        torch.backends.mkldnn.enabled = False  # one opaque operation for an LSTM
        for parameter, _ in gradients:
            parameter.grad = None
        model.train(train)
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        log.disabled = muted
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.enabled = onednn
        random.setstate(state)
        _restore(modules, kept)
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _restore(modules: Sequence[nn.Module], kept: Sequence[tuple[dict[str, Any], dict[str, dict[str, Any]]]]) -> None:
    for module, (attributes, tables) in zip(modules, kept, strict=True):
        vars(module).clear()
        vars(module).update(attributes)
        for table in attributes.keys() & tables:
            vars(module)[table].clear()
            vars(module)[table].update(tables[table])


def _run(model: nn.Module, inputs: Sequence[InputSpec], batch: int) -> _Recorder:
    shapes = ", ".join(f"{batch}x{spec}" for spec in inputs) or "no inputs"
    lazy = [name for name, parameter in model.named_parameters() if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise InputError(f"{lazy[0]}: has no shape yet (a lazy module); run the model once before it is traced")
    random.seed(0)
    step = "forward"
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as fake, sdpa_kernel(SDPBackend.MATH):
            recorder = _Recorder(model, fake)
            device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
            arguments = [torch.zeros((batch, *i.shape), dtype=getattr(torch, i.dtype), device=device) for i in inputs]
            for argument in arguments:
                recorder.mark(argument, _Role.ACTIVATION)
            with recorder, recorder.following(model):
                out = model(*arguments)
                recorder.paused = True
                losses = [t.sum() for t in _tensors_in(out) if t.requires_grad]
                recorder.paused, recorder.backward, step = False, True, "backward"
                if losses:
                    torch.stack([loss.float() for loss in losses]).sum().backward()
    except InputError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise InputError(
            f"the {step} pass needs the values of a tensor ({error}), and tracing knows shapes only;"
            " shapes and branches must not depend on data"
        ) from error
    except Exception as error:  # whatever the user's model raises
        said = next(iter(str(error).strip().splitlines()), "") or "no message"
        raise InputError(f"the {step} pass fails on {shapes}: {type(error).__name__}: {said}") from error
    if not recorder.operations:
        raise InputError(f"the model executes no operation on its inputs ({shapes}); there is nothing to trace")
    return recorder


def _identity(seen: _Seen) -> tuple[Any, ...]:
    work = seen.work
    return seen.word, work.kind, work.fixed, work.weight.label if work.weight else None


def _mark_recomputed(recorder: _Recorder) -> list[_Seen]:
    """Find the forward operations that each run of recomputed ones repeats: the last equal stretch not yet taken."""
    operations = list(recorder.operations)
    keys = [(*_identity(seen), seen.work.counts) for seen in operations]
    for run in recorder.again:
        wanted = [(*_identity(seen), seen.work.counts) for seen in run]
        starts = range(len(keys) - len(wanted), -1, -1)
        start = next((s for s in starts if keys[s : s + len(wanted)] == wanted and not operations[s].recomputed), None)
        if start is None:
            raise InputError(
                f"{run[0].place}: the backward pass executes forward work that the forward pass did not do"
            )
        for at, seen in enumerate(run, start):
            operations[at] = replace(
                operations[at], recomputed=True, with_gradient=True, input_gradient=seen.input_gradient,
                output_gradient=seen.output_gradient,
            )  # fmt: skip
    return operations


def _check_same(first: Sequence[_Seen], second: Sequence[_Seen], batch: int) -> None:
    if len(first) != len(second):
        raise InputError(
            f"the model executes {len(first)} operations at batch {batch} and {len(second)} at batch {batch + 1};"
            " a trace needs the same ones at every batch"
        )
    for a, b in zip(first, second, strict=True):
        if (a.modules, _identity(a)) != (b.modules, _identity(b)):
            raise InputError(
                f"{a.place}: differs between batch {batch} and {batch + 1} in more than its rows;"
                " a trace needs a model that treats samples alike"
            )


def _entries(recorder: _Recorder, first: Sequence[_Seen], second: Sequence[_Seen], batch: int) -> list[dict[str, Any]]:
    """Return the operations seen at `batch` and `batch + 1` as plain entries of a trace, per sample."""
    used = {name for seen in first if seen.with_gradient for name in _parameters_of(seen)}
    trained = {name for name in used if recorder.parameters[name].requires_grad}
    weights = [seen.work.weight for seen in first if seen.work.weight]
    in_parts = {name for weight in weights if weight.label not in recorder.parameters for name in weight.parameters}
    listed = {name: tensor for name, tensor in recorder.parameters.items() if name not in in_parts}
    return [
        _entry(name, _Pair(a, b, batch), listed, trained)
        for name, a, b in zip(_names(first), first, second, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Pair:
    """The same operation at `batch` and at `batch + 1`."""

    small: _Seen
    large: _Seen
    batch: int

    def per_sample(self, small: int, large: int) -> tuple[int, bool]:
        """Return a count per sample and whether it grows with the batch; raises where it does neither."""
        if small == large:
            return small, False
        if small * (self.batch + 1) != large * self.batch:
            raise InputError(
                f"{self.small.place}: grows from {small} to {large} between batch {self.batch} and {self.batch + 1},"
                " neither in proportion to the batch nor constant; a trace cannot express it"
            )
        return small // self.batch, True

    @property
    def counts(self) -> list[tuple[int, bool]]:
        """Every count per sample, and whether it grows with the batch."""
        return [self.per_sample(*two) for two in zip(self.small.work.counts, self.large.work.counts, strict=True)]


def _entry(name: str, pair: _Pair, listed: Mapping[str, Tensor], trained: set[str]) -> dict[str, Any]:
    """Return one entry; parameters that are not `listed` are weights in parts, under names of their own."""
    seen, work = pair.small, pair.small.work
    entry = {"name": name, "kind": work.kind, **_FIELDS.get(work.kind, _vector_fields)(pair)}
    if work.weight:
        entry["weight"] = {"name": work.weight.label, "frozen": not trained.intersection(work.weight.parameters)}
    entry["other_parameters"] = [
        {"name": used, "elements": listed[used].numel(), "frozen": used not in trained}
        for used in seen.parameters
        if used in listed
    ]
    if work.weight or work.kind == "matmul":
        entry["input_gradient"] = seen.input_gradient
    elif not seen.output_gradient:
        entry["input_gradient"] = False
    return entry | {"recomputed": seen.recomputed}


def _linear_fields(pair: _Pair) -> dict[str, Any]:
    ((rows, scales),) = pair.counts
    return {**dict(pair.small.work.fixed), "rows": rows, "scales_with_batch": scales}


def _convolution_fields(pair: _Pair) -> dict[str, Any]:
    """A convolution; several images per sample become one more spatial dimension with a kernel of 1."""
    ((images, scales),) = pair.counts
    work = pair.small.work
    fields = dict(work.fixed)
    if "in_size" not in fields:  # one matrix per group
        return {**fields, "in_size": (images,), "scales_with_batch": scales}
    if images > 1:
        if work.kind.endswith("3d"):
            raise InputError(f"{pair.small.place}: a 3-D convolution of {images} volumes per sample has no entry")
        extra = {"in_size": images, "kernel": 1, "stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}
        fields = {key: (extra[key], *value) if key in extra else value for key, value in fields.items()}
        fields["kind"] = f"{work.kind[:-2]}{len(fields['kernel'])}d"
    return {**fields, "scales_with_batch": scales}


def _matmul_fields(pair: _Pair) -> dict[str, Any]:
    growing = sum(grows for _, grows in pair.counts)
    if growing > 1:
        raise InputError(
            f"{pair.small.place}: multiplies samples of a batch with each other; a trace has no entry for it"
        )
    sizes = dict(zip(("batch", "m", "n", "k"), (size for size, _ in pair.counts), strict=True))
    return {**sizes, "scales_with_batch": bool(growing)}


def _vector_fields(pair: _Pair) -> dict[str, Any]:
    """Vector work; operands and results that all samples share are left out where the rest grows."""
    small, large = pair.small.work.counts, pair.large.work.counts
    if small == large:
        return {"reads": small[0], "writes": small[1], "scales_with_batch": False}
    for less, more in zip(small, large, strict=True):
        if not 0 <= (more - less) * pair.batch <= less:
            pair.per_sample(less, more)
    return {"reads": large[0] - small[0], "writes": large[1] - small[1]}


_FIELDS: dict[str, Callable[[_Pair], dict[str, Any]]] = {
    "linear": _linear_fields,
    "matmul": _matmul_fields,
    **{f"conv{shape}{rank}d": _convolution_fields for shape in ("", "_transpose") for rank in (1, 2, 3)},
}


def _parameters_of(seen: _Seen) -> tuple[str, ...]:
    return (*seen.parameters, *(seen.work.weight.parameters if seen.work.weight else ()))


def _names(operations: Sequence[_Seen]) -> list[str]:
    """Name each operation after its module, with its own name where the module executes several, made unique."""
    sizes = Counter(call for seen in operations for call in seen.calls)
    wanted = [
        seen.modules[-1] if sizes[seen.calls[-1]] == 1 and seen.modules[-1] else seen.place for seen in operations
    ]
    taken, repeats, names = set(wanted), Counter[str](), []
    for name in wanted:
        repeats[name] += 1
        unique = name
        while repeats[name] > 1 and (unique := f"{name}_{repeats[name]}") in taken:
            repeats[name] += 1
        taken.add(unique)
        names.append(unique)
    return names
