"""Reading one operation of torch: what it computes, its sizes, and which operand is a weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor

from accelsim.base.errors import InputError
from accelsim.workload.torch_words import (
    CONVOLUTION,
    CONVOLUTION_BACKWARD,
    DISTRIBUTED,
    HIDES_PRODUCTS,
    KIND_OF,
    PRODUCTS,
    READ_WHAT_THEY_WRITE,
)
from accelsim.workload.tracer.roles import DATA, Derived, Role, Roles, Source, grows, stored, tensors_in
from accelsim.workload.tracer.wrapped import memory_of

__all__ = [
    "Call",
    "Work",
    "convolution_operands",
    "macs_of",
    "operands_of",
    "weight_kernel",
    "weight_matrix",
    "work_of",
]


@dataclass(frozen=True, slots=True)
class Call:
    """An operation of torch as the dispatch mode receives it: its plain name, arguments and result.

    `tensors` are the operands it reads and `results` what it returns, each in order.
    """

    namespace: str
    word: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    results: tuple[Tensor, ...]

    @classmethod
    def of(cls, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> "Call":
        """Return the call of an operator of torch that returned `out`."""
        word = func.overloadpacket.__name__.strip("_").removeprefix("native_")
        written = {argument.name for argument in func._schema.arguments if argument.is_out}  # noqa: SLF001
        read = tuple(value for name, value in kwargs.items() if name not in written)
        operands = tuple(tensors_in((args, read)))
        return cls(func.namespace, word, tuple(args), kwargs, operands, tuple(tensors_in(out)))

    @property
    def is_opaque(self) -> bool:
        """Whether it may hold products that cannot be read from it."""
        return self.namespace not in {"aten", "prims", *DISTRIBUTED} or (
            self.word not in KIND_OF and HIDES_PRODUCTS.fullmatch(self.word) is not None
        )


@dataclass(frozen=True, slots=True)
class Work:
    """One operation as it ran.

    `fixed` sizes must not depend on the batch, `counts` may; `shared` is the part of each count that all samples share.
    `from_data` says of each operand of a product (of a vector operation: of its result) whether it comes from the data.
    `weight` is the parameter among the operands, `weight_side` its place in a product: 0 left, 1 right. `derived` is
    the factor of a matmul that is computed from parameters: its weight, where it does not grow with the batch.
    """

    kind: str
    fixed: tuple[tuple[str, Any], ...]
    counts: tuple[int, ...]
    shared: tuple[int, ...] = ()
    from_data: tuple[bool, ...] = ()
    weight: Source | None = None
    weight_side: int = 1
    requires: tuple[bool, ...] = ()  # whether the operands of a product other than the weight require a gradient
    derived: tuple[int, Derived] | None = None  # with its side
    macs: int = 0  # multiply-accumulates of a product; of a convolution with the padding
    outermost: tuple[str, ...] = ()  # sizes of a plain product that lie outermost in the memory of its factors

    @property
    def is_product(self) -> bool:
        """Whether the array executes it."""
        return self.weight is not None or self.kind == "matmul"

    def with_derived_weight(self) -> "Work":
        """Return a matmul with a derived factor as a product with a weight."""
        assert self.derived is not None, "only asked of a matmul with a derived factor"
        side, derived = self.derived
        batch, m, n, k = self.counts
        features, vectors = (n, m) if side == 1 else (m, n)
        kind, fixed, rows = _with_weight(derived.elements, batch, features, vectors, k)
        data, requires = (self.from_data[1 - side],), (self.requires[1 - side],)
        return Work(kind, fixed, (rows,), (), data, derived.as_weight(), side, requires, macs=self.macs)


def work_of(call: Call, roles: Roles, module: str) -> Work:
    """Read an operation of the forward pass that `module` executes. Raises `InputError` for one that is opaque."""
    if call.word in PRODUCTS:
        return _product(call, roles, module)
    if call.word == "convolution":
        return _convolution(call, roles, module)
    if call.is_opaque:
        advice = (
            "trace the model before it is quantised"
            if call.namespace.startswith("quant")
            else "write it with torch.nn or torch.nn.functional operations"
        )
        raise InputError(
            f"{module or 'the model'}: operation {call.namespace}.{call.word} may hold matrix products that the tracer"
            f" cannot read; {advice}"
        )
    return _vector(call, roles)


def operands_of(call: Call) -> tuple[Tensor, Tensor]:
    """Return the two operands of a matrix product or convolution; the kernel of a convolution stands on the right."""
    if call.word == "convolution":
        given = convolution_operands(call)
        return given["input"], given["weight"]
    at = PRODUCTS[call.word]
    left, right = call.args[at : at + 2]
    return left, right


def macs_of(call: Call) -> int:
    """Return the multiply-accumulates of a matrix product or convolution; of a convolution with the padding."""
    left, right = operands_of(call)
    if call.word == "convolution":
        places = left if convolution_operands(call)["transposed"] else call.results[0]
        return int(places.numel() * prod(right.shape[1:]))
    return int(left.numel() * (right.shape[-1] if right.dim() > 1 else 1)) * _real_products(left)


def _real_products(factor: Tensor) -> int:
    """How many products of real numbers one of these is."""
    return 4 if factor.is_complex() else 1


def _product(call: Call, roles: Roles, module: str) -> Work:
    """Read a product of two matrices, or of two stacks of matrices: with a weight, or of two activations.

    A complex one has real and imaginary parts as rows of the one factor, and as columns of the other.
    """
    left, right = operands_of(call)
    m, n = (left.shape[-2] if left.dim() > 1 else 1), (right.shape[-1] if right.dim() > 1 else 1)
    batch, k = prod(left.shape[:-2]), left.shape[-1]
    data = tuple(_is_data(roles, operand) for operand in (left, right))
    sides = [(1, right, left, n, m), (0, left, right, m, n)]
    if data[1] and not data[0]:  # two parameters, the right one repeated over the batch: vectors, no weight
        sides.reverse()
    for side, operand, other, features, vectors in sides:
        weight = _weight_in(roles, operand, other, module)
        if weight and _fits(weight.elements, batch, k * features):
            parts = 2 if operand.is_complex() else 1
            kind, fixed, rows = _with_weight(parts * weight.elements, batch, parts * features, parts * vectors, k)
            needed = (bool(other.requires_grad),)
            return Work(kind, fixed, (rows,), (), (data[1 - side],), weight, side, needed, macs=macs_of(call))
    derived = _derived_factor(roles, (left, right), (batch, m, n, k))
    return replace(product_of_data(call), from_data=data, derived=derived)


def product_of_data(call: Call) -> Work:
    """Read a product as one of two activations."""
    left, right = operands_of(call)
    m, n = (left.shape[-2] if left.dim() > 1 else 1), (right.shape[-1] if right.dim() > 1 else 1)
    m, n = (2 * m, 2 * n) if left.is_complex() else (m, n)
    counts = (prod(left.shape[:-2]), m, n, left.shape[-1])
    requires = bool(left.requires_grad), bool(right.requires_grad)
    outermost = (_outermost(left, "m", "k"), _outermost(right, "k", "n"))
    return Work("matmul", (), counts, (), (True, True), requires=requires, macs=macs_of(call), outermost=outermost)


def _outermost(factor: Tensor, rows: str, columns: str) -> str:
    """Return which size of a factor lies outermost in memory, where samples lie: that of its rows or of its columns."""
    factor = memory_of(factor)
    if factor.dim() < 2:
        return columns if rows == "m" else rows  # what is reduced
    of_rows, of_columns = (factor.stride(at) if factor.shape[at] > 1 else 0 for at in (-2, -1))
    return rows if of_rows >= of_columns else columns


def _fits(elements: int, batch: int, matrix: int) -> bool:
    """Whether `elements` are one matrix, or one for each of some groups of the `batch` products."""
    groups, rest = divmod(elements, matrix)
    return groups > 0 and not rest and batch % groups == 0


def _with_weight(
    elements: int, batch: int, features: int, vectors: int, k: int
) -> tuple[str, tuple[tuple[str, Any], ...], int]:
    """Return kind, sizes and rows of `batch` products with a weight of `elements`."""
    groups = elements // (k * features)
    rows = vectors * batch // groups
    if groups == 1:
        return "linear", (("in_features", k), ("out_features", features)), rows
    sizes = {"in_channels": groups * k, "out_channels": groups * features, "kernel": (1,), "groups": groups}
    return "conv1d", tuple(sizes.items()), rows  # one matrix per group, applied to each row


def _derived_factor(
    roles: Roles, factors: Sequence[Tensor], sizes: tuple[int, int, int, int]
) -> tuple[int, Derived] | None:
    """Return the side and role of the factor that is computed from parameters, where the other one is data."""
    batch, m, n, k = sizes
    held = [roles.of(factor) for factor in factors]
    for side, features in ((1, n), (0, m)):
        role = held[side]
        data = held[1 - side] in DATA
        if isinstance(role, Derived) and data and _fits(role.elements, batch, k * features):
            return side, role
    return None


def _is_data(roles: Roles, tensor: Tensor) -> bool:
    return grows(roles.of(tensor))


def _weight_in(roles: Roles, operand: Tensor, other: Tensor, module: str) -> Source | None:
    role = roles.of(operand)
    if role in {None, Role.SIZED} and operand.dim() == 2 and roles.of(other) is Role.ACTIVATION:
        return roles.constant(operand, module)
    return role if isinstance(role, Source) else None


def convolution_operands(call: Call) -> dict[str, Any]:
    """Return the arguments of a convolution, or of its backward, by name."""
    names = CONVOLUTION_BACKWARD if call.word == "convolution_backward" else CONVOLUTION
    return dict(zip(names, call.args, strict=False)) | dict(call.kwargs)


def _convolution(call: Call, roles: Roles, module: str) -> Work:
    given = convolution_operands(call)
    source, kernel = given["input"], given["weight"]
    role = roles.of(kernel)
    if role in {Role.ACTIVATION, Role.GRADIENT}:
        return _with_kernel_from_data(call)
    if isinstance(role, Source) and kernel.numel() > role.elements:  # repeated, as one filter for all channels
        role = Derived(kernel.numel(), role.parameters)
    if isinstance(role, Derived):
        role = role.as_weight()
    weight = role if isinstance(role, Source) else roles.constant(kernel, module)
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
    data, needed = (_is_data(roles, source),), (bool(source.requires_grad),)
    return Work(kind, tuple(fixed.items()), (source.shape[0],), (), data, weight, 1, needed, macs=macs_of(call))


def _with_kernel_from_data(call: Call) -> Work:
    """Read a convolution whose kernel is computed from the input: windows by kernel, a product per image and group."""
    given = convolution_operands(call)
    source, kernel, groups, transposed = given["input"], given["weight"], given["groups"], given["transposed"]
    taps, inside = prod(kernel.shape[2:]), source.shape[1] // groups
    places = source if transposed else call.results[0]
    n, k = (kernel.shape[1] * taps, inside) if transposed else (kernel.shape[0] // groups, inside * taps)
    counts = (source.shape[0] * groups, prod(places.shape[2:]), n, k)
    requires = bool(source.requires_grad), bool(kernel.requires_grad)
    return Work("matmul", (), counts, (), (True, True), requires=requires, macs=macs_of(call))


def _full(values: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(values) * rank if len(values) == 1 else tuple(values)


def _vector(call: Call, roles: Roles) -> Work:
    """Count what an operation without a product reads and writes, parameters and dropout masks excluded."""
    held = [roles.of(tensor) for tensor in call.tensors]
    kind = "dropout" if Role.NOISE in held else KIND_OF.get(call.word, "elementwise")
    alone = not any(map(grows, held))  # work on parameters: then they are what is read
    read = [(stored(tensor), grows(role)) for tensor, role in zip(call.tensors, held, strict=True)
            if role is not Role.NOISE and (alone or not isinstance(role, Source))]  # fmt: skip
    writes = call.results[0].numel() if call.results else 0
    if kind == "pooling":
        read = [(_pooling_reads(call), True)]
    elif call.word in READ_WHAT_THEY_WRITE:
        read = [(writes, not alone)]
    elif call.word == "copy":
        read = read[-1:]  # into memory that is written, not read
    elif kind == "norm":
        read = read[:1]
    reads, shared = sum(size for size, _ in read), sum(size for size, data in read if not data)
    return Work(kind, (), (reads, writes), (shared, writes if alone else 0), (not alone,))


def _pooling_reads(call: Call) -> int:
    """Elements of all windows: window size times outputs, or the exact windows of an adaptive pooling."""
    source, result = call.args[0], call.results[0]
    window = call.args[1]
    if not call.word.startswith("adaptive"):
        return int(result.numel() * prod(_full(window, result.dim() - 2)))
    rank = len(window)
    taken = [sum(-(-(i + 1) * size // out) - i * size // out for i in range(out))
             for size, out in zip(source.shape[-rank:], result.shape[-rank:], strict=True)]  # fmt: skip
    return int(prod(result.shape[:-rank]) * prod(taken))


def weight_matrix(operand: Tensor, side: int, groups: int, *, forward: bool) -> Tensor:
    """Return the weight operand of a matrix product as (groups, outputs, inputs), as those of a convolution if grouped.

    FF multiplies by inputs x outputs on the right or by outputs x inputs on the left; BP reduces the outputs, so there
    it is the other way round. Of a stack that repeats its matrices the first ones count.
    """
    if operand.dim() == 1:
        return operand[None, None]
    upright = operand if forward is (side == 0) else operand.mT
    if upright.dim() == 2:
        return upright[None]
    matrices = upright.flatten(0, -3)[:groups]
    return matrices[..., None] if groups > 1 else matrices


def weight_kernel(kernel: Tensor, groups: int) -> Tensor:
    """Return the weights of a convolution with one more dimension in front, its groups."""
    return kernel.unflatten(0, (groups, -1))
