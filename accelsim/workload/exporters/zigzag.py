"""ZigZag workloads (zigzag-dse 3.9): one YAML file, a list of layers with their loops.

Dimensions are those of ZigZag's own ONNX reader, so that its mappings fit: B samples (rows of a linear layer), G groups
or copies, K and C output and input channels, and per spatial dimension OX positions, FX taps, IX inputs (Y, then Z). OX
and FX are both the width; IX = stride OX + dilation FX. IX counts the inputs that are read without the padding, which
stands beside it, so that the input has its true number of elements.

`operand_source` names a layer itself for its weights, which are constant. Inputs have no source: ZigZag would take the
result of another layer for them as it is, and vector work stands between. Precisions are those of a design: results of
FF and BP have the bits of operands, those of WU the bits of weight gradients.
"""

from collections.abc import Iterator, Mapping, Sequence

from accelsim.base.errors import InputError
from accelsim.base.files import Plain
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
from accelsim.workload.names import counted, few
from accelsim.workload.trace import Conv, Linear, Matmul, Trace

__all__ = ["layer_workload", "product_workload"]

_SIDES = ("x", "y", "z")
"""Spatial dimensions, the last one (the width) first."""


def layer_workload(trace: Trace, bits: OperandBits, batch: int = 1) -> Export:
    """Return the forward pass at `batch` samples, one layer each. Raises `InputError` for transposed convolutions."""
    layers = without_transposed(forward_layers(trace), "a ZigZag workload")
    entries = [_layer(index, layer, bits, batch) for index, layer in enumerate(layers)]
    sparse = sparse_layers(trace)
    notes = [*_always(), *([f"ZigZag has no sparsity; written dense: {few(sparse)}"] if sparse else [])]
    return _export(entries, (*notes, *left_behind(trace, forward=True)))


def product_workload(products: Sequence[Product], bits: OperandBits) -> Export:
    """Return one layer per product. Raises `InputError` where there is none."""
    if not products:
        raise InputError("there is no product to write")
    entries = [_product(index, product, bits) for index, product in enumerate(products)]
    sparse = [product.name for product in products if product.pattern is not None]
    notes = [*_always(), *([f"ZigZag has no sparsity; written dense: {few(sparse)}"] if sparse else [])]
    return _export(entries, tuple(notes))


def _always() -> Iterator[str]:
    yield "which layer an input comes from is not written; operand_source names the layer of constant weights alone"


def _export(entries: Sequence[Mapping[str, Plain]], notes: tuple[str, ...]) -> Export:
    text = yaml_text(list(entries))
    return Export(texts=(("", text),), notes=notes, summary=counted(len(entries), "layer"))


def _layer(index: int, layer: Conv | Linear | Matmul, bits: OperandBits, batch: int) -> dict[str, Plain]:
    samples = batch if layer.scales_with_batch else 1
    if isinstance(layer, Conv):
        return _conv(index, layer, bits, samples)
    return _product(index, forward_product(layer, samples), bits)


def _conv(index: int, layer: Conv, bits: OperandBits, samples: int) -> dict[str, Plain]:
    along = list(zip(_SIDES, windows(layer), strict=False))
    group = "[g]" if layer.groups > 1 else ""
    positions, taps, inputs = ("".join(f"[{axis}{side}]" for side, _ in reversed(along)) for axis in "ofi")
    loops = {"B": samples, **({"G": layer.groups} if group else {})}
    loops |= {"K": layer.out_channels // layer.groups, "C": layer.in_channels // layer.groups}
    loops |= {f"O{side.upper()}": window.positions for side, window in along}
    loops |= {f"F{side.upper()}": window.taps for side, window in along}
    return {
        "id": index,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": f"O[b]{group}[k]{positions}+=W{group}[k][c]{taps}*I[b]{group}[c]{inputs}",
        "dimension_relations": [f"i{side}={window.stride}*o{side}+{window.dilation}*f{side}" for side, window in along],
        **_loops(loops),
        **_operands(index, bits, constant_weights=True),
        "pr_loop_dims": [f"I{side.upper()}" for side, _ in along],
        "pr_loop_sizes": [window.inputs_read for _, window in along],
        "padding": [[window.padding, max(0, window.extent - window.padding - window.size)] for _, window in along],
    }


def _product(index: int, product: Product, bits: OperandBits) -> dict[str, Plain]:
    group = "[g]" if product.count > 1 else ""
    loops = {**({"G": product.count} if group else {}), "B": product.m, "K": product.n, "C": product.k}
    return {
        "id": index,
        "name": product.name,
        "operator_type": "Gemm",
        "equation": f"O{group}[b][k]+=I{group}[b][c]*W{group}[c][k]",
        "dimension_relations": [],
        **_loops(loops),
        **_operands(index, bits, constant_weights=not product.of_activations, gradient=product.gradient_of_weights),
    }


def _loops(loops: Mapping[str, int]) -> dict[str, Plain]:
    return {"loop_dims": list(loops), "loop_sizes": list(loops.values())}


def _operands(index: int, bits: OperandBits, *, constant_weights: bool, gradient: bool = False) -> dict[str, Plain]:
    result = bits.gradient if gradient else bits.operand
    precision = {"W": bits.operand, "I": bits.operand, "O": max(bits.accumulator, result), "O_final": result}
    return {"operand_precision": precision, "operand_source": {"W": index} if constant_weights else {}}
