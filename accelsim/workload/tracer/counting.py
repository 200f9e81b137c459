"""A count of multiply-accumulates that knows nothing of the tracer: what reaches the kernels of torch."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["MacCounter"]


def _matrix(args: Any, _: Any) -> int:
    left, right = args[:2]
    real = 4 if left.is_complex() else 1
    return real * int(left.numel() * (right.shape[-1] if right.dim() > 1 else 1))


def _after_bias(args: Any, out: Any) -> int:
    return _matrix(args[1:], out)


def _convolution(args: Any, out: Any) -> int:
    """Each output position with each tap, or of a transposed convolution each input position."""
    positions = args[0] if args[6] else out
    return int(positions.numel() * prod(args[1].shape[1:]))


def _convolution_backward(args: Any, _: Any) -> int:
    gradient, given, kernel = args[:3]
    positions = given if args[7] else gradient
    return int(sum(args[10][:2]) * positions.numel() * prod(kernel.shape[1:]))


_MACS: dict[str, Callable[[Any, Any], int]] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_scaled_mm", "_int_mm"), _matrix),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation", "_sparse_addmm"), _after_bias),
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
}


class MacCounter(TorchDispatchMode):  # type: ignore[misc]
    """Counts below all other modes of the tracer, by its own rules, in the forward and the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: OpOverload, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        """Execute `func` and count its products."""
        out = func(*args, **(kwargs or {}))
        count = _MACS.get(func.overloadpacket.__name__.rstrip("_"))
        if count is not None:
            self.macs += count(args, out if isinstance(out, Tensor) else None)
        return out

    def take(self) -> int:
        """Return what was counted since the last time."""
        macs, self.macs = self.macs, 0
        return macs
