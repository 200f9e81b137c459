"""Running a model so that everything it does can be seen, and leaving it as it was."""

import logging
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from accelsim.workload.tracer.autograd import hooks_of, set_hooks
from accelsim.workload.tracer.opened_calls import without_compiled_operators

__all__ = ["left_as_it_was", "opened"]

_CONTAINERS = {dict, OrderedDict, defaultdict, list, set, deque}  # exactly: subclasses may do more than hold


@contextmanager
def opened(model: nn.Module) -> Iterator[None]:
    """Have attention, encoder layers and LSTMs executed as the products they consist of.

    Library kernels that compute a whole LSTM or encoder layer are switched off where these run, and only there.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(without_compiled_operators())
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation for a whole encoder layer
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                stack.enter_context(_without_kernels_for_recurrence(module))
        yield


@contextmanager
def _without_kernels_for_recurrence(module: nn.RNNBase) -> Iterator[None]:
    backends = (torch.backends.mkldnn, torch.backends.cudnn)
    enabled: list[bool] = []

    def before(*_: nn.Module | Tensor | tuple[Tensor, ...]) -> None:
        enabled[:] = [backend.enabled for backend in backends]
        for backend in backends:
            backend.enabled = False

    def after(*_: nn.Module | Tensor | tuple[Tensor, ...]) -> None:
        for backend, value in zip(backends, enabled, strict=True):
            backend.enabled = value

    hooks = (module.register_forward_pre_hook(before), module.register_forward_hook(after, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def left_as_it_was(model: nn.Module, train: bool | None = None, *, values: bool = False) -> Iterator[None]:
    """Set the mode; afterwards put back attributes, hooks, parameters, buffers, gradients and random states.

    Attributes that are lists, dictionaries or sets get their contents back too: what the first forward pass of a model
    registers or keeps there goes. With `values` the contents of parameters and buffers are put back as well, for steps
    on real tensors. Gradients are None inside.
    """
    modules = list(model.modules())
    containers = [found for module in modules for found in _containers_in(vars(module))]
    hooks = [(parameter, hooks_of(parameter)) for parameter in model.parameters()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    tensors = [*model.parameters(), *model.buffers()] if values else []
    contents = [tensor.detach().clone() for tensor in tensors]
    state = random.getstate()
    log = logging.getLogger("torch._subclasses.fake_tensor")  # it logs what is raised anyway
    muted = log.disabled
    try:
        log.disabled = True
        for parameter, _ in gradients:
            parameter.grad = None
        if train is not None:
            model.train(train)
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        log.disabled = muted
        random.setstate(state)
        for container, content in containers:
            _refill(container, content)
        for parameter, own in hooks:
            set_hooks(parameter, own)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        _copy_back(tensors, contents)


def _containers_in(attributes: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Walk the attributes of a module and the containers in them, each with a copy of its present content."""
    seen: set[int] = set()
    waiting: list[Any] = [attributes]
    while waiting:
        one = waiting.pop()
        if type(one) in _CONTAINERS and id(one) not in seen:
            seen.add(id(one))
            yield one, copy(one)
            waiting += one.values() if isinstance(one, dict) else one


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, dict | set):
        container.update(content)
    else:
        container.extend(content)


def _copy_back(tensors: Sequence[Tensor], contents: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, content in zip(tensors, contents, strict=True):
            tensor.copy_(content)
