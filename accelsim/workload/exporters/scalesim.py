"""SCALE-Sim topologies from a trace: the forward pass of one sample as convolutions, or any products as GEMMs.

`accelsim.workload.importers.scalesim` says what SCALE-Sim computes for a row. Padding becomes part of the IFMAP, which
ends where the last window does: SCALE-Sim would run one more window over the rest.

Version 3 opens a layout file with every topology, whether its configuration turns layouts on or not. The one written
here says what the plain order is: one word per line of a bank, in the order in which the operands are numbered.
"""

import re
from collections.abc import Iterator, Sequence
from math import prod

from accelsim.base.errors import InputError
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.exporting import (
    Export,
    Product,
    forward_layers,
    left_behind,
    observed_ratio,
    unwritten_sparsity,
)
from accelsim.workload.importers.scalesim import (
    CONV_COLUMNS,
    DEPTHWISE_MARK,
    GEMM_COLUMNS,
    SPARSITY_COLUMN,
    groups_cross_taps,
)
from accelsim.workload.names import counted, few, unique_names
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace

__all__ = ["LAYOUT_COLUMNS", "LAYOUT_ENDING", "crossing_groups", "layer_topology", "misfits", "product_topology"]

LAYOUT_ENDING = "_layout"
"""What the name of the layout file adds to that of the topology."""

_IFMAP_ORDER = ("IFMAP Height", "IFMAP Width", "Channel")
_FILTER_ORDER = ("Num Filter", "Channel", "Filter Height", "Filter Width")
_FACTORS = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channel", "Num Filter")
LAYOUT_COLUMNS = (
    "Layer name",
    *(f"{dimension} Intraline Factor" for dimension in _FACTORS),
    *(f"{dimension} {where} Order" for where in ("Intraline", "Interline") for dimension in _IFMAP_ORDER),
    *(f"{dimension} {where} Order" for where in ("Intraline", "Interline") for dimension in _FILTER_ORDER),
)
_PLAIN_LAYOUT = (1, 1, 1, 1, 1, 1, 3, 4, 5, 0, 1, 2, 4, 5, 6, 7, 0, 1, 2, 3)
"""Factors, then orders as axes: those between lines come first (0, 1, ...), those inside of a line after them."""

_MOST_ROWS = 100_000
_Rows = Sequence[tuple[str, Sequence[int], Pattern | None]]


def misfits(trace: Trace) -> list[str]:
    """Return why a topology of convolutions cannot hold the forward pass; empty where it can."""
    layers = forward_layers(trace)
    convolutions = [layer for layer in layers if isinstance(layer, Conv)]
    cases = {
        "products of two activations": [layer.name for layer in layers if isinstance(layer, Matmul)],
        "transposed convolutions": [layer.name for layer in layers if isinstance(layer, ConvTranspose)],
        "three spatial dimensions": [layer.name for layer in convolutions if len(layer.kernel) > 2],
        "dilation": [layer.name for layer in convolutions if max(layer.dilation) > 1],
        "a stride of its own per dimension": [layer.name for layer in convolutions if len(set(layer.stride)) > 1],
        "groups of several channels": [layer.name for layer in convolutions if 1 < layer.groups < layer.in_channels],
    }
    return [f"{what} ({few(names)})" for what, names in cases.items() if names]


def layer_topology(trace: Trace) -> Export:
    """Return the forward pass of one sample as a topology of convolutions. Raises `InputError` for any `misfits`."""
    reasons = misfits(trace)
    if reasons:
        raise InputError("\n".join(f"a topology of convolutions cannot hold {reason}" for reason in reasons))
    layers = [layer for layer in forward_layers(trace) if isinstance(layer, Conv | Linear)]
    names, renamed = _names([layer.name for layer in layers], [_is_depthwise(layer) for layer in layers])
    rows = [(name, _sizes(layer), observed_ratio(layer)) for name, layer in zip(names, layers, strict=True)]
    texts = (("", _topology(CONV_COLUMNS, rows)), (LAYOUT_ENDING, _layout(names)))
    notes = [*renamed, *_geometry_notes(layers), *crossing_groups(trace), *unwritten_sparsity(trace)]
    return Export(
        texts=texts,
        notes=(*notes, *left_behind(trace, forward=True)),
        summary=counted(len(rows), "convolution"),
    )


def product_topology(products: Sequence[Product]) -> Export:
    """Return products as a topology of GEMMs, each in as many rows as it is computed.

    Raises `InputError` for none, and for more rows than anybody could run.
    """
    total = sum(product.count for product in products)
    if not products:
        raise InputError("there is no product to write")
    if total > _MOST_ROWS:
        raise InputError(f"the topology would have {total} rows, one per copy of a product; allowed: {_MOST_ROWS}")
    copies = [(product, copy) for product in products for copy in range(product.count)]
    names, renamed = _names(
        [f"{product.name}.{copy}" if product.count > 1 else product.name for product, copy in copies]
    )
    rows = [
        (name, (product.m, product.n, product.k), product.pattern)
        for name, (product, _) in zip(names, copies, strict=True)
    ]
    texts = (("", _topology(GEMM_COLUMNS, rows)), (LAYOUT_ENDING, _layout(names)))
    return Export(texts=texts, notes=tuple(renamed), summary=counted(len(rows), "GEMM"))


def _topology(columns: Sequence[str], rows: _Rows) -> str:
    """The text of a topology. Every line ends in a comma: SCALE-Sim drops what follows the last one."""
    sparse = any(ratio is not None for _, _, ratio in rows)
    lines = [[*columns, *[SPARSITY_COLUMN] * sparse]]
    lines += [[name, *map(str, sizes), *[str(ratio or "1:1")] * sparse] for name, sizes, ratio in rows]
    return "".join(f"{','.join(line)},\n" for line in lines)


def _layout(names: Sequence[str]) -> str:
    """The layout of layers by name, operands in their plain order: all inside of a line is one word."""
    lines = [[*LAYOUT_COLUMNS], *([name, *map(str, _PLAIN_LAYOUT)] for name in names)]
    return "".join(f"{','.join(line)},\n" for line in lines)


def _is_depthwise(layer: Conv | Linear) -> bool:
    return isinstance(layer, Conv) and layer.groups > 1  # other groups are misfits


def _sizes(layer: Conv | Linear) -> tuple[int, ...]:
    """The numbers of a row of convolutions; a linear layer is a 1 x 1 convolution over its rows."""
    if isinstance(layer, Linear):
        return layer.rows_at(1), 1, 1, 1, layer.in_features, layer.out_features, 1
    geometry = zip(layer.out_size, layer.kernel, layer.stride, strict=True)
    ifmap = [taps + (size - 1) * step for size, taps, step in geometry]
    flat = [1] * (2 - len(ifmap))
    filters = layer.out_channels // layer.groups
    return *ifmap, *flat, *layer.kernel, *flat, layer.in_channels, filters, layer.stride[0]


def _names(names: Sequence[str], depthwise: Sequence[bool] | None = None) -> tuple[list[str], list[str]]:
    """Names that SCALE-Sim reads as they are meant, and what was changed. Its GEMMs are never depthwise."""
    written = [" ".join(name.replace(",", ";").split()) or "layer" for name in names]
    notes = []
    changed = [after for before, after in zip(names, written, strict=True) if before != after]
    if changed:
        notes.append(f"a comma or a line break ends a value, so names are written without: {few(changed)}")
    if depthwise is not None:
        plain = written
        written = [_marked(name, marked) for name, marked in zip(plain, depthwise, strict=True)]
        renamed = [after for before, after in zip(plain, written, strict=True) if before != after]
        if renamed:
            notes.append(f"{DEPTHWISE_MARK} in a name is what makes a layer depthwise; written as: {few(renamed)}")
    return unique_names(written), notes


def _marked(name: str, depthwise: bool) -> str:
    """The name with the mark of a depthwise layer, or without."""
    if not depthwise:
        return re.sub(DEPTHWISE_MARK, DEPTHWISE_MARK.lower(), name)
    return name if DEPTHWISE_MARK in name else f"{DEPTHWISE_MARK}_{name}"


def _geometry_notes(layers: Sequence[Conv | Linear]) -> Iterator[str]:
    padded = [layer.name for layer in layers if isinstance(layer, Conv) and max(layer.padding)]
    if padded:
        yield f"padding is written as part of the IFMAP: {few(padded)}"
    cut = [layer.name for layer in layers if isinstance(layer, Conv) and _is_cut(layer)]
    if cut:
        yield f"the edge of the IFMAP that no window reaches is left out, SCALE-Sim would add a window: {few(cut)}"
    linear = [layer.name for layer in layers if isinstance(layer, Linear)]
    if linear:
        yield f"linear layers are written as 1 x 1 convolutions over their rows: {few(linear)}"


def _is_cut(layer: Conv) -> bool:
    geometry = zip(layer.in_size, layer.padding, layer.kernel, layer.stride, strict=True)
    return any((size + 2 * pad - taps) % step for size, pad, taps, step in geometry)


def crossing_groups(trace: Trace) -> Iterator[str]:
    """Say which N:M weights SCALE-Sim would group otherwise, because their channels are no whole groups."""
    crossing = [layer.name for layer in forward_layers(trace) if isinstance(layer, Conv) and _crosses(layer)]
    if crossing:
        yield (
            "N:M groups were seen along the channels; SCALE-Sim forms them across filter positions, so that it keeps"
            f" another number of weights: {few(crossing)}"
        )


def _crosses(layer: Conv) -> bool:
    ratio = observed_ratio(layer)
    return ratio is not None and groups_cross_taps(ratio, layer.in_channels // layer.groups, prod(layer.kernel))
