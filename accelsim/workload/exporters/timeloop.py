"""Timeloop problems (version 0.4): one YAML file per layer or product, its shape written out in it.

Convolutions have the dimensions of Timeloop's ``cnn_layer``: R and S are width and height of the filter, P and Q those
of the output, C and K channels and filters (of one group of G), N samples; T and O a third dimension. Products have
those of ``gemm_ABZ``: activations A (M, K), weights B (N, K), result Z (M, N), with G copies where there are several.
Padding is part of Inputs. N:M is a density with the distribution ``fixed_structured``, any other ``hypergeometric``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from accelsim.base.errors import InputError
from accelsim.workload.exporting import Export, Layer, Product, forward_layers, left_behind, observed_ratio, seen_in_ff
from accelsim.workload.names import counted, few
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace

__all__ = ["layer_problems", "product_problems"]

_AXES = (("R", "P", "W"), ("S", "Q", "H"), ("T", "O", "D"))
"""Per spatial dimension, the last one first: dimension of the filter, of the output, prefix of the coefficients."""

_LONGEST_NAME = 100

_Projection = Sequence[Sequence[Sequence[str]]]
"""Per dimension of a data space a sum of terms; a term is a dimension, or one and its coefficient."""


def layer_problems(trace: Trace, batch: int = 1) -> Export:
    """Return the forward pass at `batch` samples, one problem per layer.

    Raises `InputError` for transposed convolutions, which are no such loop nest.
    """
    layers = forward_layers(trace)
    transposed = [layer.name for layer in layers if isinstance(layer, ConvTranspose)]
    if transposed:
        raise InputError(
            f"a Timeloop problem cannot hold transposed convolutions ({few(transposed)}); --stage FF writes products"
        )
    regular = [layer for layer in layers if not isinstance(layer, ConvTranspose)]
    texts = [(layer.name, _layer_problem(trace.model, layer, batch)) for layer in regular]
    padded = [layer.name for layer in regular if isinstance(layer, Conv) and max(layer.padding)]
    notes = [f"padding is written as part of Inputs: {few(padded)}"] if padded else []
    return _export(texts, (*notes, *left_behind(trace, forward=True)))


def product_problems(products: Sequence[Product]) -> Export:
    """Return one problem per product. Raises `InputError` where there is none."""
    if not products:
        raise InputError("there is no product to write")
    texts = [(product.name, _product_problem(product)) for product in products]
    return _export(texts, ())


def _export(texts: Sequence[tuple[str, str]], notes: tuple[str, ...]) -> Export:
    """Files are numbered in the order of the layers, with what of a layer's name can stand in a file name."""
    digits = len(str(len(texts) - 1))
    named = [(re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_LONGEST_NAME], text) for name, text in texts]
    files = tuple((f"{index:0{digits}d}_{name}.yaml", text) for index, (name, text) in enumerate(named))
    return Export(texts=files, notes=notes, summary=counted(len(files), "problem"))


def _layer_problem(model: str, layer: Conv | Linear | Matmul, batch: int) -> str:
    title = f"{layer.name} of {model}: {layer.kind}, forward"
    samples = batch if layer.scales_with_batch else 1
    if isinstance(layer, Conv):
        return _conv_problem(title, layer, samples)
    if isinstance(layer, Linear):
        densities = {"A": _density(layer, "activation"), "B": _density(layer, "weight")}
        return _gemm_problem(title, layer.rows_at(samples), layer.out_features, layer.in_features, 1, densities)
    densities = {"A": _density(layer, "left"), "B": _density(layer, "right")}
    count, m, n, k = layer.sizes_at(batch)
    return _gemm_problem(title, m, n, k, count, densities)


def _product_problem(product: Product) -> str:
    density = None if product.pattern is None else _structured(product.pattern.density)
    title = f"{product.name}: {product.m} x {product.n} x {product.k}"
    return _gemm_problem(title, product.m, product.n, product.k, product.count, {"B": density})


def _density(layer: Layer, operand: str) -> str | None:
    """The density of an operand in FF, None where it is dense or was not measured."""
    entry = seen_in_ff(layer, operand)
    ratio = observed_ratio(layer) if operand == "weight" else None
    if ratio is not None:
        return _structured(ratio.density)
    if entry is None or entry.density in {None, 1}:
        return None
    return f"{{distribution: hypergeometric, density: {entry.density}}}"


def _structured(density: float) -> str:
    return f"{{distribution: fixed_structured, density: {density}}}"


def _conv_problem(title: str, layer: Conv, samples: int) -> str:
    flat = [1] * (2 - len(layer.kernel))
    axes = _AXES[: max(2, len(layer.kernel))]
    group = ["G"] if layer.groups > 1 else []
    windows = [[(tap, f"{side}dilation"), (position, f"{side}stride")] for tap, position, side in axes]
    spaces: dict[str, _Projection] = {
        "Weights": _single([*group, "C", "K", *(tap for tap, _, _ in axes)]),
        "Inputs": [*_single(["N", *group, "C"]), *windows],
        "Outputs": _single(["N", *group, "K", *(position for _, position, _ in reversed(axes))]),
    }
    geometry = [(*flat, *numbers)[::-1] for numbers in (layer.kernel, layer.out_size, layer.stride, layer.dilation)]
    along = list(zip(axes, *geometry, strict=True))
    bounds = {tap: taps for (tap, _, _), taps, _, _, _ in along}
    bounds |= {position: positions for (_, position, _), _, positions, _, _ in along}
    bounds |= {"C": layer.in_channels // layer.groups, "K": layer.out_channels // layer.groups, "N": samples}
    bounds |= dict.fromkeys(group, layer.groups)
    coefficients = {f"{side}stride": stride for (_, _, side), _, _, stride, _ in along}
    coefficients |= {f"{side}dilation": dilation for (_, _, side), _, _, _, dilation in along}
    densities = {"Weights": _density(layer, "weight"), "Inputs": _density(layer, "activation")}
    name = "grouped_cnn_layer" if group else "cnn_layer"
    return _problem(title, name, spaces, bounds, coefficients, densities)


def _gemm_problem(title: str, m: int, n: int, k: int, count: int, densities: Mapping[str, str | None]) -> str:
    group = ["G"] if count > 1 else []
    spaces = {space: _single([*group, *dimensions]) for space, dimensions in (("A", "MK"), ("B", "NK"), ("Z", "MN"))}
    bounds = {"M": m, "N": n, "K": k, **dict.fromkeys(group, count)}
    return _problem(title, "batched_gemm_ABZ" if group else "gemm_ABZ", spaces, bounds, {}, densities)


def _single(dimensions: Iterable[str]) -> list[list[tuple[str, ...]]]:
    return [[(dimension,)] for dimension in dimensions]


def _problem(
    title: str,
    name: str,
    spaces: Mapping[str, _Projection],
    bounds: Mapping[str, int],
    coefficients: Mapping[str, int],
    densities: Mapping[str, str | None],
) -> str:
    """The text of a problem; the last data space is the result."""
    lines = [
        f"# {json.dumps(title)}",
        "problem:",
        "  version: '0.4'",
        "  shape:",
        f"    name: {name}",
        f"    dimensions: [{', '.join(bounds)}]",
    ]
    if coefficients:
        lines += [
            "    coefficients:",
            *(f"      - {{name: {coefficient}, default: 1}}" for coefficient in coefficients),
        ]
    lines.append("    data_spaces:")
    for space, projection in spaces.items():
        lines += [f"      - name: {space}", "        projection:"]
        for dimension in projection:
            terms = (f"[{', '.join(term)}]" for term in dimension)
            lines.append(f"          - [{', '.join(terms)}]")
    lines += ["        read_write: true", "  instance:"]
    lines += [f"    {dimension}: {bound}" for dimension, bound in {**bounds, **coefficients}.items()]
    known = [f"      {space}: {density}" for space, density in densities.items() if density is not None]
    if known:
        lines += ["    densities:", *known]
    return "\n".join(lines) + "\n"
