"""Losses by name, for models traced by themselves: of the model's output and random targets."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  the idiom of the field
from torch import Tensor

from accelsim.base.errors import InputError
from accelsim.workload.tracer.roles import inputs_in

__all__ = ["LOSSES"]


def _cross_entropy(out: Any) -> Tensor:
    """Classes lie along the last dimension of the output; all others are samples and positions."""
    scores = _first(out).flatten(0, -2)
    return F.cross_entropy(scores, torch.randint(scores.shape[-1], (len(scores),), device=scores.device))


def _mse(out: Any) -> Tensor:
    values = _first(out)
    return F.mse_loss(values, torch.randn_like(values))


def _first(out: Any) -> Tensor:
    tensor = next(inputs_in(out), None)
    if tensor is None or tensor.dim() < 2:
        raise InputError("--loss: the model returns no tensor with a batch and another dimension; give MODULE:FUNCTION")
    return tensor


LOSSES: dict[str, Callable[[Any], Tensor]] = {"cross-entropy": _cross_entropy, "mse": _mse}
