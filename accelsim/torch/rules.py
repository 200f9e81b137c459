"""Which layers of a model a method makes sparse, and why others stay dense: the rules of `accelsim.lowering.rules`.

What a step's trace lists in order of execution is taken in order of registration here.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from torch import nn

from accelsim.base.errors import InputError, did_you_mean
from accelsim.sparsity.methods import Axis, Method
from accelsim.sparsity.pattern import Pattern
from accelsim.torch.sparse_layers import groups_along, sparse_operands, weight_axis

__all__ = ["dense_stages", "weighted_layers"]

_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_MULTIPLY_THEMSELVES = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Bilinear)


def weighted_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that multiply by weights of their own, by name, in the order of registration."""
    inner: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module not in inner and isinstance(module, (*_LAYERS, *_MULTIPLY_THEMSELVES)):
            inner.update(module.modules())
            yield name or "model", module


def dense_stages(
    model: nn.Module, method: Method, pattern: Pattern, exclude: str | Iterable[str] | None
) -> dict[str, dict[str, str]]:
    """Return for every layer with a weight the stages that stay dense, each with the reason.

    Raises `InputError` for an `exclude` that matches no layer.
    """
    layers = dict(weighted_layers(model))
    reasons = _first_and_last(model, layers) if exclude is None else _excluded(list(layers), exclude)
    return {name: _stages(layer, method, pattern, reasons.get(name)) for name, layer in layers.items()}


def _first_and_last(model: nn.Module, layers: dict[str, nn.Module]) -> dict[str, str]:
    """Return the first layer, unless embeddings come before it, and the last one of several."""
    found: dict[str, str] = {}
    if len(layers) > 1:
        found[list(layers)[-1]] = "last layer"
    name, first = next(iter(layers.items()))
    modules = list(model.modules())
    if not any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in modules[: modules.index(first)]):
        found[name] = "first layer"
    return found


def _excluded(names: list[str], exclude: str | Iterable[str]) -> dict[str, str]:
    """Return the layers that match a name or glob."""
    found: dict[str, str] = {}
    for glob in [exclude] if isinstance(exclude, str) else exclude:
        hits = [name for name in names if fnmatchcase(name, glob)]
        if not hits:
            raise InputError(f"exclude {glob}: matches no layer with a weight{did_you_mean(glob, names)}")
        found.update(dict.fromkeys(hits, "excluded"))
    return found


def _stages(layer: nn.Module, method: Method, pattern: Pattern, reason: str | None) -> dict[str, str]:
    """Return the stages of one layer that stay dense; `reason` holds for all of them."""
    operands = sparse_operands(method)
    reason = _own_way(layer) or reason
    if reason is not None:
        return dict.fromkeys(operands, reason)
    found = {stage: text for stage, operand in operands.items() if (text := _indivisible(layer, operand.axis, pattern))}
    # one mask serves both directions, of whole blocks
    return dict.fromkeys(("FF", "BP"), next(iter(found.values()))) if found and method.one_mask else found


def _own_way(layer: nn.Module) -> str | None:
    """Say why the products of a layer are out of reach, if they are."""
    if isinstance(layer, _MULTIPLY_THEMSELVES):
        return f"{type(layer).__name__} multiplies by its weights itself"
    base = next(base for base in _LAYERS if isinstance(layer, base))
    same_forward = getattr(layer.forward, "__func__", None) is base.forward
    same_convolution = getattr(type(layer), "_conv_forward", None) is getattr(base, "_conv_forward", None)
    return None if same_forward and same_convolution else f"{type(layer).__name__} has a forward of its own"


def _indivisible(layer: nn.Module, axis: Axis, pattern: Pattern) -> str | None:
    """Say why the groups of a pattern do not fit the channels, if they do not; a batch may end in a short group."""
    if axis is Axis.BATCH:
        return None
    channels = layer.weight.shape[weight_axis(layer, axis)] // groups_along(layer, axis)
    if channels % pattern.group == 0:
        return None
    if channels == 1 and getattr(layer, "groups", 1) > 1:
        return f"depthwise, one {axis} channel per group"
    return f"{channels} {axis} channels are no multiple of {pattern.group}"
