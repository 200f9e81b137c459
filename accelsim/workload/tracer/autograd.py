"""What the tracer needs of autograd and has no public name in torch; tests hold each of these to its meaning."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

__all__ = [
    "hooks_of",
    "last_node",
    "noting_backward",
    "running_node",
    "set_hooks",
    "storage_id",
    "version_of",
]

_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def last_node() -> int:
    """Return the sequence number of the autograd node made last: of the operation that runs, where it records one."""
    number: int = torch.autograd._get_sequence_nr()  # noqa: SLF001
    return number - 1


def running_node() -> int | None:
    """Return the sequence number of the autograd node whose backward runs, or None outside the backward pass."""
    node = torch._C._current_autograd_node()  # noqa: SLF001
    return None if node is None else _number(node)


@contextmanager
def noting_backward(note: Callable[[set[int]], None]) -> Iterator[None]:
    """Hand the sequence numbers of the nodes that each backward pass runs to `note`, right before it runs them.

    A node whose backward executes no operation (of an addition, say) is one of them, too.
    """
    engine = torch.autograd._engine_run_backward  # noqa: SLF001  what backward() and grad() call

    def noted(outputs: Sequence[Tensor | GradientEdge], *given: Any, **options: Any) -> Any:
        note(_nodes_run(outputs, given[3]))
        return engine(outputs, *given, **options)

    torch.autograd._engine_run_backward = noted  # noqa: SLF001
    try:
        yield
    finally:
        torch.autograd._engine_run_backward = engine  # noqa: SLF001


def _nodes_run(outputs: Sequence[Tensor | GradientEdge], inputs: Sequence[Tensor | GradientEdge]) -> set[int]:
    """Sequence numbers of the nodes between outputs and inputs, or where no inputs are given all before the outputs."""
    waiting = [_node_of(output) for output in outputs]
    found: list[Node] = []
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.append(node)
            waiting += [before for before, _ in node.next_functions]
    if inputs:
        needed = {node for node in map(_node_of, inputs) if node is not None}
        for node in sorted(found, key=_number):  # what a node hands its gradients to was made before it
            if any(before in needed for before, _ in node.next_functions):
                needed.add(node)
        found = [node for node in found if node in needed]
    return {number for node in found for number in _numbers(node)}


def _node_of(value: Tensor | GradientEdge) -> Node | None:
    if isinstance(value, GradientEdge):
        return value.node
    return get_gradient_edge(value).node if value.requires_grad else None


def _numbers(node: Node) -> tuple[int, ...]:
    """The number of a node; that of work in place on a slice holds the one of the work, which was made right before."""
    number = _number(node)
    return (number - 1, number) if node.name() == "torch::autograd::CopySlices" else (number,)


def _number(node: Node) -> int:
    return int(node._sequence_nr())  # noqa: SLF001


def hooks_of(tensor: Tensor) -> tuple[Hashable, ...]:
    """Return a copy of the hooks of `tensor`: those on its gradient and on its accumulation; None where it has none."""
    found = (getattr(tensor, name) for name in _HOOKS)
    return tuple(None if hooks is None else hooks.copy() for hooks in found)


def set_hooks(tensor: Tensor, hooks: tuple[Hashable, ...]) -> None:
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
