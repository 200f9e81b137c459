"""ZigZag workloads: loops, operands and precisions, read by ZigZag's own rules."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from export_cases import as_trace, conv, convolutions, linear, seen
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.exporters.zigzag import layer_workload, product_workload
from accelsim.workload.exporting import OperandBits, Product

Make = Callable[..., acs.Trace]
BITS = OperandBits(operand=16, accumulator=32, gradient=24)
SOURCES = "which layer an input comes from is not written; operand_source names the layer of constant weights alone"
EQUATION = re.compile(r"O((?:\[\w+\])+)\+=(W|I)((?:\[\w+\])+)\*(W|I)((?:\[\w+\])+)")
RELATION = re.compile(r"(\w+)=(\d+)\*(\w+)\+(\d+)\*(\w+)")


def elements(layer: dict[str, Any]) -> dict[str, int]:
    """Elements of each operand: the loops of its indices, and of IX, IY what `pr_loop_sizes` says."""
    sizes = dict(zip(layer["loop_dims"], layer["loop_sizes"], strict=True))
    sizes |= dict(zip(layer.get("pr_loop_dims", []), layer.get("pr_loop_sizes", []), strict=True))
    found = EQUATION.fullmatch(layer["equation"])
    assert found is not None
    output, first, first_indices, second, second_indices = found.groups()
    indices = {"O": output, first: first_indices, second: second_indices}
    return {
        operand: math.prod(sizes[name.upper()] for name in re.findall(r"\w+", text))
        for operand, text in indices.items()
    }


@settings(deadline=None)
@given(operation=convolutions(regular=False), batch=st.integers(1, 3))
def test_any_convolution_has_its_macs_and_elements(operation: dict[str, Any], batch: int) -> None:
    trace = as_trace(operation)
    (layer,) = trace.operations
    (entry,) = yaml.safe_load(layer_workload(trace, BITS, batch).texts[0][1])
    assert math.prod(entry["loop_sizes"]) == batch * layer.macs
    read = 1
    geometry = zip(
        layer.in_size, layer.kernel, layer.out_size, layer.stride, layer.dilation, layer.padding, strict=True
    )
    for size, taps, positions, stride, dilation, padding in geometry:
        reached = {o * stride + t * dilation - padding for o in range(positions) for t in range(taps)}
        read *= len(reached & set(range(size)))
    assert elements(entry) == {
        "O": batch * layer.out_channels * math.prod(layer.out_size),
        "W": layer.weight_elements,
        "I": batch * layer.in_channels * read,
    }
    sizes = dict(zip(entry["loop_dims"], entry["loop_sizes"], strict=True))
    relations = [RELATION.fullmatch(text) for text in entry["dimension_relations"]]
    for relation, axis in zip(relations, reversed(range(len(layer.kernel))), strict=True):
        place, stride, position, dilation, tap = relation.groups()
        assert (place, position, tap) == tuple(f"{kind}{place[1]}" for kind in "iof")
        assert (int(stride), int(dilation)) == (layer.stride[axis], layer.dilation[axis])
        assert (sizes[position.upper()], sizes[tap.upper()]) == (layer.out_size[axis], layer.kernel[axis])


def test_a_workload_reads_as_zigzag_writes_it(make_trace: Make) -> None:
    trace = make_trace(
        conv("stem: 1", in_size=[14, 9], kernel=[3, 5], stride=[1, 2], padding=[1, 1], dilation=[2, 1]),
        conv("depth", groups=16),
        linear("fc", rows=3, observed=seen("2:8")),
        linear("once", rows=2, scales_with_batch=False),
        {"name": "qk", "kind": "matmul", "batch": 3, "m": 7, "n": 5, "k": 8},
    )
    export = layer_workload(trace, BITS, batch=4)
    assert export.summary == "5 layers"
    assert export.notes == (SOURCES, "ZigZag has no sparsity; written dense: fc")
    assert export.texts[0][1].startswith(
        "- id: 0\n"
        "  name: 'stem: 1'\n"
        "  operator_type: Conv\n"
        "  equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]\n"
        "  dimension_relations: [ix=2*ox+1*fx, iy=1*oy+2*fy]\n"
        "  loop_dims: [B, K, C, OX, OY, FX, FY]\n"
        "  loop_sizes: [4, 32, 16, 4, 12, 5, 3]\n"
        "  operand_precision: {W: 16, I: 16, O: 32, O_final: 16}\n"
        "  operand_source: {W: 0}\n"
        "  pr_loop_dims: [IX, IY]\n"
        "  pr_loop_sizes: [9, 14]\n"
        "  padding:\n"
        "  - [1, 1]\n"
        "  - [1, 1]\n"
        "- id: 1\n"
    )
    layers = yaml.safe_load(export.texts[0][1])
    assert [(layer["id"], layer["operator_type"], layer["operand_source"]) for layer in layers] == [
        (0, "Conv", {"W": 0}), (1, "Conv", {"W": 1}), (2, "Gemm", {"W": 2}), (3, "Gemm", {"W": 3}), (4, "Gemm", {}),
    ]  # fmt: skip
    assert layers[1]["equation"] == "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]"
    assert [dict(zip(layer["loop_dims"], layer["loop_sizes"], strict=True)) for layer in layers[1:]] == [
        {"B": 4, "G": 16, "K": 2, "C": 1, "OX": 12, "OY": 12, "FX": 3, "FY": 3},
        {"B": 12, "K": 10, "C": 32},
        {"B": 2, "K": 10, "C": 32},
        {"G": 12, "B": 7, "K": 5, "C": 8},
    ]
    assert [layers[2]["equation"], layers[4]["equation"]] == [
        "O[b][k]+=I[b][c]*W[c][k]", "O[g][b][k]+=I[g][b][c]*W[g][c][k]",
    ]  # fmt: skip


def test_products_have_the_bits_of_their_stage_and_name_constant_weights() -> None:
    export = product_workload(
        [
            Product(name="fc BP", m=2, n=3, k=8, pattern=Pattern.parse("2:8")),
            Product(name="fc WU", m=4, n=5, k=6, of_activations=True, gradient_of_weights=True),
            Product(name="qk", m=2, n=3, k=4, count=2, of_activations=True),
        ],
        OperandBits(operand=16, accumulator=32, gradient=64),
    )
    layers = yaml.safe_load(export.texts[0][1])
    assert [layer["operand_source"] for layer in layers] == [{"W": 0}, {}, {}]
    assert [layer["operand_precision"] for layer in layers] == [
        {"W": 16, "I": 16, "O": 32, "O_final": 16},
        {"W": 16, "I": 16, "O": 64, "O_final": 64},
        {"W": 16, "I": 16, "O": 32, "O_final": 16},
    ]
    assert [elements(layer) for layer in layers] == [
        {"O": 6, "I": 16, "W": 24}, {"O": 20, "I": 24, "W": 30}, {"O": 12, "I": 16, "W": 24},
    ]  # fmt: skip
    assert export.notes == (SOURCES, "ZigZag has no sparsity; written dense: fc BP")
    with pytest.raises(acs.InputError, match=r"^there is no product to write$"):
        product_workload([], BITS)
