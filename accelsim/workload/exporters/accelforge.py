"""AccelForge workloads (accelforge 1.0): one YAML file, each layer an Einsum with the sizes of its ranks.

Products: input (M, K), weight (K, N), output (M, N), with G copies where there are several. Convolutions: B samples, G
groups, C and K input and output channels, P and Q height and width of the output, R and S of the filter, H and W of the
input (depth: O, T, D), where H is read at stride p + dilation r. A size of H below the last index would cut the loops,
so H and W are as far as windows reach, padding included.

A rank variable has one range in a whole workload, so the ranks of each Einsum end in its number. Each Einsum also has
tensors of its own, called input, weight and output for the architectures that know them by that.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelsim.base.errors import InputError
from accelsim.workload.exporting import (
    Export,
    OperandBits,
    Product,
    forward_layers,
    forward_product,
    left_behind,
    sparse_layers,
    windows,
    without_transposed,
    yaml_text,
)
from accelsim.workload.names import counted, few, unique_names
from accelsim.workload.trace import Conv, Linear, Matmul, Trace

__all__ = ["layer_einsums", "product_einsums"]

_AXES = (("Q", "S", "W"), ("P", "R", "H"), ("O", "T", "D"))
"""Per spatial dimension, the last one first: rank of the output, of the filter, of the input."""

_RESERVED = "Total"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Einsum:
    """Sizes by rank; per tensor (input, weight, output) its ranks, and for a rank that no variable has, its index."""

    name: str
    sizes: Mapping[str, int]
    tensors: Mapping[str, Sequence[str]]
    windows: Mapping[str, tuple[int, str, int, str]]
    gradient_of_weights: bool = False

    def rank_sizes(self, number: int) -> dict[str, int]:
        """The sizes of the ranks of the Einsum with this number."""
        return {f"{rank}{number}": size for rank, size in self.sizes.items()}

    def entry(self, name: str, number: int, bits: OperandBits) -> dict[str, Any]:
        """What stands in the file, under a name that can."""
        wide = {"bits_per_value": bits.gradient} if self.gradient_of_weights else {}
        marks = {"output": {"output": True, **wide}}
        accesses = [
            {
                "name": f"{name}_{tensor}",
                "projection": {f"{rank}{number}": self._index(rank, number) for rank in ranks},
                **marks.get(tensor, {}),
            }
            for tensor, ranks in self.tensors.items()
        ]
        renames = {tensor: f"{name}_{tensor}" for tensor in self.tensors}
        return {"name": name, "tensor_accesses": accesses, "renames": renames}

    def _index(self, rank: str, number: int) -> str:
        if rank not in self.windows:
            return f"{rank.lower()}{number}"
        stride, position, dilation, tap = self.windows[rank]
        return f"{stride} * {position.lower()}{number} + {dilation} * {tap.lower()}{number}"


def layer_einsums(trace: Trace, bits: OperandBits, batch: int = 1) -> Export:
    """Return the forward pass at `batch` samples, an Einsum per layer. Raises `InputError` for transposed ones."""
    layers = without_transposed(forward_layers(trace), "an AccelForge workload")
    einsums = [_layer(layer, batch if layer.scales_with_batch else 1) for layer in layers]
    padded = [layer.name for layer in layers if isinstance(layer, Conv) and max(layer.padding)]
    notes = [f"padding is written as part of the input: {few(padded)}"] if padded else []
    return _export(einsums, bits, (*notes, *_dense(sparse_layers(trace)), *left_behind(trace, forward=True)))


def product_einsums(products: Sequence[Product], bits: OperandBits) -> Export:
    """Return one Einsum per product. Raises `InputError` where there is none."""
    if not products:
        raise InputError("there is no product to write")
    sparse = [product.name for product in products if product.pattern is not None]
    return _export([_product(product) for product in products], bits, tuple(_dense(sparse)))


def _dense(sparse: Sequence[str]) -> list[str]:
    return [f"AccelForge workloads hold no sparsity; written dense: {few(sparse)}"] if sparse else []


def _export(einsums: Sequence[_Einsum], bits: OperandBits, notes: tuple[str, ...]) -> Export:
    names = [einsum.name for einsum in einsums]
    written = unique_names([_identifier(name) for name in names])
    renamed = [after for before, after in zip(names, written, strict=True) if before != after]
    if renamed:
        notes = (f"names are written as identifiers: {few(renamed)}", *notes)
    numbered = list(enumerate(zip(written, einsums, strict=True)))
    workload = {
        "bits_per_value": {"All": bits.operand},
        "rank_sizes": {
            rank: size for number, (_, einsum) in numbered for rank, size in einsum.rank_sizes(number).items()
        },
        "einsums": [einsum.entry(name, number, bits) for number, (name, einsum) in numbered],
    }
    text = yaml_text({"workload": workload})
    return Export(texts=(("", text),), notes=notes, summary=counted(len(einsums), "Einsum"))


def _identifier(name: str) -> str:
    word = re.sub(r"\W+", "_", name, flags=re.ASCII)
    return word if word[0].isalpha() and word != _RESERVED else f"layer_{word}"


def _layer(layer: Conv | Linear | Matmul, samples: int) -> _Einsum:
    return _conv(layer, samples) if isinstance(layer, Conv) else _product(forward_product(layer, samples))


def _conv(layer: Conv, samples: int) -> _Einsum:
    along = list(zip(_AXES, windows(layer), strict=False))
    group = ["G"] if layer.groups > 1 else []
    sizes = {"B": samples, **dict.fromkeys(group, layer.groups)}
    sizes |= {"C": layer.in_channels // layer.groups, "K": layer.out_channels // layer.groups}
    reached = {}
    for (position, tap, place), window in reversed(along):
        sizes |= {position: window.positions, tap: window.taps, place: window.extent}
        reached[place] = (window.stride, position, window.dilation, tap)
    tensors = {
        "input": ["B", *group, "C", *reached],
        "weight": [*group, "K", "C", *(tap for (_, tap, _), _ in reversed(along))],
        "output": ["B", *group, "K", *(position for (position, _, _), _ in reversed(along))],
    }
    return _Einsum(name=layer.name, sizes=sizes, tensors=tensors, windows=reached)


def _product(product: Product) -> _Einsum:
    group = ["G"] if product.count > 1 else []
    sizes = {**dict.fromkeys(group, product.count), "M": product.m, "N": product.n, "K": product.k}
    tensors = {"input": [*group, "M", "K"], "weight": [*group, "K", "N"], "output": [*group, "M", "N"]}
    gradient = product.gradient_of_weights
    return _Einsum(name=product.name, sizes=sizes, tensors=tensors, windows={}, gradient_of_weights=gradient)
