"""What SAT's two vector units compute, number for number: SORE, which selects, and WUVE, which updates.

SORE is stepped literally, element by element, and shares no code with `accelsim.sparsity.masks`, which it judges. WUVE
repeats the arithmetic of PyTorch's SGD and Adam in mixed precision, operation by operation.
"""

import math
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from accelsim.arrays.compiled.sorter import step_lanes
from accelsim.base.errors import InputError
from accelsim.sparsity.masks import Packed
from accelsim.sparsity.pattern import Pattern

__all__ = [
    "AdamRule",
    "AdamState",
    "SgdRule",
    "SgdState",
    "SoreReduction",
    "WuveStep",
    "sore_reduce",
    "wuve_adam_step",
    "wuve_sgd_step",
]

_Float32 = NDArray[np.float32]
_State = TypeVar("_State")
_Item = TypeVar("_Item", bound=np.generic)
Gradient = NDArray[np.float16] | NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoreReduction:
    """What SORE hands on, and the cycles it took from the first element in to the last group done.

    The slots of a group are in the order of the sorter's registers: largest magnitude first, equals by position.
    """

    packed: Packed
    cycles: int


def sore_reduce(values: NDArray[np.floating], pattern: Pattern, lanes: int, axis: int = -1) -> SoreReduction:
    """Reduce every group of M along `axis` to its N largest magnitudes with `lanes` streaming top-N sorters.

    `values` is float16, float32 or float64 of any shape. Each cycle every lane takes one element of its group into an
    N-deep sorted register list, so a group takes M cycles, padded elements of a short last group included, and all
    groups take ceil(groups / lanes) M. Magnitude alone decides (-0 equals +0, infinities equal each other) and ties go
    to the lowest index. The padding of a short group never enters the registers: its spare slots hold zero.

    Raises `InputError` for other element types, an axis that does not exist, fewer than one lane, and NaN.

    >>> reduction = sore_reduce(np.array([1.0, -3.0, 3.0, 2.0]), Pattern(kept=2, group=4), lanes=1)
    >>> reduction.packed.values, reduction.packed.indices, reduction.cycles
    (array([-3.,  3.]), array([1, 2], dtype=uint8), 4)
    """
    _check_sore(values, lanes, axis)
    axis %= values.ndim
    moved = np.moveaxis(values, axis, -1)
    length = values.shape[axis]
    per_axis = -(-length // pattern.group)
    padded = np.zeros((*moved.shape[:-1], per_axis * pattern.group), values.dtype.newbyteorder("="))
    padded[..., :length] = moved
    stream = padded.reshape(-1, pattern.group)
    lengths = np.full((*moved.shape[:-1], per_axis), pattern.group)
    if per_axis:
        lengths[..., -1] = length - (per_axis - 1) * pattern.group

    # half precision is compared as single, which holds every half exactly
    magnitudes = np.abs(stream).astype(np.promote_types(stream.dtype, np.float32))
    positions = np.zeros((len(stream), pattern.kept), np.int64)
    held = np.zeros(len(stream), np.int64)
    cycles = step_lanes(magnitudes, lengths.reshape(-1), min(lanes, max(len(stream), 1)), positions, held)
    # only a group of fewer than N elements has spare registers, and it holds all it has: slot s is free for position s
    slots = np.arange(pattern.kept)
    positions = np.where(slots < held[:, None], positions, slots)

    def placed(per_group: NDArray[_Item], width: int) -> NDArray[_Item]:
        return np.moveaxis(per_group.reshape(*moved.shape[:-1], per_axis * width), -1, axis)

    return SoreReduction(
        packed=Packed(
            pattern=pattern,
            axis=axis,
            shape=values.shape,
            values=placed(np.take_along_axis(stream, positions, axis=1), pattern.kept),
            indices=placed(positions.astype(np.min_scalar_type(pattern.group - 1)), pattern.kept),
            filled=placed(held.astype(np.uint16), 1),
        ),
        cycles=int(cycles),
    )


def _check_sore(values: NDArray[np.floating], lanes: int, axis: int) -> None:
    """Refuse what the sorters cannot reduce."""
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise InputError(f"values: element type {values.dtype}; float16, float32 or float64 is allowed")
    if not -values.ndim <= axis < values.ndim:
        raise InputError(f"axis {axis}: an axis of values is needed, whose shape is {values.shape}")
    if lanes < 1:
        raise InputError(f"lanes {lanes}: at least 1 is needed")
    nans = np.argwhere(np.isnan(values))
    if nans.size:
        position = tuple(int(i) for i in nans[0])
        raise InputError(f"values: NaN at position {position}; numbers and infinities can be sorted, NaN cannot")


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdRule:
    """SGD with momentum and L2 weight decay (no dampening, no Nesterov), as `torch.optim.SGD`.

    Raises `InputError` for a setting that is negative or not finite.
    """

    learning_rate: float
    momentum: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("learning_rate", "momentum", "weight_decay"):
            _check_setting(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamRule:
    """Adam with bias correction and L2 weight decay (added to the gradient, no AMSGrad), as `torch.optim.Adam`.

    Raises `InputError` for a setting that is negative or not finite, and for a beta of 1 or more.
    """

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epsilon", "weight_decay"):
            _check_setting(name, getattr(self, name))
        for name in ("beta1", "beta2"):
            _check_setting(name, getattr(self, name), below=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdState:
    """What WUVE keeps for SGD: FP32 master weights and momentum of one shape, and the number of updates made.

    Arrays become views that cannot be written and take no part in comparisons. Raises `InputError` for arrays that are
    not float32 or differ in shape, and for a negative number of steps.
    """

    weights: _Float32 = field(compare=False)
    momentum: _Float32 = field(compare=False)
    steps: int

    def __post_init__(self) -> None:
        _protect(self, ("weights", "momentum"))

    @classmethod
    def initial(cls, weights: _Float32) -> "SgdState":
        """Return the state before the first update."""
        return cls(weights=weights, momentum=np.zeros_like(weights), steps=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamState:
    """What WUVE keeps for Adam: FP32 master weights and both moments of one shape, and the number of updates made.

    Arrays become views that cannot be written and take no part in comparisons. Raises `InputError` for arrays that are
    not float32 or differ in shape, and for a negative number of steps.
    """

    weights: _Float32 = field(compare=False)
    first_moment: _Float32 = field(compare=False)
    second_moment: _Float32 = field(compare=False)
    steps: int

    def __post_init__(self) -> None:
        _protect(self, ("weights", "first_moment", "second_moment"))

    @classmethod
    def initial(cls, weights: _Float32) -> "AdamState":
        """Return the state before the first update."""
        zeros = np.zeros_like(weights)
        return cls(weights=weights, first_moment=zeros, second_moment=zeros, steps=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WuveStep(Generic[_State]):
    """The state after an update, the FP16 weights of the next forward pass, and whether the update was skipped.

    `weights_fp16` are the master weights rounded to nearest even (beyond 65504: to infinity). An update is skipped,
    and the state handed back as it was, where the gradient is not finite, as the gradient scaler of AMP does.
    """

    state: _State
    weights_fp16: NDArray[np.float16] = field(compare=False)
    skipped: bool


def wuve_sgd_step(state: SgdState, gradient: Gradient, rule: SgdRule, loss_scale: float) -> WuveStep[SgdState]:
    """Update FP32 master weights by SGD and round them to FP16: bit for bit what PyTorch's SGD gives under AMP.

    `gradient` is float16 or float32 in the shape of the weights and carries `loss_scale`, which is divided out in FP32
    (1 where the loss is not scaled). Every multiply-add rounds once, as in PyTorch's vectorised kernels.

    Raises `InputError` for another type or shape, and for a loss scale that is not a positive number.
    """
    unscaled = _unscale(gradient, state.weights, loss_scale)
    if unscaled is None:
        return WuveStep(state=state, weights_fp16=_rounded_to_half(state.weights), skipped=True)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        direction = _with_weight_decay(unscaled, state.weights, rule.weight_decay)
        momentum = state.momentum
        if rule.momentum != 0:
            # the first update starts the momentum at the gradient itself
            momentum = momentum * np.float32(rule.momentum) + direction if state.steps else direction
            direction = momentum
        weights = _multiply_add(direction, np.float32(-rule.learning_rate), state.weights)
    updated = SgdState(weights=weights, momentum=momentum, steps=state.steps + 1)
    return WuveStep(state=updated, weights_fp16=_rounded_to_half(weights), skipped=False)


def wuve_adam_step(state: AdamState, gradient: Gradient, rule: AdamRule, loss_scale: float) -> WuveStep[AdamState]:
    """Update FP32 master weights by Adam and round them to FP16, in PyTorch's order of operations under AMP.

    As `wuve_sgd_step`. The bias corrections are computed in double precision, once per update, and rounded. From equal
    states both moments are bit for bit PyTorch's; its vectorised square root is not always the nearest number, ours is,
    and through it an update can differ by a few units in its last place.
    """
    unscaled = _unscale(gradient, state.weights, loss_scale)
    if unscaled is None:
        return WuveStep(state=state, weights_fp16=_rounded_to_half(state.weights), skipped=True)
    steps = state.steps + 1
    step_size = rule.learning_rate / (1 - rule.beta1**steps)
    root_of_correction = math.sqrt(1 - rule.beta2**steps)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        direction = _with_weight_decay(unscaled, state.weights, rule.weight_decay)
        first = _interpolated(state.first_moment, direction, np.float32(1 - rule.beta1))
        second = _multiply_add(
            np.float32(1 - rule.beta2) * direction, direction, state.second_moment * np.float32(rule.beta2)
        )
        denominator = np.sqrt(second) / np.float32(root_of_correction) + np.float32(rule.epsilon)
        weights = (state.weights + np.float32(-step_size) * first / denominator).astype(np.float32, copy=False)
    updated = AdamState(weights=weights, first_moment=first, second_moment=second, steps=steps)
    return WuveStep(state=updated, weights_fp16=_rounded_to_half(weights), skipped=False)


def _multiply_add(a: _Float32, b: _Float32 | np.float32, c: _Float32) -> _Float32:
    """Return a b + c rounded once to FP32.

    The product is exact in double precision. Its sum with c is rounded to odd (Boldo and Melquiond, 2008: when inexact,
    to the neighbour whose last bit is set), after which rounding to single is as good as rounding the exact sum.
    """
    product = np.multiply(a, b, dtype=np.float64)
    addend = c.astype(np.float64)
    total = product + addend
    share = total - product
    lost = (product - (total - share)) + (addend - share)
    bits = total.view(np.int64)
    inexact_and_even = np.isfinite(lost) & (lost != 0) & (bits & 1 == 0)
    towards_exact = np.where((lost > 0) == (total > 0), 1, -1)
    odd = (bits + inexact_and_even * towards_exact).view(np.float64)
    rounded: _Float32 = odd.astype(np.float32)
    return rounded


def _interpolated(start: _Float32, end: _Float32, share: np.float32) -> _Float32:
    """Return start + share (end - start), computed from the nearer end as PyTorch's `lerp` does."""
    if share < 0.5:
        return _multiply_add(end - start, share, start)
    return _multiply_add(end - start, share - np.float32(1), end)


def _with_weight_decay(gradient: _Float32, weights: _Float32, weight_decay: float) -> _Float32:
    return _multiply_add(weights, np.float32(weight_decay), gradient) if weight_decay else gradient


def _rounded_to_half(weights: _Float32) -> NDArray[np.float16]:
    with np.errstate(over="ignore", under="ignore"):
        half = weights.astype(np.float16)
    half.flags.writeable = False
    return half


def _unscale(gradient: Gradient, weights: _Float32, loss_scale: float) -> _Float32 | None:
    """Return the gradient in FP32 without its loss scale, or None where it is not finite throughout."""
    if gradient.dtype not in {np.dtype(np.float16), np.dtype(np.float32)} or gradient.shape != weights.shape:
        raise InputError(
            f"gradient: {gradient.dtype} of shape {gradient.shape}; float16 or float32 of the shape of the weights,"
            f" {weights.shape}, is needed"
        )
    if not 0 < loss_scale < math.inf:
        raise InputError(f"loss_scale: {loss_scale}; a positive finite number is needed")
    if not np.isfinite(gradient).all():
        return None
    # the scaler of AMP takes the reciprocal in double precision and multiplies in single
    with np.errstate(over="ignore", under="ignore"):
        unscaled: _Float32 = np.multiply(gradient, np.float32(1 / loss_scale), dtype=np.float32)
    return unscaled


def _protect(state: SgdState | AdamState, names: tuple[str, ...]) -> None:
    """Check the arrays and steps of a state under construction, and make the arrays read-only views."""
    for name in names:
        array = getattr(state, name)
        if array.dtype != np.float32 or array.shape != state.weights.shape or array.ndim == 0:
            raise InputError(
                f"{name}: {array.dtype} of shape {array.shape}; float32 of the shape of the weights,"
                f" {state.weights.shape}, and at least one axis are needed"
            )
        view = array.view()
        view.flags.writeable = False
        object.__setattr__(state, name, view)
    if state.steps < 0:
        raise InputError(f"steps: {state.steps}; 0 or more updates made so far are needed")


def _check_setting(name: str, value: float, below: float = math.inf) -> None:
    if not 0 <= value < below:
        allowed = "a finite number, 0 or more," if below == math.inf else f"a number from 0 to below {below}"
        raise InputError(f"{name}: {value}; {allowed} is needed")
