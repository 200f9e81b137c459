"""What the tracer needs of autograd and has no public name in torch; tests hold each of these to its meaning."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["hooks_of", "last_node", "running_node", "set_hooks", "storage_id", "version_of"]

_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def last_node() -> int:
    """Return the sequence number of the autograd node made last: of the operation that runs, where it records one."""
    number: int = torch.autograd._get_sequence_nr()  # noqa: SLF001
    return number - 1


def running_node() -> int | None:
    """Return the sequence number of the autograd node whose backward runs, or None outside the backward pass."""
    node = torch._C._current_autograd_node()  # noqa: SLF001
    return None if node is None else int(node._sequence_nr())  # noqa: SLF001


def hooks_of(tensor: Tensor) -> tuple[Any, ...]:
    """Return a copy of the hooks of `tensor`: those on its gradient and on its accumulation; None where it has none."""
    found = (getattr(tensor, name) for name in _HOOKS)
    return tuple(None if hooks is None else hooks.copy() for hooks in found)


def set_hooks(tensor: Tensor, hooks: tuple[Any, ...]) -> None:
    """Give `tensor` back the hooks that `hooks_of` returned, where they are other ones now."""
    for name, wanted in zip(_HOOKS, hooks, strict=True):
        present = getattr(tensor, name)
        if present is not None and present != wanted:
            present.clear()
            present.update(wanted or {})


def storage_id(tensor: Tensor) -> int:
    """Return the identity of the storage of `tensor`, unique while a weak reference to it lives."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def version_of(tensor: Tensor) -> int:
    """Return how often the contents of `tensor` were changed in place; tensors of inference mode do not count it."""
    return 0 if tensor.is_inference() else int(tensor._version)  # noqa: SLF001
