"""Calls of torch that hold products of matrices, written as these products before autograd sees them.

A bilinear form is two products, a convolution with time first is one with channels first, distances are a product of
both sets of points, and a grouped product, with which mixtures of experts send each token to the matrix of its expert,
is one product per expert that got a token. So is a product with a matrix gathered for each token (``weight[experts]``,
then ``bmm``). On shapes alone, where nobody knows which token goes where, all experts get as many.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.nn.attention.flex_attention as flex
import torch.nn.functional as F  # noqa: N812  the idiom of the field
from torch import Tensor
from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.flex_attention import flex_attention, math_attention
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from accelsim.base.errors import InputError

__all__ = ["Opening", "run_control_flow", "without_compiled_operators"]

_Gathered = tuple[Tensor, Tensor]  # a stack of matrices, and the index of the one of each row

_BY_PRODUCT = 25  # rows from which torch computes Euclidean distances by a product


class Opening(TorchFunctionMode):  # type: ignore[misc]
    """Replaces calls that hold products; `unseen` makes a context in which nothing is recorded."""

    def __init__(self, unseen: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._unseen = unseen
        self._gathered = WeakIdKeyDictionary()  # result to (stack of matrices, index of the one of each row)

    def __torch_function__(
        self, func: Callable[..., Tensor], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run `func`, or the products that it consists of."""
        kwargs = kwargs or {}
        if func in _GATHERS and _gathers_matrices(func, args, kwargs):
            with self._unseen():  # recorded only where it is used for something else
                out = func(*args, **kwargs)
            self._gathered[out] = (args[0], args[-1])
            return out
        if len(self._gathered) and (held := [self._gathered.get(arg) for arg in args[:2] if isinstance(arg, Tensor)]):
            if func in _STACKED and len(held) == 2 and (held[0] is None) != (held[1] is None):
                return self._gathered_product(args[0], args[1], held[0], held[1])
            args = tuple(self._made_anew(arg) for arg in args)
        opened = _OPENED.get(func)
        return func(*args, **kwargs) if opened is None else opened(self, func, *args, **kwargs)

    def _made_anew(self, arg: Any) -> Any:
        gathered = self._gathered.get(arg) if isinstance(arg, Tensor) else None
        return arg if gathered is None else gathered[0][gathered[1]]

    def _gathered_product(
        self, left: Tensor, right: Tensor, of_left: _Gathered | None, of_right: _Gathered | None
    ) -> Tensor:
        """Multiply stacks of which one is gathered, (rows, m, k) by (rows, k, n)."""
        if of_left is not None:
            matrices, index = of_left
            return self._by_expert(right.mT, matrices.mT, index).mT
        assert of_right is not None, "one of the two is gathered"
        return self._by_expert(left, *of_right)

    def _by_expert(self, rows: Tensor, matrices: Tensor, index: Tensor) -> Tensor:
        """Multiply each of `rows` (rows, m, k) by its matrix, sorted by matrices (experts, k, n)."""
        with self._unseen():
            order = index.argsort(stable=True)
            back = order.argsort()
            shapes_alone = isinstance(index, FakeTensor) or isinstance(rows, FakeTensor)
            ends = None if shapes_alone else index.bincount(minlength=len(matrices)).cumsum(0).tolist()
        count, m, k = rows.shape
        ends = None if ends is None else [end * m for end in ends]
        product = _grouped(rows.index_select(0, order).reshape(count * m, k), matrices, ends)
        return product.reshape(count, m, -1).index_select(0, back)

    def ends(self, offsets: Tensor, rows: Tensor) -> list[int] | None:
        """Where the rows of each expert end; None on shapes alone."""
        if isinstance(offsets, FakeTensor) or isinstance(rows, FakeTensor):
            return None
        with self._unseen():
            return [int(end) for end in offsets.tolist()]


def _gathers_matrices(func: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if kwargs or (func is not torch.Tensor.__getitem__ and args[1:2] != (0,)):
        return False
    stack, index = args[0], args[-1]
    return (
        isinstance(stack, Tensor)
        and isinstance(index, Tensor)
        and stack.dim() == 3
        and index.dim() == 1
        and index.dtype in {torch.int64, torch.int32}
    )


def _grouped(rows: Tensor, matrices: Tensor, ends: Sequence[int] | None) -> Tensor:
    """Multiply rows (rows, k), sorted by their matrix, by matrices (experts, k, n); `ends` of the rows of each.

    Experts without a row have no product. Rows after the last end are zero.
    """
    experts = len(matrices)
    if ends is None:
        if len(rows) % experts:
            raise InputError(
                f"{len(rows)} rows for {experts} experts: on shapes alone all experts get as many, so the rows must be"
                " a multiple of the experts; change the length of the input, or trace steps on real values"
            )
        return torch.bmm(rows.reshape(experts, -1, rows.shape[1]), matrices).flatten(0, 1)
    starts = (0, *ends[:-1])
    parts = [
        rows[start:end] @ matrix
        for start, end, matrix in zip(starts, ends, matrices.unbind(0), strict=True)
        if end > start
    ]
    if ends[-1] < len(rows) or not parts:
        parts.append(rows.new_zeros(len(rows) - ends[-1], matrices.shape[2]))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _grouped_mm(
    opening: Opening,
    func: Callable[..., Tensor],
    left: Tensor,
    right: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Products of groups: stacks as they are, rows by matrices, or pieces of a common dimension."""
    if bias is not None:
        return func(left, right, offs=offs, bias=bias, out_dtype=out_dtype)  # torch itself refuses it
    if offs is None:
        out = torch.bmm(left, right)
    elif left.dim() == 2 and right.dim() == 3:
        out = _grouped(left, right, opening.ends(offs, left))
    else:
        out = _in_pieces(left, right, opening.ends(offs, left))
    return out if out_dtype is None else out.to(out_dtype)


def _in_pieces(left: Tensor, right: Tensor, ends: Sequence[int] | None) -> Tensor:
    if ends is None:
        raise InputError("a grouped product whose groups divide its columns cannot be traced on shapes alone; trace"
                         " steps on real values")  # fmt: skip
    spans = list(zip((0, *ends[:-1]), ends, strict=True))
    if left.dim() == 2:  # the reduced dimension is divided: gradients of weights
        return torch.stack([left[:, start:end] @ right[start:end] for start, end in spans])
    return torch.cat([one @ right[:, start:end] for one, (start, end) in zip(left.unbind(0), spans, strict=True)], -1)


def _bilinear(
    _: Opening, __: Callable[..., Tensor], input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """y = x1 W x2: a product with the weight, then one per sample."""
    outputs, first, second = weight.shape
    rows = F.linear(input2.reshape(-1, second), weight.reshape(outputs * first, second))
    made = torch.bmm(rows.view(-1, outputs, first), input1.reshape(-1, first, 1)).view(*input1.shape[:-1], outputs)
    return made if bias is None else made + bias


def _conv_tbc(
    _: Opening,
    __: Callable[..., Tensor],
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor,
    pad: int = 0,
) -> Tensor:
    """A convolution of (time, batch, channels) by (taps, inputs, outputs)."""
    return F.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


def _cdist(
    _: Opening,
    func: Callable[..., Tensor],
    x1: Tensor,
    x2: Tensor,
    p: float = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """Euclidean distances where torch computes them by a product, |a|^2 + |b|^2 - 2 a b; else vector work."""
    many = max(x1.shape[-2], x2.shape[-2]) > _BY_PRODUCT
    if p != 2 or not (compute_mode == "use_mm_for_euclid_dist" or (many and compute_mode.endswith("necessary"))):
        return func(x1, x2, p=p, compute_mode=compute_mode)
    squares = x1.square().sum(-1, keepdim=True) + x2.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * (x1 @ x2.mT)).clamp_min(torch.finfo(x1.dtype).tiny).sqrt()


_GATHERS = (torch.Tensor.__getitem__, torch.index_select, torch.Tensor.index_select)
_STACKED = (torch.bmm, torch.matmul, torch.Tensor.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__)
_OPENED: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    torch._grouped_mm: _grouped_mm,  # noqa: SLF001  what torch.nn.functional.grouped_mm calls
    torch.bilinear: _bilinear,
    torch.conv_tbc: _conv_tbc,
    torch.cdist: _cdist,
}


@contextmanager
def without_compiled_operators() -> Iterator[None]:
    """Have ``torch.cond`` and ``flex_attention`` run as they are written, without a compiler around them."""
    kept = torch.cond, flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG  # noqa: SLF001
    try:
        torch.cond, flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = _cond, True  # noqa: SLF001
        yield
    except NotImplementedError as error:
        if not str(error).startswith("FlexAttention does not support backward on CPU"):
            raise
        raise InputError(
            "flex_attention has no backward pass on the CPU; trace it under torch.no_grad() (forward alone), or train"
            " with scaled_dot_product_attention"
        ) from error
    finally:
        torch.cond, flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = kept  # noqa: SLF001


def _cond(
    pred: Tensor | bool, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()
) -> Any:
    return (true_fn if pred else false_fn)(*operands)


def run_control_flow(operator: HigherOrderOperator, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operator that takes functions by what it consists of. Raises `InputError` for an unknown one."""
    if operator is flex_attention:
        return math_attention(*args, **kwargs)
    if operator is cond_op:
        return _cond(*args, **kwargs)
    raise InputError(
        f"operation {operator.name()} runs functions inside that the tracer cannot follow; write it as plain Python"
    )
