"""Reading one operation of torch: what it computes, its sizes, and which operand is a weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

from torch import Tensor
from torch._ops import OpOverload

from accelsim.base.errors import InputError
from accelsim.workload import rules
from accelsim.workload.rules import Role, Source
from accelsim.workload.torch_words import (
    CONVOLUTION,
    CONVOLUTION_BACKWARD,
    DISTRIBUTED,
    HIDES_PRODUCTS,
    KIND_OF,
    PRODUCTS,
)
from accelsim.workload.tracer.roles import DATA, Derived, Roles, grows, stored, tensors_in
from accelsim.workload.tracer.wrapped import memory_of

__all__ = [
    "Call",
    "Work",
    "convolution_operands",
    "data_operands",
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
    def of(cls, func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> "Call":
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(rules.Work):
    """One operation as it ran.

    `from_data` says of each operand of a product (of a vector operation: of its result) whether it comes from the data.
    `weight` is the parameter among the operands, `weight_side` its place in a product: 0 left, 1 right. `derived` is
    the factor of a matmul that is computed from parameters: its weight, where it does not grow with the batch.
    """

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
        found = rules.with_weight(derived.elements, batch, features, vectors, k)
        assert found is not None, "a derived factor fits"
        data, requires = (self.from_data[1 - side],), (self.requires[1 - side],)
        return _on_weight(found, data, derived.as_weight(), side, requires, self.macs)


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


def data_operands(call: Call, work: Work) -> list[Tensor]:
    """Return what an operation reads: of a product its data, its weight or other factor and what it adds, in this
    order; of a copy into memory the source alone."""
    if not work.is_product:
        return list(call.tensors[-1:] if call.word == "copy" else call.tensors)
    factors = operands_of(call)
    if work.weight is not None and work.weight_side == 0:
        factors = factors[::-1]
    return [*factors, *(tensor for tensor in call.tensors if not any(tensor is factor for factor in factors))]


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
        parts = 2 if operand.is_complex() else 1
        found = weight and rules.with_weight(parts * weight.elements, batch, parts * features, parts * vectors, k)
        if weight and found:
            needed = (bool(other.requires_grad),)
            return _on_weight(found, (data[1 - side],), weight, side, needed, macs_of(call))
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
    return Work(
        kind="matmul", counts=counts, from_data=(True, True), requires=requires, macs=macs_of(call), outermost=outermost
    )


def _outermost(factor: Tensor, rows: str, columns: str) -> str:
    """Return which size of a factor lies outermost in memory, where samples lie: that of its rows or of its columns."""
    factor = memory_of(factor)
    if factor.dim() < 2:
        return columns if rows == "m" else rows  # what is reduced
    of_rows, of_columns = (factor.stride(at) if factor.shape[at] > 1 else 0 for at in (-2, -1))
    return rows if of_rows >= of_columns else columns


def _on_weight(
    found: tuple[str, rules.Fixed, int],
    data: tuple[bool, ...],
    weight: Source,
    side: int,
    requires: tuple[bool, ...],
    macs: int,
) -> Work:
    """Return a product with a weight of this kind, these sizes and so many rows."""
    kind, fixed, rows = found
    return Work(
        kind=kind, fixed=fixed, counts=(rows,), from_data=data, weight=weight, weight_side=side, requires=requires,
        macs=macs,
    )  # fmt: skip


def _derived_factor(
    roles: Roles, factors: Sequence[Tensor], sizes: tuple[int, int, int, int]
) -> tuple[int, Derived] | None:
    """Return the side and role of the factor that is computed from parameters, where the other one is data."""
    batch, m, n, k = sizes
    held = [roles.of(factor) for factor in factors]
    for side, features in ((1, n), (0, m)):
        role = held[side]
        data = held[1 - side] in DATA
        if isinstance(role, Derived) and data and rules.with_weight(role.elements, batch, features, 1, k):
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
    fields = ("stride", "padding", "dilation", *["output_padding"] * given["transposed"])
    kind, fixed = rules.convolution(
        source.shape, kernel.shape, given["groups"], transposed=given["transposed"],
        **{field: given[field] for field in fields},
    )  # fmt: skip
    data, needed = (_is_data(roles, source),), (bool(source.requires_grad),)
    return _on_weight((kind, fixed, source.shape[0]), data, weight, 1, needed, macs_of(call))


def _with_kernel_from_data(call: Call) -> Work:
    """Read a convolution whose kernel is computed from the input: windows by kernel, a product per image and group."""
    given = convolution_operands(call)
    source, kernel, groups, transposed = given["input"], given["weight"], given["groups"], given["transposed"]
    taps, inside = prod(kernel.shape[2:]), source.shape[1] // groups
    places = source if transposed else call.results[0]
    n, k = (kernel.shape[1] * taps, inside) if transposed else (kernel.shape[0] // groups, inside * taps)
    counts = (source.shape[0] * groups, prod(places.shape[2:]), n, k)
    requires = bool(source.requires_grad), bool(kernel.requires_grad)
    return Work(kind="matmul", counts=counts, from_data=(True, True), requires=requires, macs=macs_of(call))


def _vector(call: Call, roles: Roles) -> Work:
    """Count what an operation without a product reads and writes, parameters and dropout masks excluded."""
    held = [roles.of(tensor) for tensor in call.tensors]
    kind = "dropout" if Role.NOISE in held else KIND_OF.get(call.word, "elementwise")
    alone = not any(map(grows, held))  # work on parameters: then they are what is read
    read = [(stored(tensor), grows(role)) for tensor, role in zip(call.tensors, held, strict=True)
            if role is not Role.NOISE and (alone or not isinstance(role, Source))]  # fmt: skip
    writes = call.results[0].numel() if call.results else 0
    read = rules.what_is_read(kind, call.word, read, (writes, not alone), partial(_windows, call))
    reads, shared = sum(size for size, _ in read), sum(size for size, data in read if not data)
    return Work(kind=kind, counts=(reads, writes), shared=(shared, writes if alone else 0), from_data=(not alone,))


def _windows(call: Call) -> int:
    return rules.of_windows(call.word, call.args[0].shape, call.results[0].shape, call.args[1])


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
