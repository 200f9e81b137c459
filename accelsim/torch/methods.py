"""Sparse-training methods for PyTorch models, named as in `accelsim.sparsity.methods.METHODS`.

A method replaces the `forward` of the model's own linear and convolution layers: classes, parameters and state_dict
stay as they are, a dense checkpoint loads, and the model can be copied, pickled, converted and compiled.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from typing import TypedDict, Unpack

from torch import nn

from accelsim.base.errors import InputError
from accelsim.sparsity.methods import METHODS
from accelsim.sparsity.pattern import Pattern
from accelsim.torch.rules import dense_stages, weighted_layers
from accelsim.torch.sparse_layers import State, put_on, sparse_operands, state_of, take_off

__all__ = [
    "LeftDense",
    "adjust",
    "bdwp",
    "bi_mask",
    "dense",
    "left_dense",
    "mvue",
    "sdgp",
    "sdwp",
    "sr_ste",
    "target",
    "transposable",
]

_SHORTCUT = "_accelsim_shortcut"
_SHORTCUTS = {nn.TransformerEncoderLayer: "activation_relu_or_gelu", nn.TransformerEncoder: "use_nested_tensor"}
"""Attributes that let a module of PyTorch evaluate in one operation, by the dense weights, if they are true."""

_SHOWN_LAYERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftDense:
    """A product of a layer (stage FF, BP or WU) that the method makes sparse elsewhere, and why not here."""

    layer: str
    stage: str
    reason: str


class Changes(TypedDict, total=False):
    """What `adjust` changes."""

    pattern: Pattern
    leak: float


class Options(TypedDict, total=False):
    """Options of methods."""

    decay: float
    every: int
    candidates: int
    rescale: bool


def _apply(
    model: nn.Module, name: str, pattern: str | Pattern, exclude: str | Iterable[str] | None, **options: Unpack[Options]
) -> nn.Module:
    """Put a method on the layers of a model, and return the model."""
    method = METHODS[name]
    pattern = pattern if isinstance(pattern, Pattern) else Pattern.parse(str(pattern))
    _check_options(**options)
    layers = _check_model(model)
    dense_in = dense_stages(model, method, pattern, exclude)
    stages = frozenset(sparse_operands(method))
    if all(stages == found.keys() for found in dense_in.values()):
        shown = [f"{layer} ({next(iter(found.values()))})" for layer, found in dense_in.items()]
        more = f" and {len(shown) - _SHOWN_LAYERS} more" if len(shown) > _SHOWN_LAYERS else ""
        raise InputError(f"{name} {pattern}: every layer would stay dense: {', '.join(shown[:_SHOWN_LAYERS])}{more}")
    for layer, found in zip(layers, dense_in.values(), strict=True):
        sparse, left = stages - found.keys(), tuple(found.items())
        put_on(layer, State(method=method, target=pattern, pattern=pattern, sparse=sparse, dense=left, **options))
    for module in model.modules():
        for kind, attribute in _SHORTCUTS.items():
            if isinstance(module, kind):
                setattr(module, _SHORTCUT, (attribute, getattr(module, attribute)))
                setattr(module, attribute, False)
    return model


def _check_model(model: nn.Module) -> list[nn.Module]:
    """Return the layers with a weight of a model that a method can be put on."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model: got {type(model).__name__}; a torch.nn.Module is needed")
    layers = dict(weighted_layers(model))
    if not layers:
        raise InputError(f"model: {type(model).__name__} has no linear or convolution layer to make sparse")
    for name, layer in layers.items():
        if state := state_of(layer):
            raise InputError(
                f"{name}: {state.method.name} {state.target} is on it already; accelsim.torch.dense(model) takes it off"
            )
        if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters()):
            raise InputError(f"{name}: has no shape yet (a lazy module); run the model once before")
    return list(layers.values())


def _check_options(decay: float = 0.0, every: int = 1, candidates: int = 1, **_: bool) -> None:
    for name, value in (("every", every), ("candidates", candidates)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} {value}: a whole number of at least 1 is needed")
    if not isfinite(decay) or decay < 0:
        raise InputError(f"decay {decay}: a number of at least 0 is needed")


def _states(model: nn.Module) -> list[tuple[str, nn.Module, State]]:
    """Return the layers that a method is on. Raises `InputError` where there are none."""
    found = [(name, layer, state) for name, layer in weighted_layers(model) if (state := state_of(layer))]
    if not found:
        raise InputError(f"model: no method of accelsim.torch is on this {type(model).__name__}")
    return found


def target(model: nn.Module) -> Pattern:
    """Return the pattern that a method was put on a model with. Raises `InputError` where there is no method."""
    return _states(model)[0][2].target


def adjust(model: nn.Module, **changes: Unpack[Changes]) -> None:
    """Change the `pattern` in force, or the `leak` of pruned weights, in all layers of a model."""
    for _, layer, state in _states(model):
        put_on(layer, replace(state, kept=None if "pattern" in changes else state.kept, **changes))


def left_dense(model: nn.Module) -> tuple[LeftDense, ...]:
    """Return what stays dense in a model although its method makes it sparse elsewhere, in order of registration.

    Args:
        model: a model with a method on it. Raises `InputError` where it has none.

    >>> layers = bdwp(nn.Sequential(nn.Linear(16, 12), nn.Linear(12, 16)), "2:8", exclude=())
    >>> [(found.layer, found.stage) for found in left_dense(layers)]
    [('0', 'BP'), ('1', 'FF')]
    """
    return tuple(
        LeftDense(layer=name, stage=stage, reason=reason)
        for name, _, state in _states(model)
        for stage, reason in state.dense
    )


def dense(model: nn.Module) -> nn.Module:
    """Take a method off a model, so that its products read the dense weights.

    Args:
        model: the model; it is changed and returned.

    >>> layers = bdwp(nn.Sequential(nn.Linear(16, 16)), "2:8", exclude=())
    >>> dense(layers) is layers
    True
    """
    for module in model.modules():
        take_off(module)
        if _SHORTCUT in vars(module):
            setattr(module, *vars(module).pop(_SHORTCUT))
    return model


def sr_ste(
    model: nn.Module,
    pattern: str | Pattern,
    *,
    exclude: str | Iterable[str] | None = None,
    every: int = 1,
    decay: float = 2e-4,
) -> nn.Module:
    """Put SR-STE on a model: FF reads weights pruned N:M along the inputs (Zhou et al., ICLR 2021).

    Args:
        model: the model; it is changed and returned.
        pattern: N:M, as in ``2:8``.
        exclude: names or globs of layers that stay dense; None: the first (unless embeddings come before it) and the
            last, in the order of registration; ``()``: none.
        every: masks are chosen every so many training passes of a layer, from 1 (passes that activation checkpointing
            repeats do not count), and in evaluation from the weights as they are.
        decay: share of what was pruned that is added to the gradient of a weight, from 0: it lets pruned weights fade
            (2e-4 in the published code).

    BP reads the same pruned weights, which are N:M along no axis that BP reduces. The weight's gradient passes straight
    through. A product whose reduced channels M does not divide stays dense in any case; `left_dense` says which do.

    Raises `InputError` for a model without layers or one that has a method already, for a pattern or an option that
    cannot be, for an `exclude` that matches nothing, and where every layer would stay dense.

    >>> layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    >>> sr_ste(layers, "2:8", exclude=()) is layers
    True
    """
    return _apply(model, "sr-ste", pattern, exclude, every=every, decay=decay)


def sdgp(
    model: nn.Module,
    pattern: str | Pattern,
    *,
    exclude: str | Iterable[str] | None = None,
    rescale: bool = True,
) -> nn.Module:
    """Put SDGP on a model: BP reads output gradients pruned N:M along the channels (McDanel et al., 2022).

    Args:
        model: the model; it is changed and returned.
        pattern: N:M, as in ``2:8``.
        exclude: names or globs of layers that stay dense; None: the first (unless embeddings come before it) and the
            last, in the order of registration; ``()``: none.
        rescale: whether every channel of a sample gets its former sum of magnitudes over the positions back, as in the
            rescaled variant of the published code; else the plain one.

    The largest of every M channels are kept, at each position. FF is dense, and WU reads the gradient before it is
    pruned. Raises as `sr_ste`.

    >>> layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    >>> sdgp(layers, "2:8", exclude=()) is layers
    True
    """
    return _apply(model, "sdgp", pattern, exclude, rescale=rescale)


def sdwp(
    model: nn.Module, pattern: str | Pattern, *, exclude: str | Iterable[str] | None = None, every: int = 1
) -> nn.Module:
    """Put SDWP on a model: BP reads weights pruned N:M along the outputs (Fang et al., TCAD 2023).

    Args:
        model: the model; it is changed and returned.
        pattern: N:M, as in ``2:8``.
        exclude: names or globs of layers that stay dense; None: the first (unless embeddings come before it) and the
            last, in the order of registration; ``()``: none.
        every: masks are chosen every so many training passes of a layer, from 1 (passes that activation checkpointing
            repeats do not count), and in evaluation from the weights as they are.

    FF and WU are dense. Raises as `sr_ste`.

    >>> layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    >>> sdwp(layers, "2:8", exclude=()) is layers
    True
    """
    return _apply(model, "sdwp", pattern, exclude, every=every)


def bdwp(
    model: nn.Module,
    pattern: str | Pattern,
    *,
    exclude: str | Iterable[str] | None = None,
    every: int = 1,
    decay: float = 0.0,
) -> nn.Module:
    """Put BDWP on a model: FF reads weights pruned N:M along inputs, BP along outputs (Fang et al., TCAD 2023).

    Args:
        model: the model; it is changed and returned.
        pattern: N:M, as in ``2:8``.
        exclude: names or globs of layers that stay dense; None: the first (unless embeddings come before it) and the
            last, in the order of registration; ``()``: none.
        every: masks are chosen every so many training passes of a layer, from 1 (passes that activation checkpointing
            repeats do not count), and in evaluation from the weights as they are.
        decay: share of what FF pruned that is added to the gradient of a weight, from 0.

    Both masks are magnitude masks of the dense weight. The weight's gradient is the dense one. Raises as `sr_ste`.

    >>> layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    >>> bdwp(layers, "2:8", exclude=()) is layers
    True
    """
    return _apply(model, "bdwp", pattern, exclude, every=every, decay=decay)


def bi_mask(
    model: nn.Module,
    pattern: str | Pattern,
    *,
    exclude: str | Iterable[str] | None = None,
    every: int = 100,
    candidates: int = 100,
    decay: float = 2e-4,
) -> nn.Module:
    """Put Bi-Mask on a model: FF as in SR-STE; BP reads what FF kept, pruned N:M along permuted outputs on top.

    Args:
        model: the model; it is changed and returned.
        pattern: N:M, as in ``2:8``.
        exclude: names or globs of layers that stay dense; None: the first (unless embeddings come before it) and the
            last, in the order of registration; ``()``: none.
        every: training passes of a layer after which the order of its outputs is searched anew, from 1.
        candidates: random orders that are tried, from 1.
        decay: as in `sr_ste`.

    The order of the outputs is that which keeps most weights (Zhang et al., ICML 2023; `every` and `candidates` are 100
    in the published code); masks are chosen in every pass. The product itself runs in that order, dY as well, so its
    operand is N:M along the outputs as it is read. All groups of a convolution share one order. Raises as `sr_ste`.

    >>> layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    >>> bi_mask(layers, "2:8", exclude=()) is layers
    True
    """
    return _apply(model, "bi-mask", pattern, exclude, every=every, candidates=candidates, decay=decay)


def transposable(
    model: nn.Module, pattern: str | Pattern, *, exclude: str | Iterable[str] | None = None, every: int = 1
) -> nn.Module:
    """Put a transposable mask on a model: FF and BP read the same weights (Hubara et al., NeurIPS 2021).

    Args:
        model: the model; it is changed and returned.
        pattern: N:M, as in ``2:8``.
        exclude: names or globs of layers that stay dense; None: the first (unless embeddings come before it) and the
            last, in the order of registration; ``()``: none.
        every: masks are chosen every so many training passes of a layer, from 1 (passes that activation checkpointing
            repeats do not count), and in evaluation from the weights as they are.

    At most N are kept in every row and column of an M x M block of outputs and inputs, at each kernel tap; the search
    is greedy (`transposable_mask`). The published code searches every 40 passes. The gradient passes straight through.
    A layer is sparse only where M divides both inputs and outputs. Raises as `sr_ste`.

    >>> layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    >>> transposable(layers, "2:8", exclude=()) is layers
    True
    """
    return _apply(model, "transposable", pattern, exclude, every=every)


def mvue(
    model: nn.Module, pattern: str | Pattern, *, exclude: str | Iterable[str] | None = None, every: int = 1
) -> nn.Module:
    """Put a transposable mask and MVUE on a model: WU reads output gradients N:M along the batch, unbiased.

    Args:
        model: the model; it is changed and returned.
        pattern: N:M, as in ``2:8``.
        exclude: names or globs of layers that stay dense; None: the first (unless embeddings come before it) and the
            last, in the order of registration; ``()``: none.
        every: masks are chosen every so many training passes of a layer, from 1 (passes that activation checkpointing
            repeats do not count), and in evaluation from the weights as they are.

    FF and BP as in `transposable`; BP reads the gradient unpruned. Groups run along samples and positions, and what is
    kept of them is random (`minimum_variance`; Chmiel et al., ICLR 2023, who derive 1:2 and 2:4). Raises as `sr_ste`.

    >>> layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    >>> mvue(layers, "2:8", exclude=()) is layers
    True
    """
    return _apply(model, "mvue", pattern, exclude, every=every)
