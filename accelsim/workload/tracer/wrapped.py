"""Tensors that hold others, and the plain ones in them: of ``torch.func``, jagged, distributed, scaled, sparse."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch._C import _functorch  # no public name says what torch.func wraps

__all__ = ["memory_of", "parts_of", "without_levels"]


def parts_of(tensor: Tensor) -> Iterator[Tensor]:
    """Walk the tensors in `tensor`: itself, or what ``torch.func`` or a tensor made of tensors wraps."""
    tensor = without_levels(tensor)
    if hasattr(type(tensor), "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from parts_of(getattr(tensor, name))
    else:
        yield tensor


def without_levels(tensor: Tensor) -> Tensor:
    """Return the tensor that ``torch.func`` wraps, with all samples of a ``vmap``."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def memory_of(tensor: Tensor) -> Tensor:
    """Return the plain tensor that holds the numbers of `tensor`, of a sparse one its nonzeros."""
    tensor = next(parts_of(tensor))
    if tensor.layout is torch.strided:
        return tensor
    return tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()  # noqa: SLF001
