"""What the tracer needs of autograd and has no public name in torch; tests hold each of these to its meaning."""

import torch
from torch import Tensor

__all__ = ["last_node", "running_node", "storage_id", "version_of"]


def last_node() -> int:
    """Return the sequence number of the autograd node made last: of the operation that runs, where it records one."""
    number: int = torch.autograd._get_sequence_nr()  # noqa: SLF001
    return number - 1


def running_node() -> int | None:
    """Return the sequence number of the autograd node whose backward runs, or None outside the backward pass."""
    node = torch._C._current_autograd_node()  # noqa: SLF001
    return None if node is None else int(node._sequence_nr())  # noqa: SLF001


def storage_id(tensor: Tensor) -> int:
    """Return the identity of the storage of `tensor`, unique while a weak reference to it lives."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def version_of(tensor: Tensor) -> int:
    """Return how often the contents of `tensor` were changed in place; tensors of inference mode do not count it."""
    return 0 if tensor.is_inference() else int(tensor._version)  # noqa: SLF001
