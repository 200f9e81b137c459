"""AccelForge workloads: Einsums whose ranks span the loops of the layers, no index outside of them."""

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
from accelsim.workload.exporters.accelforge import layer_einsums, product_einsums
from accelsim.workload.exporting import OperandBits, Product

Make = Callable[..., acs.Trace]
BITS = OperandBits(operand=16, accumulator=32, gradient=32)


def computations(workload: dict[str, Any], einsum: dict[str, Any]) -> int:
    """Points of the loops at which each index lies within its rank, as AccelForge reads them.

    A variable that is an index by itself runs over that rank; one that is part of a sum is checked at the ends.
    """
    sizes = workload["rank_sizes"]
    indices = {rank: index for access in einsum["tensor_accesses"] for rank, index in access["projection"].items()}
    ranges = {index: sizes[rank] for rank, index in indices.items() if index.isidentifier()}
    for rank, index in indices.items():
        terms = re.findall(r"(\d+) \* (\w+)", index)
        if terms:
            assert sum(int(factor) * (ranges[variable] - 1) for factor, variable in terms) == sizes[rank] - 1
    return math.prod(ranges.values())


@settings(deadline=None)
@given(operation=convolutions(regular=False), batch=st.integers(1, 3))
def test_any_convolution_has_its_macs_and_reads_no_index_outside(operation: dict[str, Any], batch: int) -> None:
    trace = as_trace(operation)
    (layer,) = trace.operations
    workload = yaml.safe_load(layer_einsums(trace, BITS, batch).texts[0][1])["workload"]
    (einsum,) = workload["einsums"]
    assert computations(workload, einsum) == batch * layer.macs
    _, weight, output = einsum["tensor_accesses"]
    assert math.prod(workload["rank_sizes"][rank] for rank in weight["projection"]) == layer.weight_elements
    assert math.prod(workload["rank_sizes"][rank] for rank in output["projection"]) == (
        batch * layer.out_channels * math.prod(layer.out_size)
    )


def test_a_workload_reads_as_accelforge_writes_it(make_trace: Make) -> None:
    trace = make_trace(
        conv("stem:1", in_size=[14, 9], kernel=[3, 5], stride=[1, 2], padding=[1, 1], dilation=[2, 1]),
        {"name": "qk", "kind": "matmul", "batch": 3, "m": 7, "n": 5, "k": 8},
        linear("stem_1", observed=seen("2:8")),
        linear("Total", rows=2, scales_with_batch=False),
        linear("1"),
    )
    export = layer_einsums(trace, BITS, batch=4)
    assert export.summary == "5 Einsums"
    assert export.notes == (
        "names are written as identifiers: stem_1, stem_1_2, layer_Total and 1 more",
        "padding is written as part of the input: stem:1",
        "AccelForge workloads hold no sparsity; written dense: stem_1",
    )
    assert export.texts[0][1].startswith(
        "workload:\n"
        "  bits_per_value: {All: 16}\n"
        "  rank_sizes: {B0: 4, C0: 16, K0: 32, P0: 12, R0: 3, H0: 16, Q0: 4, S0: 5, W0: 11, G1: 12, M1: 7, N1: 5, K1: 8,"
        " M2: 4, N2: 10, K2: 32, M3: 2, N3: 10, K3: 32, M4: 4, N4: 10, K4: 32}\n"
        "  einsums:\n"
        "  - name: stem_1\n"
        "    tensor_accesses:\n"
        "    - name: stem_1_input\n"
        "      projection: {B0: b0, C0: c0, H0: 1 * p0 + 2 * r0, W0: 2 * q0 + 1 * s0}\n"
        "    - name: stem_1_weight\n"
        "      projection: {K0: k0, C0: c0, R0: r0, S0: s0}\n"
        "    - name: stem_1_output\n"
        "      projection: {B0: b0, K0: k0, P0: p0, Q0: q0}\n"
        "      output: true\n"
        "    renames: {input: stem_1_input, weight: stem_1_weight, output: stem_1_output}\n"
        "  - name: qk\n"
        "    tensor_accesses:\n"
        "    - name: qk_input\n"
        "      projection: {G1: g1, M1: m1, K1: k1}\n"
        "    - name: qk_weight\n"
        "      projection: {G1: g1, K1: k1, N1: n1}\n"
        "    - name: qk_output\n"
        "      projection: {G1: g1, M1: m1, N1: n1}\n"
        "      output: true\n"
    )
    workload = yaml.safe_load(export.texts[0][1])["workload"]
    tensors = [access["name"] for einsum in workload["einsums"] for access in einsum["tensor_accesses"]]
    assert len(set(tensors)) == len(tensors) == 15


def test_products_have_the_bits_of_their_stage() -> None:
    export = product_einsums(
        [
            Product(name="fc BP", m=2, n=3, k=8, count=3, pattern=Pattern.parse("2:8")),
            Product(name="fc WU", m=4, n=5, k=6, of_activations=True, gradient_of_weights=True),
        ],
        BITS,
    )
    workload = yaml.safe_load(export.texts[0][1])["workload"]
    outputs = [einsum["tensor_accesses"][-1] for einsum in workload["einsums"]]
    assert [output.get("bits_per_value") for output in outputs] == [None, 32]
    assert [computations(workload, einsum) for einsum in workload["einsums"]] == [144, 120]
    assert export.notes == (
        "names are written as identifiers: fc_BP, fc_WU",
        "AccelForge workloads hold no sparsity; written dense: fc BP",
    )
    with pytest.raises(acs.InputError, match=r"^there is no product to write$"):
        product_einsums([], BITS)
